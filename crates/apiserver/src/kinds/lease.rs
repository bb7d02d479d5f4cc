//! Lease of coordination.k8s.io.

use jiff::Timestamp;
use serde_json::Value;

use super::field::{member, number, text};
use super::strategy::Rules;
use super::table::{self, Column};
use crate::status::Cause;

pub(super) const COLUMNS: &[Column] = &[Column::NAME, Column::text("Holder"), Column::AGE];

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![table::name(object), text(object, "/spec/holderIdentity").into(), table::age(object, now)]
}

/// Lease's rules.
pub(super) struct Lease;

impl Rules for Lease {
    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        let Some(spec) = object.get("spec") else { return };
        if let Some(seconds) =
            spec.get("leaseDurationSeconds").filter(|_| number(spec, "/leaseDurationSeconds") < Some(1))
        {
            causes.push(Cause::invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"));
        }
        if let Some(count) =
            spec.get("leaseTransitions").filter(|_| number(spec, "/leaseTransitions") < Some(0))
        {
            causes.push(Cause::invalid("spec.leaseTransitions", count, "must be greater than or equal to 0"));
        }
        if spec.get("holderIdentity").is_some() && member(spec, "holderIdentity").is_empty() {
            causes.push(Cause::invalid("spec.holderIdentity", &Value::from(""), "must not be empty"));
        }
    }
}
