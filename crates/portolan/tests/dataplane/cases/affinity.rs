//! `sessionAffinity: ClientIP`.

use model::Protocol::{Tcp, Udp};

use super::Seen::{Client, Node as ByNode};
use super::Then::{One, Refused};
use super::{Case, HERE, Section, Settings, THREE};
use crate::asking::Asker::{Elsewhere, Endpoint, Node, Outside, Pod};
use crate::objects::{ready, service, slice, web};

pub fn sections() -> Vec<Section> {
    let three = ["10.244.1.2", "10.244.1.3", "10.244.2.2"];
    vec![Section {
        feature: "sessionAffinity: ClientIP",
        about: "A client stays with the endpoint that it met first, by whichever door it comes.",
        settings: Settings::Usual,
        objects: vec![
            service("sticky", &["10.96.0.100"])
                .node_port("web", Tcp, 80, 30_200)
                .port("dns", Udp, 53)
                .at(&["198.51.100.100"])
                .external(&["203.0.113.100"])
                .remembers()
                .done(),
            slice("sticky", "1", &[("web", Tcp, 80), ("dns", Udp, 80)], three.map(ready).to_vec()),
            service("sticky-local", &["10.96.0.101"])
                .node_port("", Tcp, 80, 30_201)
                .at(&["198.51.100.101"])
                .external_local()
                .remembers()
                .done(),
            web("sticky-local", &three),
            service("sticky-empty", &["10.96.0.102"]).web().remembers().done(),
        ],
        reported: &[],
        cases: vec![
            Case(Pod, Tcp, "10.96.0.100:80", One(THREE, Client)),
            Case(Pod, Udp, "10.96.0.100:53", One(THREE, Client)),
            Case(Endpoint, Tcp, "10.96.0.100:80", One(THREE, Client)),
            Case(Node, Tcp, "10.96.0.100:80", One(THREE, ByNode)),
            Case(Outside, Tcp, "10.100.0.2:30200", One(THREE, ByNode)),
            Case(Outside, Tcp, "198.51.100.100:80", One(THREE, ByNode)),
            Case(Elsewhere, Tcp, "203.0.113.100:80", One(THREE, ByNode)),
            Case(Outside, Tcp, "198.51.100.101:80", One(HERE, Client)),
            Case(Elsewhere, Tcp, "10.100.0.2:30201", One(HERE, Client)),
            Case(Pod, Tcp, "198.51.100.101:80", One(THREE, Client)),
            Case(Pod, Tcp, "10.96.0.102:80", Refused),
        ],
    }]
}
