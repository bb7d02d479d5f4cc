//! ControllerRevision of apps: a state of a DaemonSet's template, kept for `kubectl rollout`.

use jiff::Timestamp;
use serde_json::Value;

use super::field::{self, flag, items, member, number};
use super::strategy::Rules;
use super::table::{self, Column};
use crate::status::Cause;

pub(super) const COLUMNS: &[Column] =
    &[Column::NAME, Column::text("Controller"), Column::number("Revision"), Column::AGE];

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let owner = items(object, "/metadata/ownerReferences").iter().find(|owner| flag(owner, "/controller"));
    let controller = owner.map(|owner| {
        let group = member(owner, "apiVersion").split_once('/').map_or("", |(group, _)| group);
        let dot = if group.is_empty() { "" } else { "." };
        format!("{}{dot}{group}/{}", member(owner, "kind").to_lowercase(), member(owner, "name"))
    });
    vec![
        table::name(object),
        table::or_none(controller.unwrap_or_default()),
        number(object, "/revision").unwrap_or_default().into(),
        table::age(object, now),
    ]
}

/// ControllerRevision's rules.
pub(super) struct ControllerRevision;

impl Rules for ControllerRevision {
    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        if let Some(revision) = object.get("revision").filter(|revision| revision.as_i64() < Some(0)) {
            causes.push(Cause::invalid("revision", revision, "must be greater than or equal to 0"));
        }
        if object.get("data").is_none() {
            causes.push(Cause::required("data", "data is mandatory"));
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
        field::immutable(new, old, "/data", causes);
    }
}
