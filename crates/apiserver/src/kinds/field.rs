//! Reading and filling fields of an object that has passed the shape check.

use std::collections::HashSet;
use std::hash::Hash;

use serde_json::{Map, Value};

use crate::status::Cause;

/// Makes `key` of `new` what it is in `old`, absent included.
pub(super) fn copy(new: &mut Value, old: &Value, key: &str) {
    let Some(map) = new.as_object_mut() else { return };
    match old.get(key) {
        Some(value) => {
            map.insert(key.to_owned(), value.clone());
        }
        None => {
            map.shift_remove(key);
        }
    }
}

/// The text at a JSON pointer, empty when there is none.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The text of a member, empty when there is none.
pub(super) fn member<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The number at a JSON pointer.
pub(super) fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

/// Whether the boolean at a JSON pointer is there and true.
pub(super) fn flag(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_bool).unwrap_or_default()
}

/// The items of the list at a JSON pointer, none when there is no list.
pub(super) fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The items of a member list, none when there is no list.
pub(super) fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    object.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The pairs of the map of texts at a JSON pointer.
pub(super) fn texts<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let map = object.pointer(pointer).and_then(Value::as_object);
    map.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

/// Puts `value` where nothing, null or an empty text is (to Go they are the same).
pub(super) fn fill(map: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    match map.get_mut(key) {
        Some(present) if is_unset(present) => *present = value.into(),
        Some(_) => {}
        None => {
            map.insert(key.to_owned(), value.into());
        }
    }
}

/// Sets a member.
pub(super) fn set(map: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    map.insert(key.to_owned(), value.into());
}

/// The member object, made when it is not there; `None` when the member is no object.
pub(super) fn object<'a>(map: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    map.entry(key).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

/// The spec, made when it is not there.
pub(super) fn spec(value: &mut Value) -> Option<&mut Map<String, Value>> {
    object(value.as_object_mut()?, "spec")
}

/// The objects of a member list, to be changed.
pub(super) fn objects<'a>(
    map: &'a mut Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> + use<'a> {
    let list = map.get_mut(key).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Nothing, null, or an empty text.
pub(super) fn is_unset(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

/// One of a fixed set of texts; an unset field is reported as missing.
pub(super) fn one_of(object: &Value, key: &str, path: &str, supported: &[&str], causes: &mut Vec<Cause>) {
    let field = format!("{path}.{key}");
    match member(object, key) {
        "" => causes.push(Cause::required(field, "")),
        given if !supported.contains(&given) => {
            causes.push(Cause::not_supported(field, &Value::from(given), supported));
        }
        _ => {}
    }
}

/// A number that is zero or more, when it is there.
pub(super) fn non_negative(object: &Value, key: &str, path: &str, causes: &mut Vec<Cause>) {
    if let Some(value) = object.get(key).filter(|value| value.as_i64().is_some_and(|number| number < 0)) {
        causes.push(Cause::invalid(format!("{path}.{key}"), value, "must be greater than or equal to 0"));
    }
}

/// A field that may not change. Absent and null are the same.
pub(super) fn immutable(new: &Value, old: &Value, pointer: &str, causes: &mut Vec<Cause>) {
    let of = |object: &Value| object.pointer(pointer).cloned().unwrap_or(Value::Null);
    let (now, before) = (of(new), of(old));
    if now != before {
        causes.push(Cause::invalid(pointer[1..].replace('/', "."), &now, "field is immutable"));
    }
}

/// Remembers values and says which come twice.
#[derive(Debug)]
pub(super) struct Seen<T>(HashSet<T>);

impl<T: Eq + Hash> Seen<T> {
    /// Nothing seen yet.
    pub(super) fn new() -> Self {
        Self(HashSet::new())
    }

    /// True when the value was seen before.
    pub(super) fn again(&mut self, value: T) -> bool {
        !self.0.insert(value)
    }
}
