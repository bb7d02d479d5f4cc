//! Secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::config_map::{DATA_LIMIT, frozen};
use super::field::{self, fill, member, texts};
use super::names::config_key;
use super::strategy::Rules;
use super::table::{self, Column};
use crate::status::Cause;

pub(super) const COLUMNS: &[Column] =
    &[Column::NAME, Column::text("Type"), Column::number("Data"), Column::AGE];

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let count = texts(object, "/data").count();
    vec![table::name(object), member(object, "type").into(), count.into(), table::age(object, now)]
}

/// Secret's rules.
pub(super) struct Secret;

impl Rules for Secret {
    /// `stringData` is for writing only: it becomes `data`.
    fn default(&self, object: &mut Value) {
        let Some(map) = object.as_object_mut() else { return };
        fill(map, "type", "Opaque");
        let Some(Value::Object(plain)) = map.shift_remove("stringData") else { return };
        let Some(data) = field::object(map, "data") else { return };
        for (key, value) in plain {
            data.insert(key, STANDARD.encode(value.as_str().unwrap_or_default()).into());
        }
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        let mut size = 0;
        for (key, value) in texts(object, "/data") {
            for wrong in config_key(key) {
                causes.push(Cause::invalid(format!("data[{key}]"), &Value::from(key), wrong));
            }
            size += value.len() / 4 * 3;
        }
        if size > DATA_LIMIT {
            causes.push(Cause::too_long("data", DATA_LIMIT));
        }
        let required: &[&str] = match member(object, "type") {
            "kubernetes.io/tls" => &["tls.crt", "tls.key"],
            "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
            "kubernetes.io/dockercfg" => &[".dockercfg"],
            "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
            _ => &[],
        };
        for key in required.iter().filter(|key| !texts(object, "/data").any(|(present, _)| present == **key))
        {
            causes.push(Cause::required(format!("data[{key}]"), ""));
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
        field::immutable(new, old, "/type", causes);
        frozen(new, old, &["data"], causes);
    }

    fn selectable_fields(&self) -> &'static [(&'static str, &'static str)] {
        &[("type", "/type")]
    }
}
