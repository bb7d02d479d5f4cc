//! Server-side apply (`structured-merge-diff/merge/update.go`).

use serde_json::Value;

use super::compare::{NOTHING, compare};
use super::conflict::{Conflict, conflicts_with};
use super::field_set::{Twins, field_set, with_named_fields};
use super::items::ListError;
use super::merge::merge;
use super::owner::{Author, Operation, Owner, decode, encode};
use super::remove::remove;
use super::set::Set;
use super::update::lose;
use crate::kinds::Node;

/// The manager of all that was there before anybody applied (`DefaultBeforeFirstApply…`).
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// The manager that kubectl applies as.
const KUBECTL: &str = "kubectl";
/// Where kubectl keeps what it applied from the client's side.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What is applied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Configuration<'a> {
    /// The fields that the applier wants, checked against the types.
    pub(crate) object: &'a Value,
    /// Takes fields away from others.
    pub(crate) force: bool,
}

/// The outcome of an apply.
#[derive(Debug, PartialEq)]
pub(crate) struct Applied {
    /// The live object with the configuration in it.
    pub(crate) object: Value,
    /// The entries after it.
    pub(crate) managed: Option<Value>,
}

/// Why nothing was applied.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ApplyError {
    /// Others own what would change.
    Conflicts(Vec<Conflict>),
    /// A list of the configuration cannot be merged.
    List(ListError),
}

impl From<ListError> for ApplyError {
    fn from(error: ListError) -> Self {
        Self::List(error)
    }
}

/// Applies a configuration to the live object, or to nothing.
///
/// As `kubectl` it takes over what kubectl applied from the client's side, without conflicts, and keeps the annotation
/// about it true (`managedfields/internal/lastappliedmanager.go`, `lastappliedupdater.go`).
///
/// # Errors
/// The conflicts, without `force`; lists whose items have no key or the same.
pub(crate) fn apply(
    root: Node<'_>,
    live: Option<&Value>,
    configuration: &Configuration<'_>,
    author: &Author<'_>,
) -> Result<Applied, ApplyError> {
    let from_kubectl = author.manager == KUBECTL && live.is_some_and(|live| last_applied(live).is_some());
    let applied = match (apply_once(root, live, configuration, author), live) {
        (Err(ApplyError::Conflicts(conflicts)), Some(live)) if from_kubectl => {
            let allowed = applied_from_client(root, live);
            let others: Vec<Conflict> =
                conflicts.into_iter().filter(|conflict| !allowed.contains(&conflict.field)).collect();
            if !others.is_empty() {
                return Err(ApplyError::Conflicts(others));
            }
            apply_once(root, Some(live), &Configuration { force: true, ..*configuration }, author)
        }
        (outcome, _) => outcome,
    };
    let mut applied = applied?;
    if from_kubectl {
        annotate(&mut applied.object, configuration.object);
    }
    Ok(applied)
}

fn apply_once(
    root: Node<'_>,
    live: Option<&Value>,
    configuration: &Configuration<'_>,
    author: &Author<'_>,
) -> Result<Applied, ApplyError> {
    let stored = live.and_then(|live| live.pointer("/metadata/managedFields"));
    // What cannot be read was not written by this server: it starts anew.
    let mut owners = decode(stored).unwrap_or_default();
    let live = live.unwrap_or(&NOTHING);
    if owners.is_empty() {
        let before = Author { manager: BEFORE_FIRST_APPLY, subresource: "", ..*author };
        let all = compare(root, &NOTHING, live).changed;
        owners.push(Owner::of(&before, Operation::Update, all));
    }
    let set = field_set(root, configuration.object, Twins::Refused)?;
    let before = owners.iter().position(|owner| owner.is(author, Operation::Apply));
    let before = before.map(|place| owners.swap_remove(place));

    let merged = merge(root, Some(live), configuration.object);
    let last = before.as_ref().map(|owner| owner.set.clone()).unwrap_or_default();
    let object = prune(root, merged, &owners, &set, &last);

    let comparison = compare(root, live, &object);
    if !configuration.force {
        let conflicts: Vec<Conflict> = owners
            .iter()
            .flat_map(|owner| conflicts_with(owner, &owner.set.intersection(&comparison.changed)))
            .collect();
        if !conflicts.is_empty() {
            return Err(ApplyError::Conflicts(conflicts));
        }
    }
    lose(&mut owners, &comparison);
    let mut own = Owner::of(author, Operation::Apply, set);
    if let Some(before) = before
        && comparison.is_empty()
        && (&before.set, &before.api_version) == (&own.set, &own.api_version)
    {
        // Nothing happened: that is no news.
        own.time = before.time;
    }
    owners.push(own);
    let managed = encode(owners);
    drop(comparison);
    Ok(Applied { object, managed })
}

/// Takes out what the applier applied last time, not this time, and nobody else owns.
fn prune(root: Node<'_>, merged: Value, others: &[Owner<'_>], set: &Set<'_>, last: &Set<'_>) -> Value {
    if last.clone().difference(set).is_empty() {
        return merged;
    }
    fn all<'a>(root: Node<'a>, value: &'a Value) -> Set<'a> {
        // Where an item of the live object has no key, nothing is pruned.
        let set = field_set(root, value, Twins::United).unwrap_or_default();
        with_named_fields(root, set)
    }
    let without = |gone: &Set<'_>| remove(root, &merged, gone).unwrap_or_else(|| NOTHING.clone());
    let last = with_named_fields(root, last.clone());
    let everything = all(root, &merged);
    let pruned = without(&last);
    // What somebody owns comes back, the applier's own configuration included.
    let mut owned = set.clone();
    for owner in others {
        owned = owned.union(owner.set.clone());
    }
    let stays = all(root, &pruned).union(with_named_fields(root, owned));
    let pruned = without(&everything.clone().difference(&stays));
    // So does what the applier never had.
    let gone = everything.difference(&all(root, &pruned)).intersection(&last);
    without(&gone)
}

fn last_applied(object: &Value) -> Option<&str> {
    let annotations = object.get("metadata")?.get("annotations")?;
    annotations.get(LAST_APPLIED)?.as_str().filter(|text| !text.is_empty())
}

/// The fields that kubectl applied from the client's side and that still have the value it gave them.
fn applied_from_client(root: Node<'_>, live: &Value) -> Vec<String> {
    let Some(applied) = last_applied(live).and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return Vec::new();
    };
    let Ok(set) = field_set(root, &applied, Twins::United) else { return Vec::new() };
    let comparison = compare(root, &applied, live);
    set.difference(&comparison.changed).difference(&comparison.removed).paths()
}

/// Writes what was applied where kubectl looks for it when it applies from the client's side again.
fn annotate(object: &mut Value, applied: &Value) {
    let mut applied = applied.clone();
    if let Some(annotations) = applied.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(LAST_APPLIED);
    }
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.insert(LAST_APPLIED.to_owned(), format!("{applied}\n").into());
    }
}
