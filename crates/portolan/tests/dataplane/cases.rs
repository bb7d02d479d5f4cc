//! Who asks from where for which address and port, and what must come of it. Data, not code.

use std::time::Duration;

use model::Object;
use model::Protocol::{self, Tcp, Udp};

use crate::asking::Asker::{self, Endpoint, Loopback, Node, Outside, Pod, RemotePod};
use crate::cluster::{ALL, WithPort as _, draining, httpd, leaving, ready, service, slice, unready};

/// One question, asked as often as it takes to meet every endpoint.
pub struct Case(pub Asker, pub Protocol, pub &'static str, pub Then);

/// What must come of it.
pub enum Then {
    /// Each of these answers at some time, and nobody else: the endpoint, and the client's address as it sees it.
    Each(&'static [(&'static str, &'static str)]),
    /// One of these answers, always the same.
    One(&'static [(&'static str, &'static str)]),
    /// A TCP reset, or port unreachable.
    Refused,
    /// None of our business: on to the router, which knows no way.
    Leaves,
}

use Then::{Each, Leaves, One, Refused};

/// What the cluster holds.
pub fn objects() -> Vec<Object> {
    let three = || ALL.map(ready).to_vec();
    let web = [("", Tcp, 80)];
    let slices = [
        slice("several", "several", &[("web", Tcp, 80), ("admin", Tcp, 81), ("udp", Udp, 81)], three()),
        // The target port is a name, which means another number in each of two generations of pods.
        slice("named", "named-old", &[("web", Tcp, 80)], vec![ready("10.244.1.2")]),
        slice("named", "named-new", &[("web", Tcp, 81)], vec![ready("10.244.1.3")]),
        slice("sticky", "sticky", &web, three()),
        slice("single", "single", &[("", Tcp, 80), ("udp", Udp, 80)], vec![ready("10.244.1.2")]),
        slice(
            "unready",
            "unready",
            &web,
            vec![ready("10.244.1.2"), unready("10.244.1.3"), draining("10.244.2.2")],
        ),
        slice(
            "draining",
            "draining",
            &web,
            vec![unready("10.244.1.2"), draining("10.244.1.3"), leaving("10.244.2.2")],
        ),
        slice("leaving", "leaving", &web, vec![leaving("10.244.1.2"), unready("10.244.1.3")]),
    ];
    let services = [
        service("several", "10.96.0.7")
            .port("web", Tcp, 80)
            .port("admin", Tcp, 81)
            .node_port("udp", Udp, 81, 30081),
        service("named", "10.96.0.8").port("web", Tcp, 8080),
        service("sticky", "10.96.0.9").node_port("", Tcp, 8080, 30002).remembers(Duration::from_secs(10_800)),
        service("empty", "10.96.0.10").node_port("", Tcp, 8080, 30001).node_port("udp", Udp, 53, 30054),
        service("unready", "10.96.0.11").port("", Tcp, 8080),
        service("draining", "10.96.0.12").port("", Tcp, 8080),
        service("leaving", "10.96.0.13").port("", Tcp, 8080),
        service("single", "10.96.0.14").port("", Tcp, 8080).port("udp", Udp, 53),
    ];
    let mut objects = httpd(&ALL).to_vec();
    objects.extend(services.map(Object::Service));
    objects.extend(slices.map(Object::EndpointSlice));
    objects
}

/// A pod keeps its address, so an endpoint knows who its client is. Only itself it would not answer.
const TO_POD: &[(&str, &str)] =
    &[("10.244.1.2:80", "10.244.1.4"), ("10.244.1.3:80", "10.244.1.4"), ("10.244.2.2:80", "10.244.1.4")];
const TO_ENDPOINT: &[(&str, &str)] =
    &[("10.244.1.2:80", "10.244.1.1"), ("10.244.1.3:80", "10.244.1.2"), ("10.244.2.2:80", "10.244.1.2")];
/// Whoever is no pod is masqueraded, as the address of the link that leads to the endpoint.
const MASQUERADED: &[(&str, &str)] =
    &[("10.244.1.2:80", "10.244.1.1"), ("10.244.1.3:80", "10.244.1.1"), ("10.244.2.2:80", "10.100.0.2")];
const MASQUERADED_81: &[(&str, &str)] =
    &[("10.244.1.2:81", "10.244.1.1"), ("10.244.1.3:81", "10.244.1.1"), ("10.244.2.2:81", "10.100.0.2")];

/// The contract.
pub const CASES: &[Case] = &[
    // The virtual address, from everywhere. Nothing but the tests' router leads it to the node from outside.
    Case(Pod, Tcp, "10.96.0.6:8080", Each(TO_POD)),
    Case(Pod, Udp, "10.96.0.6:53", Each(TO_POD)),
    Case(Endpoint, Tcp, "10.96.0.6:8080", Each(TO_ENDPOINT)),
    Case(Endpoint, Udp, "10.96.0.6:53", Each(TO_ENDPOINT)),
    Case(Node, Tcp, "10.96.0.6:8080", Each(MASQUERADED)),
    Case(Node, Udp, "10.96.0.6:53", Each(MASQUERADED)),
    Case(Outside, Tcp, "10.96.0.6:8080", Each(MASQUERADED)),
    Case(RemotePod, Tcp, "10.96.0.14:8080", Each(&[("10.244.1.2:80", "10.244.2.3")])),
    // A pod that is its Service's only endpoint.
    Case(Endpoint, Tcp, "10.96.0.14:8080", Each(&[("10.244.1.2:80", "10.244.1.1")])),
    Case(Endpoint, Udp, "10.96.0.14:53", Each(&[("10.244.1.2:80", "10.244.1.1")])),
    // Node ports: at every address of the node, from everywhere, but not on loopback and of this protocol alone.
    Case(Outside, Tcp, "10.100.0.2:30000", Each(MASQUERADED)),
    Case(Outside, Udp, "10.100.0.2:30053", Each(MASQUERADED)),
    Case(Outside, Udp, "10.100.0.2:30081", Each(MASQUERADED_81)),
    Case(RemotePod, Tcp, "10.100.0.2:30000", Each(MASQUERADED)),
    Case(Node, Tcp, "10.100.0.2:30000", Each(MASQUERADED)),
    Case(Node, Udp, "10.100.0.2:30053", Each(MASQUERADED)),
    Case(Pod, Tcp, "10.100.0.2:30000", Each(MASQUERADED)),
    Case(Pod, Tcp, "10.244.1.1:30000", Each(MASQUERADED)),
    Case(Endpoint, Tcp, "10.100.0.2:30000", Each(MASQUERADED)),
    Case(Loopback, Tcp, "127.0.0.1:30000", Each(&[("127.0.0.1:30000", "127.0.0.1")])),
    Case(Outside, Udp, "10.100.0.2:30000", Each(&[("10.100.0.2:30000", "192.0.2.2")])),
    // Several ports, and a target port that each slice resolves for itself.
    Case(Pod, Tcp, "10.96.0.7:80", Each(TO_POD)),
    Case(Node, Tcp, "10.96.0.7:81", Each(MASQUERADED_81)),
    Case(Node, Udp, "10.96.0.7:81", Each(MASQUERADED_81)),
    Case(
        Pod,
        Tcp,
        "10.96.0.8:8080",
        Each(&[("10.244.1.2:80", "10.244.1.4"), ("10.244.1.3:81", "10.244.1.4")]),
    ),
    // A Service that remembers its clients, by each door.
    Case(Pod, Tcp, "10.96.0.9:8080", One(TO_POD)),
    Case(Endpoint, Tcp, "10.96.0.9:8080", One(TO_ENDPOINT)),
    Case(Node, Tcp, "10.96.0.9:8080", One(MASQUERADED)),
    Case(Outside, Tcp, "10.100.0.2:30002", One(MASQUERADED)),
    // Who serves: ready ones; failing those, ones that go and still answer.
    Case(Pod, Tcp, "10.96.0.11:8080", Each(&[("10.244.1.2:80", "10.244.1.4")])),
    Case(Pod, Tcp, "10.96.0.12:8080", Each(&[("10.244.1.3:80", "10.244.1.4")])),
    Case(Pod, Tcp, "10.96.0.13:8080", Refused),
    // Nobody serves.
    Case(Pod, Tcp, "10.96.0.10:8080", Refused),
    Case(Pod, Udp, "10.96.0.10:53", Refused),
    Case(Node, Tcp, "10.96.0.10:8080", Refused),
    Case(Node, Udp, "10.96.0.10:53", Refused),
    Case(Outside, Tcp, "10.100.0.2:30001", Refused),
    Case(Outside, Udp, "10.100.0.2:30054", Refused),
    Case(Node, Tcp, "10.100.0.2:30001", Refused),
    Case(Node, Udp, "10.100.0.2:30054", Refused),
    // A virtual address at a port that its Service does not have.
    Case(Pod, Tcp, "10.96.0.6:81", Refused),
    Case(Pod, Udp, "10.96.0.6:8080", Refused),
    Case(Node, Tcp, "10.96.0.6:81", Refused),
    Case(Node, Udp, "10.96.0.6:8080", Refused),
    Case(Outside, Tcp, "10.96.0.6:81", Refused),
    // None of our business: straight to a pod, an address that no Service has, another node, the world.
    Case(Pod, Tcp, "10.244.1.2:80", Each(&[("10.244.1.2:80", "10.244.1.4")])),
    Case(Outside, Tcp, "10.244.1.2:80", Each(&[("10.244.1.2:80", "192.0.2.2")])),
    Case(Node, Udp, "10.244.2.2:80", Each(&[("10.244.2.2:80", "10.100.0.2")])),
    Case(Pod, Tcp, "10.97.0.1:8080", Leaves),
    Case(Pod, Udp, "10.97.0.1:53", Leaves),
    Case(Node, Tcp, "10.97.0.1:8080", Leaves),
    Case(Pod, Tcp, "192.0.2.2:8080", Each(&[("192.0.2.2:8080", "10.100.0.2")])),
];
