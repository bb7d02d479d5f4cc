//! Virtual addresses inside the cluster, and Services that have none.

use model::Protocol::{Tcp, Udp};
use serde_json::json;

use super::Seen::{Client, Node as ByNode};
use super::Then::{Each, Leaves, Refused, Straight};
use super::{Case, FIRST, Section, Settings, THREE};
use crate::asking::Asker::{Endpoint, Node, OtherEndpoint, Outside, Pod, RemotePod};
use crate::objects::{endpoint, node, ready, service, slice, web};

const THREE_81: &[&str] = &["10.244.1.2:81", "10.244.1.3:81", "10.244.2.2:81"];

pub fn sections() -> Vec<Section> {
    vec![virtual_addresses(), hairpin(), several_ports(), nobody(), no_selector(), no_address(), not_ours()]
}

fn three() -> Vec<serde_json::Value> {
    ["10.244.1.2", "10.244.1.3", "10.244.2.2"].map(ready).to_vec()
}

fn virtual_addresses() -> Section {
    Section {
        feature: "ClusterIP",
        about: "Every endpoint gets its share. A pod keeps its address; whoever is no pod is masqueraded, so that \
                the answers come back by this node.",
        settings: Settings::Usual,
        objects: vec![
            node(),
            service("httpd-svc", &["10.96.0.6"]).port("web", Tcp, 8080).port("dns", Udp, 53).done(),
            slice("httpd-svc", "1", &[("web", Tcp, 80), ("dns", Udp, 80)], three()),
        ],
        reported: &[],
        cases: vec![
            Case(Pod, Tcp, "10.96.0.6:8080", Each(THREE, Client)),
            Case(Pod, Udp, "10.96.0.6:53", Each(THREE, Client)),
            Case(Endpoint, Tcp, "10.96.0.6:8080", Each(THREE, Client)),
            Case(Endpoint, Udp, "10.96.0.6:53", Each(THREE, Client)),
            Case(OtherEndpoint, Tcp, "10.96.0.6:8080", Each(THREE, Client)),
            Case(Node, Tcp, "10.96.0.6:8080", Each(THREE, ByNode)),
            Case(Node, Udp, "10.96.0.6:53", Each(THREE, ByNode)),
            Case(Outside, Tcp, "10.96.0.6:8080", Each(THREE, ByNode)),
            Case(Outside, Udp, "10.96.0.6:53", Each(THREE, ByNode)),
        ],
    }
}

fn hairpin() -> Section {
    Section {
        feature: "a pod that meets itself",
        about: "A pod that is its Service's only endpoint gets through to itself.",
        settings: Settings::Usual,
        objects: vec![
            service("single", &["10.96.0.7"]).port("web", Tcp, 8080).port("dns", Udp, 53).done(),
            slice("single", "1", &[("web", Tcp, 80), ("dns", Udp, 80)], vec![ready("10.244.1.2")]),
        ],
        reported: &[],
        cases: vec![
            Case(Endpoint, Tcp, "10.96.0.7:8080", Each(FIRST, Client)),
            Case(Endpoint, Udp, "10.96.0.7:53", Each(FIRST, Client)),
            Case(Pod, Tcp, "10.96.0.7:8080", Each(FIRST, Client)),
            Case(RemotePod, Tcp, "10.96.0.7:8080", Each(FIRST, Client)),
            Case(RemotePod, Udp, "10.96.0.7:53", Each(FIRST, Client)),
        ],
    }
}

fn several_ports() -> Section {
    Section {
        feature: "several ports, named target ports",
        about: "Each port for itself, TCP and UDP of one number too; a target port that is a name is resolved by each \
                slice.",
        settings: Settings::Usual,
        objects: vec![
            service("several", &["10.96.0.8"])
                .port("web", Tcp, 80)
                .port("admin", Tcp, 81)
                .port("udp", Udp, 81)
                .done(),
            slice("several", "1", &[("web", Tcp, 80), ("admin", Tcp, 81), ("udp", Udp, 80)], three()),
            service("named", &["10.96.0.9"]).port("web", Tcp, 8080).done(),
            slice("named", "old", &[("web", Tcp, 80)], vec![ready("10.244.1.2")]),
            slice("named", "new", &[("web", Tcp, 81)], vec![ready("10.244.1.3")]),
        ],
        reported: &[],
        cases: vec![
            Case(Pod, Tcp, "10.96.0.8:80", Each(THREE, Client)),
            Case(Pod, Tcp, "10.96.0.8:81", Each(THREE_81, Client)),
            Case(Pod, Udp, "10.96.0.8:81", Each(THREE, Client)),
            Case(Node, Tcp, "10.96.0.8:81", Each(THREE_81, ByNode)),
            Case(Pod, Tcp, "10.96.0.9:8080", Each(&["10.244.1.2:80", "10.244.1.3:81"], Client)),
            Case(Node, Tcp, "10.96.0.9:8080", Each(&["10.244.1.2:80", "10.244.1.3:81"], ByNode)),
        ],
    }
}

fn nobody() -> Section {
    Section {
        feature: "nobody serves",
        about: "A Service without endpoints, and a virtual address at a port that it does not have, refuse at once.",
        settings: Settings::Usual,
        objects: vec![
            service("empty", &["10.96.0.10"])
                .node_port("web", Tcp, 8080, 30_001)
                .node_port("dns", Udp, 53, 30_054)
                .done(),
            service("other-ports", &["10.96.0.11"]).port("web", Tcp, 80).done(),
            // A port of another name leads nowhere.
            slice("other-ports", "1", &[("admin", Tcp, 81)], three()),
        ],
        reported: &[],
        cases: vec![
            Case(Pod, Tcp, "10.96.0.10:8080", Refused),
            Case(Pod, Udp, "10.96.0.10:53", Refused),
            Case(Node, Tcp, "10.96.0.10:8080", Refused),
            Case(Node, Udp, "10.96.0.10:53", Refused),
            Case(Outside, Tcp, "10.96.0.10:8080", Refused),
            Case(Outside, Tcp, "10.100.0.2:30001", Refused),
            Case(Outside, Udp, "10.100.0.2:30054", Refused),
            Case(Node, Tcp, "10.100.0.2:30001", Refused),
            Case(Node, Udp, "10.100.0.2:30054", Refused),
            Case(Pod, Tcp, "10.96.0.11:80", Refused),
            Case(Pod, Tcp, "10.96.0.6:81", Refused),
            Case(Pod, Udp, "10.96.0.6:8080", Refused),
            Case(Node, Tcp, "10.96.0.6:81", Refused),
            Case(Node, Udp, "10.96.0.6:8080", Refused),
            Case(Outside, Tcp, "10.96.0.6:81", Refused),
        ],
    }
}

fn no_selector() -> Section {
    Section {
        feature: "Services without selector",
        about: "Endpoints may be anybody: a machine beyond the router, or a node itself.",
        settings: Settings::Usual,
        objects: vec![
            service("elsewhere", &["10.96.0.12"]).web().done(),
            slice(
                "elsewhere",
                "by-hand",
                &[("", Tcp, 8080)],
                vec![endpoint("192.0.2.2", json!({"ready": true}))],
            ),
            service("host-network", &["10.96.0.13"]).web().done(),
            slice("host-network", "1", &[("", Tcp, 6443)], vec![ready("10.100.0.2")]),
        ],
        reported: &[],
        cases: vec![
            Case(Node, Tcp, "10.96.0.12:80", Each(&["192.0.2.2:8080"], ByNode)),
            Case(Outside, Tcp, "10.96.0.12:80", Each(&["192.0.2.2:8080"], ByNode)),
            Case(Pod, Tcp, "10.96.0.13:80", Each(&["10.100.0.2:6443"], Client)),
            Case(RemotePod, Tcp, "10.96.0.13:80", Each(&["10.100.0.2:6443"], Client)),
        ],
    }
}

fn no_address() -> Section {
    const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
    Section {
        feature: "headless, ExternalName, another proxy's",
        about: "Services that no proxy of this kind serves, by none of their addresses.",
        settings: Settings::Usual,
        objects: vec![
            service("headless", &[]).web().external(&["203.0.113.230"]).done(),
            web("headless", &["10.244.1.2"]),
            service("alias", &[])
                .web()
                .with("type", json!("ExternalName"))
                .with("externalName", json!("www.example.com"))
                .external(&["203.0.113.231"])
                .done(),
            service("foreign", &["10.97.0.2"])
                .node_port("", Tcp, 80, 30_002)
                .label(PROXY_NAME, "another")
                .external(&["203.0.113.232"])
                .done(),
            web("foreign", &["10.244.1.2"]),
        ],
        reported: &[],
        cases: vec![
            Case(Pod, Tcp, "203.0.113.230:80", Leaves),
            Case(Pod, Tcp, "203.0.113.231:80", Leaves),
            Case(Pod, Tcp, "203.0.113.232:80", Leaves),
            Case(Pod, Tcp, "10.97.0.2:80", Leaves),
            Case(Node, Tcp, "10.97.0.2:80", Leaves),
            Case(Outside, Tcp, "10.100.0.2:30002", Straight("10.100.0.2:30002", Client)),
        ],
    }
}

fn not_ours() -> Section {
    Section {
        feature: "none of our business",
        about: "Straight to a pod, an address that no Service has, another node, the world.",
        settings: Settings::Usual,
        objects: vec![],
        reported: &[],
        cases: vec![
            Case(Pod, Tcp, "10.244.1.2:80", Straight("10.244.1.2:80", Client)),
            Case(Outside, Tcp, "10.244.1.2:80", Straight("10.244.1.2:80", Client)),
            Case(Node, Udp, "10.244.2.2:80", Straight("10.244.2.2:80", Client)),
            Case(Pod, Tcp, "10.97.0.1:8080", Leaves),
            Case(Pod, Udp, "10.97.0.1:53", Leaves),
            Case(Node, Tcp, "10.97.0.1:8080", Leaves),
            Case(Pod, Tcp, "192.0.2.2:8080", Straight("192.0.2.2:8080", ByNode)),
        ],
    }
}
