//! What is remembered of clients: session affinity, and connections in connection tracking.

use std::net::SocketAddr;
use std::time::Duration;

use model::{Object, ObjectKey, Protocol, ServiceKey};

use crate::asking::{Asker, Client, Reply, eventually};
use crate::cluster::{ALL, Cluster, WithPort as _, httpd, node, ready, service, slice};
use crate::world::World;

const CLUSTER_TCP: &str = "10.96.0.6:8080";
const CLUSTER_UDP: &str = "10.96.0.6:53";
const NODE_UDP: &str = "10.100.0.2:30053";

fn sticky(timeout: u64, endpoints: &[&str]) -> [Object; 2] {
    let service =
        service("sticky", "10.96.0.9").port("", Protocol::Tcp, 8080).remembers(Duration::from_secs(timeout));
    let endpoints = endpoints.iter().map(|address| ready(address)).collect();
    let slice = slice("sticky", "sticky", &[("", Protocol::Tcp, 80)], endpoints);
    [Object::Service(service), Object::EndpointSlice(slice)]
}

fn others<'a>(gone: SocketAddr) -> Vec<&'a str> {
    ALL.into_iter().filter(|address| *address != gone.ip().to_string()).collect()
}

/// The memory goes when the client was silent for the Service's timeout, and then it is balanced anew.
#[test]
fn a_client_is_forgotten_after_its_timeout() {
    let world = World::new();
    Cluster::new(world.proxy(), sticky(1, &ALL)).sync();
    let ask = || world.client(Asker::Pod, Protocol::Tcp, "10.96.0.9:8080").endpoint();
    let is_forgotten = || !world.nft("list map ip portolan-services affinity").contains("10.244.1.4");
    let first = ask();
    // Nobody gets five connections more than another, so somebody else comes soon.
    eventually("another endpoint answers", || {
        eventually("the client is forgotten", is_forgotten);
        ask() != first
    });
}

#[test]
fn a_remembered_client_leaves_an_endpoint_that_is_gone() {
    let world = World::new();
    let mut cluster = Cluster::new(world.proxy(), sticky(10_800, &ALL));
    cluster.sync();
    let ask = || world.client(Asker::Pod, Protocol::Tcp, "10.96.0.9:8080").endpoint();
    let first = ask();
    cluster.proxy = world.proxy();
    assert_eq!(cluster.sync().affinities, 0);
    assert_eq!(ask(), first, "a restart forgets nobody");

    assert_eq!(cluster.apply(sticky(10_800, &others(first))).affinities, 1);
    let second = ask();
    assert_ne!(second, first);
    cluster.apply(sticky(10_800, &ALL));
    assert_eq!(ask(), second, "it does not go back");
}

/// A UDP client with one socket, by the virtual address and by the node port, from a pod, the node and outside.
#[test]
fn a_udp_client_follows_the_endpoints() {
    let world = World::new();
    let mut cluster = Cluster::new(world.proxy(), httpd(&ALL));
    cluster.sync();
    let doors = [
        (Asker::Pod, CLUSTER_UDP),
        (Asker::Endpoint, CLUSTER_UDP),
        (Asker::Node, CLUSTER_UDP),
        (Asker::Node, NODE_UDP),
        (Asker::Outside, NODE_UDP),
    ];
    for (from, door) in doors {
        let mut client = world.client(from, Protocol::Udp, door);
        let first = client.endpoint();
        assert_eq!(client.endpoint(), first, "{from:?} {door}: one connection, one endpoint");

        assert_eq!(cluster.apply(httpd(&others(first))).connections, 1, "{from:?} {door}");
        let second = client.endpoint();
        assert_ne!(second, first, "{from:?} {door}");

        // kubernetes issue 139628: with the last endpoint gone, connections to it stayed.
        assert_eq!(cluster.apply(httpd(&[])).connections, 1, "{from:?} {door}");
        assert_eq!(client.ask(), Reply::Refused, "{from:?} {door}");

        cluster.apply(httpd(&ALL));
        client.endpoint();
        // The next door starts without this one's connection.
        cluster.apply(httpd(&[]));
        cluster.apply(httpd(&ALL));
    }
}

/// What was sent before the Service was there is tracked as leading nowhere, and the client goes on sending.
#[test]
fn a_udp_client_that_was_there_first_is_served() {
    let world = World::new();
    let mut cluster = Cluster::new(world.proxy(), []);
    cluster.sync();
    let mut pod = world.client(Asker::Pod, Protocol::Udp, CLUSTER_UDP);
    // The tests' router leads service addresses to the node, which sends it back: nobody answers but ICMP.
    let mut outside = world.client(Asker::Outside, Protocol::Udp, NODE_UDP);
    assert_eq!(outside.ask(), Reply::Refused);
    pod.send();

    let [service, slice] = httpd(&["10.244.1.3"]);
    cluster.apply([service]);
    assert_eq!(pod.ask(), Reply::Refused, "a Service without endpoints refuses at once");
    assert_eq!(outside.ask(), Reply::Refused);
    cluster.apply([slice]);
    assert_eq!(pod.endpoint().to_string(), "10.244.1.3:80");
    assert_eq!(outside.endpoint().to_string(), "10.244.1.3:80");

    cluster.delete(&ObjectKey::Service(ServiceKey::new("default", "httpd-svc")));
    assert_eq!(outside.ask(), Reply::Refused);
}

/// The same for a proxy that starts late; an entry that leads to the node itself may be a node port's.
#[test]
fn a_udp_client_that_was_there_before_the_proxy_is_served() {
    let world = World::new();
    let mut clients = [(Asker::Pod, CLUSTER_UDP), (Asker::Outside, NODE_UDP)]
        .map(|(from, door)| world.client(from, Protocol::Udp, door));
    clients.iter_mut().for_each(Client::send);
    Cluster::new(world.proxy(), httpd(&ALL).into_iter().chain([node()])).sync();
    for client in &mut clients {
        // What became of the datagram that nobody wanted may be told first.
        eventually("an endpoint answers", || matches!(client.ask(), Reply::Answer { .. }));
    }
}

/// Endpoints come and go, the Service itself goes, the proxy restarts: who is connected stays so.
#[test]
fn connections_outlive_changes() {
    let world = World::new();
    let mut cluster = Cluster::new(world.proxy(), httpd(&ALL));
    cluster.sync();
    let mut clients = [
        world.client(Asker::Pod, Protocol::Tcp, CLUSTER_TCP),
        world.client(Asker::Endpoint, Protocol::Tcp, CLUSTER_TCP),
        world.client(Asker::Node, Protocol::Tcp, CLUSTER_TCP),
        world.client(Asker::Outside, Protocol::Tcp, "10.100.0.2:30000"),
    ];
    let before = clients.each_mut().map(|client| client.ask());
    let mut still = |when: &str| assert_eq!(clients.each_mut().map(|client| client.ask()), before, "{when}");
    for endpoints in [&ALL[..1], &ALL[1..2], &ALL[2..], &[], &ALL] {
        cluster.apply(httpd(endpoints));
        still("endpoints change");
    }
    cluster.proxy = world.proxy();
    cluster.sync();
    still("the proxy restarts");
    cluster.delete(&ObjectKey::Service(ServiceKey::new("default", "httpd-svc")));
    still("the Service is deleted");
    proxy::Dataplane::cleanup(&mut cluster.proxy).unwrap();
    still("the table is deleted");
}
