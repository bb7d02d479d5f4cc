//! Lists whose items are told apart: what each item is called.

use std::borrow::Cow;

use serde_json::Value;

use super::path::{Leaf, PathElement};
use crate::kinds::{ListKind, Node};

/// Why the items of a list cannot be told apart; the texts are structured-merge-diff's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ListError {
    /// An item has no key.
    #[error(
        "{path}: element {place}: associative list with keys has an element that omits key field {key:?} (and doesn't have default value)"
    )]
    NoKey {
        /// Where the list is.
        path: String,
        /// Place of the item.
        place: usize,
        /// The key's name.
        key: String,
    },
    /// An item is no object.
    #[error("{path}: element {place}: associative list with keys may not have non-map elements")]
    NoObject {
        /// Where the list is.
        path: String,
        /// Place of the item.
        place: usize,
    },
    /// Two items are called the same.
    #[error("{path}: duplicate entries for key {element}")]
    Duplicate {
        /// Where the list is.
        path: String,
        /// What both are called.
        element: String,
    },
}

/// An item and what it is called.
pub(super) type Item<'a> = (PathElement<'a>, &'a Value);

/// The items of a list in their order, each with its name; `None` for a list that is one value. Two may have the same
/// name. `path` is for errors.
pub(super) fn items<'a>(
    node: Node<'a>,
    list: &'a [Value],
    path: impl Fn() -> String,
) -> Result<Option<Vec<Item<'a>>>, ListError> {
    let keys = match node.list() {
        ListKind::Atomic => return Ok(None),
        ListKind::Set => {
            let named = list.iter().map(|item| (PathElement::Value(Leaf(Cow::Borrowed(item))), item));
            return Ok(Some(named.collect()));
        }
        ListKind::Map(keys) => keys,
    };
    let mut out = Vec::with_capacity(list.len());
    for (place, item) in list.iter().enumerate() {
        let Value::Object(map) = item else { return Err(ListError::NoObject { path: path(), place }) };
        let mut named = Vec::with_capacity(keys.len());
        for key in keys {
            let value = map.get(key).filter(|value| !value.is_null());
            let Some(value) = value.or_else(|| node.item().field(key).default()) else {
                return Err(ListError::NoKey { path: path(), place, key: key.clone() });
            };
            named.push((Cow::Borrowed(key.as_str()), Leaf(Cow::Borrowed(value))));
        }
        named.sort();
        out.push((PathElement::Key(named), item));
    }
    Ok(Some(out))
}
