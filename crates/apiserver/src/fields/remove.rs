//! Taking fields out of an object (`structured-merge-diff/typed/remove.go`).

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::items::items;
use super::path::PathElement;
use super::set::Set;
use crate::kinds::Node;

/// The value without the paths of the set; `None` when nothing of it is left.
pub(super) fn remove(node: Node<'_>, value: &Value, gone: &Set<'_>) -> Option<Value> {
    match value {
        _ if gone.is_empty() => Some(value.clone()),
        Value::Object(map) if !node.atomic_map() => {
            let mut kept = Map::with_capacity(map.len());
            for (name, value) in map {
                let left = match gone.entry(&PathElement::Field(Cow::Borrowed(name))) {
                    Some(entry) if entry.member => None,
                    Some(entry) => remove(node.field(name), value, &entry.children),
                    None => Some(value.clone()),
                };
                if let Some(left) = left {
                    kept.insert(name.clone(), left);
                }
            }
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(list) => {
            let named = items(node, list, String::new).ok().flatten()?;
            let kept = named.into_iter().filter_map(|(element, item)| match gone.entry(&element) {
                Some(entry) if entry.member => None,
                Some(entry) => remove(node.item(), item, &entry.children),
                None => Some(item.clone()),
            });
            let kept: Vec<Value> = kept.collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        // One value, and the set speaks of what it once had below it.
        Value::Object(_) => None,
        scalar => Some(scalar.clone()),
    }
}
