//! Ports of the node.

use model::Protocol::{Tcp, Udp};

use super::Seen::{Client, Node as ByNode};
use super::Then::{Each, Refused, Straight};
use super::{Case, FIRST, SECOND, Section, Settings, THREE};
use crate::asking::Asker::{Endpoint, Loopback, Node, Outside, Pod, RemotePod};
use crate::objects::{node, ready, service, slice, web};

pub fn sections() -> Vec<Section> {
    vec![everywhere(), at_one_address()]
}

fn everywhere() -> Section {
    let three = || ["10.244.1.2", "10.244.1.3", "10.244.2.2"].map(ready).to_vec();
    Section {
        feature: "NodePort",
        about: "At every address of the node, for everybody, but not on loopback and of its protocol alone; always \
                masqueraded.",
        settings: Settings::Usual,
        objects: vec![
            service("ports", &["10.96.0.20"])
                .node_port("web", Tcp, 8080, 30_000)
                .node_port("dns", Udp, 53, 30_053)
                .done(),
            slice("ports", "1", &[("web", Tcp, 80), ("dns", Udp, 80)], three()),
            // One number for two Services, of different protocols.
            service("ports-tcp", &["10.96.0.21"]).node_port("", Tcp, 80, 30_010).done(),
            web("ports-tcp", &["10.244.1.2"]),
            service("ports-udp", &["10.96.0.22"]).node_port("", Udp, 80, 30_010).done(),
            slice("ports-udp", "1", &[("", Udp, 80)], vec![ready("10.244.1.3")]),
        ],
        reported: &[],
        cases: vec![
            Case(Outside, Tcp, "10.100.0.2:30000", Each(THREE, ByNode)),
            Case(Outside, Udp, "10.100.0.2:30053", Each(THREE, ByNode)),
            Case(RemotePod, Tcp, "10.100.0.2:30000", Each(THREE, ByNode)),
            Case(Node, Tcp, "10.100.0.2:30000", Each(THREE, ByNode)),
            Case(Node, Udp, "10.100.0.2:30053", Each(THREE, ByNode)),
            Case(Pod, Tcp, "10.100.0.2:30000", Each(THREE, ByNode)),
            Case(Pod, Tcp, "10.244.1.1:30000", Each(THREE, ByNode)),
            Case(Endpoint, Tcp, "10.100.0.2:30000", Each(THREE, ByNode)),
            Case(Outside, Tcp, "10.100.0.22:30000", Each(THREE, ByNode)),
            Case(Outside, Udp, "10.100.0.22:30053", Each(THREE, ByNode)),
            Case(Loopback, Tcp, "127.0.0.1:30000", Straight("127.0.0.1:30000", Client)),
            Case(Outside, Udp, "10.100.0.2:30000", Straight("10.100.0.2:30000", Client)),
            Case(Outside, Tcp, "10.100.0.2:30010", Each(FIRST, ByNode)),
            Case(Outside, Udp, "10.100.0.2:30010", Each(SECOND, ByNode)),
            // The Service's own port is no port of the node.
            Case(Outside, Tcp, "10.100.0.2:8080", Refused),
        ],
    }
}

fn at_one_address() -> Section {
    Section {
        feature: "--nodeport-addresses",
        about: "Node ports are at these addresses alone; elsewhere the port is the node's own.",
        settings: Settings::OneNodePortAddress,
        objects: vec![
            node(),
            service("ports", &["10.96.0.20", "fd00:10:96::20"]).node_port("", Tcp, 80, 30_000).done(),
            web("ports", &["10.244.1.2", "10.244.1.3", "10.244.2.2"]),
            slice("ports", "v6", &[("", Tcp, 80)], vec![ready("fd00:10:244:1::2")]),
        ],
        reported: &[],
        cases: vec![
            Case(Outside, Tcp, "10.100.0.22:30000", Each(THREE, ByNode)),
            Case(Pod, Tcp, "10.100.0.22:30000", Each(THREE, ByNode)),
            Case(Node, Tcp, "10.100.0.22:30000", Each(THREE, ByNode)),
            Case(Outside, Tcp, "10.100.0.2:30000", Straight("10.100.0.2:30000", Client)),
            Case(Pod, Tcp, "10.100.0.2:30000", Straight("10.100.0.2:30000", Client)),
            Case(Pod, Tcp, "10.244.1.1:30000", Refused),
            Case(Pod, Tcp, "10.96.0.20:80", Each(THREE, Client)),
            Case(Outside, Tcp, "[fd00:10:100::22]:30000", Each(super::FIRST_V6, ByNode)),
            Case(Outside, Tcp, "[fd00:10:100::2]:30000", Straight("[fd00:10:100::2]:30000", Client)),
        ],
    }
}
