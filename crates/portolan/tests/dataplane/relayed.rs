//! The userspace mode over time: relays on the node while endpoints, services and the proxy itself come and go.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use model::{ObjectKey, Protocol, ServiceKey};
use proxy::Dataplane as _;

use crate::asking::{Asker, Client, Reply, SetOnDrop, eventually};
use crate::cases::Settings;
use crate::cluster::{ALL, Cluster, httpd, node};
use crate::modes::Mode;
use crate::world::{OnNode, World};

const CLUSTER_TCP: &str = "10.96.0.6:8080";
const CLUSTER_UDP: &str = "10.96.0.6:53";
const NODE_TCP: &str = "10.100.0.2:30000";
const NODE_UDP: &str = "10.100.0.2:30053";
/// Changes of endpoints under load.
const CHANGES: usize = 40;

fn relayed(world: &World) -> OnNode {
    world.dataplane(Mode::Userspace, Settings::Usual)
}

/// No new connection fails, nor does a flow of datagrams, whatever becomes of the endpoints.
#[test]
fn endpoints_are_replaced_under_load() {
    let world = World::new();
    let mut cluster = Cluster::new(relayed(&world), httpd(&ALL));
    cluster.sync();
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let (world, done, answered) = (&world, &done, &answered);
        let _end = SetOnDrop(done);
        let expect_answer = move |what: &str, reply: Reply| {
            assert!(matches!(reply, Reply::Answer { .. }), "{what}: {reply}");
            answered.fetch_add(1, Ordering::Relaxed);
        };
        for (from, door) in
            [(Asker::Pod, CLUSTER_TCP), (Asker::Node, CLUSTER_TCP), (Asker::Outside, NODE_TCP)]
        {
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    expect_answer(door, world.ask(from, Protocol::Tcp, door));
                }
            });
        }
        scope.spawn(move || {
            let mut flow = world.client(Asker::Pod, Protocol::Udp, CLUSTER_UDP);
            while !done.load(Ordering::Relaxed) {
                expect_answer(CLUSTER_UDP, flow.ask());
            }
        });
        for change in 0..CHANGES {
            let before = answered.load(Ordering::Relaxed);
            let endpoints = [&ALL[..1], &ALL[1..], &ALL[2..], &ALL[..2], &ALL][change % 5];
            cluster.apply(httpd(endpoints));
            eventually("requests go on", || {
                answered.load(Ordering::Relaxed) > before + 10 || done.load(Ordering::Relaxed)
            });
        }
    });
}

#[test]
fn who_is_connected_stays_so() {
    let world = World::new();
    let mut cluster = Cluster::new(relayed(&world), httpd(&ALL));
    cluster.sync();
    let doors = [(Asker::Pod, CLUSTER_TCP), (Asker::Node, CLUSTER_TCP), (Asker::Outside, NODE_TCP)];
    let mut clients = doors.map(|(from, door)| world.client(from, Protocol::Tcp, door));
    let before = clients.each_mut().map(Client::ask);
    let mut still = |when: &str| assert_eq!(clients.each_mut().map(Client::ask), before, "{when}");
    for endpoints in [&ALL[..1], &ALL[2..], &[], &ALL] {
        cluster.apply(httpd(endpoints));
        still("endpoints change");
    }
    cluster.delete(&ObjectKey::Service(ServiceKey::new("default", "httpd-svc")));
    still("the Service is deleted");
    cluster.proxy.cleanup().unwrap();
    still("the table is deleted");
    assert!(!world.nft("list tables").contains("portolan-userspace"));
}

#[test]
fn a_flow_of_datagrams_follows_the_endpoints() {
    let world = World::new();
    let mut cluster = Cluster::new(relayed(&world), httpd(&ALL));
    cluster.sync();
    for (from, door) in [(Asker::Pod, CLUSTER_UDP), (Asker::Node, NODE_UDP), (Asker::Outside, NODE_UDP)] {
        let mut client = world.client(from, Protocol::Udp, door);
        let first = client.endpoint();
        assert_eq!(client.endpoint(), first, "{from:?} {door}: one flow, one endpoint");
        let others: Vec<&str> =
            ALL.into_iter().filter(|address| *address != first.ip().to_string()).collect();
        assert_eq!(cluster.apply(httpd(&others)).connections, 0, "it is the relay's business");
        eventually("another one answers", || client.endpoint() != first);

        assert_eq!(cluster.apply(httpd(&[])).connections, 1, "{from:?} {door}: the relay is gone");
        assert_eq!(client.ask(), Reply::Refused, "{from:?} {door}");
        cluster.apply(httpd(&ALL));
        client.endpoint();
        // The next door starts without this one's connection.
        cluster.apply(httpd(&[]));
        cluster.apply(httpd(&ALL));
    }
}

/// While no process relays, connections are refused; the next one listens elsewhere and leads clients there.
#[test]
fn a_proxy_that_comes_back_serves_again() {
    let world = World::new();
    let objects = || httpd(&ALL).into_iter().chain([node()]);
    let mut cluster = Cluster::new(relayed(&world), objects());
    cluster.sync();
    let mut flows = [(Asker::Pod, CLUSTER_UDP), (Asker::Outside, NODE_UDP)]
        .map(|(from, door)| world.client(from, Protocol::Udp, door));
    for flow in &mut flows {
        flow.endpoint();
    }
    drop(cluster);
    eventually("nobody listens", || world.ask(Asker::Pod, Protocol::Tcp, CLUSTER_TCP) == Reply::Refused);

    let mut cluster = Cluster::new(relayed(&world), objects());
    cluster.sync();
    for (from, door) in [(Asker::Pod, CLUSTER_TCP), (Asker::Outside, NODE_TCP)] {
        assert!(matches!(world.ask(from, Protocol::Tcp, door), Reply::Answer { .. }), "{from:?} {door}");
    }
    for flow in &mut flows {
        // That nobody listened may be told first.
        eventually("an endpoint answers", || matches!(flow.ask(), Reply::Answer { .. }));
    }
}

/// At a relay's own port, past the doors, there is nobody; it is the table that says so.
#[test]
fn relays_answer_only_who_came_through_a_door() {
    let world = World::new();
    let mut cluster = Cluster::new(relayed(&world), httpd(&ALL));
    cluster.sync();
    let listing = world.nft("list set ip portolan-userspace relays");
    let (_, rest) = listing.split_once("tcp . ").unwrap();
    let (port, _) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap());
    let ask = |from, address| world.ask(from, Protocol::Tcp, &format!("{address}:{port}"));
    for (from, address) in
        [(Asker::Outside, "10.100.0.2"), (Asker::Pod, "10.244.1.1"), (Asker::Loopback, "127.0.0.1")]
    {
        assert_eq!(ask(from, address), Reply::Refused, "{from:?} {address}:{port}");
    }
    world.nft("flush chain ip portolan-userspace input");
    let open = ask(Asker::Outside, "10.100.0.2");
    assert!(matches!(open, Reply::Answer { .. }), "without the rule: {open}");
    drop(cluster);
}
