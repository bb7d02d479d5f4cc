//! CustomResourceDefinition (apiextensions.k8s.io/v1): its defaults, its rules, and the conditions that the server sets.

mod conditions;
mod schemas;
#[cfg(test)]
mod tests;
mod validate;

use jiff::Timestamp;
use serde_json::{Value, json};

pub use conditions::{CLEANUP_FINALIZER, Terminating, accepted_status, is_established, mark_terminating};

use super::field::{self, fill, flag, items, member, text};
use super::strategy::Rules;
use super::table::{self, Column};
use crate::status::Cause;

/// Columns of `kubectl get crds`.
pub(super) const COLUMNS: &[Column] = &[Column::NAME, Column::text("Created At")];

/// Cells of `kubectl get crds`.
pub(super) fn row(object: &Value, _: Timestamp) -> Vec<Value> {
    vec![table::name(object), text(object, "/metadata/creationTimestamp").into()]
}

/// The kind's rules.
pub(super) struct Definition;

impl Rules for Definition {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = field::spec(object) {
            fill(spec, "conversion", json!({"strategy": "None"}));
            if let Some(names) = field::object(spec, "names") {
                let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
                if !kind.is_empty() {
                    fill(names, "singular", kind.to_lowercase());
                    fill(names, "listKind", format!("{kind}List"));
                }
            }
        }
        remember_storage(object);
    }

    fn reset_for_update(&self, new: &mut Value, old: &Value) {
        field::copy(new, old, "status");
        remember_storage(new);
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        validate::spec(object, causes);
        validate::stored_versions(object, causes);
        validate::approval(object, causes);
    }

    fn validate_update(&self, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
        for pointer in ["/spec/group", "/spec/names/plural"] {
            field::immutable(new, old, pointer, causes);
        }
        if is_established(old) {
            for pointer in ["/spec/scope", "/spec/names/kind"] {
                field::immutable(new, old, pointer, causes);
            }
        }
    }

    fn validate_status(&self, new: &Value, _old: &Value, causes: &mut Vec<Cause>) {
        validate::stored_versions(new, causes);
    }
}

/// The version that objects are stored in is, from now on, one that there may be objects of.
fn remember_storage(object: &mut Value) {
    let versions = items(object, "/spec/versions");
    let Some(storage) = versions.iter().find(|version| flag(version, "/storage")) else { return };
    let storage = Value::from(member(storage, "name"));
    let Some(status) = object.as_object_mut().and_then(|map| field::object(map, "status")) else { return };
    let stored = status.entry("storedVersions").or_insert_with(|| json!([]));
    if let Some(stored) = stored.as_array_mut().filter(|stored| !stored.contains(&storage)) {
        stored.push(storage);
    }
}
