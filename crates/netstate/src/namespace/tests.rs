use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::{FakeLinks, LinkOp, LinkPort, NamespacePorts, NetworkState, Ownership, diff};
use crate::link::{Link, LinkKind, LinkName, MacAddress, NamespacePath, VethPeer};
use crate::route::{Route, RouteProtocol};

fn name(text: &str) -> LinkName {
    LinkName::parse(text).unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ours() -> Ownership {
    Ownership { link_prefix: Some("pod".to_owned()), route_protocol: Some(RouteProtocol::PORTOLAN) }
}

fn here() -> NamespacePath {
    NamespacePath::new("/run/netns/node")
}

fn pod() -> NamespacePath {
    NamespacePath::new("/run/netns/pod")
}

/// A bridge with one veth whose other end is a pod's, and a route through the pod.
fn desired() -> NetworkState {
    let peer = VethPeer {
        name: LinkName::eth0(),
        namespace: Some(pod()),
        mac: Some(MacAddress::for_ipv4(Ipv4Addr::new(10, 244, 1, 2))),
    };
    let mut state = NetworkState::default();
    state.insert_link(
        Link::new(name("cbr0"), LinkKind::Bridge).with_mtu(1400).with_address(net("10.244.1.1/24")),
    );
    state.insert_link(
        Link::new(name("pod2"), LinkKind::Veth { peer: Some(peer) })
            .with_mtu(1400)
            .with_master(name("cbr0"), true),
    );
    state.insert_route(Route::via(net("172.16.0.0/16"), IpAddr::from([10, 244, 1, 2])));
    state
}

fn world() -> FakeLinks {
    let fake = FakeLinks::new(here());
    fake.add_namespace(pod());
    fake
}

#[test]
fn nothing_is_left_to_do_after_a_commit() {
    let fake = world();
    fake.commit(&diff(&fake.observe().unwrap(), &desired(), &ours())).unwrap();
    assert_eq!(diff(&fake.observe().unwrap(), &desired(), &ours()), Vec::new());
}

#[test]
fn operations_come_in_an_order_that_is_accepted_and_read_as_ip_commands() {
    let operations = diff(&NetworkState::default(), &desired(), &ours());
    let text: Vec<String> = operations.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "ip link add cbr0 mtu 1400 up type bridge",
            "ip address add 10.244.1.1/24 dev cbr0",
            "ip link add pod2 mtu 1400 master cbr0 up type veth peer name eth0 netns /run/netns/pod address \
             0a:58:0a:f4:01:02",
            "ip link set pod2 type bridge_slave hairpin on",
            "ip route replace 172.16.0.0/16 via 10.244.1.2 proto 112",
        ]
    );
}

#[test]
fn only_what_is_ours_is_removed() {
    let fake = world();
    let mut before = desired();
    before.insert_link(Link::new(name("pod9"), LinkKind::Bridge));
    before.insert_link(Link::new(name("docker0"), LinkKind::Bridge));
    before.insert_route(Route::on_link(net("192.168.7.0/24"), name("cbr0")));
    let foreign =
        Route { protocol: RouteProtocol::STATIC, ..Route::on_link(net("192.168.8.0/24"), name("cbr0")) };
    before.insert_route(foreign.clone());
    fake.commit(&diff(&fake.observe().unwrap(), &before, &ours())).unwrap();

    let operations = diff(&fake.observe().unwrap(), &desired(), &ours());
    let text: Vec<String> = operations.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["ip route delete 192.168.7.0/24 dev cbr0 proto 112", "ip link delete pod9"]);
    fake.commit(&operations).unwrap();
    let after = fake.observe().unwrap();
    assert!(after.links.contains_key(&name("docker0")));
    assert!(after.routes.contains_key(&foreign.key));
}

#[test]
fn every_changed_setting_is_put_back_by_one_operation() {
    let fake = world();
    fake.commit(&diff(&fake.observe().unwrap(), &desired(), &ours())).unwrap();
    let spoiled = [
        LinkOp::SetUp { link: name("pod2"), up: false },
        LinkOp::SetMtu { link: name("pod2"), mtu: 1500 },
        LinkOp::SetHairpin { link: name("pod2"), hairpin: false },
        LinkOp::AddAddress { link: name("cbr0"), address: net("10.9.9.9/24") },
        LinkOp::DeleteRoute(Route::via(net("172.16.0.0/16"), IpAddr::from([10, 244, 1, 2]))),
    ];
    for operation in spoiled {
        fake.commit(std::slice::from_ref(&operation)).unwrap();
        let repair = diff(&fake.observe().unwrap(), &desired(), &ours());
        assert_eq!(repair.len(), 1, "{operation} is repaired by {repair:?}");
        fake.commit(&repair).unwrap();
    }
    assert_eq!(diff(&fake.observe().unwrap(), &desired(), &ours()), Vec::new());
}

#[test]
fn routes_that_go_with_an_address_are_put_back() {
    let fake = world();
    fake.commit(&diff(&fake.observe().unwrap(), &desired(), &ours())).unwrap();
    fake.commit(&[
        LinkOp::AddAddress { link: name("cbr0"), address: net("10.9.9.9/24") },
        LinkOp::DeleteAddress { link: name("cbr0"), address: net("10.244.1.1/24") },
    ])
    .unwrap();
    let repair = diff(&fake.observe().unwrap(), &desired(), &ours());
    let text: Vec<String> = repair.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "ip address delete 10.9.9.9/24 dev cbr0",
            "ip address add 10.244.1.1/24 dev cbr0",
            "ip route replace 172.16.0.0/16 via 10.244.1.2 proto 112",
        ]
    );
    fake.commit(&repair).unwrap();
    assert_eq!(diff(&fake.observe().unwrap(), &desired(), &ours()), Vec::new());
}

#[test]
fn plugging_into_another_bridge_sets_hairpin_again() {
    let fake = world();
    fake.commit(&diff(&fake.observe().unwrap(), &desired(), &ours())).unwrap();
    fake.commit(&[LinkOp::SetMaster { link: name("pod2"), master: None }]).unwrap();
    let repair = diff(&fake.observe().unwrap(), &desired(), &ours());
    assert_eq!(repair.len(), 2, "{repair:?}");
    fake.commit(&repair).unwrap();
    assert!(fake.observe().unwrap().links[&name("pod2")].hairpin);
}

#[test]
fn a_link_of_another_kind_is_made_anew() {
    let fake = world();
    fake.commit(&[LinkOp::CreateLink(Link::new(name("cbr0"), LinkKind::Other("dummy".to_owned())))]).unwrap();
    fake.commit(&diff(&fake.observe().unwrap(), &desired(), &ours())).unwrap();
    assert_eq!(fake.observe().unwrap().links[&name("cbr0")].kind, LinkKind::Bridge);
}

#[test]
fn the_kernels_own_addresses_are_left_alone() {
    let mut observed = NetworkState::default();
    observed.insert_link(Link::loopback().with_address(net("127.0.0.1/8")).with_address(net("::1/128")));
    let mut wanted = NetworkState::default();
    wanted.insert_link(Link::loopback());
    assert_eq!(diff(&observed, &wanted, &ours()), Vec::new());
}

#[test]
fn a_link_that_somebody_else_makes_is_missed_by_name() {
    let mut wanted = NetworkState::default();
    wanted.insert_link(
        Link::new(LinkName::eth0(), LinkKind::Veth { peer: None }).with_address(net("10.0.0.1/24")),
    );
    let fake = world();
    let error = fake.commit(&diff(&fake.observe().unwrap(), &wanted, &ours())).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(error.to_string().ends_with("there is no link eth0"), "{error}");
}

#[test]
fn both_ends_of_a_pair_go_together_and_with_their_namespace() {
    let fake = world();
    fake.commit(&diff(&fake.observe().unwrap(), &desired(), &ours())).unwrap();
    let inside = fake.open(&pod()).unwrap();
    assert!(inside.observe().unwrap().links.contains_key(&LinkName::eth0()));

    fake.commit(&[LinkOp::DeleteLink(name("pod2"))]).unwrap();
    assert!(!inside.observe().unwrap().links.contains_key(&LinkName::eth0()));

    fake.commit(&diff(&fake.observe().unwrap(), &desired(), &ours())).unwrap();
    fake.delete_namespace(&pod());
    assert!(!fake.observe().unwrap().links.contains_key(&name("pod2")));
    assert!(fake.open(&pod()).err().is_some_and(|error| error.is_not_found()));
}

#[test]
fn the_fake_refuses_what_the_kernel_refuses() {
    let fake = world();
    let bridge = LinkOp::CreateLink(Link::new(name("cbr0"), LinkKind::Bridge));
    fake.commit(std::slice::from_ref(&bridge)).unwrap();
    assert!(fake.commit(&[bridge]).unwrap_err().to_string().contains("File exists"));
    let unreachable = LinkOp::ReplaceRoute(Route::via(net("10.1.0.0/16"), IpAddr::from([10, 9, 9, 9])));
    assert!(fake.commit(&[unreachable]).unwrap_err().to_string().contains("unreachable"));
    let port = Link::new(name("pod2"), LinkKind::Bridge).with_master(name("none"), false);
    assert!(fake.commit(&[LinkOp::CreateLink(port)]).unwrap_err().is_not_found());
    let missing = LinkOp::DeleteRoute(Route::on_link(net("10.1.0.0/16"), name("cbr0")));
    assert!(fake.commit(&[missing]).unwrap_err().is_not_found());
}

#[test]
fn link_names_are_checked() {
    for bad in ["", ".", "..", "a/b", "a b", "a:b", "sixteen-bytes-xx"] {
        assert!(LinkName::parse(bad).is_err(), "{bad:?}");
    }
    assert_eq!(LinkName::parse("fifteen-bytes-x").unwrap().as_str().len(), 15);
}

/// One of `pod0` to `pod3`: absent, a bridge, or a veth that may be plugged into `br0` or `br1`.
fn link(number: usize) -> impl Strategy<Value = Option<Link>> {
    let settings = (any::<bool>(), 0..4_usize, any::<bool>(), prop::bool::weighted(0.2));
    let addresses = prop::collection::btree_set(0..4_u8, 0..3);
    (0..4_u8, settings, addresses).prop_map(move |(kind, (is_up, master, hairpin, has_mtu), addresses)| {
        let peer = VethPeer { name: LinkName::eth0(), namespace: Some(other_pod(number)), mac: None };
        let mut link = match kind {
            0 => return None,
            1 => Link::new(name(&format!("pod{number}")), LinkKind::Bridge),
            _ => Link::new(name(&format!("pod{number}")), LinkKind::Veth { peer: Some(peer) }),
        };
        if kind != 1 && master < 2 {
            link = link.with_master(name(&format!("br{master}")), hairpin);
        }
        link.up = is_up;
        link.mtu = has_mtu.then_some(1400);
        link.addresses = addresses.into_iter().map(|last| net(&format!("10.{number}.0.{last}/24"))).collect();
        Some(link)
    })
}

fn other_pod(number: usize) -> NamespacePath {
    NamespacePath::new(format!("/run/netns/pod{number}"))
}

/// Two bridges that may turn out to be something else, four links, and routes on those that are there.
fn state() -> impl Strategy<Value = NetworkState> {
    let links = (link(0), link(1), link(2), link(3));
    (links, prop::collection::vec((0..4_u8, 0..4_u8), 0..5)).prop_map(|((a, b, c, d), routes)| {
        let mut state = NetworkState::default();
        for bridge in ["br0", "br1"] {
            state.insert_link(Link::new(name(bridge), LinkKind::Bridge));
        }
        for link in [a, b, c, d].into_iter().flatten() {
            state.insert_link(link);
        }
        for (destination, device) in routes {
            let device = name(&format!("pod{device}"));
            if state.links.get(&device).is_some_and(|link| link.up) {
                state.insert_route(Route::on_link(net(&format!("192.168.{destination}.0/24")), device));
            }
        }
        state
    })
}

proptest! {
    /// From whatever to whatever: the operations are accepted, and after them there is nothing left to do.
    #[test]
    fn any_state_leads_to_any_other(states in prop::collection::vec(state(), 1..5), makes_bridges_anew: bool) {
        let fake = FakeLinks::new(here());
        for number in 0..4 {
            fake.add_namespace(other_pod(number));
        }
        for wanted in states {
            if makes_bridges_anew {
                // Somebody put something else where a bridge of ours was, with our ports still about.
                let _ = fake.commit(&[LinkOp::DeleteLink(name("br0"))]);
                let other = Link::new(name("br0"), LinkKind::Other("dummy".to_owned()));
                fake.commit(&[LinkOp::CreateLink(other)]).unwrap();
            }
            let operations = diff(&fake.observe().unwrap(), &wanted, &ours());
            fake.commit(&operations).unwrap();
            let rest = diff(&fake.observe().unwrap(), &wanted, &ours());
            prop_assert!(rest.is_empty(), "{:?} after {:?}", rest, operations);
        }
    }
}
