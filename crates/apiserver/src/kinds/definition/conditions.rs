//! Which names a definition gets, and its conditions (`apiextensions-apiserver/pkg/controller`).

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::validate::{Approval, approval_of};
use crate::kinds::Registry;
use crate::kinds::field::{self, items, list, member, text};

/// Holds a definition until all its objects are gone.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Whether objects of the definition are served.
pub fn is_established(definition: &Value) -> bool {
    let conditions = items(definition, "/status/conditions");
    conditions
        .iter()
        .any(|condition| member(condition, "type") == "Established" && member(condition, "status") == "True")
}

/// The status that the definition must have beside `others`, the definitions that there are (itself may be among them).
///
/// A name that it has already is kept; one that another of the group has is not given.
pub fn accepted_status(definition: &Value, others: &[Value], now: Timestamp) -> Value {
    let taken = Taken::of(definition, others);
    let wanted = definition.pointer("/spec/names").unwrap_or(&Value::Null);
    let held = definition.pointer("/status/acceptedNames").unwrap_or(&Value::Null);
    let mut accepted = held.as_object().cloned().unwrap_or_default();
    let mut conflict: Option<(&str, String)> = None;
    for (key, reason, used) in [
        ("plural", "PluralConflict", &taken.resources),
        ("singular", "SingularConflict", &taken.resources),
        ("shortNames", "ShortNamesConflict", &taken.resources),
        ("kind", "KindConflict", &taken.kinds),
        ("listKind", "ListKindConflict", &taken.kinds),
    ] {
        let names: Vec<&str> = match key {
            "shortNames" => list(wanted, key).iter().filter_map(Value::as_str).collect(),
            _ => vec![member(wanted, key)],
        };
        let own = |name: &str| list(held, key).iter().any(|one| one == name) || member(held, key) == name;
        let in_use: Vec<String> = names
            .iter()
            .filter(|name| !own(name) && used.contains(**name))
            .map(|name| format!("{name:?} is already in use"))
            .collect();
        if in_use.is_empty() {
            keep(&mut accepted, wanted, key);
        } else {
            conflict = Some((reason, in_use.join(", ")));
        }
    }
    keep(&mut accepted, wanted, "categories");
    let mut status = definition.get("status").and_then(Value::as_object).cloned().unwrap_or_default();
    status.insert("acceptedNames".to_owned(), accepted.into());
    let mut conditions = Conditions { list: items(definition, "/status/conditions").to_vec(), now };
    if let Approval::Known(approved, message) = approval_of(definition) {
        let reason = if approved { "ApprovedAnnotation" } else { "UnapprovedAnnotation" };
        conditions.set("KubernetesAPIApprovalPolicyConformant", approved, reason, &message);
    }
    match conflict {
        None => {
            conditions.set("NamesAccepted", true, "NoConflicts", "no conflicts found");
            if !is_established(definition) {
                let message = "the initial names have been accepted";
                conditions.set("Established", true, "InitialNamesAccepted", message);
            }
        }
        Some((reason, message)) => {
            conditions.set("NamesAccepted", false, reason, &message);
            if !is_established(definition) {
                conditions.set("Established", false, "NotAccepted", "not all names are accepted");
            }
        }
    }
    status.insert("conditions".to_owned(), conditions.list.into());
    status.into()
}

fn keep(accepted: &mut Map<String, Value>, wanted: &Value, key: &str) {
    match wanted.get(key) {
        Some(name) => _ = accepted.insert(key.to_owned(), name.clone()),
        None => _ = accepted.shift_remove(key),
    }
}

/// Names that others of the group have.
struct Taken {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Taken {
    fn of(definition: &Value, others: &[Value]) -> Self {
        let group = text(definition, "/spec/group");
        let mut taken = Self { resources: BTreeSet::new(), kinds: BTreeSet::new() };
        for other in others {
            if text(other, "/spec/group") != group
                || text(other, "/metadata/name") == text(definition, "/metadata/name")
            {
                continue;
            }
            let names = other.pointer("/status/acceptedNames").unwrap_or(&Value::Null);
            let short = list(names, "shortNames").iter().filter_map(Value::as_str);
            taken.resources.extend(short.map(str::to_owned));
            for key in ["plural", "singular"] {
                taken.resources.insert(member(names, key).to_owned());
            }
            for key in ["kind", "listKind"] {
                taken.kinds.insert(member(names, key).to_owned());
            }
        }
        // A definition may share a group with kinds that the server brings along, and none of their names.
        for kind in
            Registry::built_in().served().filter(|served| served.group == group).map(|served| &served.kind)
        {
            let names = [&kind.plural, &kind.singular].into_iter().chain(&kind.short_names);
            taken.resources.extend(names.map(|name| name.clone().into_owned()));
            taken.kinds.extend([&kind.kind, &kind.list_kind].map(|name| name.clone().into_owned()));
        }
        taken
    }
}

/// How far the end of a definition has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminating {
    /// It was deleted.
    Pending,
    /// Its objects are being deleted.
    InProgress,
    /// They are gone.
    Completed,
    /// There never were any.
    NeverEstablished,
}

/// Says in the conditions how far the end has come; at its beginning the finalizer goes on, at its end off.
pub fn mark_terminating(definition: &mut Value, progress: Terminating, now: Timestamp) {
    let mut conditions = Conditions { list: items(definition, "/status/conditions").to_vec(), now };
    let (status, reason, message) = match progress {
        Terminating::Pending => (
            true,
            "InstanceDeletionPending",
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        ),
        Terminating::InProgress => {
            (true, "InstanceDeletionInProgress", "CustomResource deletion is in progress")
        }
        Terminating::Completed => (false, "InstanceDeletionCompleted", "removed all instances"),
        Terminating::NeverEstablished => (false, "NeverEstablished", "resource was never established"),
    };
    conditions.set("Terminating", status, reason, message);
    let Some(map) = definition.as_object_mut() else { return };
    if let Some(status) = field::object(map, "status") {
        field::set(status, "conditions", conditions.list);
    }
    let Some(metadata) = field::object(map, "metadata") else { return };
    let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
    let Some(finalizers) = finalizers.as_array_mut() else { return };
    match progress {
        Terminating::Pending => {
            if !finalizers.iter().any(|finalizer| finalizer == CLEANUP_FINALIZER) {
                finalizers.push(CLEANUP_FINALIZER.into());
            }
        }
        Terminating::InProgress => {}
        Terminating::Completed | Terminating::NeverEstablished => {
            finalizers.retain(|finalizer| finalizer != CLEANUP_FINALIZER);
        }
    }
    if finalizers.is_empty() {
        metadata.shift_remove("finalizers");
    }
}

struct Conditions {
    list: Vec<Value>,
    now: Timestamp,
}

impl Conditions {
    /// The time stays when the status does.
    fn set(&mut self, kind: &str, status: bool, reason: &str, message: &str) {
        let status = if status { "True" } else { "False" };
        let found = self.list.iter().position(|condition| member(condition, "type") == kind);
        let since = found
            .map(|index| &self.list[index])
            .filter(|before| member(before, "status") == status)
            .map(|before| member(before, "lastTransitionTime").to_owned());
        let since = since.unwrap_or_else(|| self.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        let condition = json!({
            "type": kind, "status": status, "lastTransitionTime": since, "reason": reason, "message": message,
        });
        match found {
            Some(index) => self.list[index] = condition,
            None => self.list.push(condition),
        }
    }
}
