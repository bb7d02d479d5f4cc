//! Namespace.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::field::{self, copy, items, set, text};
use super::strategy::Rules;
use super::table::{self, Column};

/// Holds a namespace until its contents are gone.
const FINALIZER: &str = "kubernetes";
/// The label by which selectors name a namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub(super) const COLUMNS: &[Column] = &[Column::NAME, Column::text("Status"), Column::AGE];

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![table::name(object), text(object, "/status/phase").into(), table::age(object, now)]
}

/// Namespace's rules.
pub(super) struct Namespace;

impl Rules for Namespace {
    fn default(&self, object: &mut Value) {
        let name = text(object, "/metadata/name").to_owned();
        if name.is_empty() {
            return;
        }
        let metadata = object.as_object_mut().and_then(|map| field::object(map, "metadata"));
        if let Some(labels) = metadata.and_then(|metadata| field::object(metadata, "labels")) {
            set(labels, NAME_LABEL, name);
        }
    }

    fn filled_in(&self) -> &'static [&'static str] {
        &["/spec/finalizers"]
    }

    fn reset_for_create(&self, object: &mut Value) {
        let mut finalizers = items(object, "/spec/finalizers").to_vec();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(FINALIZER.into());
        }
        if let Some(map) = object.as_object_mut() {
            set(map, "spec", json!({ "finalizers": finalizers }));
            set(map, "status", json!({"phase": "Active"}));
        }
    }

    /// The finalizers of the spec change through the finalize subresource only.
    fn reset_for_update(&self, new: &mut Value, old: &Value) {
        copy(new, old, "spec");
        copy(new, old, "status");
    }

    fn selectable_fields(&self) -> &'static [(&'static str, &'static str)] {
        &[("name", "/metadata/name"), ("status.phase", "/status/phase")]
    }
}
