//! ConfigMap.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::field::{flag, texts};
use super::names::config_key;
use super::strategy::Rules;
use super::table::{self, Column};
use crate::status::Cause;

/// All values of a ConfigMap or Secret together, in bytes.
pub(super) const DATA_LIMIT: usize = 1024 * 1024;

pub(super) const COLUMNS: &[Column] = &[Column::NAME, Column::number("Data"), Column::AGE];

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let count = texts(object, "/data").count() + texts(object, "/binaryData").count();
    vec![table::name(object), count.into(), table::age(object, now)]
}

/// ConfigMap's rules.
pub(super) struct ConfigMap;

impl Rules for ConfigMap {
    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        let mut size = 0;
        let mut names = BTreeSet::new();
        for part in ["data", "binaryData"] {
            for (key, value) in texts(object, &format!("/{part}")) {
                for wrong in config_key(key) {
                    causes.push(Cause::invalid(format!("{part}[{key}]"), &Value::from(key), wrong));
                }
                if !names.insert(key) {
                    let detail = "duplicate of key present in data";
                    causes.push(Cause::invalid(format!("{part}[{key}]"), &Value::from(key), detail));
                }
                size += value.len();
            }
        }
        if size > DATA_LIMIT {
            causes.push(Cause::too_long("", DATA_LIMIT));
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
        frozen(new, old, &["data", "binaryData"], causes);
    }
}

/// What `immutable: true` forbids.
pub(super) fn frozen(new: &Value, old: &Value, parts: &[&str], causes: &mut Vec<Cause>) {
    if !flag(old, "/immutable") {
        return;
    }
    if !flag(new, "/immutable") {
        causes.push(Cause::forbidden("immutable", "field is immutable when `immutable` is set"));
    }
    for part in parts.iter().filter(|part| new.get(part) != old.get(part)) {
        causes.push(Cause::forbidden(*part, "field is immutable when `immutable` is set"));
    }
}
