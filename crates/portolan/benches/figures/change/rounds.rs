//! Changes, one after another, each seen in the kernel before the next.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use load::Fleet;
use serde_json::{Value, json};

use super::{Times, What};
use crate::rig::{Cluster, Proxy, Variant, Witness};

/// So many Services take turns in having their node ports changed: fewer than there are free ports.
const TURNS: u32 = 50;
/// After so long, and [`FEWEST`], no more changes of one sort are made.
const LONG: Duration = Duration::from_secs(15);
const FEWEST: u32 = 10;
/// How long one change may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Changes in one cluster.
pub struct Rounds<'a> {
    cluster: &'a Cluster,
    variant: Variant,
    proxy: &'a Proxy,
    witness: Witness,
}

/// Counts all changes, so that no value comes twice.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// One change.
struct Change {
    path: String,
    patch: Value,
    /// By which it is known in the kernel's event.
    bytes: Vec<u8>,
}

impl<'a> Rounds<'a> {
    /// Begins to look at the node.
    pub fn new(cluster: &'a Cluster, variant: Variant, proxy: &'a Proxy) -> Result<Self> {
        let witness = Witness::start(&cluster.node(1)?, variant)?;
        Ok(Self { cluster, variant, proxy, witness })
    }

    /// Makes so many changes of one sort, or fewer when they take long.
    pub fn run(&self, what: What, rounds: u32) -> Result<Times> {
        let mut times = Times::default();
        let begin = Instant::now();
        for round in 0..rounds {
            if begin.elapsed() > LONG && round >= FEWEST {
                break;
            }
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            if self.variant.is_told() {
                self.one(self.replaced(what, number)?, &mut times)?;
            } else {
                let [give, take] = self.given_and_taken(what, number);
                self.one(give, &mut times)?;
                self.one(take, &mut times)?;
            }
        }
        Ok(times)
    }

    fn one(&self, Change { path, patch, bytes }: Change, times: &mut Times) -> Result<()> {
        // A second table that it writes would look like the next change.
        let settle = !self.variant.is_told();
        let heard = if settle { self.proxy.heard()?.0 } else { 0.0 };
        self.witness.expect(bytes);
        let client = &self.cluster.client;
        let sent = Instant::now();
        let answer = self.cluster.runtime.block_on(client.patch(&path, patch.to_string()))?;
        let answered = Instant::now();
        ensure!(answer.code.is_success(), "{path} {patch}: {answer:?}");
        let arrived = self.witness.wait().with_context(|| format!("{path} {patch}"))?;
        times.sent.push(arrived.saturating_duration_since(sent));
        times.answered.push(arrived.saturating_duration_since(answered));
        if settle {
            self.proxy.wait_until_written(heard + 1.0, DEADLINE)?;
        }
        Ok(())
    }

    /// A value in place of another, which comes to the kernel as bytes that nothing else has.
    fn replaced(&self, what: What, number: u32) -> Result<Change> {
        let replace = |path: String, place: &str, value: Value, bytes: Vec<u8>| {
            let patch = json!([{"op": "replace", "path": place, "value": value}]);
            Change { path, patch, bytes }
        };
        Ok(match what {
            What::Slice => {
                let address = Fleet::new_address(number * 2);
                let place =
                    format!("/endpoints/{}/addresses/0", number % self.cluster.fleet.endpoints.min(2));
                let path = Fleet::slice_path(self.number(number), 0);
                replace(path, &place, address.to_string().into(), address.octets().to_vec())
            }
            What::Service => {
                let path = Fleet::service_path(self.number(number));
                let port = u16::try_from(10_000 + number % 20_000)?;
                let bytes = match self.variant {
                    Variant::Plain(_) => [&self.address(&path)?.octets()[..], &door(port)].concat(),
                    Variant::IptablesNft | Variant::IptablesLegacy => compared(port),
                };
                replace(path, "/spec/ports/0/port", port.into(), bytes)
            }
            What::NodePort => {
                let port = Fleet::free_node_port(number);
                let bytes = match self.variant {
                    Variant::Plain(_) => door(port),
                    Variant::IptablesNft | Variant::IptablesLegacy => compared(port),
                };
                replace(self.node_port_path(number), "/spec/ports/0/nodePort", port.into(), bytes)
            }
        })
    }

    /// Something more, and then no more: that changes the size of a table.
    fn given_and_taken(&self, what: What, number: u32) -> [Change; 2] {
        let change = |path: &str, patch: Value| Change { path: path.to_owned(), patch, bytes: vec![0] };
        match what {
            What::Slice => {
                let path = Fleet::slice_path(self.number(number), 0);
                let mut endpoint = self.cluster.fleet.endpoint(number, 0);
                endpoint["addresses"] = json!([Fleet::new_address(number * 2).to_string()]);
                [
                    change(&path, json!([{"op": "add", "path": "/endpoints/0", "value": endpoint}])),
                    change(&path, json!([{"op": "remove", "path": "/endpoints/0"}])),
                ]
            }
            What::Service => {
                let path = Fleet::service_path(self.number(number));
                let port = json!({"name": "extra", "port": 10_000 + number % 20_000, "protocol": "TCP"});
                [
                    change(&path, json!([{"op": "add", "path": "/spec/ports/0", "value": port}])),
                    change(&path, json!([{"op": "remove", "path": "/spec/ports/0"}])),
                ]
            }
            What::NodePort => {
                let path = Fleet::service_path(self.number(number));
                let port = Fleet::free_node_port(number);
                [
                    change(
                        &path,
                        json!([
                            {"op": "replace", "path": "/spec/type", "value": "NodePort"},
                            {"op": "add", "path": "/spec/ports/0/nodePort", "value": port},
                        ]),
                    ),
                    change(
                        &path,
                        json!([
                            {"op": "replace", "path": "/spec/type", "value": "ClusterIP"},
                            {"op": "remove", "path": "/spec/ports/0/nodePort"},
                        ]),
                    ),
                ]
            }
        }
    }

    /// A Service's address.
    fn address(&self, path: &str) -> Result<Ipv4Addr> {
        let object = self.cluster.runtime.block_on(self.cluster.client.get(path))?.json();
        object["spec"]["clusterIP"].as_str().unwrap_or_default().parse().with_context(|| path.to_owned())
    }

    /// An even number, spread over the fleet: odd ones belong to the churn. None of these has a node port.
    fn number(&self, number: u32) -> u32 {
        number.wrapping_mul(7919) % (self.cluster.fleet.services / 2) * 2
    }

    fn node_port_path(&self, number: u32) -> String {
        let turns = (self.cluster.fleet.services / 20).clamp(1, TURNS);
        Fleet::service_path(number % turns * 20 + 7)
    }
}

/// Protocol and port in the key of an element.
fn door(port: u16) -> Vec<u8> {
    [&[6, 0, 0, 0], &port.to_be_bytes()[..], &[0, 0]].concat()
}

/// A port that a rule compares with: an attribute of six bytes (`NFTA_DATA_VALUE`), padded to eight.
fn compared(port: u16) -> Vec<u8> {
    let [length, kind] = [6_u16, 1].map(u16::to_ne_bytes);
    [&length[..], &kind, &port.to_be_bytes(), &[0, 0]].concat()
}
