//! What is to be done about one object, given what is known of its owners and dependents.

use super::graph::{Graph, Item};

/// Set on an object that must outlive its dependents.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Set on an object whose dependents must outlive it.
pub(crate) const ORPHAN: &str = "orphan";

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Keep,
    /// Find out on the server whether these owners exist, then judge again.
    LookUp(Vec<String>),
    /// No owner is left: delete it, its dependents before it if `foreground`.
    Delete { foreground: bool },
    /// Some owners are gone, others are there: take the references to these uids off.
    Cut(Vec<String>),
    /// It waits for its dependents to end: ask for the deletion of these.
    DeleteDependents(Vec<String>),
    /// It leaves its dependents behind: take its reference off these, then its finalizer [`ORPHAN`].
    LetGo(Vec<String>),
    /// Nothing it waited for is left: take this finalizer off.
    Release(&'static str),
}

/// Judges one object. `absent` are owners of which the server has said that they do not exist.
pub(crate) fn judge(graph: &Graph, item: &Item, absent: &[String]) -> Verdict {
    if item.deleting && item.has_finalizer(ORPHAN) {
        let dependents: Vec<String> =
            graph.dependents(&item.uid).iter().map(|item| item.uid.clone()).collect();
        return if dependents.is_empty() { Verdict::Release(ORPHAN) } else { Verdict::LetGo(dependents) };
    }
    if item.deleting && item.has_finalizer(FOREGROUND) {
        return judge_waiting(graph, item);
    }
    if item.deleting || item.owners.is_empty() {
        return Verdict::Keep;
    }
    let is_absent = |id: &String| absent.contains(id);
    let unknown: Vec<String> = item
        .owners
        .iter()
        .map(|owner| owner.uid.clone())
        .filter(|id| graph.find(id).is_none() && !is_absent(id))
        .collect();
    if !unknown.is_empty() {
        return Verdict::LookUp(unknown);
    }
    let waiting =
        |id: &str| graph.find(id).is_some_and(|owner| owner.deleting && owner.has_finalizer(FOREGROUND));
    let solid = item.owners.iter().any(|owner| !is_absent(&owner.uid) && !waiting(&owner.uid));
    let gone: Vec<String> =
        item.owners.iter().map(|owner| owner.uid.clone()).filter(|id| is_absent(id) || waiting(id)).collect();
    match (solid, gone.is_empty()) {
        (true, true) => Verdict::Keep,
        (true, false) => Verdict::Cut(gone),
        (false, _) => {
            let foreground = item.owners.iter().any(|owner| waiting(&owner.uid))
                && !graph.dependents(&item.uid).is_empty();
            Verdict::Delete { foreground }
        }
    }
}

/// An object in foreground deletion goes once no dependent that blocks it is left.
fn judge_waiting(graph: &Graph, item: &Item) -> Verdict {
    let dependents = graph.dependents(&item.uid);
    let blocks = |dependent: &&Item| {
        dependent.owners.iter().any(|owner| owner.uid == item.uid && owner.block_owner_deletion == Some(true))
    };
    if !dependents.iter().any(blocks) {
        return Verdict::Release(FOREGROUND);
    }
    let to_delete: Vec<String> =
        dependents.iter().filter(|item| !item.deleting).map(|item| item.uid.clone()).collect();
    if to_delete.is_empty() { Verdict::Keep } else { Verdict::DeleteDependents(to_delete) }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
