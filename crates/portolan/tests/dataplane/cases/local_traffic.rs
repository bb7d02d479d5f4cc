//! Whose traffic counts as a pod's, and what is masqueraded.

use model::Protocol::Tcp;

use super::Seen::{Client, Node as ByNode};
use super::Then::{Dropped, Each, Straight};
use super::{BOTH, Case, FIRST, Section, Settings, THERE, THREE};
use crate::asking::Asker::{Endpoint, Node, Outside, Pod, RemotePod};
use crate::objects::{node, service, slice, web};

pub fn sections() -> Vec<Section> {
    vec![masquerade_all(), unknown(), by_bridge(), by_prefix()]
}

/// Endpoints everywhere, and one endpoint alone; with policy Local one here and one there, and one there alone.
fn objects() -> Vec<serde_json::Value> {
    vec![
        node(),
        service("wide", &["10.96.0.130", "fd00:10:96::130"]).web().done(),
        web("wide", &["10.244.1.2", "10.244.1.3", "10.244.2.2"]),
        slice("wide", "v6", &[("", Tcp, 80)], vec![crate::objects::ready("fd00:10:244:1::2")]),
        service("one", &["10.96.0.131"]).node_port("", Tcp, 80, 30_230).done(),
        web("one", &["10.244.1.2"]),
        service("near", &["10.96.0.132"])
            .node_port("", Tcp, 80, 30_231)
            .at(&["198.51.100.130"])
            .external_local()
            .done(),
        web("near", &["10.244.1.2", "10.244.2.2"]),
        service("far", &["10.96.0.133"])
            .node_port("", Tcp, 80, 30_232)
            .at(&["198.51.100.131"])
            .external_local()
            .done(),
        web("far", &["10.244.2.2"]),
    ]
}

fn masquerade_all() -> Section {
    Section {
        feature: "--masquerade-all",
        about: "Every connection to a virtual address is masqueraded, pods' too. Doors to the outside do as ever.",
        settings: Settings::MasqueradeAll,
        objects: objects(),
        reported: &[],
        cases: vec![
            Case(Pod, Tcp, "10.96.0.130:80", Each(THREE, ByNode)),
            Case(Endpoint, Tcp, "10.96.0.130:80", Each(THREE, ByNode)),
            Case(Node, Tcp, "10.96.0.130:80", Each(THREE, ByNode)),
            Case(RemotePod, Tcp, "10.96.0.130:80", Each(THREE, ByNode)),
            Case(Pod, Tcp, "[fd00:10:96::130]:80", Each(super::FIRST_V6, ByNode)),
            Case(Outside, Tcp, "198.51.100.130:80", Each(FIRST, Client)),
            Case(Pod, Tcp, "198.51.100.130:80", Each(BOTH, Client)),
            Case(Pod, Tcp, "10.244.1.2:80", Straight("10.244.1.2:80", Client)),
        ],
    }
}

fn unknown() -> Section {
    Section {
        feature: "no cluster CIDR",
        about: "Nobody is masqueraded at a virtual address for where he comes from, and pods have no way around a Local \
                policy. The node itself has one, for it knows its own addresses.",
        settings: Settings::PodsUnknown,
        objects: objects(),
        reported: &[],
        cases: vec![
            Case(Pod, Tcp, "10.96.0.130:80", Each(THREE, Client)),
            Case(Endpoint, Tcp, "10.96.0.130:80", Each(THREE, Client)),
            Case(Node, Tcp, "10.96.0.130:80", Each(THREE, Client)),
            Case(Outside, Tcp, "10.96.0.131:80", Each(FIRST, Client)),
            Case(Pod, Tcp, "[fd00:10:96::130]:80", Each(super::FIRST_V6, Client)),
            Case(Outside, Tcp, "10.100.0.2:30230", Each(FIRST, ByNode)),
            Case(Outside, Tcp, "198.51.100.130:80", Each(FIRST, Client)),
            Case(Pod, Tcp, "198.51.100.130:80", Each(FIRST, Client)),
            Case(Pod, Tcp, "198.51.100.131:80", Dropped),
            Case(Node, Tcp, "198.51.100.131:80", Each(THERE, ByNode)),
        ],
    }
}

fn by_bridge() -> Section {
    Section {
        feature: "pods by bridge interface",
        about: "Pods are those whose packets come from the bridge: pods of other nodes are strangers.",
        settings: Settings::PodsByBridge,
        objects: objects(),
        reported: &[],
        cases: by_interface(),
    }
}

fn by_prefix() -> Section {
    Section {
        feature: "pods by interface prefix",
        about: "Pods are those whose packets come from an interface of such a name.",
        settings: Settings::PodsByPrefix,
        objects: objects(),
        reported: &[],
        cases: by_interface(),
    }
}

fn by_interface() -> Vec<Case> {
    vec![
        Case(Pod, Tcp, "10.96.0.130:80", Each(THREE, Client)),
        Case(Endpoint, Tcp, "10.96.0.130:80", Each(THREE, Client)),
        Case(Node, Tcp, "10.96.0.130:80", Each(THREE, ByNode)),
        Case(RemotePod, Tcp, "10.96.0.130:80", Each(THREE, ByNode)),
        Case(Pod, Tcp, "[fd00:10:96::130]:80", Each(super::FIRST_V6, Client)),
        Case(Node, Tcp, "[fd00:10:96::130]:80", Each(super::FIRST_V6, ByNode)),
        Case(Pod, Tcp, "198.51.100.130:80", Each(BOTH, Client)),
        Case(RemotePod, Tcp, "10.100.0.2:30231", Each(FIRST, Client)),
        Case(RemotePod, Tcp, "10.100.0.2:30232", Dropped),
        Case(Pod, Tcp, "10.100.0.2:30232", Each(THERE, Client)),
        Case(Node, Tcp, "198.51.100.131:80", Each(THERE, ByNode)),
    ]
}
