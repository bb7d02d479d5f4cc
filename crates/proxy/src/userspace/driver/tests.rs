use std::net::SocketAddr;

use model::{
    Index, Object, ObjectKey, Port, Protocol, ServiceKind, SessionAffinity, SliceKey, TrafficPolicy,
};
use netstate::conntrack::{Connection, FakeConntrack, Flow};
use netstate::nft::{Data, FakeNft, L4Protocol, Name, Ruleset, Table, Value};
use netstate::relay::{FakeRelays, Relay, RelayName};
use proptest::prelude::*;

use super::layout::{PORTS, TABLE};
use super::*;
use crate::sample::{Cluster, service, slice};

const HTTPD: &str = "default/httpd-svc: tcp IPv4";

/// A set, the door that is its key, and the relay that it leads to.
type Led = (Name, String, String);

/// A node's proxy beside the kernel it writes to, its relays and the cluster it follows.
struct Rig {
    nft: FakeNft,
    relays: FakeRelays,
    conntrack: FakeConntrack,
    proxy: UserspaceProxy<FakeNft, FakeRelays, FakeConntrack>,
    index: Index,
}

impl Rig {
    fn new(cluster: &Cluster) -> Self {
        let (nft, relays, conntrack) = (FakeNft::new(), FakeRelays::new(), FakeConntrack::new());
        let proxy = UserspaceProxy::new(context(), nft.clone(), relays.clone(), conntrack.clone());
        Self { nft, relays, conntrack, proxy, index: cluster.index() }
    }

    fn try_sync(&mut self) -> Result<SyncReport, SyncError> {
        let changes = self.index.take_changes();
        self.proxy.sync(&self.index.snapshot().unwrap(), &changes)
    }

    fn sync(&mut self) -> SyncReport {
        self.try_sync().unwrap()
    }

    fn apply(&mut self, cluster: &Cluster) -> SyncReport {
        cluster.objects.iter().cloned().for_each(|object| self.index.apply(object));
        self.sync()
    }

    /// Another process with the same kernel: the relays of the first went with it.
    fn restart(&mut self) {
        self.relays = FakeRelays::new();
        // Other ports than before, as the system would give.
        self.relays.give_ports_from(20_400);
        self.proxy =
            UserspaceProxy::new(context(), self.nft.clone(), self.relays.clone(), self.conntrack.clone());
    }

    fn table(&self) -> Ruleset {
        self.nft.table(&TABLE).unwrap()
    }

    fn relay(&self, name: &str) -> Option<(u16, Relay)> {
        self.relays.relays().get(&RelayName::new(name)).cloned()
    }

    /// The relays with their endpoints in order, since slots carry no meaning.
    fn relays(&self) -> BTreeMap<RelayName, Relay> {
        let relays = self.relays.relays().into_iter();
        relays
            .map(|(name, (_, mut relay))| {
                relay.backends.endpoints.sort();
                (name, relay)
            })
            .collect()
    }

    /// The tables of both families, with a relay's name and the element's key where a port is; no table is as good as
    /// one without services.
    fn tables(&self) -> Vec<(Ruleset, BTreeSet<Led>)> {
        let by_port: BTreeMap<u16, String> =
            self.relays.relays().into_iter().map(|(name, (port, _))| (port, name.to_string())).collect();
        let led = |family| {
            let table = self.nft.table(&layout::table(family));
            let mut table = table.unwrap_or_else(|| layout::skeleton(&context(), family));
            let mut ends = BTreeSet::new();
            for (name, set) in &mut table.sets {
                set.elements.retain(|key, data| {
                    let port = match (&*data, &key.to_vec()[..]) {
                        (Data::Values(values), _) => match values.to_vec()[..] {
                            [Value::Port(port)] => port,
                            _ => return true,
                        },
                        (Data::Nothing, [_, Value::Port(port)]) if *name == layout::RELAYS => *port,
                        _ => return true,
                    };
                    let door = if *name == layout::RELAYS { String::new() } else { key.to_string() };
                    ends.insert((name.clone(), door, by_port[&port].clone()));
                    false
                });
            }
            (table, ends)
        };
        FAMILIES.into_iter().map(led).collect()
    }
}

fn context() -> NodeContext {
    NodeContext::new("node1".into(), vec!["10.244.0.0/16".parse().unwrap()])
}

fn httpd() -> Cluster {
    Cluster::new()
        .service("httpd-svc", "10.96.203.6", |service| {
            service.ports[0].node_port = Port::try_from(30_000).ok()
        })
        .endpoints("httpd-svc", &["10.244.1.28", "10.244.1.29", "10.244.2.22"])
}

#[test]
fn a_second_sync_sends_nothing() {
    let mut rig = Rig::new(&httpd());
    assert!(rig.sync().changes > 0);
    assert_eq!(rig.nft.commits().len(), 1, "the first sync is one transaction");
    let (commits, calls) = (rig.nft.commits().len(), rig.relays.calls());
    assert_eq!(rig.sync(), SyncReport::default());
    assert_eq!((rig.nft.commits().len(), rig.relays.calls()), (commits, calls));
}

/// It is the relay's business alone.
#[test]
fn a_replaced_endpoint_is_nothing_to_the_kernel() {
    let mut rig =
        Rig::new(&httpd().service("other", "10.96.0.7", |_| {}).endpoints("other", &["10.244.1.9"]));
    rig.sync();
    let (port, _) = rig.relay(HTTPD).unwrap();
    let (commits, calls) = (rig.nft.commits().len(), rig.relays.calls());
    let change = Cluster::new().endpoints("httpd-svc", &["10.244.1.28", "10.244.1.30", "10.244.2.22"]);
    assert_eq!(rig.apply(&change), SyncReport::default());
    assert_eq!((rig.nft.commits().len(), rig.relays.calls()), (commits, calls + 1));
    let (same, relay) = rig.relay(HTTPD).unwrap();
    assert_eq!(same, port);
    let endpoints: Vec<String> = relay.backends.endpoints.iter().map(SocketAddr::to_string).collect();
    assert_eq!(
        endpoints,
        ["10.244.1.28:80", "10.244.1.30:80", "10.244.2.22:80"],
        "the others keep their turns"
    );
}

#[test]
fn a_relay_is_there_while_somebody_serves() {
    let mut rig = Rig::new(&httpd());
    rig.sync();
    assert_eq!(
        rig.apply(&Cluster::new().endpoints("httpd-svc", &[])).changes,
        5,
        "two doors shut, and the port"
    );
    assert_eq!(rig.relays(), BTreeMap::new());
    assert!(rig.apply(&httpd()).changes > 0);
    assert!(rig.relay(HTTPD).is_some());
    rig.index.delete(&ObjectKey::Service(ServiceKey::new("default", "httpd-svc")));
    rig.sync();
    assert_eq!(rig.relays(), BTreeMap::new());
    assert_eq!(rig.table(), layout::skeleton(&context(), AddressFamily::V4));
}

/// What needs the relay that cannot be opened is refused, the rest is served, and it is tried again.
#[test]
fn a_relay_without_a_port_blocks_nobody() {
    let mut rig =
        Rig::new(&httpd().service("other", "10.96.0.7", |_| {}).endpoints("other", &["10.244.1.9"]));
    rig.relays.fail_next_open(24);
    let error = rig.try_sync().unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains(HTTPD), "{error}");
    let names: Vec<String> = rig.relays().keys().map(ToString::to_string).collect();
    assert_eq!(names, ["default/other: tcp IPv4"]);
    let closed = &rig.table().sets[&layout::CLOSED].elements;
    assert_eq!(closed.len(), 1, "{closed:?}");
    rig.sync();
    assert!(rig.relay(HTTPD).is_some());
    assert_eq!(rig.table().sets[&layout::CLOSED].elements.len(), 0);
}

/// A refused transaction leaves relays that nothing leads to; the next sync that succeeds removes them.
#[test]
fn no_relay_is_left_behind() {
    let mut rig = Rig::new(&httpd());
    rig.nft.fail_next_commit(12);
    rig.try_sync().unwrap_err();
    assert!(rig.relay(HTTPD).is_some());
    rig.index.delete(&ObjectKey::Service(ServiceKey::new("default", "httpd-svc")));
    rig.sync();
    assert_eq!(rig.relays(), BTreeMap::new());
}

#[test]
fn a_restart_leads_to_the_new_relays_and_removes_exactly_our_orphans() {
    let mut rig = Rig::new(&httpd());
    rig.sync();
    let before = rig.tables();
    let foreign = Ruleset::new(Table::new(TABLE.family, Name::constant("other")));
    rig.nft.put(foreign.clone());
    let mut littered = rig.table();
    let orphan = [Value::Address([10, 96, 0, 99].into()), Value::Protocol(L4Protocol::TCP), Value::Port(1)];
    let port = Data::Values(Value::Port(10_401).into());
    littered.sets.get_mut(&PORTS).unwrap().elements.insert(orphan.into(), port);
    rig.nft.put(littered);
    rig.restart();
    rig.sync();
    assert_eq!(rig.tables(), before);
    assert_eq!(rig.nft.table(&foreign.table), Some(foreign.clone()));

    rig.proxy.cleanup().unwrap();
    assert_eq!((rig.nft.table(&TABLE), rig.relays()), (None, BTreeMap::new()));
    assert_eq!(rig.nft.table(&foreign.table), Some(foreign));
    rig.proxy.cleanup().unwrap();
}

/// A datagram's connection from a pod.
fn led(to: &str, here: &str) -> Connection {
    let client: SocketAddr = "10.244.1.77:40000".parse().unwrap();
    Connection {
        protocol: L4Protocol::UDP,
        original: Flow { source: client, destination: to.parse().unwrap() },
        reply: Flow { source: here.parse().unwrap(), destination: client },
    }
}

fn dns() -> Cluster {
    Cluster::new()
        .service("dns", "10.96.0.10", |service| {
            service.ports[0].protocol = Protocol::Udp;
            service.ports[0].port = Port::try_from(53).unwrap();
            service.ports[0].node_port = Port::try_from(30_053).ok();
        })
        .endpoints("dns", &["10.244.1.28", "10.244.2.22"])
}

/// A client that keeps sending must not be led to a port that is nobody's.
#[test]
fn datagrams_follow_their_relay() {
    let mut rig = Rig::new(&dns());
    rig.sync();
    let to_relay = led("10.96.0.10:53", "10.244.1.1:10400");
    let by_node_port = led("10.100.0.2:30053", "10.100.0.2:10400");
    let other = led("10.96.0.11:53", "10.244.1.9:53");
    for connection in [to_relay, by_node_port, other] {
        rig.conntrack.remember(connection);
    }
    assert_eq!(
        rig.apply(&Cluster::new().endpoints("dns", &["10.244.2.22"])).connections,
        0,
        "the relay sees to it"
    );
    assert_eq!(rig.apply(&Cluster::new().endpoints("dns", &[])).connections, 2, "the relay is gone");
    assert_eq!(rig.conntrack.connections(), [other]);

    // Sent before there was a service: straight on, and tracked so.
    let mut rig = Rig::new(&Cluster::new());
    rig.sync();
    rig.conntrack.remember(led("10.96.0.10:53", "10.96.0.10:53"));
    assert_eq!(rig.apply(&dns()).connections, 1);

    // After a restart relays listen elsewhere.
    let (port, _) = rig.relay("default/dns: udp IPv4").unwrap();
    for connection in [to_relay, by_node_port, other] {
        rig.conntrack.remember(connection);
    }
    rig.restart();
    rig.sync();
    assert_ne!(rig.relay("default/dns: udp IPv4").unwrap().0, port);
    assert_eq!(rig.conntrack.connections(), [other]);
    rig.conntrack.remember(led("10.96.0.10:53", "10.244.1.1:20400"));
    assert_eq!(
        rig.proxy.sync(&rig.index.snapshot().unwrap(), &Changes::Everything).unwrap(),
        SyncReport::default()
    );
}

#[test]
fn the_kernel_is_asked_whether_somebody_else_wrote() {
    let mut rig = Rig::new(&httpd());
    rig.sync();
    assert!(!rig.proxy.may_be_disturbed().unwrap());
    let mut flushed = rig.table();
    flushed.sets.values_mut().for_each(|set| set.elements.clear());
    rig.nft.put(flushed);
    assert!(rig.proxy.may_be_disturbed().unwrap());
    let report = rig.proxy.sync(&rig.index.snapshot().unwrap(), &Changes::Everything).unwrap();
    assert_eq!(report.changes, 4, "two doors, the address and the relay's port");
    assert!(!rig.proxy.may_be_disturbed().unwrap());
}

#[derive(Debug, Clone)]
enum Step {
    Apply(Object),
    Delete(ObjectKey),
    Sync,
    Restart,
    FailCommit,
    FailOpen,
}

fn any_service() -> impl Strategy<Value = Object> {
    let policy = || prop::sample::select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local]);
    let protocol = prop::sample::select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    (0u8..4, 0u8..4, prop::option::of(30_000i64..30_003), policy(), policy(), protocol, any::<[bool; 3]>())
        .prop_map(|(name, address, node_port, external, internal, protocol, [balanced, guarded, sticky])| {
            Object::Service(service(&format!("s{name}"), &format!("10.96.0.{address}"), |service| {
                service.ports[0].node_port = node_port.and_then(|port| Port::try_from(port).ok());
                service.ports[0].protocol = protocol;
                (service.external_policy, service.internal_policy) = (external, internal);
                if balanced {
                    service.kind = ServiceKind::LoadBalancer;
                    service.load_balancer.addresses = vec!["203.0.113.1".parse().unwrap()];
                }
                if guarded {
                    service.load_balancer.source_ranges =
                        ["192.0.2.0/24", "192.0.2.0/25"].map(|range| range.parse().unwrap()).into();
                }
                if sticky {
                    service.affinity =
                        SessionAffinity::ClientAddress { timeout: std::time::Duration::from_secs(60) };
                }
            }))
        })
}

fn any_slice() -> impl Strategy<Value = Object> {
    let endpoint = prop::sample::select(vec!["10.244.1.1", "10.244.1.2", "10.244.2.1", "10.244.3.1"]);
    (0u8..4, prop::collection::btree_set(endpoint, 0..4)).prop_map(|(name, endpoints)| {
        let endpoints: Vec<&str> = endpoints.into_iter().collect();
        Object::EndpointSlice(slice(&format!("s{name}"), &endpoints))
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any_service().prop_map(Step::Apply),
        3 => any_slice().prop_map(Step::Apply),
        1 => (0u8..4).prop_map(|name| Step::Delete(ObjectKey::Service(ServiceKey::new("default", &format!("s{name}"))))),
        1 => (0u8..4).prop_map(|name| Step::Delete(ObjectKey::EndpointSlice(SliceKey::new("default", &format!("s{name}"))))),
        3 => Just(Step::Sync),
        1 => Just(Step::Restart),
        1 => Just(Step::FailCommit),
        1 => Just(Step::FailOpen),
    ]
}

proptest! {
    /// Whatever happened before, in however many steps, with whatever failures and restarts between: table and relays
    /// end as one first sync of the last state makes them. And then there is nothing more to do.
    #[test]
    fn small_steps_lead_where_one_big_one_does(steps in prop::collection::vec(any_step(), 0..40)) {
        let mut rig = Rig::new(&Cluster::new());
        let mut last = BTreeMap::new();
        for step in steps {
            match step {
                Step::Apply(object) => {
                    last.insert(object.key(), object.clone());
                    rig.index.apply(object);
                }
                Step::Delete(key) => {
                    last.remove(&key);
                    rig.index.delete(&key);
                }
                Step::Sync => {
                    // A failure that was ordered may meet this one.
                    let _ = rig.try_sync();
                }
                Step::Restart => rig.restart(),
                Step::FailCommit => rig.nft.fail_next_commit(12),
                Step::FailOpen => rig.relays.fail_next_open(24),
            }
        }
        // Failures that were ordered are met one by one.
        prop_assert!((0..100).any(|_| rig.try_sync().is_ok()));

        let mut fresh = Rig::new(&Cluster { objects: last.into_values().rev().collect() });
        fresh.sync();
        prop_assert_eq!(rig.relays(), fresh.relays());
        prop_assert_eq!(rig.tables(), fresh.tables());
        let commits = rig.nft.commits().len();
        prop_assert_eq!(rig.sync().changes, 0);
        let everything = rig.proxy.sync(&rig.index.snapshot().unwrap(), &Changes::Everything);
        prop_assert_eq!(everything.unwrap(), SyncReport::default());
        prop_assert_eq!(rig.nft.commits().len(), commits);
    }
}
