//! EndpointSlice of discovery.k8s.io.

use std::net::{Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use serde_json::Value;

use super::endpoints::{PROTOCOLS, endpoint_address, first_of, port_number};
use super::field::{self, Seen, fill, items, list, member, objects};
use super::names::{Rule, dns1123_label, dns1123_subdomain, label_value};
use super::strategy::Rules;
use super::table::{self, Column};
use crate::status::Cause;

/// Endpoints of one slice.
const MAX_ENDPOINTS: usize = 1000;
/// Addresses of one endpoint.
const MAX_ADDRESSES: usize = 100;
/// Ports of one slice.
const MAX_PORTS: usize = 20_000;
const ADDRESS_TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];

pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::text("AddressType"),
    Column::text("Ports"),
    Column::text("Endpoints"),
    Column::AGE,
];

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let ports = list(object, "ports").iter().map(|port| match port.get("port").and_then(Value::as_i64) {
        Some(number) => number.to_string(),
        None if member(port, "name").is_empty() => "*".to_owned(),
        None => member(port, "name").to_owned(),
    });
    let addresses = list(object, "endpoints").iter().flat_map(|endpoint| list(endpoint, "addresses"));
    let addresses = addresses.filter_map(Value::as_str).map(ToOwned::to_owned);
    vec![
        table::name(object),
        member(object, "addressType").into(),
        first_of(&ports.collect::<Vec<_>>(), "<unset>").into(),
        first_of(&addresses.collect::<Vec<_>>(), "<unset>").into(),
        table::age(object, now),
    ]
}

/// EndpointSlice's rules.
pub(super) struct EndpointSlice;

impl Rules for EndpointSlice {
    fn default(&self, object: &mut Value) {
        let Some(map) = object.as_object_mut() else { return };
        for port in objects(map, "ports") {
            port.entry("name").or_insert_with(|| Value::from(""));
            fill(port, "protocol", "TCP");
        }
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        let kind = member(object, "addressType");
        match kind {
            "" => causes.push(Cause::required("addressType", "")),
            _ if !ADDRESS_TYPES.contains(&kind) => {
                causes.push(Cause::not_supported("addressType", &Value::from(kind), ADDRESS_TYPES));
            }
            _ => {}
        }
        let endpoints = items(object, "/endpoints");
        too_many(endpoints.len(), MAX_ENDPOINTS, "endpoints", causes);
        for (index, endpoint) in endpoints.iter().enumerate().take(MAX_ENDPOINTS) {
            validate_endpoint(endpoint, kind, &format!("endpoints[{index}]"), causes);
        }
        let ports = items(object, "/ports");
        too_many(ports.len(), MAX_PORTS, "ports", causes);
        let mut names = Seen::new();
        for (index, port) in ports.iter().enumerate().take(MAX_PORTS) {
            let (path, name) = (format!("ports[{index}]"), member(port, "name"));
            if names.again(name) {
                causes.push(Cause::duplicate(format!("{path}.name"), &Value::from(name)));
            }
            if !name.is_empty() {
                let wrong = dns1123_label(name).into_iter();
                causes.extend(
                    wrong.map(|wrong| Cause::invalid(format!("{path}.name"), &Value::from(name), wrong)),
                );
            }
            if port.get("port").is_some() {
                port_number(port, "port", &path, causes);
            }
            field::one_of(port, "protocol", &path, PROTOCOLS, causes);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
        field::immutable(new, old, "/addressType", causes);
    }
}

fn too_many(count: usize, max: usize, path: &str, causes: &mut Vec<Cause>) {
    if count > max {
        let message = format!("Too many: {count}: must have at most {max} items");
        causes.push(Cause::new("FieldValueTooMany", path, message));
    }
}

fn validate_endpoint(endpoint: &Value, kind: &str, path: &str, causes: &mut Vec<Cause>) {
    let addresses = list(endpoint, "addresses");
    if addresses.is_empty() {
        causes.push(Cause::required(format!("{path}.addresses"), "must contain at least 1 address"));
    }
    too_many(addresses.len(), MAX_ADDRESSES, &format!("{path}.addresses"), causes);
    for (index, value) in addresses.iter().enumerate() {
        let (path, text) = (format!("{path}.addresses[{index}]"), value.as_str().unwrap_or_default());
        match kind {
            "IPv4" if text.parse::<Ipv4Addr>().is_err() => {
                causes.push(Cause::invalid(path, value, "must be a valid IPv4 address"));
            }
            "IPv6" if text.parse::<Ipv6Addr>().is_err() => {
                causes.push(Cause::invalid(path, value, "must be a valid IPv6 address"));
            }
            "IPv4" | "IPv6" => endpoint_address(text, &path, causes),
            "FQDN" => {
                let wrong = dns1123_subdomain(text.strip_suffix('.').unwrap_or(text)).into_iter();
                causes.extend(wrong.map(|wrong| Cause::invalid(&*path, value, wrong)));
            }
            _ => {}
        }
    }
    for (key, rule) in
        [("hostname", dns1123_label as Rule), ("nodeName", dns1123_subdomain), ("zone", label_value)]
    {
        if let Some(value) = endpoint.get(key) {
            let wrong = rule(value.as_str().unwrap_or_default()).into_iter();
            causes.extend(wrong.map(|wrong| Cause::invalid(format!("{path}.{key}"), value, wrong)));
        }
    }
}
