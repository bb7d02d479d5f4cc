//! Which fields a configuration speaks of (`structured-merge-diff/typed/tofieldset.go`).

use std::borrow::Cow;

use serde_json::Value;

use super::compare::Within;
use super::items::{Item, ListError, items};
use super::path::PathElement;
use super::set::{Entry, Set};
use crate::kinds::Node;

/// What becomes of items that are called the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Twins {
    /// They are an error: nobody can say which one is meant.
    Refused,
    /// They are one: an object that is stored may have them.
    United,
}

/// The fields of an object, without those that belong to nobody.
///
/// # Errors
/// When items of a list cannot be told apart.
pub(super) fn field_set<'a>(root: Node<'a>, object: &'a Value, twins: Twins) -> Result<Set<'a>, ListError> {
    let mut walk = Walk { path: Vec::new(), twins };
    Ok(walk.value(root, object, Within::Object)?.1)
}

struct Walk<'a> {
    path: Vec<PathElement<'a>>,
    twins: Twins,
}

impl<'a> Walk<'a> {
    /// Whether the value is a member itself, and the fields below it.
    fn value(
        &mut self,
        node: Node<'a>,
        value: &'a Value,
        within: Within,
    ) -> Result<(bool, Set<'a>), ListError> {
        let mut entries = Vec::new();
        match value {
            Value::Object(map) if !node.atomic_map() => {
                for (name, value) in map.iter().filter(|(name, _)| !within.skips(name)) {
                    let element = PathElement::Field(Cow::Borrowed(name));
                    self.path.push(element.clone());
                    let (member, children) = self.value(node.field(name), value, within.below(name))?;
                    self.path.pop();
                    let empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                    let member = member || empty || !node.names(name);
                    entries.push(Entry { element, member, children });
                }
            }
            Value::Array(list) => {
                let shown = || self.path.iter().map(ToString::to_string).collect::<String>();
                let Some(named) = items(node, list, shown)? else { return Ok((true, Set::default())) };
                if self.twins == Twins::Refused
                    && let Some(element) = twin(&named)
                {
                    return Err(ListError::Duplicate { path: shown(), element: element.to_string() });
                }
                for (element, item) in named {
                    self.path.push(element.clone());
                    let children = self.value(node.item(), item, Within::Deeper)?.1;
                    self.path.pop();
                    entries.push(Entry { element, member: true, children });
                }
            }
            _ => return Ok((true, Set::default())),
        }
        Ok((false, Set::new(entries)))
    }
}

/// What two items are called, if there are two such.
fn twin<'a>(named: &[Item<'a>]) -> Option<PathElement<'a>> {
    let mut names: Vec<&PathElement<'a>> = named.iter().map(|(element, _)| element).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone())
}

/// The set with every struct field in it that has a member below: `.spec` beside `.spec.replicas`.
pub(super) fn with_named_fields<'a>(node: Node<'_>, set: Set<'a>) -> Set<'a> {
    if set.is_empty() {
        return set;
    }
    let entries = set.into_entries().into_iter().map(|entry| {
        let (named, inner) = match &entry.element {
            PathElement::Field(name) => (node.names(name), node.field(name)),
            PathElement::Key(_) | PathElement::Value(_) | PathElement::Index(_) => (false, node.item()),
        };
        let member = entry.member || (named && !entry.children.is_empty());
        Entry { element: entry.element, member, children: with_named_fields(inner, entry.children) }
    });
    Set::new(entries.collect())
}
