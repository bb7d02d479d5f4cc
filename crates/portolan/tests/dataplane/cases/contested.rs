//! Doors that more than one Service claims.

use model::Protocol::Tcp;

use super::Seen::{Client, Node as ByNode};
use super::Then::{Each, Refused};
use super::{Case, FIRST, Section, Settings, THERE};
use crate::asking::Asker::{Outside, Pod};
use crate::objects::{service, web};

pub fn sections() -> Vec<Section> {
    vec![Section {
        feature: "two Services claim one door",
        about: "The first in order of their names has it, whatever came first; the other keeps its other doors.",
        settings: Settings::Usual,
        objects: vec![
            service("claim-a", &["10.96.0.140"])
                .node_port("", Tcp, 80, 30_240)
                .external(&["203.0.113.140"])
                .done(),
            web("claim-a", &["10.244.1.2"]),
            service("claim-b", &["10.96.0.141"])
                .node_port("", Tcp, 80, 30_240)
                .external(&["203.0.113.140", "203.0.113.141"])
                .done(),
            web("claim-b", &["10.244.2.2"]),
            // An address may lead to several Services by different ports.
            service("claim-c", &["10.96.0.142"]).port("", Tcp, 8081).external(&["203.0.113.140"]).done(),
            web("claim-c", &["10.244.2.2"]),
            // The load balancer's address of one is the external address of the other.
            service("claim-d", &["10.96.0.143"]).web().external(&["198.51.100.145"]).done(),
            web("claim-d", &["10.244.1.2"]),
            service("claim-e", &["10.96.0.144"]).web().at(&["198.51.100.145"]).done(),
            web("claim-e", &["10.244.2.2"]),
            // The same virtual address; nobody serves behind the one that has it.
            service("claim-f", &["10.96.0.145"]).web().done(),
            service("claim-g", &["10.96.0.145"]).web().done(),
            web("claim-g", &["10.244.2.2"]),
        ],
        reported: &[],
        cases: vec![
            Case(Outside, Tcp, "10.100.0.2:30240", Each(FIRST, ByNode)),
            Case(Outside, Tcp, "203.0.113.140:80", Each(FIRST, ByNode)),
            Case(Outside, Tcp, "203.0.113.141:80", Each(THERE, ByNode)),
            Case(Outside, Tcp, "203.0.113.140:8081", Each(THERE, ByNode)),
            Case(Pod, Tcp, "10.96.0.140:80", Each(FIRST, Client)),
            Case(Pod, Tcp, "10.96.0.141:80", Each(THERE, Client)),
            Case(Outside, Tcp, "198.51.100.145:80", Each(FIRST, ByNode)),
            Case(Pod, Tcp, "10.96.0.144:80", Each(THERE, Client)),
            Case(Pod, Tcp, "10.96.0.145:80", Refused),
        ],
    }]
}
