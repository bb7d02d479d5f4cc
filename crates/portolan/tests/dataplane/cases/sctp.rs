//! SCTP.

use model::Protocol::{Sctp, Tcp};

use super::Seen::{Client, Node as ByNode};
use super::Then::{Each, Refused};
use super::{Case, HERE, Section, Settings};
use crate::asking::Asker::{Node, Outside, Pod};
use crate::objects::{ready, service, slice};

pub fn sections() -> Vec<Section> {
    vec![Section {
        feature: "SCTP (asked by the tracer alone)",
        about: "As TCP, where the kernel has it. The tests need no such kernel: these cases are asked by \
                the tracer alone.",
        settings: Settings::Usual,
        objects: vec![
            service("signals", &["10.96.0.120"])
                .node_port("", Sctp, 2905, 30_290)
                .at(&["198.51.100.120"])
                .done(),
            slice("signals", "1", &[("", Sctp, 80)], ["10.244.1.2", "10.244.1.3"].map(ready).to_vec()),
            service("signals-empty", &["10.96.0.121"]).port("", Sctp, 2905).done(),
        ],
        reported: &[],
        cases: vec![
            Case(Pod, Sctp, "10.96.0.120:2905", Each(HERE, Client)),
            Case(Node, Sctp, "10.96.0.120:2905", Each(HERE, ByNode)),
            Case(Outside, Sctp, "10.100.0.2:30290", Each(HERE, ByNode)),
            Case(Outside, Sctp, "198.51.100.120:2905", Each(HERE, ByNode)),
            Case(Pod, Sctp, "10.96.0.121:2905", Refused),
            Case(Pod, Tcp, "10.96.0.120:2905", Refused),
        ],
    }]
}
