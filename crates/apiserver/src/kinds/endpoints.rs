//! Endpoints.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::Value;

use super::field::{fill, items, list, member, objects};
use super::names::{NO_ADDRESS, PORT_RANGE, dns1123_label};
use super::strategy::Rules;
use super::table::{self, Column};
use crate::status::Cause;

/// Protocols of a port, in the order in which Kubernetes lists them.
pub(super) const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
/// Addresses that are shown in a row; the rest is counted.
const SHOWN: usize = 3;

pub(super) const COLUMNS: &[Column] = &[Column::NAME, Column::text("Endpoints"), Column::AGE];

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut shown = Vec::new();
    for subset in list(object, "subsets") {
        let addresses = list(subset, "addresses").iter().map(|address| member(address, "ip"));
        let ports = list(subset, "ports");
        if ports.is_empty() {
            shown.extend(addresses.map(ToOwned::to_owned));
            continue;
        }
        for port in ports {
            let port = port.get("port").and_then(Value::as_i64).unwrap_or_default();
            let joined = addresses
                .clone()
                .map(|ip| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") });
            shown.extend(joined);
        }
    }
    vec![table::name(object), first_of(&shown, "<none>").into(), table::age(object, now)]
}

/// The first few, and how many more there are.
pub(super) fn first_of(all: &[String], empty: &str) -> String {
    match all {
        [] => empty.to_owned(),
        _ if all.len() <= SHOWN => all.join(","),
        _ => format!("{} + {} more...", all[..SHOWN].join(","), all.len() - SHOWN),
    }
}

/// Endpoints' rules.
pub(super) struct Endpoints;

impl Rules for Endpoints {
    fn default(&self, object: &mut Value) {
        let Some(map) = object.as_object_mut() else { return };
        for subset in objects(map, "subsets") {
            for port in objects(subset, "ports") {
                fill(port, "protocol", "TCP");
            }
        }
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        for (index, subset) in items(object, "/subsets").iter().enumerate() {
            validate_subset(subset, &format!("subsets[{index}]"), causes);
        }
    }
}

fn validate_subset(subset: &Value, path: &str, causes: &mut Vec<Cause>) {
    if list(subset, "addresses").is_empty() && list(subset, "notReadyAddresses").is_empty() {
        causes.push(Cause::required(path, "must specify `addresses` or `notReadyAddresses`"));
    }
    for part in ["addresses", "notReadyAddresses"] {
        for (index, address) in list(subset, part).iter().enumerate() {
            let path = format!("{path}.{part}[{index}]");
            endpoint_address(member(address, "ip"), &format!("{path}.ip"), causes);
            let hostname = member(address, "hostname");
            if !hostname.is_empty() {
                let wrong = dns1123_label(hostname).into_iter();
                causes.extend(
                    wrong.map(|wrong| {
                        Cause::invalid(format!("{path}.hostname"), &Value::from(hostname), wrong)
                    }),
                );
            }
        }
    }
    let ports = list(subset, "ports");
    for (index, port) in ports.iter().enumerate() {
        let path = format!("{path}.ports[{index}]");
        let name = member(port, "name");
        if name.is_empty() && ports.len() > 1 {
            causes.push(Cause::required(format!("{path}.name"), ""));
        }
        if !name.is_empty() {
            let wrong = dns1123_label(name).into_iter();
            causes
                .extend(wrong.map(|wrong| Cause::invalid(format!("{path}.name"), &Value::from(name), wrong)));
        }
        port_number(port, "port", &path, causes);
        super::field::one_of(port, "protocol", &path, PROTOCOLS, causes);
    }
}

/// A port between 1 and 65535; an absent one counts as 0.
pub(super) fn port_number(object: &Value, key: &str, path: &str, causes: &mut Vec<Cause>) {
    let port = object.get(key).and_then(Value::as_i64).unwrap_or_default();
    if !(1..=65535).contains(&port) {
        causes.push(Cause::invalid(format!("{path}.{key}"), &Value::from(port), PORT_RANGE));
    }
}

/// An address that traffic may be sent to.
pub(super) fn endpoint_address(text: &str, path: &str, causes: &mut Vec<Cause>) {
    let value = Value::from(text);
    let Ok(address) = text.parse::<IpAddr>() else {
        causes.push(Cause::invalid(path, &value, NO_ADDRESS));
        return;
    };
    if address.is_unspecified() {
        causes.push(Cause::invalid(path, &value, "may not be unspecified (0.0.0.0 or ::)"));
    }
    if address.is_loopback() {
        causes.push(Cause::invalid(path, &value, "may not be in the loopback range (127.0.0.0/8, ::1/128)"));
    }
    let (link_local, multicast) = match address {
        IpAddr::V4(address) => (address.is_link_local(), address.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(address) => (address.is_unicast_link_local(), address.segments()[0] == 0xff02),
    };
    if link_local {
        causes.push(Cause::invalid(
            path,
            &value,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        ));
    }
    if multicast {
        let detail = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
        causes.push(Cause::invalid(path, &value, detail));
    }
}
