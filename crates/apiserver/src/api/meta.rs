//! The metadata that the server keeps itself.

use jiff::Timestamp;
use rand::Rng;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::kinds::Kind;
use crate::status::Status;

/// Letters of generated names: no vowels and nothing that looks like another (`apimachinery/pkg/util/rand`).
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Longest generated name is 63; five letters are added.
const LONGEST_PREFIX: usize = 58;

/// A time as Kubernetes writes it: UTC, whole seconds.
pub(super) fn time_text(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The metadata of an object; an empty one is put in where there is none.
pub(super) fn metadata_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.as_object_mut()?.entry("metadata").or_insert_with(|| json!({})).as_object_mut()
}

/// A text of the metadata; empty when it is not there.
pub(super) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object
        .get("metadata")
        .and_then(|metadata| metadata.get(field))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The object is on its way out.
pub(super) fn is_terminating(object: &Value) -> bool {
    !text(object, "deletionTimestamp").is_empty()
}

/// The entries of managedFields.
pub(super) fn managed_fields(object: &Value) -> Option<&Value> {
    object.get("metadata")?.get("managedFields")
}

/// Replaces the entries of managedFields; none at all are left out.
pub(super) fn set_managed_fields(object: &mut Value, managed: Option<Value>) {
    let Some(metadata) = metadata_mut(object) else { return };
    match managed {
        Some(managed) => _ = metadata.insert("managedFields".to_owned(), managed),
        None => _ = metadata.shift_remove("managedFields"),
    }
}

/// Takes the entries of managedFields out.
pub(super) fn take_managed_fields(object: &mut Value) -> Option<Value> {
    metadata_mut(object)?.shift_remove("managedFields")
}

/// Whether two objects say the same but for their managedFields.
pub(super) fn same_but_managed_fields(one: &Value, other: &Value) -> bool {
    let (Some(one), Some(other)) = (one.as_object(), other.as_object()) else { return false };
    let within = |one: &Map<String, Value>, other: &Map<String, Value>| {
        let rest = |map: &Map<String, Value>| map.len() - usize::from(map.contains_key("managedFields"));
        rest(one) == rest(other)
            && one.iter().all(|(name, value)| name == "managedFields" || other.get(name) == Some(value))
    };
    one.len() == other.len()
        && one.iter().all(|(name, value)| match (value, other.get(name)) {
            (Value::Object(one), Some(Value::Object(other))) if name == "metadata" => within(one, other),
            (value, other) => other == Some(value),
        })
}

/// Finalizers that hold the object.
pub(super) fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    object
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// Drops what only the server may say, and says it: uid, time of creation, generation.
pub(super) fn on_create(object: &mut Value, kind: &Kind, namespace: &str, now: Timestamp) {
    let generation = kind.next_generation(object, None);
    let Some(metadata) = metadata_mut(object) else { return };
    for field in [
        "managedFields",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "resourceVersion",
        "generation",
        "namespace",
    ] {
        metadata.shift_remove(field);
    }
    if kind.namespaced {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    metadata.insert("uid".to_owned(), Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".to_owned(), time_text(now).into());
    if let Some(generation) = generation {
        metadata.insert("generation".to_owned(), generation.into());
    }
}

/// Keeps what only the server may say.
pub(super) fn on_update(new: &mut Value, old: &Value) {
    let Some(metadata) = metadata_mut(new) else { return };
    metadata.shift_remove("selfLink");
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
        "resourceVersion",
    ] {
        match old.get("metadata").and_then(|metadata| metadata.get(field)) {
            Some(value) => _ = metadata.insert(field.to_owned(), value.clone()),
            None => _ = metadata.shift_remove(field),
        }
    }
}

/// A name made from `generateName`.
pub(super) fn generated_name(prefix: &str) -> String {
    let end = prefix.char_indices().nth(LONGEST_PREFIX).map_or(prefix.len(), |(at, _)| at);
    let mut name = prefix[..end].to_owned();
    let mut random = rand::rng();
    for _ in 0..5 {
        name.push(char::from(LETTERS[random.random_range(0..LETTERS.len())]));
    }
    name
}

/// A field of the body that contradicts the path.
pub(super) fn check_path(object: &Value, kind: &Kind, namespace: &str, name: &str) -> Result<(), Status> {
    let own = text(object, "namespace");
    if kind.namespaced && !own.is_empty() && own != namespace {
        return Err(Status::bad_request(format!(
            "the namespace of the provided object does not match the namespace sent on the request ({own} != {namespace})"
        )));
    }
    let own = text(object, "name");
    if !name.is_empty() && !own.is_empty() && own != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({own}) does not match the name on the URL ({name})"
        )));
    }
    Ok(())
}
