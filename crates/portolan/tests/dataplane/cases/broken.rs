//! Objects that say what cannot be.

use model::Protocol::{Tcp, Udp};
use serde_json::{Value, json};

use super::Seen::{Client, Node as ByNode};
use super::Then::{Each, Refused};
use super::{BOTH, Case, FIRST, SECOND, Section, Settings};
use crate::asking::Asker::{Outside, Pod};
use crate::objects::{node, ready, service, slice, web};

/// As long as no name may be.
const LONG: usize = 4_000;

pub fn sections() -> Vec<Section> {
    vec![services(), endpoints()]
}

fn services() -> Section {
    let mut odd = service("odd", &["10.96.0.150"])
        .port("good", Tcp, 80)
        .port("dns", Udp, 53)
        .external(&["nowhere", "203.0.113.150", "127.0.0.1", "0.0.0.0", "169.254.0.9"])
        .with("sessionAffinity", json!("Forever"))
        .with("internalTrafficPolicy", json!("Sideways"))
        .with("healthCheckNodePort", json!(70_000))
        .load_balancer(json!([{"ip": "no address"}, {"ip": "198.51.100.150"}, {}]))
        .done();
    odd["spec"]["type"] = json!("Funnel");
    let ports = odd["spec"]["ports"].as_array_mut().unwrap();
    ports.extend([
        json!({"name": "zero", "port": 0}),
        json!({"name": "quic", "port": 443, "protocol": "QUIC"}),
        json!({"name": "far", "port": 70_000}),
        json!({"name": "half", "port": 81, "nodePort": -1}),
        json!({"name": "none"}),
    ]);
    Section {
        feature: "half-broken Services",
        about: "What makes no sense is reported and skipped: an unknown protocol, port 0, an address that is none, a \
                word that a field does not know. The rest of the object works, and all other objects.",
        settings: Settings::Usual,
        objects: vec![
            odd,
            slice(
                "odd",
                "1",
                &[
                    ("good", Tcp, 80),
                    ("dns", Udp, 80),
                    ("half", Tcp, 80),
                    ("quic", Tcp, 81),
                    ("zero", Tcp, 0),
                ],
                vec![ready("10.244.1.2"), ready("10.244.2.2")],
            ),
            service(&"n".repeat(LONG), &["10.96.0.151"]).port(&"p".repeat(LONG), Tcp, 80).done(),
            slice(&"n".repeat(LONG), "1", &[(&"p".repeat(LONG), Tcp, 80)], vec![ready("10.244.1.2")]),
            service("beside", &["10.96.0.152"]).web().done(),
            web("beside", &["10.244.1.3"]),
        ],
        reported: &[
            "spec.type",
            "spec.ports[2].port",
            "spec.ports[3].protocol",
            "spec.ports[4].port",
            "spec.ports[5].nodePort",
            "spec.ports[6].port",
            "spec.sessionAffinity",
            "spec.externalIPs[0]",
            "spec.externalIPs[2]",
            "spec.externalIPs[3]",
            "spec.externalIPs[4]",
            "status.loadBalancer.ingress[0].ip",
            "spec.internalTrafficPolicy",
            "spec.healthCheckNodePort",
            "ports[4].port",
        ],
        cases: vec![
            Case(Pod, Tcp, "10.96.0.150:80", Each(BOTH, Client)),
            Case(Pod, Udp, "10.96.0.150:53", Each(BOTH, Client)),
            Case(Pod, Tcp, "10.96.0.150:81", Each(BOTH, Client)),
            Case(Pod, Tcp, "10.96.0.150:443", Refused),
            Case(Outside, Tcp, "203.0.113.150:80", Each(BOTH, ByNode)),
            Case(Pod, Tcp, "10.96.0.152:80", Each(SECOND, Client)),
        ],
    }
}

fn endpoints() -> Section {
    let web = [("", Tcp, 80)];
    let bare = |addresses: Value| json!({"addresses": addresses, "conditions": {"ready": true}});
    let mut nameless = slice("crooked", "nameless", &web, vec![ready("10.244.2.2")]);
    nameless["metadata"]["name"] = Value::Null;
    let mut unknown = slice("crooked", "unknown", &web, vec![ready("10.244.2.2")]);
    unknown["addressType"] = json!("IPX");
    Section {
        feature: "half-broken EndpointSlices",
        about: "So are an endpoint without address, with one of the other family, or with one that means every machine \
                to itself: loopback, link-local, unspecified, multicast.",
        settings: Settings::Usual,
        objects: vec![
            node(),
            service("crooked", &["10.96.0.155"]).web().done(),
            slice(
                "crooked",
                "1",
                &web,
                vec![
                    ready("10.244.1.2"),
                    bare(json!([])),
                    bare(json!(["fd00:10:244:1::2"])),
                    bare(json!(["127.0.0.1"])),
                    bare(json!(["169.254.0.9"])),
                    bare(json!(["0.0.0.0"])),
                    bare(json!(["224.0.0.1"])),
                    bare(json!(["10.244.1.300"])),
                ],
            ),
            nameless,
            unknown,
            service("portless", &["10.96.0.156"]).web().done(),
            slice("portless", "1", &[("", Tcp, 0)], vec![ready("10.244.1.2")]),
            service("only-crooked", &["10.96.0.157"]).web().done(),
            slice("only-crooked", "1", &web, vec![bare(json!(["127.0.0.1"])), bare(json!(["169.254.0.9"]))]),
        ],
        reported: &[
            "endpoints[1].addresses[0]",
            "endpoints[2].addresses[0]",
            "endpoints[3].addresses[0]",
            "endpoints[4].addresses[0]",
            "endpoints[5].addresses[0]",
            "endpoints[6].addresses[0]",
            "endpoints[7].addresses[0]",
            "metadata.name",
            "addressType",
            "ports[0].port",
            "endpoints[0].addresses[0]",
            "endpoints[1].addresses[0]",
        ],
        cases: vec![
            Case(Pod, Tcp, "10.96.0.155:80", Each(FIRST, Client)),
            Case(Pod, Tcp, "10.96.0.156:80", Refused),
            Case(Pod, Tcp, "10.96.0.157:80", Refused),
        ],
    }
}
