//! Laying a configuration over an object (`structured-merge-diff/typed/merge.go`).

use serde_json::{Map, Value};

use super::items::{Item, items};
use crate::kinds::Node;

/// The object with the configuration's fields in it. The items of the configuration's lists can be told apart.
pub(super) fn merge(node: Node<'_>, live: Option<&Value>, config: &Value) -> Value {
    match (live, config) {
        (Some(Value::Object(live)), Value::Object(config)) if !node.atomic_map() => {
            let mut merged: Map<String, Value> = live.clone();
            for (name, value) in config {
                merged.insert(name.clone(), merge(node.field(name), live.get(name), value));
            }
            Value::Object(merged)
        }
        (Some(Value::Array(live)), Value::Array(config)) => {
            let named = |list| items(node, list, String::new).ok().flatten();
            match (named(live), named(config)) {
                (Some(live), Some(config)) => merge_items(node.item(), live, &config).into(),
                _ => config.clone().into(),
            }
        }
        _ => config.clone(),
    }
}

/// Items that both have come in the configuration's order, the others stay where they are between them.
fn merge_items(node: Node<'_>, live: Vec<Item<'_>>, config: &[Item<'_>]) -> Vec<Value> {
    let in_config = |item: &Item<'_>| config.iter().any(|(element, _)| *element == item.0);
    let mut kept: Vec<Item<'_>> = Vec::with_capacity(live.len());
    for item in live {
        // Of items that cannot be told apart the first is merged and the others go; those nobody speaks of stay.
        if !in_config(&item) || !kept.iter().any(|(element, _)| *element == item.0) {
            kept.push(item);
        }
    }
    let in_live =
        |item: &Item<'_>| kept.iter().find(|(element, _)| *element == item.0).map(|(_, value)| *value);
    let mut shared =
        config.iter().filter(|item| in_live(item).is_some()).map(|(element, _)| element).peekable();
    let mut out = Vec::with_capacity(kept.len() + config.len());
    let (mut ours, mut theirs) = (kept.iter().peekable(), config.iter().peekable());
    loop {
        match (ours.peek(), theirs.peek()) {
            (Some(our), _) if !in_config(our) => {
                out.push(our.1.clone());
                ours.next();
            }
            (Some(our), Some(their)) if our.0 == their.0 => {
                out.push(merge(node, Some(our.1), their.1));
                shared.next();
                ours.next();
                theirs.next();
            }
            // An item that both have, whose turn has not come or is over.
            (Some(our), Some(_)) if shared.peek().is_some_and(|next| **next != our.0) => _ = ours.next(),
            (_, Some(their)) => {
                out.push(merge(node, in_live(their), their.1));
                shared.next_if(|next| **next == their.0);
                theirs.next();
            }
            (Some(_), None) => _ = ours.next(),
            (None, None) => return out,
        }
    }
}
