//! `spec.externalIPs`.

use model::Protocol::{Tcp, Udp};

use super::Seen::{Client, Node as ByNode};
use super::Then::{Each, Refused};
use super::{BOTH, Case, FIRST, Section, Settings, THREE};
use crate::asking::Asker::{Endpoint, Node, Outside, Pod, RemotePod};
use crate::objects::{ready, service, slice, web};

pub fn sections() -> Vec<Section> {
    let three = || ["10.244.1.2", "10.244.1.3", "10.244.2.2"].map(ready).to_vec();
    vec![Section {
        feature: "externalIPs",
        about: "Addresses that the world leads to a node, or that are the node's own: doors for everybody, masqueraded.",
        settings: Settings::Usual,
        objects: vec![
            service("external", &["10.96.0.40"])
                .port("web", Tcp, 80)
                .port("dns", Udp, 53)
                .external(&["203.0.113.10", "203.0.113.11"])
                .done(),
            slice("external", "1", &[("web", Tcp, 80), ("dns", Udp, 80)], three()),
            service("external-own", &["10.96.0.41"]).port("", Tcp, 8088).external(&["10.100.0.22"]).done(),
            web("external-own", &["10.244.1.2", "10.244.1.3", "10.244.2.2"]),
            service("external-empty", &["10.96.0.42"]).web().external(&["203.0.113.12"]).done(),
            service("external-local", &["10.96.0.43"])
                .web()
                .external(&["203.0.113.13"])
                .external_local()
                .done(),
            web("external-local", &["10.244.1.2", "10.244.2.2"]),
        ],
        reported: &[],
        cases: vec![
            Case(Outside, Tcp, "203.0.113.10:80", Each(THREE, ByNode)),
            Case(Outside, Udp, "203.0.113.10:53", Each(THREE, ByNode)),
            Case(Outside, Tcp, "203.0.113.11:80", Each(THREE, ByNode)),
            Case(Pod, Tcp, "203.0.113.10:80", Each(THREE, ByNode)),
            Case(Endpoint, Tcp, "203.0.113.10:80", Each(THREE, ByNode)),
            Case(Node, Tcp, "203.0.113.10:80", Each(THREE, ByNode)),
            Case(RemotePod, Tcp, "203.0.113.10:80", Each(THREE, ByNode)),
            Case(Outside, Tcp, "10.100.0.22:8088", Each(THREE, ByNode)),
            Case(Pod, Tcp, "10.100.0.22:8088", Each(THREE, ByNode)),
            Case(Outside, Tcp, "10.100.0.2:8088", Refused),
            Case(Outside, Tcp, "203.0.113.12:80", Refused),
            Case(Pod, Tcp, "203.0.113.12:80", Refused),
            Case(Outside, Tcp, "203.0.113.13:80", Each(FIRST, Client)),
            Case(Pod, Tcp, "203.0.113.13:80", Each(BOTH, Client)),
            Case(Node, Tcp, "203.0.113.13:80", Each(BOTH, ByNode)),
        ],
    }]
}
