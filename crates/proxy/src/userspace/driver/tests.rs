use std::net::SocketAddr;

use model::{Index, ObjectKey, Port, Protocol};
use netstate::conntrack::{Connection, FakeConntrack, Flow};
use netstate::nft::{Data, FakeNft, L4Protocol, Name, Ruleset, Table, Value};
use netstate::relay::{FakeRelays, Relay, RelayName};

use super::super::laws;
use super::layout::{PORTS, TABLE};
use super::*;
use crate::sample::Cluster;

const HTTPD: &str = "default/httpd-svc: tcp IPv4";

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

    fn relays(&self) -> BTreeMap<RelayName, Relay> {
        laws::relays(&self.relays)
    }

    fn tables(&self) -> laws::Tables {
        laws::tables(&self.nft, &self.relays)
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
