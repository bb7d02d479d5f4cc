//! Links, addresses and routes, judged by `ip`.

use std::process::Command;

use ipnet::IpNet;
use netstate::link::{Link, LinkKind, LinkName, MacAddress, VethPeer};
use netstate::namespace::{LinkOp, LinkPort, NamespacePorts, NetworkState, Ownership, diff};
use netstate::route::{Route, RouteProtocol};
use portolan_kernel::link::{Links, Namespaces};
use portolan_kernel::netns::TemporaryNamespace;

fn name(text: &str) -> LinkName {
    LinkName::parse(text).unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// What `ip ARGUMENTS` prints inside a namespace.
fn ip(namespace: &TemporaryNamespace, arguments: &str) -> String {
    let output =
        Command::new("ip").args(["-n", namespace.name()]).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn ours() -> Ownership {
    Ownership { link_prefix: Some("pod".to_owned()), route_protocol: Some(RouteProtocol::PORTOLAN) }
}

/// A bridge with a port whose other end is `eth0` of another namespace, and routes of both kinds.
fn desired(pod: &TemporaryNamespace) -> NetworkState {
    let peer = VethPeer {
        name: LinkName::eth0(),
        namespace: Some(pod.namespace_path()),
        mac: Some(MacAddress([0x0a, 0x58, 10, 7, 0, 2])),
    };
    let mut state = NetworkState::default();
    state.insert_link(Link::loopback());
    state.insert_link(
        Link::new(name("cbr0"), LinkKind::Bridge)
            .with_mac(MacAddress([0x0a, 0x58, 10, 7, 0, 1]))
            .with_mtu(1400)
            .with_address(net("10.7.0.1/24"))
            .with_address(net("fd00:7::1/64")),
    );
    state.insert_link(
        Link::new(name("pod2"), LinkKind::Veth { peer: Some(peer) })
            .with_mtu(1400)
            .with_master(name("cbr0"), true),
    );
    state.insert_route(Route::on_link(net("10.8.0.0/16"), name("cbr0")));
    state.insert_route(Route::via(net("10.9.0.0/16"), "10.7.0.2".parse().unwrap()));
    state.insert_route(Route::via(net("0.0.0.0/0"), "10.7.0.3".parse().unwrap()));
    state.insert_route(Route::via(net("fd00:9::/64"), "fd00:7::2".parse().unwrap()));
    state
}

#[test]
fn everything_wanted_is_there_and_nothing_is_left_to_do() {
    let (node, pod) = (TemporaryNamespace::new("node").unwrap(), TemporaryNamespace::new("pod").unwrap());
    let links = Links::in_namespace(&node).unwrap();
    let wanted = desired(&pod);
    links.commit(&diff(&links.observe().unwrap(), &wanted, &ours())).unwrap();
    assert_eq!(diff(&links.observe().unwrap(), &wanted, &ours()), Vec::new());

    let bridge = ip(&node, "-d link show cbr0");
    assert!(bridge.contains("mtu 1400") && bridge.contains("0a:58:0a:07:00:01"), "{bridge}");
    let port = ip(&node, "-d link show pod2");
    assert!(port.contains("master cbr0") && port.contains("hairpin on"), "{port}");
    let eth0 = ip(&pod, "link show eth0");
    assert!(eth0.contains("0a:58:0a:07:00:02") && eth0.contains("mtu 1400"), "{eth0}");
    assert!(ip(&node, "link show lo").contains("LOOPBACK,UP"));
    assert!(ip(&node, "address show cbr0").contains("inet 10.7.0.1/24 brd 10.7.0.255"));
    let routes = ip(&node, "route show proto 112");
    for route in
        ["default via 10.7.0.3 dev cbr0", "10.8.0.0/16 dev cbr0 scope link", "10.9.0.0/16 via 10.7.0.2"]
    {
        assert!(routes.contains(route), "{routes}");
    }
    assert!(ip(&node, "-6 route show proto 112").contains("fd00:9::/64 via fd00:7::2"));
}

#[test]
fn every_change_by_others_is_seen_and_put_back() {
    let (node, pod) = (TemporaryNamespace::new("node").unwrap(), TemporaryNamespace::new("pod").unwrap());
    let links = Links::in_namespace(&node).unwrap();
    let wanted = desired(&pod);
    links.commit(&diff(&links.observe().unwrap(), &wanted, &ours())).unwrap();
    for spoil in [
        "link set pod2 down",
        "link set pod2 mtu 1300",
        "link set pod2 nomaster",
        "link set pod2 type bridge_slave hairpin off",
        "address delete 10.7.0.1/24 dev cbr0",
        "address add 10.9.9.9/24 dev cbr0",
        "link add pod3 type bridge",
        "route delete 10.9.0.0/16",
        "route replace 10.9.0.0/16 via 10.7.0.4 proto 112",
        "route add 10.10.0.0/16 via 10.7.0.4 proto 112",
        "link set cbr0 down",
        "link delete pod2",
        "link delete cbr0",
        "link delete cbr0;link add cbr0 type ifb",
        "address add 10.9.9.9/24 dev cbr0;address delete 10.7.0.1/24 dev cbr0",
    ] {
        for command in spoil.split(';') {
            ip(&node, command);
        }
        let repair = diff(&links.observe().unwrap(), &wanted, &ours());
        assert!(!repair.is_empty(), "{spoil} was not seen");
        links.commit(&repair).unwrap();
        let rest = diff(&links.observe().unwrap(), &wanted, &ours());
        assert_eq!(rest, Vec::new(), "after {spoil}, repaired by {repair:?}");
    }
    // What is not ours stays.
    ip(&node, "link add docker0 type bridge");
    ip(&node, "route add 10.20.0.0/16 via 10.7.0.4 proto static");
    assert_eq!(diff(&links.observe().unwrap(), &wanted, &ours()), Vec::new());
}

#[test]
fn errors_say_which_operation_and_why() {
    let node = TemporaryNamespace::new("node").unwrap();
    let links = Links::in_namespace(&node).unwrap();
    let bridge = LinkOp::CreateLink(Link::new(name("cbr0"), LinkKind::Bridge));
    links.commit(std::slice::from_ref(&bridge)).unwrap();

    let error = links.commit(&[bridge]).unwrap_err();
    assert_eq!(error.to_string(), "ip link add cbr0 up type bridge: File exists (os error 17)");
    let error = links.commit(&[LinkOp::DeleteLink(name("none"))]).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    let error = links
        .commit(&[LinkOp::ReplaceRoute(Route::via(net("10.9.0.0/16"), "10.7.0.2".parse().unwrap()))])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "ip route replace 10.9.0.0/16 via 10.7.0.2 proto 112: Network is unreachable (os error 101)"
    );
    let missing = LinkOp::DeleteRoute(Route::on_link(net("10.9.0.0/16"), name("cbr0")));
    assert!(links.commit(&[missing]).unwrap_err().is_not_found());
    let address = LinkOp::DeleteAddress { link: name("cbr0"), address: net("10.9.0.1/16") };
    assert!(links.commit(&[address]).unwrap_err().is_not_found());
    let gone = netstate::link::NamespacePath::new("/run/netns/ptlt-never-made");
    assert!(Namespaces.open(&gone).err().is_some_and(|error| error.is_not_found()));
}

#[test]
fn a_link_goes_with_the_namespace_of_its_other_end() {
    let (node, pod) = (TemporaryNamespace::new("node").unwrap(), TemporaryNamespace::new("pod").unwrap());
    let links = Links::in_namespace(&node).unwrap();
    links.commit(&diff(&links.observe().unwrap(), &desired(&pod), &ours())).unwrap();
    let inside = Namespaces.open(&pod.namespace_path()).unwrap();
    assert!(inside.observe().unwrap().links.contains_key(&LinkName::eth0()));
    links.commit(&[LinkOp::DeleteLink(name("pod2"))]).unwrap();
    assert!(!inside.observe().unwrap().links.contains_key(&LinkName::eth0()));
}

#[test]
fn a_thousand_routes_are_written_and_read_back() {
    let node = TemporaryNamespace::new("node").unwrap();
    let links = Links::in_namespace(&node).unwrap();
    let mut wanted = NetworkState::default();
    wanted.insert_link(Link::new(name("cbr0"), LinkKind::Bridge).with_address(net("10.7.0.1/24")));
    for number in 0..1000_u32 {
        let destination = std::net::Ipv4Addr::from(0x0b00_0000 + number * 256);
        wanted.insert_route(Route::via(net(&format!("{destination}/24")), "10.7.0.2".parse().unwrap()));
    }
    links.commit(&diff(&links.observe().unwrap(), &wanted, &ours())).unwrap();
    assert_eq!(diff(&links.observe().unwrap(), &wanted, &ours()), Vec::new());
    wanted.routes.clear();
    let removal = diff(&links.observe().unwrap(), &wanted, &ours());
    assert_eq!(removal.len(), 1000);
    links.commit(&removal).unwrap();
    assert_eq!(ip(&node, "route show proto 112"), "");
}
