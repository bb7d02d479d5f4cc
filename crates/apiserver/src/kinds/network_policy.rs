//! NetworkPolicy of networking.k8s.io. It is kept and checked; nothing enforces it.

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::endpoints::{PROTOCOLS, port_number};
use super::field::{self, fill, list, member, objects};
use super::names::port_name;
use super::strategy::Rules;
use super::table::{self, Column};
use super::workload::label_selector;
use crate::status::Cause;

const TYPES: &[&str] = &["Egress", "Ingress"];

pub(super) const COLUMNS: &[Column] = &[Column::NAME, Column::text("Pod-Selector"), Column::AGE];

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![table::name(object), table::selector(object.pointer("/spec/podSelector")), table::age(object, now)]
}

/// NetworkPolicy's rules.
pub(super) struct NetworkPolicy;

impl Rules for NetworkPolicy {
    fn default(&self, object: &mut Value) {
        let Some(spec) = field::spec(object) else { return };
        field::object(spec, "podSelector");
        for direction in ["ingress", "egress"] {
            for rule in objects(spec, direction) {
                for port in objects(rule, "ports") {
                    fill(port, "protocol", "TCP");
                }
            }
        }
        let given = spec.get("policyTypes").and_then(Value::as_array).is_some_and(|types| !types.is_empty());
        if !given {
            let has_egress =
                spec.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
            let types = if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
            field::set(spec, "policyTypes", types);
        }
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        if let Some(selector) = spec.get("podSelector") {
            label_selector(selector, "spec.podSelector", causes);
        }
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            for (index, rule) in list(spec, direction).iter().enumerate() {
                let path = format!("spec.{direction}[{index}]");
                for (index, port) in list(rule, "ports").iter().enumerate() {
                    validate_port(port, &format!("{path}.ports[{index}]"), causes);
                }
                for (index, peer) in list(rule, peers).iter().enumerate() {
                    validate_peer(peer, &format!("{path}.{peers}[{index}]"), causes);
                }
            }
        }
        let types = list(spec, "policyTypes");
        if types.len() > 2 {
            let detail = "may not specify more than two policyTypes";
            causes.push(Cause::invalid("spec.policyTypes", &Value::from(types), detail));
        }
        for (index, kind) in types.iter().enumerate() {
            if !kind.as_str().is_some_and(|kind| TYPES.contains(&kind)) {
                causes.push(Cause::not_supported(format!("spec.policyTypes[{index}]"), kind, TYPES));
            }
        }
    }
}

fn validate_port(port: &Value, path: &str, causes: &mut Vec<Cause>) {
    field::one_of(port, "protocol", path, PROTOCOLS, causes);
    let (number, end) = (port.get("port"), port.get("endPort"));
    match number {
        Some(Value::String(name)) => {
            let wrong = port_name(name).into_iter();
            causes.extend(
                wrong.map(|wrong| Cause::invalid(format!("{path}.port"), &Value::from(&**name), wrong)),
            );
        }
        Some(_) => port_number(port, "port", path, causes),
        None => {}
    }
    match (number.and_then(Value::as_i64), end) {
        (_, None) => {}
        (Some(first), Some(end)) if end.as_i64() < Some(first) => {
            let detail = "must be greater than or equal to `port`";
            causes.push(Cause::invalid(format!("{path}.endPort"), end, detail));
        }
        (Some(_), Some(_)) => port_number(port, "endPort", path, causes),
        (None, Some(end)) => {
            let detail = "may not be specified when `port` is not specified or is a name";
            causes.push(Cause::invalid(format!("{path}.endPort"), end, detail));
        }
    }
}

fn validate_peer(peer: &Value, path: &str, causes: &mut Vec<Cause>) {
    let selectors = ["podSelector", "namespaceSelector"];
    for key in selectors {
        if let Some(selector) = peer.get(key) {
            label_selector(selector, &format!("{path}.{key}"), causes);
        }
    }
    let selects = selectors.iter().any(|key| peer.get(key).is_some());
    match peer.get("ipBlock") {
        Some(_) if selects => {
            let detail = "may not specify both ipBlock and another peer";
            causes.push(Cause::forbidden(path, detail));
        }
        Some(block) => validate_block(block, &format!("{path}.ipBlock"), causes),
        None if selects => {}
        None => causes.push(Cause::required(path, "must specify a peer")),
    }
}

fn validate_block(block: &Value, path: &str, causes: &mut Vec<Cause>) {
    const NO_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    let whole = member(block, "cidr");
    let Ok(range) = whole.parse::<IpNet>() else {
        return causes.push(Cause::invalid(format!("{path}.cidr"), &Value::from(whole), NO_CIDR));
    };
    for (index, except) in list(block, "except").iter().enumerate() {
        let path = format!("{path}.except[{index}]");
        match except.as_str().and_then(|text| text.parse::<IpNet>().ok()) {
            None => causes.push(Cause::invalid(path, except, NO_CIDR)),
            Some(inner) if !range.contains(&inner) || inner == range => {
                let detail = format!("must be a strict subset of `cidr`: {whole}");
                causes.push(Cause::invalid(path, except, detail));
            }
            Some(_) => {}
        }
    }
}
