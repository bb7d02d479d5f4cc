use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use model::{Changes, Index, ObjectKey, Port, Service, ServiceKind, SessionAffinity, TrafficPolicy};
use netstate::conntrack::FakeConntrack;
use netstate::ipset::{Member, Saved, Sets};
use netstate::iptables::{ChainName, Table as RuleTable};
use netstate::ipvs::trace::FakeNode;
use netstate::ipvs::{Listing, ServiceId, Table};
use netstate::link::{Link, LinkKind, LinkName, NamespacePath};
use netstate::namespace::{LinkOp, LinkPort as _};
use netstate::nft::{Family, L4Protocol};
use netstate::sysctl::FakeSysctls;

use super::*;
use crate::sample::{Cluster, service};
use crate::{Dataplane as _, NodeContext, SyncError, SyncReport};

/// A node's proxy beside the kernel it writes to and the cluster it follows.
pub(super) struct Rig {
    pub(super) node: FakeNode,
    conntrack: FakeConntrack,
    context: NodeContext,
    proxy: IpvsProxy,
    pub(super) index: Index,
}

/// node1 of the reference cluster.
pub(super) fn node() -> FakeNode {
    let node = FakeNode::new(NamespacePath::new("/run/netns/node1"));
    let link = |name, kind, addresses: &[&str]| {
        let mut link = Link::new(LinkName::parse(name).unwrap(), kind);
        link.addresses.extend(addresses.iter().map(|text| text.parse::<ipnet::IpNet>().unwrap()));
        link
    };
    let links = [
        link("eth0", LinkKind::Bridge, &["10.100.0.2/24", "fd00:100::2/64"]),
        link("cbr0", LinkKind::Bridge, &["10.244.1.1/24"]),
    ];
    for link in links {
        let addresses = link.addresses.clone();
        let name = link.name.clone();
        node.links.commit(&[LinkOp::CreateLink(link)]).unwrap();
        for address in addresses {
            node.links.commit(&[LinkOp::AddAddress { link: name.clone(), address }]).unwrap();
        }
    }
    node
}

pub(super) fn proxy(node: &FakeNode, conntrack: &FakeConntrack, context: &NodeContext) -> IpvsProxy {
    let ports = Ports {
        ipvs: Box::new(node.ipvs.clone()),
        sets: Box::new(node.sets.clone()),
        iptables: node.iptables.clone().map(|one| Box::new(one) as _),
        links: Box::new(node.links.clone()),
        settings: Box::new(FakeSysctls::default()),
        conntrack: Box::new(conntrack.clone()),
    };
    IpvsProxy::new(context.clone(), Config::default(), ports)
}

impl Rig {
    pub(super) fn with(context: NodeContext, cluster: &Cluster) -> Self {
        let (node, conntrack) = (node(), FakeConntrack::new());
        let proxy = proxy(&node, &conntrack, &context);
        Self { node, conntrack, context, proxy, index: cluster.index() }
    }

    fn new(cluster: &Cluster) -> Self {
        Self::with(NodeContext::new("node1".into(), vec!["10.244.0.0/16".parse().unwrap()]), cluster)
    }

    fn try_sync(&mut self) -> Result<SyncReport, SyncError> {
        let changes = self.index.take_changes();
        self.proxy.sync(&self.index.snapshot().unwrap(), &changes)
    }

    pub(super) fn sync(&mut self) -> SyncReport {
        self.try_sync().unwrap()
    }

    fn apply(&mut self, cluster: &Cluster) -> SyncReport {
        cluster.objects.iter().cloned().for_each(|object| self.index.apply(object));
        self.sync()
    }

    /// The same kernel, and a proxy that knows nothing of it.
    fn restart(&mut self) -> SyncReport {
        self.proxy = proxy(&self.node, &self.conntrack, &self.context);
        self.sync()
    }

    fn repair(&mut self) -> usize {
        assert!(self.proxy.may_be_disturbed().unwrap(), "nobody noticed");
        let report = self.proxy.sync(&self.index.snapshot().unwrap(), &Changes::Everything).unwrap();
        assert!(!self.proxy.may_be_disturbed().unwrap());
        report.changes
    }

    /// What stands in the kernel.
    fn state(&self) -> (Table, Sets, Vec<IpAddr>) {
        let links = self.node.links.observe().unwrap().links;
        let bound = links.get(&LINK).into_iter().flat_map(|link| &link.addresses).map(ipnet::IpNet::addr);
        (self.node.ipvs.table(), self.node.sets.sets(), bound.collect())
    }

    fn listing(&self) -> String {
        Listing(&self.node.ipvs.table()).to_string()
    }

    fn commits(&self) -> usize {
        let restores: usize = self.node.iptables.iter().map(|one| one.restores().len()).sum();
        self.node.ipvs.commits().len() + self.node.sets.commits().len() + restores
    }
}

fn httpd() -> Cluster {
    Cluster::new()
        .service("httpd-svc", "10.96.203.6", |service| {
            service.ports[0].node_port = Port::try_from(30_000).ok()
        })
        .endpoints("httpd-svc", &["10.244.1.28", "10.244.1.29", "10.244.2.22"])
        .service("kubernetes", "10.96.0.1", |service| {
            service.ports[0].port = Port::try_from(443).unwrap();
            service.affinity = SessionAffinity::ClientAddress { timeout: Duration::from_secs(10_800) };
        })
        .endpoints("kubernetes", &["10.244.2.22"])
}

fn httpd_id() -> ServiceId {
    ServiceId::Address { protocol: L4Protocol::TCP, at: "10.96.203.6:8080".parse().unwrap() }
}

#[test]
fn the_kernel_shows_the_picture_of_the_articles() {
    let mut rig = Rig::new(&httpd());
    rig.sync();
    let expected = "TCP 10.96.0.1:443 rr persistent 10800
  -> 10.244.2.22:80 Masq 1 0 0
TCP 10.96.203.6:8080 rr
  -> 10.244.1.28:80 Masq 1 0 0
  -> 10.244.1.29:80 Masq 1 0 0
  -> 10.244.2.22:80 Masq 1 0 0
TCP 10.100.0.2:30000 rr
  -> 10.244.1.28:80 Masq 1 0 0
  -> 10.244.1.29:80 Masq 1 0 0
  -> 10.244.2.22:80 Masq 1 0 0
TCP 10.244.1.1:30000 rr
  -> 10.244.1.28:80 Masq 1 0 0
  -> 10.244.1.29:80 Masq 1 0 0
  -> 10.244.2.22:80 Masq 1 0 0
";
    assert_eq!(rig.listing(), expected);
    let (_, sets, bound) = rig.state();
    assert_eq!(bound, ["10.96.0.1", "10.96.203.6"].map(|address| address.parse::<IpAddr>().unwrap()));
    let saved = Saved(&sets).to_string();
    let added: Vec<&str> = saved.lines().filter(|line| line.starts_with("add")).collect();
    let expected = [
        "add KUBE-CLUSTER-IP 10.96.0.1,tcp:443",
        "add KUBE-CLUSTER-IP 10.96.203.6,tcp:8080",
        "add KUBE-IPVS-IPS 10.96.0.1",
        "add KUBE-IPVS-IPS 10.96.203.6",
        "add KUBE-LOOP-BACK 10.244.1.28,tcp:80,10.244.1.28",
        "add KUBE-LOOP-BACK 10.244.1.29,tcp:80,10.244.1.29",
        "add KUBE-NODE-IP 10.100.0.2",
        "add KUBE-NODE-IP 10.244.1.1",
        "add KUBE-NODE-PORT-TCP 30000",
    ];
    assert_eq!(added, expected);
    assert!(!saved.contains("KUBE-6-"), "no service of the family, so nothing is written");
}

#[test]
fn the_number_of_rules_does_not_depend_on_services() {
    let rules = |rig: &Rig| -> usize {
        RuleTable::ALL
            .map(|table| rig.node.iptables[0].table(table))
            .iter()
            .flat_map(|chains| chains.0.values())
            .map(|chain| chain.rules.len())
            .sum()
    };
    let mut few = Rig::new(&httpd());
    few.sync();
    let many = (2..60).fold(httpd(), |cluster, number| {
        let name = format!("service-{number}");
        cluster.service(&name, &format!("10.96.0.{number}"), |service| {
            service.ports[0].node_port = Port::try_from(30_000 + number).ok();
        })
    });
    let mut many = Rig::new(&many);
    many.sync();
    assert!(rules(&few) > 20);
    assert_eq!(rules(&few), rules(&many));
}

#[test]
fn a_second_sync_sends_nothing() {
    let mut rig = Rig::new(&httpd());
    assert!(rig.sync().changes > 0);
    let commits = rig.commits();
    assert_eq!(rig.sync(), SyncReport::default());
    assert_eq!(rig.restart(), SyncReport::default());
    assert_eq!(rig.commits(), commits);
    assert!(!rig.proxy.may_be_disturbed().unwrap());
}

#[test]
fn a_replaced_endpoint_is_a_few_changes_of_its_service_alone() {
    let mut rig = Rig::new(&httpd());
    rig.sync();
    let observed = rig.node.iptables[0].observations();
    rig.apply(&Cluster::new().endpoints("httpd-svc", &["10.244.1.30", "10.244.1.29", "10.244.2.22"]));
    let last: Vec<String> =
        rig.node.ipvs.commits().iter().rev().take(2).rev().flatten().map(ToString::to_string).collect();
    let at = ["10.96.203.6:8080", "10.100.0.2:30000", "10.244.1.1:30000"];
    let came = at.map(|at| format!("-a -t {at} -r 10.244.1.30:80 -m -w 1"));
    let left = at.map(|at| format!("-e -t {at} -r 10.244.1.28:80 -m -w 0"));
    let gone = at.map(|at| format!("-d -t {at} -r 10.244.1.28:80"));
    for op in came.iter().chain(&left).chain(&gone) {
        assert!(last.contains(op), "{op} is not in {last:#?}");
    }
    assert_eq!(last.len(), 9);
    assert_eq!(rig.node.iptables[0].observations(), observed, "rules are not read again");
    let saved = Saved(&rig.node.sets.sets()).to_string();
    assert!(saved.contains("10.244.1.30,tcp:80,10.244.1.30") && !saved.contains("10.244.1.28"), "{saved}");
}

/// A TCP endpoint that leaves keeps its connections and gets no new ones.
#[test]
fn an_endpoint_leaves_when_its_connections_have_ended() {
    let leaving: SocketAddr = "10.244.1.28:80".parse().unwrap();
    let set_connections = |rig: &Rig, count| {
        rig.node.ipvs.change(|table| {
            for service in table.values_mut() {
                if let Some(one) = service.destinations.get_mut(&leaving) {
                    one.active = count;
                }
            }
        });
    };
    let weight =
        |rig: &Rig| rig.node.ipvs.table()[&httpd_id()].destinations.get(&leaving).map(|one| one.weight);
    let mut rig = Rig::new(&httpd());
    rig.sync();
    set_connections(&rig, 1);
    let without = Cluster::new().endpoints("httpd-svc", &["10.244.1.29", "10.244.2.22"]);
    rig.apply(&without);
    assert_eq!(weight(&rig), Some(0));
    assert!(!rig.proxy.may_be_disturbed().unwrap(), "whoever drains is no disturbance");
    assert_eq!(weight(&rig), Some(0));

    rig.restart();
    assert_eq!(weight(&rig), Some(0), "a restart does not forget");
    rig.apply(&httpd());
    assert_eq!(weight(&rig), Some(1), "it came back");
    rig.apply(&without);
    assert_eq!(weight(&rig), Some(0));
    set_connections(&rig, 0);
    assert!(!rig.proxy.may_be_disturbed().unwrap());
    assert_eq!(weight(&rig), None, "its last connection has ended");
}

#[test]
fn whatever_somebody_takes_away_is_back() {
    let mut rig = Rig::new(&httpd());
    rig.sync();
    let wanted = rig.state();
    let node = rig.node.clone();
    let to: SocketAddr = "10.244.1.28:80".parse().unwrap();
    let flush = |chain| {
        move |chains: &mut netstate::iptables::Chains| {
            chains.0.get_mut(&ChainName::constant(chain)).unwrap().rules.clear();
        }
    };
    let disturbances: [(&str, &dyn Fn()); 8] = [
        ("a virtual service", &|| node.ipvs.change(|table| drop(table.remove(&httpd_id())))),
        ("a destination", &|| {
            node.ipvs.change(|table| {
                table.get_mut(&httpd_id()).unwrap().destinations.remove(&to);
            });
        }),
        ("a weight", &|| {
            node.ipvs.change(|table| {
                table.get_mut(&httpd_id()).unwrap().destinations.get_mut(&to).unwrap().weight = 0
            });
        }),
        ("persistence", &|| {
            node.ipvs.change(|table| table.get_mut(&httpd_id()).unwrap().settings.persistence = Some(1));
        }),
        ("a member", &|| {
            node.sets.change(|sets| {
                sets.values_mut().for_each(|set| set.members.retain(|one| *one != Member::Port(30_000)));
            });
        }),
        ("an address", &|| {
            let address = "10.96.203.6/32".parse().unwrap();
            node.links.commit(&[LinkOp::DeleteAddress { link: LINK, address }]).unwrap();
        }),
        ("the link", &|| node.links.commit(&[LinkOp::DeleteLink(LINK)]).unwrap()),
        ("a chain", &|| node.iptables[0].change(RuleTable::Nat, flush("KUBE-SERVICES"))),
    ];
    for (what, disturb) in disturbances {
        disturb();
        assert!(rig.repair() > 0, "{what}");
        assert_eq!(rig.state(), wanted, "{what}");
    }
}

/// What another's virtual service, set or rule is, stays.
#[test]
fn a_restart_and_a_cleanup_remove_exactly_ours() {
    let mut rig = Rig::new(&httpd());
    let foreign = ServiceId::Address { protocol: L4Protocol::TCP, at: "192.0.2.1:80".parse().unwrap() };
    let at_node = ServiceId::Address { protocol: L4Protocol::TCP, at: "10.100.0.2:80".parse().unwrap() };
    let settings =
        netstate::ipvs::Settings { scheduler: Scheduler::parse("wlc").unwrap(), persistence: None };
    let theirs = netstate::ipvs::VirtualService { settings, destinations: [].into() };
    let other_set = netstate::ipset::SetName::constant("KUBE-HEALTH-CHECK-NODE-PORT");
    let other_rule = netstate::iptables::Rule::new([], netstate::iptables::Target::Accept);
    rig.node.ipvs.change(|table| table.extend([(foreign, theirs.clone()), (at_node, theirs.clone())]));
    rig.node.sets.change(|sets| {
        sets.insert(other_set.clone(), netstate::ipset::Set::new(netstate::ipset::SetKind::Port, Family::Ip));
    });
    rig.node.iptables[0].change(RuleTable::Filter, |chains| {
        chains.0.get_mut(&ChainName::constant("INPUT")).unwrap().rules.push(other_rule.clone());
    });
    let before = (rig.node.ipvs.table(), rig.node.sets.sets(), rig.node.iptables[0].table(RuleTable::Filter));
    rig.sync();
    let with_httpd = rig.state();
    assert!(with_httpd.0.contains_key(&foreign) && with_httpd.0.contains_key(&at_node));

    // A service goes while nobody looks.
    rig.index.delete(&ObjectKey::Service(service("httpd-svc", "10.96.203.6", |_| {}).key));
    rig.restart();
    let (table, sets, bound) = rig.state();
    assert_eq!(table.len(), 3, "{}", rig.listing());
    assert_eq!(bound, ["10.96.0.1".parse::<IpAddr>().unwrap()]);
    assert!(!Saved(&sets).to_string().contains("30000"));

    rig.proxy.cleanup().unwrap();
    let after = (rig.node.ipvs.table(), rig.node.sets.sets(), rig.node.iptables[0].table(RuleTable::Filter));
    assert_eq!(after, before);
    assert!(!rig.node.links.observe().unwrap().links.contains_key(&LINK));
    rig.proxy.cleanup().unwrap();
    assert!(!rig.proxy.may_be_disturbed().unwrap());
    assert!(rig.sync().changes > 0, "it comes again from nothing");
    assert_eq!(rig.state(), (table, sets, bound));
}

/// Chains that bear the names of both modes are the other's once it has put its own rules there.
#[test]
fn a_cleanup_leaves_chains_that_another_mode_has_taken_over() {
    let mut rig = Rig::new(&httpd());
    rig.sync();
    let theirs = netstate::iptables::Rule::new([], netstate::iptables::Target::Return);
    let services = ChainName::constant("KUBE-SERVICES");
    rig.node.iptables[0].change(RuleTable::Nat, |chains| {
        chains.0.get_mut(&services).unwrap().rules = vec![theirs.clone()];
    });
    rig.proxy.cleanup().unwrap();
    let nat = rig.node.iptables[0].table(RuleTable::Nat);
    assert_eq!(nat.rules(services), [theirs]);
    assert!(nat.0.contains_key(&ChainName::constant("KUBE-MARK-MASQ")));
    assert!(!nat.0.contains_key(&ChainName::constant("KUBE-LOAD-BALANCER")));
    assert_eq!(nat.rules(ChainName::constant("PREROUTING")).len(), 1);
}

#[test]
fn after_a_failure_the_kernel_is_observed_again() {
    let mut rig = Rig::new(&httpd());
    rig.sync();
    rig.node.ipvs.fail_next_commit(12);
    let change = Cluster::new().endpoints("httpd-svc", &["10.244.1.30"]);
    change.objects.into_iter().for_each(|object| rig.index.apply(object));
    let error = rig.try_sync().unwrap_err();
    assert!(error.is_transient(), "{error}");
    rig.sync();
    let table = rig.node.ipvs.table();
    let to: SocketAddr = "10.244.1.30:80".parse().unwrap();
    assert_eq!(table[&httpd_id()].destinations.keys().collect::<Vec<_>>(), [&to]);
    rig.node.iptables[0].hold_lock();
    rig.node.iptables[0].change(RuleTable::Nat, |chains| {
        chains.0.get_mut(&ChainName::constant("KUBE-SERVICES")).unwrap().rules.clear();
    });
    assert!(rig.proxy.may_be_disturbed().unwrap());
    let snapshot = rig.index.snapshot().unwrap();
    assert!(rig.proxy.sync(&snapshot, &Changes::Everything).unwrap_err().is_transient());
    assert!(rig.proxy.sync(&snapshot, &Changes::Everything).unwrap().changes > 5);
}

/// Two services behind one load balancer's address, of which one goes.
#[test]
fn what_two_services_need_stays_until_both_have_gone() {
    let balanced = |port: i64| {
        move |service: &mut Service| {
            service.kind = ServiceKind::LoadBalancer;
            service.ports[0].port = Port::try_from(port).unwrap();
            service.load_balancer.addresses = vec!["192.0.2.40".parse().unwrap()];
        }
    };
    let cluster = Cluster::new()
        .service("web", "10.96.0.7", balanced(80))
        .endpoints("web", &["10.244.1.28"])
        .service("admin", "10.96.0.8", balanced(81))
        .endpoints("admin", &["10.244.1.28"]);
    let mut rig = Rig::new(&cluster);
    rig.sync();
    let shared: IpAddr = "192.0.2.40".parse().unwrap();
    let has = |rig: &Rig| {
        let (_, sets, bound) = rig.state();
        (bound.contains(&shared), Saved(&sets).to_string().contains("KUBE-LOOP-BACK 10.244.1.28,tcp:80"))
    };
    for (name, expected) in [("web", (true, true)), ("admin", (false, false))] {
        rig.index.delete(&ObjectKey::Service(service(name, "10.96.0.7", |_| {}).key));
        rig.sync();
        assert_eq!(has(&rig), expected, "without {name}");
    }
    assert_eq!(rig.node.ipvs.table(), Table::new());
}

/// Behind a door with `externalTrafficPolicy: Local` pods and the node are led elsewhere than others, by a mark.
#[test]
fn those_inside_have_services_of_their_own_which_stay_over_a_restart() {
    let local = |service: &mut Service| {
        service.ports[0].node_port = Port::try_from(30_001).ok();
        service.external_policy = TrafficPolicy::Local;
    };
    let cluster = Cluster::new()
        .service("local", "10.96.0.7", local)
        .endpoints("local", &["10.244.1.28", "10.244.2.22"]);
    let mut rig = Rig::new(&cluster);
    rig.sync();
    let expected = "TCP 10.96.0.7:8080 rr
  -> 10.244.1.28:80 Masq 1 0 0
  -> 10.244.2.22:80 Masq 1 0 0
TCP 10.100.0.2:30001 rr
  -> 10.244.1.28:80 Masq 1 0 0
TCP 10.244.1.1:30001 rr
  -> 10.244.1.28:80 Masq 1 0 0
FWM 16777217 rr
  -> 10.244.1.28:80 Masq 1 0 0
  -> 10.244.2.22:80 Masq 1 0 0
";
    assert!(rig.listing().starts_with(expected), "{}", rig.listing());
    assert_eq!(
        rig.listing().matches("FWM").count(),
        4,
        "with and without masquerade, at each of two addresses"
    );
    let saved = Saved(&rig.node.sets.sets()).to_string();
    assert!(saved.contains("add KUBE-INSIDE 10.100.0.2,tcp:30001 skbmark 0x1000001"), "{saved}");
    assert_eq!(rig.restart().changes, 0);
    let id = ServiceId::Mark { mark: 0x100_4001, family: Family::Ip };
    rig.node.ipvs.change(|table| drop(table.remove(&id)));
    assert!(rig.repair() > 0);
    rig.apply(
        &Cluster::new().service("local", "10.96.0.7", |service| {
            service.ports[0].node_port = Port::try_from(30_001).ok()
        }),
    );
    assert!(!rig.listing().contains("FWM"), "{}", rig.listing());
    rig.apply(&cluster);
    rig.proxy.cleanup().unwrap();
    assert_eq!(rig.listing(), "");
}

#[test]
fn both_families_are_served() {
    let cluster = httpd().service("dual", "10.96.0.9", |service| {
        service.cluster_addresses.push("fd00:96::9".parse().unwrap());
        service.ports[0].node_port = Port::try_from(30_009).ok();
    });
    let mut rig = Rig::new(&httpd());
    rig.sync();
    rig.apply(&cluster);
    let listing = rig.listing();
    assert!(listing.contains("TCP [fd00:96::9]:8080 rr\nTCP [fd00:100::2]:30009 rr\n"), "{listing}");
    let saved = Saved(&rig.node.sets.sets()).to_string();
    assert!(saved.contains("add KUBE-6-CLUSTER-IP fd00:96::9,tcp:8080"), "{saved}");
    assert!(rig.node.iptables[1].table(RuleTable::Nat).0.contains_key(&ChainName::constant("KUBE-SERVICES")));
    assert!(!rig.proxy.may_be_disturbed().unwrap());
}

#[test]
fn a_new_address_of_the_node_serves_node_ports() {
    let mut rig = Rig::new(&httpd());
    rig.sync();
    let address = "192.0.2.77/24".parse().unwrap();
    rig.node.links.commit(&[LinkOp::AddAddress { link: LinkName::eth0(), address }]).unwrap();
    assert_eq!(rig.repair(), 5, "a service with three destinations, and a member: {}", rig.listing());
    assert!(rig.listing().contains("TCP 192.0.2.77:30000 rr"));
    rig.node.links.commit(&[LinkOp::DeleteAddress { link: LinkName::eth0(), address }]).unwrap();
    rig.repair();
    assert!(!rig.listing().contains("192.0.2.77"));
}
