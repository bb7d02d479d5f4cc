//! Delete: at once, or first a mark that the object is on its way out.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::list_options::ListOptions;
use super::modify::{Change, Modified};
use super::options::{DeleteOptions, Propagation};
use super::render::{Renderer, negotiate};
use super::target::Target;
use super::{Api, Call, definitions, meta};
use crate::http::{Answer, json, json_bytes};
use crate::kinds::{Kind, Reservation, Terminating, mark_terminating};
use crate::status::Status;
use crate::store::Record;

/// Kubernetes' default for pods that say nothing.
const DEFAULT_GRACE: i64 = 30;
const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
/// Deletions of a collection under way at once: enough to share commits.
const AT_ONCE: usize = 64;
/// Namespaces that nobody may delete.
const LASTING: [&str; 3] = ["default", "kube-system", "kube-public"];

impl Api {
    pub(super) async fn delete_one(&self, target: &Target, call: &Call) -> Result<Answer, Status> {
        let kind = &target.served.kind;
        let renderer =
            Renderer { served: target.served.clone(), form: negotiate(&call.headers, &call.query)? };
        let options = DeleteOptions::parse(&call.query, &call.body)?;
        let Modified { record, removed } = self.delete(target, &options, |_| {}).await?;
        if !removed {
            return Ok(json_bytes(StatusCode::OK, renderer.object(&record.json)));
        }
        let object: Value = serde_json::from_slice(&record.json).map_err(Status::internal)?;
        let mut details = json!({"name": target.name});
        if !kind.group.is_empty() {
            details["group"] = kind.group.as_ref().into();
        }
        details["kind"] = kind.plural.as_ref().into();
        details["uid"] = meta::text(&object, "uid").into();
        let success = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
        });
        Ok(json(StatusCode::OK, &success))
    }

    pub(super) async fn delete_collection(
        self: &Arc<Self>,
        target: &Target,
        call: &Call,
    ) -> Result<Answer, Status> {
        let kind = &target.served.kind;
        if kind.namespaced && target.namespace.is_empty() {
            return Err(Status::method_not_allowed());
        }
        let renderer =
            Renderer { served: target.served.clone(), form: negotiate(&call.headers, &call.query)? };
        let options = DeleteOptions::parse(&call.query, &call.body)?;
        let page = self.page(target, &ListOptions::parse(&call.query, kind, &target.resource())?)?;
        let named = |record: Record| Target { name: record.key.name().to_owned(), ..target.clone() };
        let targets: Vec<Target> = page.records.into_iter().map(named).collect();
        let deletions = targets.into_iter().map(|target| {
            let (api, options) = (Arc::clone(self), options.clone());
            async move { api.delete(&target, &options, |_| {}).await }
        });
        let outcomes: Vec<Result<Modified, Status>> =
            futures::stream::iter(deletions).buffered(AT_ONCE).collect().await;
        let mut deleted: Vec<Record> = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            match outcome {
                Ok(modified) => deleted.push(modified.record),
                // Somebody else deleted it meanwhile.
                Err(status) if status.is_not_found() => {}
                Err(status) => return Err(status),
            }
        }
        let metadata = json!({"resourceVersion": self.store.revision().to_string()});
        let list = renderer.list(deleted.iter().map(|record| &record.json), &metadata);
        Ok(json_bytes(StatusCode::OK, list))
    }

    /// `mark` is done to an object that gets time to end.
    pub(super) async fn delete(
        &self,
        target: &Target,
        options: &DeleteOptions,
        mark: impl Fn(&mut Value),
    ) -> Result<Modified, Status> {
        let kind = &target.served.kind;
        if kind.is("", "Namespace") && LASTING.contains(&target.name.as_str()) {
            let detail = "this namespace may not be deleted";
            return Err(Status::forbidden(&kind.group, &kind.plural, &target.name, detail));
        }
        self.modify(target, options.dry_run, |old, record| {
            self.admit(target, "delete", &Value::Null, old)?;
            check_preconditions(kind, &target.name, old, record, options)?;
            Ok(match step(kind, old, options, Timestamp::now()) {
                Step::Keep => Change::Keep,
                Step::Mark(mut object) => {
                    mark(&mut object);
                    Change::Store { object, reservation: Reservation::none() }
                }
                Step::Remove => Change::Remove {
                    object: old.clone(),
                    reservation: kind.prepare_delete(old, &self.context(options.dry_run)),
                },
            })
        })
        .await
    }
}

fn check_preconditions(
    kind: &Kind,
    name: &str,
    old: &Value,
    record: &Record,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let uid = meta::text(old, "uid");
    if let Some(wanted) = options.uid.as_deref().filter(|wanted| *wanted != uid) {
        let detail = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}");
        return Err(Status::conflict(&kind.group, &kind.plural, name, &detail));
    }
    let revision = record.revision.to_string();
    if let Some(wanted) = options.resource_version.as_deref().filter(|wanted| *wanted != revision) {
        let detail = format!(
            "Precondition failed: ResourceVersion in precondition: {wanted}, ResourceVersion in object meta: {revision}"
        );
        return Err(Status::conflict(&kind.group, &kind.plural, name, &detail));
    }
    Ok(())
}

/// What a deletion does to an object.
#[derive(Debug, PartialEq)]
enum Step {
    /// It is on its way out already.
    Keep,
    /// It gets this state, and goes later.
    Mark(Value),
    /// It goes now.
    Remove,
}

/// Pure: the rules of `apiserver/pkg/registry/rest/delete.go` and of the pod's and the namespace's strategies.
fn step(kind: &Kind, old: &Value, options: &DeleteOptions, now: Timestamp) -> Step {
    let mut new = old.clone();
    let terminating = meta::is_terminating(old);
    let running = old.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
    let mut grace = if kind.is("", "Pod") { pod_grace(old, options.grace_seconds) } else { 0 };
    if terminating {
        // A second deletion can only shorten the time that is left.
        grace = if options.grace_seconds.is_none() { running } else { grace.min(running) };
    }
    if !terminating && kind.is(definitions::GROUP, definitions::KIND) {
        mark_terminating(&mut new, Terminating::Pending, now);
    }
    let Some(metadata) = meta::metadata_mut(&mut new) else { return Step::Remove };
    set_finalizers(metadata, options.propagation);
    let held = metadata.contains_key("finalizers");
    let content = kind.is("", "Namespace")
        && old.pointer("/spec/finalizers").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if grace == 0 && !held && !content {
        return Step::Remove;
    }
    if !terminating {
        let end = now.saturating_add(Duration::from_secs(grace.unsigned_abs())).unwrap_or(Timestamp::MAX);
        metadata.insert("deletionTimestamp".to_owned(), meta::time_text(end).into());
        metadata.insert("deletionGracePeriodSeconds".to_owned(), grace.into());
        if let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
            metadata.insert("generation".to_owned(), (generation + 1).into());
        }
        if content && let Some(map) = new.as_object_mut() {
            let status = map.entry("status").or_insert_with(|| json!({}));
            status["phase"] = "Terminating".into();
        }
    } else if grace < running {
        let end: Option<Timestamp> = meta::text(old, "deletionTimestamp").parse().ok();
        let earlier =
            end.and_then(|end| end.checked_sub(Duration::from_secs((running - grace).unsigned_abs())).ok());
        metadata.insert("deletionTimestamp".to_owned(), meta::time_text(earlier.unwrap_or(now)).into());
        metadata.insert("deletionGracePeriodSeconds".to_owned(), grace.into());
    }
    if new == *old { Step::Keep } else { Step::Mark(new) }
}

/// Seconds that a pod gets to end: none when it runs nowhere, or no longer.
fn pod_grace(pod: &Value, wanted: Option<i64>) -> i64 {
    let node = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    if node.is_empty() || matches!(phase, "Succeeded" | "Failed") {
        return 0;
    }
    let own = pod.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
    wanted.or(own).unwrap_or(DEFAULT_GRACE).max(0)
}

/// The finalizers that tell the garbage collector what to do with what the object owns.
fn set_finalizers(metadata: &mut Map<String, Value>, propagation: Option<Propagation>) {
    let present = metadata.get("finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut list = present;
    let own = match propagation {
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Orphan) => Some(ORPHAN),
        Some(Propagation::Background) => None,
        None => {
            if list.is_empty() {
                metadata.shift_remove("finalizers");
            }
            return;
        }
    };
    list.retain(|name| own == name.as_str() || (name != FOREGROUND && name != ORPHAN));
    if let Some(own) = own
        && !list.iter().any(|name| name == own)
    {
        list.push(own.into());
    }
    if list.is_empty() {
        metadata.shift_remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), list.into());
    }
}

#[cfg(test)]
mod tests;
