//! Conditions of endpoints.

use model::Protocol::Tcp;
use serde_json::{Value, json};

use super::Seen::{Client, Node as ByNode};
use super::Then::{Dropped, Each, Refused};
use super::{BOTH, Case, FIRST, SECOND, Section, Settings, THERE};
use crate::asking::Asker::{Node, Outside, Pod};
use crate::objects::{draining, endpoint, leaving, ready, service, slice, unready};

pub fn sections() -> Vec<Section> {
    vec![conditions(), terminating_and_local(), published(), several_slices()]
}

fn web(service: &str, endpoints: Vec<Value>) -> Value {
    slice(service, "1", &[("", Tcp, 80)], endpoints)
}

fn conditions() -> Section {
    Section {
        feature: "ready, serving, terminating",
        about: "Ready endpoints serve. When there is none, those do that are going and still serve (KEP-1669). A \
                condition that is not given means ready.",
        settings: Settings::Usual,
        objects: vec![
            service("some-ready", &["10.96.0.60"]).web().done(),
            web("some-ready", vec![ready("10.244.1.2"), unready("10.244.1.3"), draining("10.244.2.2")]),
            service("all-draining", &["10.96.0.61"]).node_port("", Tcp, 80, 30_160).done(),
            web("all-draining", vec![unready("10.244.1.2"), draining("10.244.1.3"), leaving("10.244.2.2")]),
            service("all-leaving", &["10.96.0.62"]).web().done(),
            web("all-leaving", vec![leaving("10.244.1.2"), unready("10.244.1.3")]),
            service("no-conditions", &["10.96.0.63"]).web().done(),
            web(
                "no-conditions",
                vec![endpoint("10.244.1.2", json!({})), endpoint("10.244.2.2", Value::Null)],
            ),
        ],
        reported: &[],
        cases: vec![
            Case(Pod, Tcp, "10.96.0.60:80", Each(FIRST, Client)),
            Case(Pod, Tcp, "10.96.0.61:80", Each(SECOND, Client)),
            Case(Node, Tcp, "10.96.0.61:80", Each(SECOND, ByNode)),
            Case(Outside, Tcp, "10.100.0.2:30160", Each(SECOND, ByNode)),
            Case(Pod, Tcp, "10.96.0.62:80", Refused),
            Case(Pod, Tcp, "10.96.0.63:80", Each(BOTH, Client)),
        ],
    }
}

fn terminating_and_local() -> Section {
    Section {
        feature: "terminating endpoints and Local",
        about: "A node whose last endpoints are going serves the outside by them until they are gone, so that nothing \
                is lost before the load balancer turns away; inside, ready endpoints of other nodes take over.",
        settings: Settings::Usual,
        objects: vec![
            service("last-here", &["10.96.0.64"])
                .node_port("", Tcp, 80, 30_161)
                .at(&["198.51.100.60"])
                .external_local()
                .done(),
            web("last-here", vec![draining("10.244.1.2"), ready("10.244.2.2")]),
            service("gone-here", &["10.96.0.65"]).web().at(&["198.51.100.61"]).external_local().done(),
            web("gone-here", vec![leaving("10.244.1.2"), ready("10.244.2.2")]),
            service("last-there", &["10.96.0.66"]).web().at(&["198.51.100.62"]).external_local().done(),
            web("last-there", vec![unready("10.244.1.2"), draining("10.244.2.2")]),
            service("last-inside", &["10.96.0.67"]).web().internal_local().done(),
            web("last-inside", vec![draining("10.244.1.2"), ready("10.244.2.2")]),
            service("one-of-two", &["10.96.0.68"]).web().at(&["198.51.100.63"]).external_local().done(),
            web("one-of-two", vec![draining("10.244.1.2"), ready("10.244.1.3"), ready("10.244.2.2")]),
        ],
        reported: &[],
        cases: vec![
            Case(Outside, Tcp, "198.51.100.60:80", Each(FIRST, Client)),
            Case(Outside, Tcp, "10.100.0.2:30161", Each(FIRST, Client)),
            Case(Pod, Tcp, "198.51.100.60:80", Each(THERE, Client)),
            Case(Pod, Tcp, "10.96.0.64:80", Each(THERE, Client)),
            Case(Outside, Tcp, "198.51.100.61:80", Dropped),
            Case(Pod, Tcp, "198.51.100.61:80", Each(THERE, Client)),
            Case(Outside, Tcp, "198.51.100.62:80", Dropped),
            Case(Pod, Tcp, "198.51.100.62:80", Each(THERE, Client)),
            Case(Pod, Tcp, "10.96.0.67:80", Each(FIRST, Client)),
            Case(Outside, Tcp, "198.51.100.63:80", Each(SECOND, Client)),
        ],
    }
}

fn published() -> Section {
    Section {
        feature: "publishNotReadyAddresses",
        about: "Such a Service's endpoints are told as ready whatever their pods say, and so they serve: also when they \
                are going.",
        settings: Settings::Usual,
        objects: vec![
            service("published", &["10.96.0.69"]).web().with("publishNotReadyAddresses", json!(true)).done(),
            web(
                "published",
                vec![
                    endpoint("10.244.1.2", json!({"ready": true, "serving": false, "terminating": false})),
                    endpoint("10.244.2.2", json!({"ready": true, "serving": false, "terminating": true})),
                ],
            ),
        ],
        reported: &[],
        cases: vec![
            Case(Pod, Tcp, "10.96.0.69:80", Each(BOTH, Client)),
            Case(Node, Tcp, "10.96.0.69:80", Each(BOTH, ByNode)),
        ],
    }
}

fn several_slices() -> Section {
    Section {
        feature: "an endpoint in several slices",
        about: "It counts once, with its best condition: the API moves endpoints from slice to slice.",
        settings: Settings::Usual,
        objects: vec![
            service("moved", &["10.96.0.70"]).web().done(),
            slice("moved", "old", &[("", Tcp, 80)], vec![unready("10.244.1.2"), ready("10.244.2.2")]),
            slice("moved", "new", &[("", Tcp, 80)], vec![ready("10.244.1.2"), unready("10.244.1.3")]),
        ],
        reported: &[],
        cases: vec![
            Case(Pod, Tcp, "10.96.0.70:80", Each(BOTH, Client)),
            Case(Node, Tcp, "10.96.0.70:80", Each(BOTH, ByNode)),
        ],
    }
}
