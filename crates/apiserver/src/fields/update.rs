//! Creations and updates: the writer owns what it changed, everybody else loses it.

use serde_json::{Map, Value};

use super::compare::{Comparison, NOTHING, compare};
use super::owner::{Author, Operation, Owner, cap, decode, encode};
use crate::kinds::Node;

/// The entries of a new object: its creator owns all that it says, but for what is at the JSON pointers `unowned`.
pub(crate) fn on_create(root: Node<'_>, new: &Value, unowned: &[&str], author: &Author<'_>) -> Option<Value> {
    let mut comparison = compare(root, &NOTHING, new);
    for place in unowned {
        let path: Vec<&str> = place.split('/').skip(1).collect();
        comparison.changed.remove_below(&path);
    }
    updated(comparison, Vec::new(), author)
}

/// The entries after an update from `old` to `new`; `managed` are those before, see [`sent_or_kept`].
///
/// Who changes nothing gets nothing, and an object that has no entries gets none until somebody applies it
/// (`managedfields/internal/skipnonapplied.go`).
pub(crate) fn on_update(
    root: Node<'_>,
    old: &Value,
    new: &Value,
    managed: Option<Value>,
    author: &Author<'_>,
) -> Option<Value> {
    let comparison = compare(root, old, new);
    if comparison.is_empty() {
        return managed;
    }
    match decode(managed.as_ref()) {
        Ok(owners) if !owners.is_empty() => updated(comparison, owners, author),
        Ok(_) | Err(_) => None,
    }
}

/// The entries that a writer starts from: those it sent, if it may write them and they can be read, otherwise the stored
/// ones. A list of one empty entry takes all of them away.
pub(crate) fn sent_or_kept(sent: Option<Value>, stored: Option<&Value>, subresource: &str) -> Option<Value> {
    if !subresource.is_empty() || sent.as_ref() == stored {
        return stored.cloned();
    }
    let Some(Value::Array(entries)) = &sent else { return stored.cloned() };
    if let [entry] = entries.as_slice()
        && entry.as_object().is_some_and(Map::is_empty)
    {
        return None;
    }
    // Who does not know managedFields does not delete them by mistake.
    let readable = decode(sent.as_ref()).is_ok_and(|owners| !owners.is_empty());
    if readable { sent } else { stored.cloned() }
}

fn updated<'a>(comparison: Comparison<'a>, mut owners: Vec<Owner<'a>>, author: &Author<'a>) -> Option<Value> {
    lose(&mut owners, &comparison);
    if !comparison.changed.is_empty() {
        match owners.iter_mut().find(|owner| owner.is(author, Operation::Update)) {
            Some(own) => {
                own.set = std::mem::take(&mut own.set).union(comparison.changed);
                own.time = Some(author.time.into());
            }
            None => owners.push(Owner::of(author, Operation::Update, comparison.changed)),
        }
    }
    owners.retain(|owner| !owner.set.is_empty());
    cap(&mut owners);
    encode(owners)
}

/// Takes from everybody what was changed or removed.
pub(super) fn lose(owners: &mut [Owner<'_>], comparison: &Comparison<'_>) {
    for owner in owners {
        let set = std::mem::take(&mut owner.set);
        owner.set = set.difference(&comparison.changed).difference(&comparison.removed);
    }
}
