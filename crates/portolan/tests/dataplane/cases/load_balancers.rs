//! Addresses that a load balancer gave.

use model::Protocol::{Tcp, Udp};
use serde_json::json;

use super::Seen::{Client, Node as ByNode};
use super::Then::{Dropped, Each, Leaves, Refused};
use super::{Case, FIRST, Section, Settings, THREE};
use crate::asking::Asker::{Elsewhere, Endpoint, Node, Outside, Pod, RemotePod};
use crate::objects::{ready, service, slice, web};

const ALL: &[&str] = &["10.244.1.2", "10.244.1.3", "10.244.2.2"];

pub fn sections() -> Vec<Section> {
    vec![addresses(), ip_mode(), source_ranges()]
}

fn addresses() -> Section {
    Section {
        feature: "LoadBalancer addresses",
        about: "The addresses in `status.loadBalancer.ingress` lead to the endpoints on every node, also for clients \
                inside the cluster. They are masqueraded, as node ports are.",
        settings: Settings::Usual,
        objects: vec![
            service("balanced", &["10.96.0.30"])
                .node_port("web", Tcp, 80, 30_100)
                .port("dns", Udp, 53)
                .at(&["198.51.100.10", "198.51.100.11"])
                .done(),
            slice(
                "balanced",
                "1",
                &[("web", Tcp, 80), ("dns", Udp, 80)],
                ALL.iter().map(|one| ready(one)).collect(),
            ),
            service("balanced-pending", &["10.96.0.31"])
                .node_port("", Tcp, 80, 30_101)
                .load_balancer(json!([]))
                .done(),
            web("balanced-pending", ALL),
            service("balanced-empty", &["10.96.0.32"]).web().at(&["198.51.100.12"]).done(),
            // From inside, a port that the Service has not is the world's matter.
            service("balanced-inside", &["10.96.0.33"]).web().at(&["198.51.100.240"]).done(),
            web("balanced-inside", &["10.244.1.2"]),
        ],
        reported: &[],
        cases: vec![
            Case(Outside, Tcp, "198.51.100.10:80", Each(THREE, ByNode)),
            Case(Outside, Udp, "198.51.100.10:53", Each(THREE, ByNode)),
            Case(Outside, Tcp, "198.51.100.11:80", Each(THREE, ByNode)),
            Case(Pod, Tcp, "198.51.100.10:80", Each(THREE, ByNode)),
            Case(Endpoint, Tcp, "198.51.100.10:80", Each(THREE, ByNode)),
            Case(Node, Tcp, "198.51.100.10:80", Each(THREE, ByNode)),
            Case(RemotePod, Tcp, "198.51.100.10:80", Each(THREE, ByNode)),
            Case(Outside, Tcp, "10.100.0.2:30100", Each(THREE, ByNode)),
            Case(Pod, Tcp, "10.96.0.30:80", Each(THREE, Client)),
            Case(Outside, Tcp, "10.100.0.2:30101", Each(THREE, ByNode)),
            Case(Outside, Tcp, "198.51.100.12:80", Refused),
            Case(Pod, Tcp, "198.51.100.12:80", Refused),
            Case(Node, Tcp, "198.51.100.12:80", Refused),
            Case(Pod, Tcp, "198.51.100.240:80", Each(FIRST, ByNode)),
            Case(Pod, Tcp, "198.51.100.240:81", Leaves),
        ],
    }
}

fn ip_mode() -> Section {
    Section {
        feature: "ipMode: Proxy",
        about: "An address whose packets the load balancer itself turns towards the nodes is no door: clients \
                inside go to the load balancer. Nor is a name.",
        settings: Settings::Usual,
        objects: vec![
            service("proxied", &["10.96.0.34"])
                .node_port("", Tcp, 80, 30_102)
                .load_balancer(json!([
                    {"ip": "198.51.100.241", "ipMode": "Proxy"},
                    {"hostname": "lb.example.com"},
                    {"ip": "198.51.100.14"},
                ]))
                .done(),
            web("proxied", ALL),
        ],
        reported: &[],
        cases: vec![
            Case(Pod, Tcp, "198.51.100.241:80", Leaves),
            Case(Node, Tcp, "198.51.100.241:80", Leaves),
            Case(Outside, Tcp, "198.51.100.14:80", Each(THREE, ByNode)),
            Case(Outside, Tcp, "10.100.0.2:30102", Each(THREE, ByNode)),
        ],
    }
}

fn source_ranges() -> Section {
    Section {
        feature: "loadBalancerSourceRanges",
        about: "Who is in none of the ranges meets silence at the load balancer's address, whether he is outside, a pod \
                or the node. The other doors stay open.",
        settings: Settings::Usual,
        objects: vec![
            service("walled", &["10.96.0.35"])
                .node_port("web", Tcp, 80, 30_103)
                .port("dns", Udp, 53)
                .at(&["198.51.100.20"])
                .external(&["203.0.113.20"])
                .with("loadBalancerSourceRanges", json!(["192.0.2.2/32", "10.244.1.4/32"]))
                .done(),
            slice(
                "walled",
                "1",
                &[("web", Tcp, 80), ("dns", Udp, 80)],
                ALL.iter().map(|one| ready(one)).collect(),
            ),
            service("walled-for-nodes", &["10.96.0.36"])
                .web()
                .at(&["198.51.100.21"])
                .with("loadBalancerSourceRanges", json!(["10.100.0.0/24"]))
                .done(),
            web("walled-for-nodes", ALL),
            service("walled-local", &["10.96.0.37"])
                .web()
                .at(&["198.51.100.22"])
                .external_local()
                .with("loadBalancerSourceRanges", json!(["192.0.2.0/31", "192.0.2.3/32"]))
                .done(),
            web("walled-local", &["10.244.1.2", "10.244.2.2"]),
        ],
        reported: &[],
        cases: vec![
            Case(Outside, Tcp, "198.51.100.20:80", Each(THREE, ByNode)),
            Case(Outside, Udp, "198.51.100.20:53", Each(THREE, ByNode)),
            Case(Elsewhere, Tcp, "198.51.100.20:80", Dropped),
            Case(Elsewhere, Udp, "198.51.100.20:53", Dropped),
            Case(Pod, Tcp, "198.51.100.20:80", Each(THREE, ByNode)),
            Case(Endpoint, Tcp, "198.51.100.20:80", Dropped),
            Case(Node, Tcp, "198.51.100.20:80", Dropped),
            Case(Elsewhere, Tcp, "10.100.0.2:30103", Each(THREE, ByNode)),
            Case(Elsewhere, Tcp, "203.0.113.20:80", Each(THREE, ByNode)),
            Case(Endpoint, Tcp, "10.96.0.35:80", Each(THREE, Client)),
            Case(Node, Tcp, "10.96.0.35:80", Each(THREE, ByNode)),
            Case(Node, Tcp, "198.51.100.21:80", Each(THREE, ByNode)),
            Case(RemotePod, Tcp, "198.51.100.21:80", Dropped),
            Case(Outside, Tcp, "198.51.100.21:80", Dropped),
            Case(Elsewhere, Tcp, "198.51.100.22:80", Each(FIRST, Client)),
            Case(Outside, Tcp, "198.51.100.22:80", Dropped),
            Case(Pod, Tcp, "198.51.100.22:80", Dropped),
        ],
    }
}
