//! ServiceCIDR and IPAddress of networking.k8s.io. They are kept and checked; the ranges that addresses are given from
//! are those that the server was started with.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::field::{self, items, member};
use super::strategy::Rules;
use super::table::{self, Column};
use crate::status::Cause;

pub(super) const COLUMNS: &[Column] = &[Column::NAME, Column::text("CIDRs"), Column::AGE];

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let ranges: Vec<&str> = items(object, "/spec/cidrs").iter().filter_map(Value::as_str).collect();
    vec![table::name(object), ranges.join(",").into(), table::age(object, now)]
}

/// ServiceCIDR's rules.
pub(super) struct ServiceCidr;

impl Rules for ServiceCidr {
    fn fresh_status(&self) -> Option<Value> {
        Some(json!({}))
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        let ranges = items(object, "/spec/cidrs");
        if ranges.is_empty() {
            causes.push(Cause::required("spec.cidrs", "at least one CIDR required"));
        }
        if ranges.len() > 2 {
            let detail = "may only hold up to 2 values";
            causes.push(Cause::invalid("spec.cidrs", &Value::from(ranges), detail));
        }
        let mut families = Vec::new();
        for (index, range) in ranges.iter().enumerate() {
            let path = format!("spec.cidrs[{index}]");
            match range.as_str().and_then(|text| text.parse::<IpNet>().ok()) {
                None => {
                    let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
                    causes.push(Cause::invalid(path, range, detail));
                }
                Some(parsed) if parsed.trunc() != parsed => {
                    let detail =
                        format!("must not have bits set beyond the prefix length: {}", parsed.trunc());
                    causes.push(Cause::invalid(path, range, detail));
                }
                Some(parsed) => families.push(parsed.addr().is_ipv4()),
            }
        }
        if matches!(families.as_slice(), [one, other] if one == other) {
            let detail = "may specify no more than one IP for each IP family";
            causes.push(Cause::invalid("spec.cidrs", &Value::from(ranges), detail));
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
        field::immutable(new, old, "/spec/cidrs", causes);
    }
}

pub(super) const ADDRESS_COLUMNS: &[Column] = &[Column::NAME, Column::text("ParentRef"), Column::AGE];

pub(super) fn address_row(object: &Value, now: Timestamp) -> Vec<Value> {
    let parent = object.pointer("/spec/parentRef").unwrap_or(&Value::Null);
    let parts = ["group", "resource", "namespace", "name"].map(|key| member(parent, key));
    let [group, resource, namespace, name] = parts;
    let resource = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
    let path: Vec<&str> = [&*resource, namespace, name].into_iter().filter(|part| !part.is_empty()).collect();
    vec![table::name(object), path.join("/").into(), table::age(object, now)]
}

/// An IPAddress is named after the address in its canonical form.
pub(super) fn address_name(name: &str, _prefix: bool) -> Vec<String> {
    match name.parse::<IpAddr>() {
        Ok(address) if address.to_string() == name => Vec::new(),
        Ok(_) => vec!["must be a valid IP address in canonical form".to_owned()],
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
    }
}

/// IPAddress's rules.
pub(super) struct IpAddress;

impl Rules for IpAddress {
    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        let Some(parent) = object.pointer("/spec/parentRef") else {
            return causes.push(Cause::required("spec.parentRef", ""));
        };
        for key in ["resource", "name"] {
            if member(parent, key).is_empty() {
                causes.push(Cause::required(format!("spec.parentRef.{key}"), ""));
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
        field::immutable(new, old, "/spec/parentRef", causes);
    }
}
