//! A change through the API until the kernel's own event tells of it, on a quiet cluster and in a busy one.

use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use load::{Figure, Fleet, Report, Samples, Target};
use proxy::Mode;
use serde_json::json;

use crate::Sizes;
use crate::rig::{Churn, Cluster, Proxy, Ruleset, SERVED, START, Variant, Witness};

/// Changes a second that others make meanwhile.
const CHURN: u32 = 100;
/// So many Services take turns in having their node ports changed: fewer than there are free ports.
const TURNS: u32 = 50;

/// What is changed.
#[derive(Debug, Clone, Copy)]
enum What {
    /// An endpoint of a slice is replaced.
    Slice,
    /// A Service's port becomes another.
    Service,
    /// A node port becomes another.
    NodePort,
}

/// Measures every mode in one cluster.
pub fn measure(cluster: &mut Cluster, sizes: &Sizes, report: &mut Report) -> Result<()> {
    for variant in Variant::of(&sizes.modes(&[Mode::Nftables])) {
        let proxy = Proxy::start(cluster, 1, variant)?;
        proxy.wait_for(SERVED, START)?;
        Ruleset::new(&cluster.node(1)?, variant).ensure_whole(cluster.fleet)?;
        let mut rounds = Rounds { cluster, witness: Witness::start(&cluster.node(1)?)?, next: 0 };
        // The first change meets a proxy that still looks for what former modes left.
        rounds.run(What::Slice, 1)?;
        for busy in [false, true] {
            let churn = busy.then(|| Churn::start(cluster, CHURN, u32::MAX));
            for what in [What::Slice, What::Service, What::NodePort] {
                let times = rounds.run(what, sizes.rounds(200))?;
                times.tell(report, cluster.fleet, variant, what, busy);
            }
            if let Some(churn) = churn {
                let made = churn.stop()?;
                eprintln!("  {variant}: beside {made} other changes");
            }
        }
        drop(rounds);
        proxy.kill()?;
        Proxy::cleanup(cluster, 1, variant)?;
    }
    Ok(())
}

/// Until the kernel had it.
#[derive(Default)]
struct Times {
    /// Since the request was sent.
    sent: Samples,
    /// Since its answer came; nothing, when the kernel had it before.
    answered: Samples,
}

impl Times {
    fn tell(mut self, report: &mut Report, fleet: Fleet, variant: Variant, what: What, busy: bool) {
        let what = match what {
            What::Slice => "EndpointSlice",
            What::Service => "Service port",
            What::NodePort => "node port",
        };
        let when = if busy { format!("beside {CHURN} changes/s") } else { "idle".to_owned() };
        for (since, samples) in [("answer", &mut self.answered), ("request", &mut self.sent)] {
            for (name, share, most) in
                [("p50", 0.5, Some(2.0)), ("p90", 0.9, None), ("p99", 0.99, Some(10.0))]
            {
                let title = format!("{what}, {when}: {since} to kernel, {name}");
                let figure = Figure::new(title, samples.percentile(share), "ms");
                let figure = figure.mode(variant.to_string()).beside(fleet.services, fleet.endpoints);
                let promised = variant == Variant::Plain(Mode::Nftables) && since == "answer";
                report.push(match most {
                    Some(most) if promised => figure.target(Target::AtMost(most)),
                    Some(_) | None => figure,
                });
            }
        }
    }
}

/// Changes, one after another.
struct Rounds<'a> {
    cluster: &'a Cluster,
    witness: Witness,
    /// Counts all changes, so that no value comes twice.
    next: u32,
}

impl Rounds<'_> {
    fn run(&mut self, what: What, rounds: u32) -> Result<Times> {
        let mut times = Times::default();
        for _ in 0..rounds {
            let round = self.next;
            self.next += 1;
            let (path, patch, bytes) = match what {
                What::Slice => self.slice(round),
                What::Service => self.service(round)?,
                What::NodePort => self.node_port(round),
            };
            self.witness.expect(bytes);
            let client = &self.cluster.client;
            let sent = Instant::now();
            let answer = self.cluster.runtime.block_on(client.patch(&path, patch.clone()))?;
            let answered = Instant::now();
            ensure!(answer.code.is_success(), "{path} {patch}: {answer:?}");
            let arrived = self.witness.wait().with_context(|| format!("{path} {patch}"))?;
            times.sent.push(arrived.saturating_duration_since(sent));
            times.answered.push(arrived.saturating_duration_since(answered));
        }
        Ok(times)
    }

    /// Where the change is made, what it is, and the bytes by which it is known in the kernel.
    fn slice(&self, round: u32) -> (String, String, Vec<u8>) {
        let address = Fleet::new_address(round * 2);
        let endpoint = round % self.cluster.fleet.endpoints.min(2);
        let place = format!("/endpoints/{endpoint}/addresses/0");
        let path = Fleet::slice_path(self.number(round), 0);
        (path, replace(&place, &address.to_string().into()), address.octets().to_vec())
    }

    fn service(&self, round: u32) -> Result<(String, String, Vec<u8>)> {
        let path = Fleet::service_path(self.number(round));
        let object = self.cluster.runtime.block_on(self.cluster.client.get(&path))?.json();
        let address: Ipv4Addr = object["spec"]["clusterIP"].as_str().unwrap_or_default().parse()?;
        let port = u16::try_from(10_000 + round % 20_000)?;
        let key = [&address.octets()[..], &[6, 0, 0, 0], &port.to_be_bytes(), &[0, 0]].concat();
        Ok((path, replace("/spec/ports/0/port", &port.into()), key))
    }

    fn node_port(&self, round: u32) -> (String, String, Vec<u8>) {
        let turns = (self.cluster.fleet.services / 20).clamp(1, TURNS);
        let path = Fleet::service_path(round % turns * 20 + 7);
        let port = Fleet::free_node_port(round);
        let key = [&[6, 0, 0, 0], &port.to_be_bytes()[..], &[0, 0]].concat();
        (path, replace("/spec/ports/0/nodePort", &port.into()), key)
    }

    /// An even number, spread over the fleet: odd ones belong to the churn.
    fn number(&self, round: u32) -> u32 {
        round.wrapping_mul(7919) % (self.cluster.fleet.services / 2) * 2
    }
}

/// A JSON patch.
fn replace(place: &str, value: &serde_json::Value) -> String {
    json!([{"op": "replace", "path": place, "value": value}]).to_string()
}
