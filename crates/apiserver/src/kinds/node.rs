//! Node.

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::field::{self, flag, items, member, set, text, texts};
use super::names::qualified_name;
use super::strategy::Rules;
use super::table::{self, Column};
use crate::status::Cause;

const TAINT_EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "PreferNoSchedule"];

pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::text("Status"),
    Column::text("Roles"),
    Column::AGE,
    Column::text("Version"),
    Column::text("Internal-IP").wide(),
    Column::text("External-IP").wide(),
    Column::text("OS-Image").wide(),
    Column::text("Kernel-Version").wide(),
    Column::text("Container-Runtime").wide(),
];

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let info = |key: &str| match text(object, &format!("/status/nodeInfo/{key}")) {
        "" => Value::from("<unknown>"),
        known => known.into(),
    };
    vec![
        table::name(object),
        status(object).into(),
        table::or_none(roles(object)),
        table::age(object, now),
        text(object, "/status/nodeInfo/kubeletVersion").into(),
        table::or_none(address(object, "InternalIP")),
        table::or_none(address(object, "ExternalIP")),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn status(object: &Value) -> String {
    let ready =
        items(object, "/status/conditions").iter().find(|condition| member(condition, "type") == "Ready");
    let ready = match ready.map(|condition| member(condition, "status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = if flag(object, "/spec/unschedulable") { ",SchedulingDisabled" } else { "" };
    format!("{ready}{cordoned}")
}

fn roles(object: &Value) -> String {
    let roles = texts(object, "/metadata/labels").filter_map(|(key, value)| match key.split_once('/') {
        Some(("node-role.kubernetes.io", role)) if !role.is_empty() => Some(role),
        Some(("kubernetes.io", "role")) if !value.is_empty() => Some(value),
        _ => None,
    });
    roles.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",")
}

fn address<'a>(object: &'a Value, kind: &str) -> &'a str {
    let found = items(object, "/status/addresses").iter().find(|address| member(address, "type") == kind);
    found.map(|address| member(address, "address")).unwrap_or_default()
}

/// Node's rules.
pub(super) struct Node;

impl Rules for Node {
    /// `podCIDR` is the first of `podCIDRs`; what can be given to pods is the capacity unless said otherwise.
    fn default(&self, object: &mut Value) {
        let first = text(object, "/spec/podCIDRs/0").to_owned();
        let single = text(object, "/spec/podCIDR").to_owned();
        let allocatable = match object.pointer("/status/allocatable") {
            None => object.pointer("/status/capacity").cloned(),
            Some(_) => None,
        };
        let Some(map) = object.as_object_mut() else { return };
        if let Some(spec) = field::object(map, "spec") {
            match (first.is_empty(), single.is_empty()) {
                (true, false) => set(spec, "podCIDRs", json!([single])),
                (false, true) => set(spec, "podCIDR", first),
                _ => {}
            }
        }
        if let (Some(capacity), Some(status)) = (allocatable, field::object(map, "status")) {
            set(status, "allocatable", capacity);
        }
    }

    /// Nodes register themselves with their status.
    fn reset_for_create(&self, _object: &mut Value) {}

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        let ranges = items(object, "/spec/podCIDRs");
        for (index, range) in ranges.iter().enumerate() {
            if range.as_str().is_none_or(|range| range.parse::<IpNet>().is_err()) {
                let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
                causes.push(Cause::invalid(format!("spec.podCIDRs[{index}]"), range, detail));
            }
        }
        if ranges.first().is_some_and(|first| first.as_str() != Some(text(object, "/spec/podCIDR"))) {
            let detail = "must match the first element of `podCIDRs`";
            causes.push(Cause::invalid("spec.podCIDR", &Value::from(text(object, "/spec/podCIDR")), detail));
        }
        for (index, taint) in items(object, "/spec/taints").iter().enumerate() {
            let (path, key) = (format!("spec.taints[{index}]"), member(taint, "key"));
            let wrong = qualified_name(key).into_iter();
            causes.extend(wrong.map(|wrong| Cause::invalid(format!("{path}.key"), &Value::from(key), wrong)));
            field::one_of(taint, "effect", &path, TAINT_EFFECTS, causes);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
        let before = items(old, "/spec/podCIDRs");
        if !before.is_empty() && before != items(new, "/spec/podCIDRs") {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            causes.push(Cause::forbidden("spec.podCIDRs", detail));
        }
        let provider = text(old, "/spec/providerID");
        if !provider.is_empty() && provider != text(new, "/spec/providerID") {
            let detail = "node updates may not change providerID except from \"\" to valid";
            causes.push(Cause::forbidden("spec.providerID", detail));
        }
    }

    fn selectable_fields(&self) -> &'static [(&'static str, &'static str)] {
        &[("spec.unschedulable", "/spec/unschedulable")]
    }
}
