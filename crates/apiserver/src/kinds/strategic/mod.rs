//! Strategic merge patch (`apimachinery/pkg/util/strategicpatch`): lists of objects are merged by the key that the
//! schema gives, and the patch may hold directives.

mod order;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use super::registry::Kind;
use super::schema::{Merge, Node};
use crate::status::Status;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";

type Object = Map<String, Value>;

/// Applies the patch to an object of the kind.
///
/// # Errors
/// 400 when the patch is no object, a directive is unknown, or an item of a merged list does not have the list's key.
pub fn strategic_merge(kind: &Kind, original: &Value, patch: &Value) -> Result<Value, Status> {
    let Value::Object(patch) = patch else {
        return Err(Status::bad_request("a strategic merge patch must be a JSON object"));
    };
    let original = original.as_object().cloned().unwrap_or_default();
    merge_object(original, patch, Node::root(kind)).map(Value::Object)
}

fn merge_object(mut original: Object, patch: &Object, node: Node<'_>) -> Result<Object, Status> {
    match patch.get(PATCH).map(Value::as_str) {
        None => {}
        Some(Some("replace")) => return Ok(without_directives(patch)),
        Some(Some("delete")) => return Ok(Object::new()),
        Some(Some("merge")) => {}
        Some(other) => return Err(unknown_directive(other)),
    }
    retain_keys(&mut original, patch)?;
    for (key, value) in patch.iter().filter(|(key, _)| key.starts_with(DELETE_PRIMITIVES)) {
        let gone = value.as_array().map_or(&[][..], Vec::as_slice);
        if let Some(list) = original.get_mut(&key[DELETE_PRIMITIVES.len()..]).and_then(Value::as_array_mut) {
            list.retain(|item| !gone.contains(item));
        }
    }
    let ordered =
        patch.iter().filter_map(|(key, wanted)| Some((key.strip_prefix(SET_ORDER)?, wanted.as_array()?)));
    let ordered: Vec<(&str, &Vec<Value>, Vec<Value>)> = ordered
        .map(|(name, wanted)| {
            (name, wanted, original.get(name).and_then(Value::as_array).cloned().unwrap_or_default())
        })
        .collect();
    for (key, value) in patch.iter().filter(|(key, _)| !is_directive(key)) {
        if value.is_null() {
            original.shift_remove(key);
            continue;
        }
        let field = node.field(key);
        let old = original.get_mut(key).map(Value::take);
        let merged = match (value, old) {
            (Value::Object(new), Some(Value::Object(old))) => Value::Object(merge_object(old, new, field)?),
            (Value::Object(new), _) => Value::Object(merge_object(Object::new(), new, field)?),
            (Value::Array(new), Some(Value::Array(old))) => merge_list(old, new, field)?.into(),
            (Value::Array(new), _) => merge_list(Vec::new(), new, field)?.into(),
            (scalar, _) => scalar.clone(),
        };
        original.insert(key.clone(), merged);
    }
    for (name, wanted, server) in ordered {
        if let Some(list) = original.get_mut(name).and_then(Value::as_array_mut) {
            *list = order::arrange(std::mem::take(list), wanted, &server, node.field(name).merge());
        }
    }
    Ok(original)
}

/// `$retainKeys` lists everything that may stay.
fn retain_keys(original: &mut Object, patch: &Object) -> Result<(), Status> {
    let Some(kept) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let kept: Vec<&str> = kept.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let stray = patch
        .iter()
        .find(|(key, value)| !is_directive(key) && !value.is_null() && !kept.contains(&key.as_str()));
    if let Some((key, _)) = stray {
        return Err(Status::bad_request(format!(
            "the patch holds {key:?}, which its $retainKeys does not list"
        )));
    }
    original.retain(|key, _| kept.contains(&key.as_str()));
    Ok(())
}

fn merge_list(old: Vec<Value>, new: &[Value], node: Node<'_>) -> Result<Vec<Value>, Status> {
    match node.merge() {
        Merge::Plain => Ok(new.iter().map(clean).collect()),
        Merge::Set => {
            let mut merged = old.clone();
            for item in new {
                if !merged.contains(item) {
                    merged.push(item.clone());
                }
            }
            Ok(order::arrange(merged, new, &old, Merge::Set))
        }
        Merge::ByKey(key) => merge_by_key(old, new, node.item(), key),
    }
}

fn merge_by_key(
    old: Vec<Value>,
    new: &[Value],
    node: Node<'_>,
    key: &'static str,
) -> Result<Vec<Value>, Status> {
    let mut merged = old.clone();
    let mut plain: Vec<Value> = Vec::with_capacity(new.len());
    let mut replace = false;
    for item in new {
        match item.get(PATCH).map(Value::as_str) {
            None | Some(Some("merge")) => plain.push(item.clone()),
            Some(Some("replace")) => {
                replace = true;
                // A lone directive replaces the list by the other items; beside fields, it is one of them.
                if item.get(key).is_some() {
                    plain.push(item.clone());
                }
            }
            Some(Some("delete")) => {
                let gone = merge_key(item, key)?;
                merged.retain(|item| item.get(key) != Some(gone));
            }
            Some(other) => return Err(unknown_directive(other)),
        }
    }
    if replace {
        return Ok(plain.iter().map(clean).collect());
    }
    for item in &plain {
        let value = merge_key(item, key)?;
        let patch = item.as_object().cloned().unwrap_or_default();
        match merged.iter_mut().find(|item| item.get(key) == Some(value)) {
            Some(Value::Object(present)) => *present = merge_object(std::mem::take(present), &patch, node)?,
            _ => merged.push(Value::Object(merge_object(Object::new(), &patch, node)?)),
        }
    }
    Ok(order::arrange(merged, &plain, &old, Merge::ByKey(key)))
}

fn merge_key<'a>(item: &'a Value, key: &str) -> Result<&'a Value, Status> {
    item.get(key)
        .filter(|value| !value.is_null())
        .ok_or_else(|| Status::bad_request(format!("map: {item} does not contain declared merge key: {key}")))
}

fn unknown_directive(directive: Option<&str>) -> Status {
    Status::bad_request(format!("unknown patch type {:?} found", directive.unwrap_or_default()))
}

fn without_directives(patch: &Object) -> Object {
    let plain = patch.iter().filter(|(key, value)| !is_directive(key) && !value.is_null());
    plain.map(|(key, value)| (key.clone(), clean(value))).collect()
}

/// A patch's value where there is nothing to merge it with: without nulls and directives.
fn clean(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(without_directives(map)),
        Value::Array(items) => {
            let kept = items.iter().filter(|item| item.get(PATCH) != Some(&Value::from("delete")));
            kept.map(clean).collect()
        }
        other => other.clone(),
    }
}

fn is_directive(key: &str) -> bool {
    key == PATCH || key == RETAIN_KEYS || key.starts_with(SET_ORDER) || key.starts_with(DELETE_PRIMITIVES)
}
