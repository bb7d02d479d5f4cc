use netstate::namespace::{FakeLinks, LinkPort, NamespacePorts, Ownership, diff};

use super::*;

fn network(nodes: usize) -> LabNetwork {
    LabNetwork {
        lab: "a".to_owned(),
        nodes,
        node_range: "10.100.0.0/24".parse().unwrap(),
        pod_range: "10.244.0.0/16".parse().unwrap(),
        service_range: "10.112.0.0/12".parse().unwrap(),
    }
}

fn path(name: &str) -> NamespacePath {
    NamespacePath::new(format!("/run/netns/{name}"))
}

fn world(network: &LabNetwork) -> FakeLinks {
    let router = FakeLinks::new(path(&names::router(&network.lab)));
    for machine in machines(network) {
        router.add_namespace(path(&machine.namespace));
    }
    router
}

#[test]
fn the_addresses_are_those_of_the_reference_cluster() {
    let addresses: Vec<String> = machines(&network(2))
        .iter()
        .map(|machine| format!("{} {} {}", machine.namespace, machine.port, machine.address))
        .collect();
    assert_eq!(
        addresses,
        [
            "ptl-a-node1 node1 10.100.0.2",
            "ptl-a-node2 node2 10.100.0.3",
            "ptl-a-control-plane control-plane 10.100.0.254",
            "ptl-a-outside wan0 192.0.2.2",
        ]
    );
}

#[test]
fn a_built_network_needs_nothing_more() {
    let network = network(3);
    let fake = world(&network);
    let machines = machines(&network);
    let wanted = router(&network, &machines, path);
    fake.commit(&diff(&fake.observe().unwrap(), &wanted, &Ownership::default())).unwrap();
    assert_eq!(diff(&fake.observe().unwrap(), &wanted, &Ownership::default()), Vec::new());
    for one in &machines {
        let port = fake.open(&path(&one.namespace)).unwrap();
        let wanted = machine(one);
        port.commit(&diff(&port.observe().unwrap(), &wanted, &Ownership::default())).unwrap();
        assert_eq!(diff(&port.observe().unwrap(), &wanted, &Ownership::default()), Vec::new());
    }
}

#[test]
fn outside_knows_the_way_to_the_nodes_only() {
    let machines = machines(&network(1));
    let outside = machine(machines.last().unwrap());
    let routes: Vec<String> = outside.routes.values().map(ToString::to_string).collect();
    assert_eq!(routes, ["10.100.0.0/24 via 192.0.2.1 proto 112"]);
    let node = machine(&machines[0]);
    let routes: Vec<String> = node.routes.values().map(ToString::to_string).collect();
    assert_eq!(routes, ["default via 10.100.0.1 proto 112"]);
}
