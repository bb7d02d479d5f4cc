//! ReplicaSet of apps.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::field::{self, number};
use super::strategy::Rules;
use super::table::{self, Column};
use super::workload;
use crate::status::Cause;

pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::number("Desired"),
    Column::number("Current"),
    Column::number("Ready"),
    Column::AGE,
    Column::text("Containers").wide(),
    Column::text("Images").wide(),
    Column::text("Selector").wide(),
];

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let count = |pointer| Value::from(number(object, pointer).unwrap_or_default());
    let (names, images) = table::containers(object);
    vec![
        table::name(object),
        count("/spec/replicas"),
        count("/status/replicas"),
        count("/status/readyReplicas"),
        table::age(object, now),
        names,
        images,
        table::selector(object.pointer("/spec/selector")),
    ]
}

/// ReplicaSet's rules.
pub(super) struct ReplicaSet;

impl Rules for ReplicaSet {
    fn fresh_status(&self) -> Option<Value> {
        Some(json!({"replicas": 0}))
    }

    fn default(&self, object: &mut Value) {
        if let Some(spec) = field::spec(object) {
            workload::default_template(spec);
        }
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        workload::validate(object, causes);
    }

    fn validate_update(&self, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
        workload::validate_update(new, old, causes);
    }

    fn validate_status(&self, new: &Value, _old: &Value, causes: &mut Vec<Cause>) {
        workload::validate_status(new, causes);
    }

    fn selectable_fields(&self) -> &'static [(&'static str, &'static str)] {
        &[("status.replicas", "/status/replicas")]
    }
}
