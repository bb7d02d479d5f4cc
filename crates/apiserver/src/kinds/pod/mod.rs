//! Pod, and the pod spec that templates hold.

mod containers;
pub(super) mod defaults;
mod print;
#[cfg(test)]
mod tests;
mod update;
pub(super) mod validate;

pub(super) use print::{COLUMNS, row};

use serde_json::{Value, json};

use super::field::{self, copy, fill, set};
use super::strategy::Rules;
use crate::status::Cause;

/// Pod's rules.
pub(super) struct Pod;

impl Rules for Pod {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = field::spec(object) {
            // Only pods get this one, templates do not.
            spec.entry("enableServiceLinks").or_insert(Value::Bool(true));
            defaults::spec(spec);
            defaults::requests(spec);
        }
        defaults::addresses(object);
    }

    /// The class was found when the pod was made; a status without it does not remove it.
    fn reset_for_status(&self, new: &mut Value, old: &Value) {
        copy(new, old, "spec");
        let class = old.pointer("/status/qosClass").cloned();
        let status = new.as_object_mut().and_then(|map| field::object(map, "status"));
        if let (Some(class), Some(status)) = (class, status) {
            fill(status, "qosClass", class);
        }
    }

    /// What `defaults::admit` fills in.
    fn filled_in(&self) -> &'static [&'static str] {
        &[
            "/spec/serviceAccountName",
            "/spec/serviceAccount",
            "/spec/priority",
            "/spec/preemptionPolicy",
            "/spec/tolerations",
        ]
    }

    fn reset_for_create(&self, object: &mut Value) {
        if let Some(spec) = field::spec(object) {
            defaults::admit(spec);
            defaults::spec(spec);
            defaults::requests(spec);
        }
        let class = defaults::qos_class(object);
        if let Some(map) = object.as_object_mut() {
            set(map, "status", json!({"phase": "Pending", "qosClass": class}));
        }
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        match object.get("spec") {
            Some(spec) => validate::spec(spec, "spec", causes),
            None => causes.push(Cause::required("spec", "")),
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
        update::validate(new, old, causes);
    }

    fn selectable_fields(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("spec.nodeName", "/spec/nodeName"),
            ("spec.restartPolicy", "/spec/restartPolicy"),
            ("spec.schedulerName", "/spec/schedulerName"),
            ("spec.serviceAccountName", "/spec/serviceAccountName"),
            ("spec.hostNetwork", "/spec/hostNetwork"),
            ("status.phase", "/status/phase"),
            ("status.podIP", "/status/podIP"),
            ("status.nominatedNodeName", "/status/nominatedNodeName"),
        ]
    }
}
