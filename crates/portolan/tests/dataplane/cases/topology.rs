//! Hints of endpoints. node1 is in the zone `east`, node2 in `west`.

use model::Protocol::Tcp;
use serde_json::{Value, json};

use super::Seen::{Client, Node as ByNode};
use super::Then::Each;
use super::{BOTH, Case, FIRST, HERE, Section, Settings, THERE, THREE};
use crate::asking::Asker::{Node, Outside, Pod};
use crate::objects::{draining, for_nodes, for_zones, ready, service, slice, unready};

pub fn sections() -> Vec<Section> {
    vec![zones(), nodes()]
}

fn web(service: &str, endpoints: Vec<Value>) -> Value {
    slice(service, "1", &[("", Tcp, 80)], endpoints)
}

fn zones() -> Section {
    let east = |address: &str| for_zones(ready(address), &["east"]);
    let west = |address: &str| for_zones(ready(address), &["west"]);
    Section {
        feature: "topology hints: zones (trafficDistribution)",
        about: "When every ready endpoint names zones and one names ours, those of our zone serve; else all do. What is \
                behind a door for this node's endpoints alone is not chosen by zone.",
        settings: Settings::Usual,
        objects: vec![
            service("zoned", &["10.96.0.80"])
                .node_port("", Tcp, 80, 30_180)
                .with("trafficDistribution", json!("PreferClose"))
                .done(),
            web("zoned", vec![east("10.244.1.2"), east("10.244.1.3"), west("10.244.2.2")]),
            service("half-zoned", &["10.96.0.81"]).web().done(),
            web("half-zoned", vec![east("10.244.1.2"), ready("10.244.1.3"), west("10.244.2.2")]),
            service("other-zones", &["10.96.0.82"]).web().done(),
            web("other-zones", vec![west("10.244.1.2"), for_zones(ready("10.244.2.2"), &["west", "north"])]),
            service("two-zones", &["10.96.0.83"]).web().done(),
            web(
                "two-zones",
                vec![
                    east("10.244.1.2"),
                    west("10.244.1.3"),
                    for_zones(ready("10.244.2.2"), &["west", "east"]),
                ],
            ),
            // Neither of those that are not ready is asked for its hint.
            service("zoned-unready", &["10.96.0.84"]).web().done(),
            web(
                "zoned-unready",
                vec![east("10.244.1.2"), unready("10.244.1.3"), west("10.244.2.2"), draining("10.244.2.3")],
            ),
            service("zoned-draining", &["10.96.0.85"]).web().done(),
            web(
                "zoned-draining",
                vec![
                    for_zones(draining("10.244.1.2"), &["east"]),
                    for_zones(draining("10.244.2.2"), &["west"]),
                ],
            ),
            service("zoned-local", &["10.96.0.86"]).web().at(&["198.51.100.80"]).external_local().done(),
            web("zoned-local", vec![west("10.244.1.2"), east("10.244.2.2")]),
        ],
        reported: &[],
        cases: vec![
            Case(Pod, Tcp, "10.96.0.80:80", Each(HERE, Client)),
            Case(Node, Tcp, "10.96.0.80:80", Each(HERE, ByNode)),
            Case(Outside, Tcp, "10.100.0.2:30180", Each(HERE, ByNode)),
            Case(Pod, Tcp, "10.96.0.81:80", Each(THREE, Client)),
            Case(Pod, Tcp, "10.96.0.82:80", Each(BOTH, Client)),
            Case(Pod, Tcp, "10.96.0.83:80", Each(BOTH, Client)),
            Case(Pod, Tcp, "10.96.0.84:80", Each(FIRST, Client)),
            Case(Pod, Tcp, "10.96.0.85:80", Each(BOTH, Client)),
            Case(Pod, Tcp, "10.96.0.86:80", Each(THERE, Client)),
            Case(Outside, Tcp, "198.51.100.80:80", Each(FIRST, Client)),
            Case(Pod, Tcp, "198.51.100.80:80", Each(THERE, Client)),
        ],
    }
}

fn nodes() -> Section {
    let on = |address: &str, node: &str| for_nodes(ready(address), &[node]);
    Section {
        feature: "topology hints: nodes (PreferSameNode)",
        about: "When every ready endpoint names nodes and one names ours, it serves; else the zones decide.",
        settings: Settings::Usual,
        objects: vec![
            service("by-node", &["10.96.0.87"])
                .node_port("", Tcp, 80, 30_181)
                .with("trafficDistribution", json!("PreferSameNode"))
                .done(),
            web("by-node", vec![on("10.244.1.2", "node1"), on("10.244.2.2", "node2")]),
            service("half-by-node", &["10.96.0.88"]).web().done(),
            web("half-by-node", vec![on("10.244.1.2", "node1"), ready("10.244.2.2")]),
            service("by-other-nodes", &["10.96.0.89"]).web().done(),
            web("by-other-nodes", vec![on("10.244.1.2", "node2"), on("10.244.2.2", "node3")]),
            service("node-then-zone", &["10.96.0.90"]).web().done(),
            web(
                "node-then-zone",
                vec![
                    for_zones(on("10.244.1.2", "node2"), &["west"]),
                    for_zones(on("10.244.2.2", "node2"), &["east"]),
                ],
            ),
        ],
        reported: &[],
        cases: vec![
            Case(Pod, Tcp, "10.96.0.87:80", Each(FIRST, Client)),
            Case(Node, Tcp, "10.96.0.87:80", Each(FIRST, ByNode)),
            Case(Outside, Tcp, "10.100.0.2:30181", Each(FIRST, ByNode)),
            Case(Pod, Tcp, "10.96.0.88:80", Each(BOTH, Client)),
            Case(Pod, Tcp, "10.96.0.89:80", Each(BOTH, Client)),
            Case(Pod, Tcp, "10.96.0.90:80", Each(THERE, Client)),
        ],
    }
}
