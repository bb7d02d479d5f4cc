use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use model::{Index, LoadBalancer, Object, ObjectKey, Port, Protocol, ServiceKind, SessionAffinity};
use netstate::conntrack::{Connection, FakeConntrack, Flow};
use netstate::nft::{Chain, Data, Element, FakeNft, L4Protocol, Name, Ruleset, Value};

use super::layout::TABLE;
use super::*;
use crate::sample::Cluster;

/// A node's proxy beside the kernel it writes to and the cluster it follows.
struct Rig {
    nft: FakeNft,
    conntrack: FakeConntrack,
    proxy: NftablesProxy<FakeNft, FakeConntrack>,
    index: Index,
}

impl Rig {
    fn new(cluster: &Cluster) -> Self {
        let (nft, conntrack) = (FakeNft::new(), FakeConntrack::new());
        let proxy = NftablesProxy::new(context(), nft.clone(), conntrack.clone());
        Self { nft, conntrack, proxy, index: cluster.index() }
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

    /// The same kernel, and a proxy that knows nothing of it.
    fn restart(&mut self) -> SyncReport {
        self.proxy = NftablesProxy::new(context(), self.nft.clone(), self.conntrack.clone());
        self.sync()
    }

    fn table(&self) -> Ruleset {
        self.nft.table(&TABLE).unwrap()
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

    assert_eq!(rig.sync(), SyncReport::default());
    assert_eq!(rig.restart(), SyncReport::default());
    assert_eq!((rig.nft.commits().len(), rig.nft.observations()), (1, 4), "both families at each start");
}

#[test]
fn a_replaced_endpoint_is_a_few_elements() {
    let mut rig = Rig::new(&httpd());
    rig.sync();
    let change = Cluster::new().endpoints("httpd-svc", &["10.244.1.28", "10.244.1.30", "10.244.2.22"]);
    let report = rig.apply(&change);
    // One slot behind each of the two doors and one local endpoint, each deleted and added.
    assert_eq!(report.changes, 6);
    assert_eq!(rig.nft.observations(), 2, "the kernel is not read again");
}

/// A packet may have found its class before the commit, and look for the chain behind it.
#[test]
fn a_chain_goes_after_the_doors_that_lead_there() {
    let mut rig = Rig::new(
        &Cluster::new().service("one", "10.96.0.1", |_| {}).endpoints("one", &["10.244.1.1", "10.244.1.2"]),
    );
    rig.sync();
    let before = rig.nft.commits().len();
    rig.apply(&Cluster::new().endpoints("one", &["10.244.1.1", "10.244.1.2", "10.244.1.3"]));
    let takes_out = |transaction: &Transaction| {
        transaction.ops.iter().any(|op| match op {
            Op::DeleteChain { .. } => true,
            Op::DeleteElements { set, .. } => *set == layout::SHAPES,
            _ => false,
        })
    };
    let commits: Vec<bool> = rig.nft.commits()[before..].iter().map(takes_out).collect();
    assert_eq!(commits, [false, true]);
    let chains = rig.table().chains;
    assert!(
        chains.contains_key(&Name::constant("cluster-3"))
            && !chains.contains_key(&Name::constant("cluster-2"))
    );
}

#[test]
fn a_restart_keeps_endpoints_in_their_slots() {
    let mut rig = Rig::new(&httpd());
    rig.sync();
    rig.apply(&Cluster::new().endpoints("httpd-svc", &["10.244.1.30", "10.244.1.29", "10.244.2.22"]));
    let table = rig.table();
    assert_eq!(rig.restart(), SyncReport::default());
    assert_eq!(rig.table(), table);
}

#[test]
fn a_restart_removes_exactly_our_orphans() {
    let mut rig = Rig::new(&httpd());
    rig.sync();
    let wanted = rig.table();
    let foreign = Ruleset::new(netstate::nft::Table::new(TABLE.family, Name::constant("other")));
    rig.nft.put(foreign.clone());

    let mut littered = wanted.clone();
    littered.chains.insert(Name::constant("old-layout"), Chain::default());
    let orphan = [Value::Address([10, 96, 0, 99].into()), Value::Protocol(L4Protocol::TCP), Value::Port(1)];
    let class = Value::ClassId(0x0100_1234);
    let services = littered.sets.get_mut(&layout::SERVICES).unwrap();
    services.elements.insert(orphan.into(), Data::Values(class.into()));
    let shapes = littered.sets.get_mut(&layout::SHAPES).unwrap();
    let to_orphan = Data::Verdict(netstate::nft::Verdict::Goto(Name::constant("old-layout")));
    shapes.elements.insert(class.into(), to_orphan);
    // Leads somewhere else than its number says.
    let elsewhere = Data::Verdict(netstate::nft::Verdict::Goto(layout::REFUSE));
    let right = shapes.elements.insert(Value::ClassId(0x0100_0003).into(), elsewhere);
    assert!(right.is_some(), "three endpoints, as httpd has");
    rig.nft.put(littered);

    // The chain, the Service, its shape, and the one that was spoiled, taken out and put in again.
    assert_eq!(rig.restart().changes, 5);
    assert_eq!(rig.table(), wanted);
    assert_eq!(rig.nft.table(&foreign.table), Some(foreign));
}

#[test]
fn cleanup_leaves_nothing_and_may_be_repeated() {
    let mut rig = Rig::new(&httpd());
    rig.sync();
    rig.proxy.cleanup().unwrap();
    assert_eq!(rig.nft.table(&TABLE), None);
    rig.proxy.cleanup().unwrap();
    assert!(rig.sync().changes > 0, "and everything can be written again");
}

#[test]
fn after_an_error_the_kernel_is_looked_at_again() {
    let mut rig = Rig::new(&httpd());
    rig.sync();
    rig.nft.fail_next_commit(16);
    for object in Cluster::new().endpoints("httpd-svc", &["10.244.1.28"]).objects {
        rig.index.apply(object);
    }
    let error = rig.try_sync().unwrap_err();
    assert!(error.is_transient());
    assert_eq!(rig.nft.observations(), 2);

    // Nobody names the service any more, and yet it is brought in line.
    assert!(rig.sync().changes > 0);
    assert_eq!(rig.nft.observations(), 4);
    assert_eq!(
        plan::observed_slots(&rig.table()).values().map(|slots| slots.cluster.len()).collect::<Vec<_>>(),
        [1, 1]
    );
}

#[test]
fn a_table_that_somebody_flushed_is_written_again() {
    let mut rig = Rig::new(&httpd());
    rig.sync();
    let wanted = rig.table();
    rig.nft.put(Ruleset::new(TABLE));
    for object in Cluster::new().endpoints("httpd-svc", &["10.244.1.28"]).objects {
        rig.index.apply(object);
    }
    rig.try_sync().unwrap_err();
    rig.sync();
    assert_eq!(rig.table().chains.get(&layout::REFUSE), wanted.chains.get(&layout::REFUSE));
    assert_eq!(rig.restart(), SyncReport::default());
}

#[test]
fn what_others_write_is_noticed() {
    let mut rig = Rig::new(&httpd());
    assert!(!rig.proxy.may_be_disturbed().unwrap(), "nothing is ours yet");
    rig.sync();
    rig.apply(&Cluster::new().endpoints("httpd-svc", &["10.244.1.28"]));
    assert!(!rig.proxy.may_be_disturbed().unwrap(), "all of it is our own doing");

    rig.nft.put(Ruleset::new(TABLE));
    assert!(rig.proxy.may_be_disturbed().unwrap());
    let report = rig.proxy.sync(&rig.index.snapshot().unwrap(), &Changes::Everything).unwrap();
    assert!(report.changes > 0 && !rig.proxy.may_be_disturbed().unwrap());

    rig.nft.put(Ruleset::new(netstate::nft::Table::new(TABLE.family, Name::constant("other"))));
    assert!(rig.proxy.may_be_disturbed().unwrap());
    let report = rig.proxy.sync(&rig.index.snapshot().unwrap(), &Changes::Everything).unwrap();
    assert!(report == SyncReport::default() && !rig.proxy.may_be_disturbed().unwrap());
}

fn udp(cluster: Cluster, endpoints: &[&str]) -> Cluster {
    let protocol = |service: &mut model::Service| {
        service.ports[0].protocol = Protocol::Udp;
        service.ports[0].port = Port::try_from(53).unwrap();
        service.ports[0].node_port = Port::try_from(30_053).ok();
    };
    cluster.service("dns", "10.96.0.10", protocol).endpoints("dns", endpoints)
}

fn connection(to: &str, answered_by: &str) -> Connection {
    let client: SocketAddr = "10.100.0.9:40000".parse().unwrap();
    let (destination, source) = (to.parse().unwrap(), answered_by.parse().unwrap());
    Connection {
        protocol: L4Protocol::UDP,
        original: Flow { source: client, destination },
        reply: Flow { source, destination: client },
    }
}

#[test]
fn connections_of_vanished_udp_endpoints_are_forgotten() {
    let both = ["10.244.1.2", "10.244.1.3"];
    let mut rig = Rig::new(&udp(Cluster::new(), &both));
    rig.sync();
    let stays = [
        connection("10.96.0.10:53", "10.244.1.3:80"),
        connection("10.100.0.2:30053", "10.244.1.3:80"),
        connection("192.0.2.7:53", "10.244.1.2:80"),
    ];
    let goes =
        [connection("10.96.0.10:53", "10.244.1.2:80"), connection("10.100.0.2:30053", "10.244.1.2:80")];
    stays.iter().chain(&goes).for_each(|connection| rig.conntrack.remember(*connection));

    let report = rig.apply(&udp(Cluster::new(), &["10.244.1.3"]));
    assert_eq!(report.connections, 2);
    let mut left = stays.to_vec();
    left.sort();
    assert_eq!(rig.conntrack.connections(), left);
}

/// kubernetes issue 139628: with the last endpoint gone, connections to it stayed.
#[test]
fn connections_of_the_last_udp_endpoint_are_forgotten() {
    let mut rig = Rig::new(&udp(Cluster::new(), &["10.244.1.2"]));
    rig.sync();
    rig.conntrack.remember(connection("10.96.0.10:53", "10.244.1.2:80"));
    assert_eq!(rig.apply(&udp(Cluster::new(), &[])).connections, 1);
}

#[test]
fn connections_made_before_there_was_an_endpoint_are_forgotten() {
    let mut rig = Rig::new(&udp(Cluster::new(), &[]));
    rig.sync();
    rig.conntrack.remember(connection("10.96.0.10:53", "10.96.0.10:53"));
    assert_eq!(rig.apply(&udp(Cluster::new(), &["10.244.1.2"])).connections, 1);
}

/// They lead past the Service, and with its first endpoint nobody would look at them again.
#[test]
fn connections_made_before_there_was_a_service_are_forgotten() {
    let mut rig = Rig::new(&Cluster::new());
    rig.sync();
    rig.conntrack.remember(connection("10.96.0.10:53", "10.96.0.10:53"));
    assert_eq!(rig.apply(&udp(Cluster::new(), &[])).connections, 1);
}

#[test]
fn a_closed_node_port_leaves_connections_to_other_machines_alone() {
    let mut rig = Rig::new(&udp(Cluster::new(), &["10.244.1.2"]));
    rig.sync();
    let elsewhere = connection("192.0.2.7:30053", "192.0.2.7:30053");
    rig.conntrack.remember(elsewhere);
    rig.conntrack.remember(connection("10.100.0.2:30053", "10.244.1.2:80"));
    rig.index.delete(&ObjectKey::Service(ServiceKey::new("default", "dns")));
    assert_eq!(rig.sync().connections, 1);
    assert_eq!(rig.conntrack.connections(), [elsewhere]);
}

#[test]
fn a_first_sync_forgets_connections_to_the_node_itself() {
    let mut cluster = udp(Cluster::new(), &["10.244.1.2"]);
    cluster.objects.push(Object::Node(model::Node {
        name: "node1".into(),
        addresses: vec!["10.100.0.2".parse().unwrap()],
        pod_ranges: Vec::new(),
        zone: None,
    }));
    let mut rig = Rig::new(&cluster);
    let elsewhere = connection("192.0.2.7:30053", "192.0.2.7:30053");
    rig.conntrack.remember(elsewhere);
    rig.conntrack.remember(connection("10.100.0.2:30053", "10.100.0.2:30053"));
    assert_eq!(rig.sync().connections, 1);
    assert_eq!(rig.conntrack.connections(), [elsewhere]);
}

#[test]
fn a_restart_forgets_connections_that_went_stale_meanwhile() {
    let mut rig = Rig::new(&udp(Cluster::new(), &["10.244.1.2"]));
    rig.sync();
    let good = connection("10.96.0.10:53", "10.244.1.2:80");
    let elsewhere = connection("192.0.2.7:30053", "192.0.2.7:30053");
    let stale =
        [connection("10.96.0.10:53", "10.244.1.9:80"), connection("10.100.0.2:30053", "10.244.1.9:80")];
    stale.iter().chain([&good, &elsewhere]).for_each(|connection| rig.conntrack.remember(*connection));
    assert_eq!(rig.restart().connections, 2);
    assert_eq!(rig.conntrack.connections(), [good, elsewhere]);
}

#[test]
fn clients_of_vanished_endpoints_are_forgotten() {
    let sticky = |endpoints: &[&str]| {
        let lasting = SessionAffinity::ClientAddress { timeout: Duration::from_secs(60) };
        Cluster::new()
            .service("web", "10.96.0.7", |service| service.affinity = lasting)
            .endpoints("web", endpoints)
    };
    let mut rig = Rig::new(&sticky(&["10.244.1.2", "10.244.1.3"]));
    rig.sync();
    let client = |last: u8, endpoint: u8| {
        let address = |text: [u8; 4]| Value::Address(IpAddr::from(text));
        let key = [
            address([10, 244, 2, last]),
            address([10, 96, 0, 7]),
            Value::Protocol(L4Protocol::TCP),
            Value::Port(8080),
        ];
        Element::values(key, [address([10, 244, 1, endpoint]), Value::Port(80)])
    };
    let mut table = rig.table();
    for element in [client(1, 2), client(2, 3)] {
        table.sets.get_mut(&AFFINITY).unwrap().elements.insert(element.key, element.data);
    }
    rig.nft.put(table);

    assert_eq!(rig.restart().affinities, 0, "clients outlive a restart");
    assert_eq!(rig.apply(&sticky(&["10.244.1.3"])).affinities, 1);
    assert_eq!(rig.table().sets[&AFFINITY].elements.keys().cloned().collect::<Vec<_>>(), [client(2, 3).key]);
    assert_eq!(rig.apply(&sticky(&[])).affinities, 1);
}

/// New connections of everybody pass these chains.
#[test]
fn who_may_come_and_who_is_remembered_is_looked_up_only_while_a_door_asks_for_it() {
    let with = |ranges: &[&str], affinity| {
        let ranges = ranges.iter().map(|range| range.parse().unwrap()).collect();
        Cluster::new().service("web", "10.96.0.7", |service| {
            service.kind = ServiceKind::LoadBalancer;
            service.affinity = affinity;
            service.load_balancer =
                LoadBalancer { addresses: vec!["198.51.100.1".parse().unwrap()], source_ranges: ranges };
        })
    };
    let lasting = || SessionAffinity::ClientAddress { timeout: Duration::from_secs(60) };
    let plain = || with(&[], SessionAffinity::None);
    let mut rig = Rig::new(&plain().endpoints("web", &["10.244.1.2"]));
    rig.sync();
    let lookups = |rig: &Rig| {
        let table = rig.table();
        [layout::GUARD, layout::REMEMBER].map(|chain| table.chains[&chain].rules.len())
    };
    assert_eq!(lookups(&rig), [0, 0]);
    for (cluster, expected) in [
        (with(&["192.0.2.0/24"], SessionAffinity::None), [1, 0]),
        (with(&["192.0.2.0/24"], lasting()), [1, 2]),
        (with(&[], lasting()), [0, 2]),
        (plain(), [0, 0]),
    ] {
        rig.apply(&cluster);
        assert_eq!(lookups(&rig), expected);
        assert_eq!(rig.restart(), SyncReport::default());
    }
}
