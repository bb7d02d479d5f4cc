//! `externalTrafficPolicy` and `internalTrafficPolicy`.

use model::Protocol::{Tcp, Udp};
use serde_json::json;

use super::Seen::{Client, Node as ByNode};
use super::Then::{Dropped, Each, Refused, Straight};
use super::{BOTH, Case, FIRST, Section, Settings, THERE};
use crate::asking::Asker::{Elsewhere, Endpoint, Node, Outside, Pod, RemotePod};
use crate::objects::{ready, service, slice, web};

pub fn sections() -> Vec<Section> {
    vec![external_here(), external_elsewhere(), external_nowhere(), internal(), both()]
}

const WEB_AND_DNS: [(&str, model::Protocol, u16); 2] = [("web", Tcp, 80), ("dns", Udp, 80)];

fn external_here() -> Section {
    Section {
        feature: "externalTrafficPolicy: Local, endpoint here",
        about: "Clients outside get the endpoints of this node alone, which see their addresses. For pods and for the \
                node it is as if the traffic had gone out to the load balancer and come back by any node: they get \
                every endpoint, pods unmasqueraded. The health check port belongs to whoever answers health checks.",
        settings: Settings::Usual,
        objects: vec![
            service("near", &["10.96.0.50"])
                .node_port("web", Tcp, 80, 30_140)
                .node_port("dns", Udp, 53, 30_141)
                .at(&["198.51.100.40"])
                .external(&["203.0.113.40"])
                .external_local()
                .with("healthCheckNodePort", json!(30_990))
                .done(),
            slice("near", "1", &WEB_AND_DNS, vec![ready("10.244.1.2"), ready("10.244.2.2")]),
        ],
        reported: &[],
        cases: vec![
            Case(Outside, Tcp, "198.51.100.40:80", Each(FIRST, Client)),
            Case(Outside, Udp, "198.51.100.40:53", Each(FIRST, Client)),
            Case(Outside, Tcp, "203.0.113.40:80", Each(FIRST, Client)),
            Case(Outside, Tcp, "10.100.0.2:30140", Each(FIRST, Client)),
            Case(Outside, Udp, "10.100.0.2:30141", Each(FIRST, Client)),
            Case(Elsewhere, Tcp, "10.100.0.22:30140", Each(FIRST, Client)),
            Case(Pod, Tcp, "198.51.100.40:80", Each(BOTH, Client)),
            Case(Pod, Tcp, "10.100.0.2:30140", Each(BOTH, Client)),
            Case(Endpoint, Tcp, "198.51.100.40:80", Each(BOTH, Client)),
            Case(Node, Tcp, "198.51.100.40:80", Each(BOTH, ByNode)),
            Case(Node, Tcp, "10.100.0.2:30140", Each(BOTH, ByNode)),
            Case(Pod, Tcp, "10.96.0.50:80", Each(BOTH, Client)),
            Case(Node, Tcp, "10.96.0.50:80", Each(BOTH, ByNode)),
            Case(Outside, Tcp, "10.96.0.50:80", Each(BOTH, ByNode)),
            Case(Outside, Tcp, "10.100.0.2:30990", Straight("10.100.0.2:30990", Client)),
        ],
    }
}

fn external_elsewhere() -> Section {
    Section {
        feature: "externalTrafficPolicy: Local, endpoints elsewhere only",
        about: "Clients outside meet silence: the load balancer is to try another node. Pods and the node get through.",
        settings: Settings::Usual,
        objects: vec![
            service("far", &["10.96.0.51"])
                .node_port("web", Tcp, 80, 30_142)
                .node_port("dns", Udp, 53, 30_143)
                .at(&["198.51.100.41"])
                .external(&["203.0.113.41"])
                .external_local()
                .done(),
            slice("far", "1", &WEB_AND_DNS, vec![ready("10.244.2.2")]),
        ],
        reported: &[],
        cases: vec![
            Case(Outside, Tcp, "198.51.100.41:80", Dropped),
            Case(Outside, Udp, "198.51.100.41:53", Dropped),
            Case(Outside, Tcp, "203.0.113.41:80", Dropped),
            Case(Outside, Tcp, "10.100.0.2:30142", Dropped),
            Case(Outside, Udp, "10.100.0.2:30143", Dropped),
            Case(Pod, Tcp, "198.51.100.41:80", Each(THERE, Client)),
            Case(Pod, Tcp, "10.100.0.2:30142", Each(THERE, Client)),
            Case(Pod, Udp, "10.100.0.2:30143", Each(THERE, Client)),
            Case(Node, Tcp, "198.51.100.41:80", Each(THERE, ByNode)),
            Case(Node, Tcp, "10.100.0.2:30142", Each(THERE, ByNode)),
            Case(Pod, Tcp, "10.96.0.51:80", Each(THERE, Client)),
        ],
    }
}

fn external_nowhere() -> Section {
    Section {
        feature: "externalTrafficPolicy: Local, no endpoint",
        about: "Nobody serves anywhere: refused at once, as with any other policy.",
        settings: Settings::Usual,
        objects: vec![
            service("nowhere", &["10.96.0.52"])
                .node_port("web", Tcp, 80, 30_144)
                .node_port("dns", Udp, 53, 30_145)
                .at(&["198.51.100.42"])
                .external(&["203.0.113.42"])
                .external_local()
                .done(),
        ],
        reported: &[],
        cases: vec![
            Case(Outside, Tcp, "198.51.100.42:80", Refused),
            Case(Outside, Udp, "198.51.100.42:53", Refused),
            Case(Outside, Tcp, "10.100.0.2:30144", Refused),
            Case(Outside, Udp, "10.100.0.2:30145", Refused),
            Case(Pod, Tcp, "198.51.100.42:80", Refused),
            Case(Pod, Tcp, "203.0.113.42:80", Refused),
            Case(Node, Tcp, "198.51.100.42:80", Refused),
            Case(Node, Tcp, "10.100.0.2:30144", Refused),
        ],
    }
}

fn internal() -> Section {
    Section {
        feature: "internalTrafficPolicy: Local",
        about: "Behind the virtual address are the endpoints of this node alone. With endpoints on other nodes only \
                there is silence, with none anywhere a refusal. Doors to the outside are not concerned.",
        settings: Settings::Usual,
        objects: vec![
            service("inner", &["10.96.0.53"]).node_port("", Tcp, 80, 30_146).internal_local().done(),
            web("inner", &["10.244.1.2", "10.244.2.2"]),
            service("inner-far", &["10.96.0.54"])
                .node_port("web", Tcp, 80, 30_147)
                .port("dns", Udp, 53)
                .at(&["198.51.100.44"])
                .internal_local()
                .done(),
            slice("inner-far", "1", &WEB_AND_DNS, vec![ready("10.244.2.2")]),
            service("inner-nowhere", &["10.96.0.55"]).web().internal_local().done(),
        ],
        reported: &[],
        cases: vec![
            Case(Pod, Tcp, "10.96.0.53:80", Each(FIRST, Client)),
            Case(Endpoint, Tcp, "10.96.0.53:80", Each(FIRST, Client)),
            Case(Node, Tcp, "10.96.0.53:80", Each(FIRST, ByNode)),
            Case(RemotePod, Tcp, "10.96.0.53:80", Each(FIRST, Client)),
            Case(Outside, Tcp, "10.96.0.53:80", Each(FIRST, ByNode)),
            Case(Outside, Tcp, "10.100.0.2:30146", Each(BOTH, ByNode)),
            Case(Pod, Tcp, "10.96.0.54:80", Dropped),
            Case(Pod, Udp, "10.96.0.54:53", Dropped),
            Case(Node, Tcp, "10.96.0.54:80", Dropped),
            Case(Node, Udp, "10.96.0.54:53", Dropped),
            Case(Outside, Tcp, "10.96.0.54:80", Dropped),
            Case(Outside, Tcp, "10.100.0.2:30147", Each(THERE, ByNode)),
            Case(Pod, Tcp, "198.51.100.44:80", Each(THERE, ByNode)),
            Case(Pod, Tcp, "10.96.0.55:80", Refused),
            Case(Node, Tcp, "10.96.0.55:80", Refused),
        ],
    }
}

fn both() -> Section {
    Section {
        feature: "both policies Local",
        about: "Each of the two for its own doors; pods and the node have every endpoint behind the outer ones all the \
                same.",
        settings: Settings::Usual,
        objects: vec![
            service("strict", &["10.96.0.56"])
                .node_port("", Tcp, 80, 30_148)
                .at(&["198.51.100.45"])
                .external_local()
                .internal_local()
                .done(),
            web("strict", &["10.244.2.2"]),
        ],
        reported: &[],
        cases: vec![
            Case(Pod, Tcp, "10.96.0.56:80", Dropped),
            Case(Outside, Tcp, "198.51.100.45:80", Dropped),
            Case(Outside, Tcp, "10.100.0.2:30148", Dropped),
            Case(Pod, Tcp, "198.51.100.45:80", Each(THERE, Client)),
            Case(Node, Tcp, "198.51.100.45:80", Each(THERE, ByNode)),
        ],
    }
}
