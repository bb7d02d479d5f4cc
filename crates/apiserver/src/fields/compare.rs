//! What a write changed (`structured-merge-diff/typed/compare.go`).

use std::borrow::Cow;
use std::iter::Peekable;
use std::sync::LazyLock;
use std::vec::IntoIter;

use serde_json::{Map, Value};

use super::items::{Item, items};
use super::path::PathElement;
use super::set::{Entry, Set};
use crate::kinds::Node;

/// The difference of two objects. Fields that belong to nobody (name, uid, resourceVersion, …) are left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison<'a> {
    /// Paths that are new or have another value.
    pub(super) changed: Set<'a>,
    /// Paths that are gone.
    pub(super) removed: Set<'a>,
}

/// Members of `metadata` that no manager owns (`managedfields/internal/stripmeta.go`).
const NOBODYS: [&str; 9] = [
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
];

/// An object before it was created.
pub(super) static NOTHING: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));
static NO_ITEMS: Value = Value::Array(Vec::new());

/// Which members of an object are passed over.
#[derive(Clone, Copy)]
pub(super) enum Within {
    Object,
    Metadata,
    Deeper,
}

impl Within {
    /// Whether the member belongs to nobody.
    pub(super) fn skips(self, name: &str) -> bool {
        match self {
            Self::Object => matches!(name, "apiVersion" | "kind"),
            Self::Metadata => NOBODYS.contains(&name),
            Self::Deeper => false,
        }
    }

    /// What the member's own members are.
    pub(super) fn below(self, name: &str) -> Self {
        match self {
            Self::Object if name == "metadata" => Self::Metadata,
            Self::Object | Self::Metadata | Self::Deeper => Self::Deeper,
        }
    }
}

/// Compares an object before and after a write.
pub(super) fn compare<'a>(root: Node<'a>, old: &'a Value, new: &'a Value) -> Comparison<'a> {
    walk(root, Some(old), Some(new), Within::Object).below
}

impl Comparison<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}

/// What happened to a value itself, and below it.
#[derive(Default)]
struct Found<'a> {
    changed: bool,
    removed: bool,
    below: Comparison<'a>,
}

/// Collects what is found at the steps of one level.
#[derive(Default)]
struct Level<'a> {
    changed: Vec<Entry<'a>>,
    removed: Vec<Entry<'a>>,
}

impl<'a> Level<'a> {
    fn add(&mut self, element: PathElement<'a>, found: Found<'a>) {
        if found.removed || !found.below.removed.is_empty() {
            let element = element.clone();
            self.removed.push(Entry { element, member: found.removed, children: found.below.removed });
        }
        if found.changed || !found.below.changed.is_empty() {
            self.changed.push(Entry { element, member: found.changed, children: found.below.changed });
        }
    }

    fn done(self) -> Comparison<'a> {
        Comparison { changed: Set::new(self.changed), removed: Set::new(self.removed) }
    }
}

/// A value that is compared as one.
fn leaf<'a>(old: Option<&Value>, new: Option<&Value>) -> Found<'a> {
    Found {
        changed: new.is_some() && old != new,
        removed: old.is_some() && new.is_none(),
        below: Comparison::default(),
    }
}

fn walk<'a>(node: Node<'a>, old: Option<&'a Value>, new: Option<&'a Value>, within: Within) -> Found<'a> {
    let below = match (old, new) {
        (None | Some(Value::Object(_)), None | Some(Value::Object(_))) => {
            let (before, after) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            let empty = before.is_none_or(Map::is_empty) && after.is_none_or(Map::is_empty);
            if empty || node.atomic_map() {
                return leaf(old, new);
            }
            members(node, before, after, within)
        }
        (None | Some(Value::Array(_)), None | Some(Value::Array(_))) => {
            let (before, after) = (old.and_then(Value::as_array), new.and_then(Value::as_array));
            let list = |list: Option<&'a Vec<Value>>| list.map_or(&[][..], Vec::as_slice);
            match listed(node, list(before), list(after)) {
                Some(below) => below,
                None => return leaf(old, new),
            }
        }
        (Some(before), Some(after)) if is_container(before) || is_container(after) => {
            // Another type of value: everything of the old is gone, everything of the new is new.
            let gone = walk(node, Some(before), None, within).below;
            let come = walk(node, None, Some(after), within).below;
            return Found {
                changed: true,
                removed: false,
                below: Comparison { changed: come.changed, removed: gone.removed },
            };
        }
        _ => return leaf(old, new),
    };
    Found { changed: old.is_none(), removed: new.is_none(), below }
}

fn is_container(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

fn members<'a>(
    node: Node<'a>,
    old: Option<&'a Map<String, Value>>,
    new: Option<&'a Map<String, Value>>,
    within: Within,
) -> Comparison<'a> {
    let mut level = Level::default();
    let mut member = |name: &'a String, before: Option<&'a Value>, after: Option<&'a Value>| {
        let scalars = !before.is_some_and(is_container) && !after.is_some_and(is_container);
        let found = if scalars {
            leaf(before, after)
        } else {
            let inner = node.field(name);
            let before = before.or_else(|| old.and(empty_of(inner, after)));
            let after = after.or_else(|| new.and(empty_of(inner, before)));
            walk(inner, before, after, within.below(name))
        };
        level.add(PathElement::Field(Cow::Borrowed(name)), found);
    };
    for (name, after) in new.into_iter().flatten().filter(|(name, _)| !within.skips(name)) {
        member(name, old.and_then(|old| old.get(name)), Some(after));
    }
    for (name, before) in old.into_iter().flatten().filter(|(name, _)| !within.skips(name)) {
        if !new.is_some_and(|new| new.contains_key(name)) {
            member(name, Some(before), None);
        }
    }
    level.done()
}

/// What stands for a missing member in Kubernetes' form of its holder, if anything does; `other` is the one that is there.
fn empty_of<'a>(node: Node<'_>, other: Option<&Value>) -> Option<&'a Value> {
    if !node.embedded() {
        return None;
    }
    match other {
        Some(Value::Object(_)) => Some(&NOTHING),
        Some(Value::Array(_)) => Some(&NO_ITEMS),
        _ => None,
    }
}

/// `None` for a list that is one value, and for one whose items cannot be told apart.
fn listed<'a>(node: Node<'a>, old: &'a [Value], new: &'a [Value]) -> Option<Comparison<'a>> {
    if old.is_empty() && new.is_empty() {
        return None;
    }
    let sorted = |list| {
        let mut named = items(node, list, String::new).ok().flatten()?;
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        Some(named.into_iter().peekable())
    };
    let (mut old, mut new) = (sorted(old)?, sorted(new)?);
    let mut level = Level::default();
    while let Some(element) = first(&mut old, &mut new) {
        let (before, after) = (take(&mut old, &element), take(&mut new, &element));
        let found = match (before.as_slice(), after.as_slice()) {
            ([_, _, ..], _) | (_, [_, _, ..]) => Found {
                // Items that cannot be told apart are compared together.
                changed: !after.is_empty() && before != after,
                removed: after.is_empty(),
                below: Comparison::default(),
            },
            (before, after) => {
                walk(node.item(), before.first().copied(), after.first().copied(), Within::Deeper)
            }
        };
        level.add(element, found);
    }
    Some(level.done())
}

fn first<'a>(
    old: &mut Peekable<IntoIter<Item<'a>>>,
    new: &mut Peekable<IntoIter<Item<'a>>>,
) -> Option<PathElement<'a>> {
    let first = match (old.peek(), new.peek()) {
        (Some((one, _)), Some((other, _))) => one.min(other),
        (Some((one, _)), None) | (None, Some((one, _))) => one,
        (None, None) => return None,
    };
    Some(first.clone())
}

fn take<'a>(list: &mut Peekable<IntoIter<Item<'a>>>, element: &PathElement<'a>) -> Vec<&'a Value> {
    let mut out = Vec::new();
    while let Some((_, value)) = list.next_if(|(other, _)| other == element) {
        out.push(value);
    }
    out
}
