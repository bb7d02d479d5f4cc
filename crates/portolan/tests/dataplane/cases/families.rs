//! IPv6, and both families together.

use model::Protocol::{Tcp, Udp};
use serde_json::json;

use super::Seen::{Client, Node as ByNode};
use super::Then::{Dropped, Each, Leaves, One, Refused, Straight};
use super::{Case, FIRST, FIRST_V6, HERE_V6, Section, Settings, THREE, THREE_V6};
use crate::asking::Asker::{Elsewhere, Endpoint, Loopback, Node, Outside, Pod, RemotePod};
use crate::objects::{ready, service, slice};

const ALL_V6: [&str; 3] = ["fd00:10:244:1::2", "fd00:10:244:1::3", "fd00:10:244:2::2"];
const BOTH_V6: &[&str] = &["[fd00:10:244:1::2]:80", "[fd00:10:244:2::2]:80"];
const THERE_V6: &[&str] = &["[fd00:10:244:2::2]:80"];

pub fn sections() -> Vec<Section> {
    vec![inside(), outer_doors(), policies(), dual_stack()]
}

fn web(service: &str, endpoints: &[&str]) -> serde_json::Value {
    let endpoints = endpoints.iter().map(|address| ready(address)).collect();
    slice(service, "v6", &[("", Tcp, 80)], endpoints)
}

fn inside() -> Section {
    Section {
        feature: "IPv6: ClusterIP",
        about: "As in IPv4.",
        settings: Settings::Usual,
        objects: vec![
            service("six", &["fd00:10:96::6"]).port("web", Tcp, 8080).port("dns", Udp, 53).done(),
            slice("six", "1", &[("web", Tcp, 80), ("dns", Udp, 80)], ALL_V6.map(ready).to_vec()),
            service("six-single", &["fd00:10:96::7"]).web().done(),
            web("six-single", &ALL_V6[..1]),
            service("six-empty", &["fd00:10:96::8"]).port("web", Tcp, 80).port("dns", Udp, 53).done(),
            service("six-sticky", &["fd00:10:96::9"]).web().remembers().done(),
            web("six-sticky", &ALL_V6),
        ],
        reported: &[],
        cases: vec![
            Case(Pod, Tcp, "[fd00:10:96::6]:8080", Each(THREE_V6, Client)),
            Case(Pod, Udp, "[fd00:10:96::6]:53", Each(THREE_V6, Client)),
            Case(Endpoint, Tcp, "[fd00:10:96::6]:8080", Each(THREE_V6, Client)),
            Case(Node, Tcp, "[fd00:10:96::6]:8080", Each(THREE_V6, ByNode)),
            Case(Node, Udp, "[fd00:10:96::6]:53", Each(THREE_V6, ByNode)),
            Case(Outside, Tcp, "[fd00:10:96::6]:8080", Each(THREE_V6, ByNode)),
            Case(Endpoint, Tcp, "[fd00:10:96::7]:80", Each(FIRST_V6, Client)),
            Case(RemotePod, Tcp, "[fd00:10:96::7]:80", Each(FIRST_V6, Client)),
            Case(Pod, Tcp, "[fd00:10:96::8]:80", Refused),
            Case(Pod, Udp, "[fd00:10:96::8]:53", Refused),
            Case(Node, Tcp, "[fd00:10:96::8]:80", Refused),
            Case(Pod, Tcp, "[fd00:10:96::6]:81", Refused),
            Case(Pod, Tcp, "[fd00:10:96::9]:80", One(THREE_V6, Client)),
            Case(Pod, Tcp, "[fd00:10:97::1]:80", Leaves),
            Case(Pod, Tcp, "[fd00:10:244:1::2]:80", Straight("[fd00:10:244:1::2]:80", Client)),
        ],
    }
}

fn outer_doors() -> Section {
    Section {
        feature: "IPv6: node ports, load balancers, externalIPs",
        about: "As in IPv4.",
        settings: Settings::Usual,
        objects: vec![
            service("six-outside", &["fd00:10:96::20"])
                .node_port("web", Tcp, 80, 30_220)
                .node_port("dns", Udp, 53, 30_221)
                .at(&["2001:db8:1::10"])
                .external(&["2001:db8:3::10"])
                .done(),
            slice("six-outside", "1", &[("web", Tcp, 80), ("dns", Udp, 80)], ALL_V6.map(ready).to_vec()),
            service("six-walled", &["fd00:10:96::21"])
                .web()
                .at(&["2001:db8:1::11"])
                .with("loadBalancerSourceRanges", json!(["2001:db8:2::2/128"]))
                .done(),
            web("six-walled", &ALL_V6),
        ],
        reported: &[],
        cases: vec![
            Case(Outside, Tcp, "[fd00:10:100::2]:30220", Each(THREE_V6, ByNode)),
            Case(Outside, Udp, "[fd00:10:100::2]:30221", Each(THREE_V6, ByNode)),
            Case(Outside, Tcp, "[fd00:10:100::22]:30220", Each(THREE_V6, ByNode)),
            Case(Pod, Tcp, "[fd00:10:100::2]:30220", Each(THREE_V6, ByNode)),
            Case(Node, Tcp, "[fd00:10:100::2]:30220", Each(THREE_V6, ByNode)),
            Case(Loopback, Tcp, "[::1]:30220", Straight("[::1]:30220", Client)),
            Case(Outside, Tcp, "[2001:db8:1::10]:80", Each(THREE_V6, ByNode)),
            Case(Pod, Tcp, "[2001:db8:1::10]:80", Each(THREE_V6, ByNode)),
            Case(Node, Tcp, "[2001:db8:1::10]:80", Each(THREE_V6, ByNode)),
            Case(Outside, Tcp, "[2001:db8:3::10]:80", Each(THREE_V6, ByNode)),
            Case(Outside, Udp, "[2001:db8:3::10]:53", Each(THREE_V6, ByNode)),
            Case(Outside, Tcp, "[2001:db8:1::11]:80", Each(THREE_V6, ByNode)),
            Case(Elsewhere, Tcp, "[2001:db8:1::11]:80", Dropped),
        ],
    }
}

fn policies() -> Section {
    Section {
        feature: "IPv6: traffic policies",
        about: "As in IPv4.",
        settings: Settings::Usual,
        objects: vec![
            service("six-near", &["fd00:10:96::30"])
                .node_port("", Tcp, 80, 30_222)
                .at(&["2001:db8:1::12"])
                .external_local()
                .internal_local()
                .done(),
            web("six-near", &["fd00:10:244:1::2", "fd00:10:244:2::2"]),
            service("six-far", &["fd00:10:96::31"])
                .node_port("", Tcp, 80, 30_223)
                .at(&["2001:db8:1::13"])
                .external_local()
                .internal_local()
                .done(),
            web("six-far", &["fd00:10:244:2::2"]),
        ],
        reported: &[],
        cases: vec![
            Case(Outside, Tcp, "[2001:db8:1::12]:80", Each(FIRST_V6, Client)),
            Case(Outside, Tcp, "[fd00:10:100::2]:30222", Each(FIRST_V6, Client)),
            Case(Pod, Tcp, "[2001:db8:1::12]:80", Each(BOTH_V6, Client)),
            Case(Node, Tcp, "[2001:db8:1::12]:80", Each(BOTH_V6, ByNode)),
            Case(Pod, Tcp, "[fd00:10:96::30]:80", Each(FIRST_V6, Client)),
            Case(Outside, Tcp, "[2001:db8:1::13]:80", Dropped),
            Case(Outside, Tcp, "[fd00:10:100::2]:30223", Dropped),
            Case(Pod, Tcp, "[fd00:10:96::31]:80", Dropped),
            Case(Pod, Tcp, "[2001:db8:1::13]:80", Each(THERE_V6, Client)),
        ],
    }
}

fn dual_stack() -> Section {
    Section {
        feature: "dual stack",
        about: "A Service has an address and slices in each family, and what is missing in one does not matter to the \
                other. Its node port is one in the families that it has.",
        settings: Settings::Usual,
        objects: vec![
            service("dual", &["10.96.0.110", "fd00:10:96::110"])
                .node_port("", Tcp, 80, 30_210)
                .external(&["203.0.113.110", "2001:db8:3::110"])
                .done(),
            slice(
                "dual",
                "v4",
                &[("", Tcp, 80)],
                ["10.244.1.2", "10.244.1.3", "10.244.2.2"].map(ready).to_vec(),
            ),
            web("dual", &["fd00:10:244:1::2", "fd00:10:244:1::3"]),
            service("dual-half", &["fd00:10:96::111", "10.96.0.111"]).node_port("", Tcp, 80, 30_211).done(),
            slice("dual-half", "v4", &[("", Tcp, 80)], vec![ready("10.244.1.2")]),
            // An address of a family that the Service is not of opens no door.
            service("four", &["10.96.0.112"])
                .node_port("", Tcp, 80, 30_212)
                .external(&["203.0.113.112", "2001:db8:4::112"])
                .done(),
            slice("four", "v4", &[("", Tcp, 80)], vec![ready("10.244.1.2")]),
            web("four", &["fd00:10:244:1::2"]),
        ],
        reported: &[],
        cases: vec![
            Case(Pod, Tcp, "10.96.0.110:80", Each(THREE, Client)),
            Case(Pod, Tcp, "[fd00:10:96::110]:80", Each(HERE_V6, Client)),
            Case(Outside, Tcp, "10.100.0.2:30210", Each(THREE, ByNode)),
            Case(Outside, Tcp, "[fd00:10:100::2]:30210", Each(HERE_V6, ByNode)),
            Case(Outside, Tcp, "203.0.113.110:80", Each(THREE, ByNode)),
            Case(Outside, Tcp, "[2001:db8:3::110]:80", Each(HERE_V6, ByNode)),
            Case(Pod, Tcp, "10.96.0.111:80", Each(FIRST, Client)),
            Case(Pod, Tcp, "[fd00:10:96::111]:80", Refused),
            Case(Outside, Tcp, "10.100.0.2:30211", Each(FIRST, ByNode)),
            Case(Outside, Tcp, "[fd00:10:100::2]:30211", Refused),
            Case(Outside, Tcp, "203.0.113.112:80", Each(FIRST, ByNode)),
            Case(Pod, Tcp, "[2001:db8:4::112]:80", Leaves),
            Case(Outside, Tcp, "[fd00:10:100::2]:30212", Straight("[fd00:10:100::2]:30212", Client)),
        ],
    }
}
