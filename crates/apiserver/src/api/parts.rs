//! The scale and binding subresources.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::body::{media_type, read};
use super::modify::Change;
use super::options::{WriteOptions, Writing, revision_of};
use super::patch::Patch;
use super::read::parsed;
use super::target::Target;
use super::writer::{Ownership, Write};
use super::{Api, Call, apply, done, meta};
use crate::fields::{self, Configuration};
use crate::http::{Answer, json};
use crate::kinds::{Reservation, Scale};
use crate::status::{Cause, Status};
use crate::store::Record;

impl Api {
    pub(super) fn read_scale(&self, target: &Target) -> Result<Answer, Status> {
        let scale = scale_of(target)?;
        let object = parsed(&self.stored(target)?)?;
        Ok(json(StatusCode::OK, &shown(&object, scale)))
    }

    pub(super) async fn write_scale(&self, target: &Target, call: &Call) -> Result<Answer, Status> {
        let scale = scale_of(target)?;
        let patched = call.method == http::Method::PATCH;
        let options = if patched {
            WriteOptions::parse_patch(&call.query, media_type(&call.headers))?
        } else {
            WriteOptions::parse(&call.query, Writing::Update)?
        };
        let wanted = match (patched, media_type(&call.headers)) {
            (true, apply::MEDIA_TYPE) => {
                let (config, _) = apply::read(&call.body)?;
                apply::check_type(&config, SCALE.0, SCALE.1)?;
                Wanted::Applied { replicas: config.pointer("/spec/replicas").cloned(), force: options.force }
            }
            (true, _) => Wanted::Patched(Patch::parse(&call.headers, &call.body)?.0),
            (false, _) => Wanted::Sent(read(&call.headers, &call.body)?.0),
        };
        let write = Write::new(target, &call.headers, &options);
        let modified = self
            .modify(target, options.dry_run, |old, record| {
                let sent = match &wanted {
                    Wanted::Applied { replicas, force } => {
                        return self.scale_applied(&write, replicas.as_ref(), *force, old, record, scale);
                    }
                    // A Scale has no lists: a strategic patch is a merge patch.
                    Wanted::Patched(Patch::Strategic(patch)) => {
                        Patch::Merge(patch.clone()).apply(&target.served.kind, &shown(old, scale))?
                    }
                    Wanted::Patched(patch) => patch.apply(&target.served.kind, &shown(old, scale))?,
                    Wanted::Sent(sent) => sent.clone(),
                };
                if revision_of(&sent)?.is_some_and(|revision| revision != record.revision) {
                    let kind = &target.served.kind;
                    return Err(Status::modified(&kind.group, &kind.plural, &target.name));
                }
                let replicas = sent.pointer("/spec/replicas").cloned().unwrap_or_else(|| 0.into());
                check_replicas(&replicas, &target.name)?;
                let mut new = old.clone();
                set(&mut new, &scale.spec_replicas, replicas);
                self.updated(&write, new, Ownership::Difference, old, record)
            })
            .await?;
        Ok(json(StatusCode::OK, &shown(&parsed(&modified.record)?, scale)))
    }

    /// Applies a number of replicas: to the object it is about, whose owners are the ones to agree.
    fn scale_applied(
        &self,
        write: &Write<'_>,
        replicas: Option<&Value>,
        force: bool,
        old: &Value,
        record: &Record,
        scale: &Scale,
    ) -> Result<Change, Status> {
        let mut config = json!({});
        if let Some(replicas) = replicas {
            check_replicas(replicas, &write.target.name)?;
            set(&mut config, &scale.spec_replicas, replicas.clone());
        }
        let config = Configuration { object: &config, force };
        let applied = fields::apply(write.root(), Some(old), &config, &write.writer.author());
        let applied = applied.map_err(|error| apply::refused(write.target, error))?;
        self.updated(write, applied.object, Ownership::Applied(applied.managed), old, record)
    }

    /// Gives a pod its node: what the scheduler decides.
    pub(super) async fn bind(&self, target: &Target, call: &Call) -> Result<Answer, Status> {
        let options = WriteOptions::parse(&call.query, Writing::Create)?;
        let (binding, _) = read(&call.headers, &call.body)?;
        let node = binding.pointer("/target/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if node.is_empty() {
            let cause = Cause::required("target.name", "");
            return Err(Status::invalid("", "Binding", &target.name, vec![cause]));
        }
        meta::check_path(&binding, &target.served.kind, &target.namespace, &target.name)?;
        let uid = meta::text(&binding, "uid").to_owned();
        self.modify(target, options.dry_run, |old, _| {
            let conflict = |detail: &str| Status::conflict("", "pods/binding", &target.name, detail);
            if !uid.is_empty() && uid != meta::text(old, "uid") {
                let own = meta::text(old, "uid");
                return Err(conflict(&format!(
                    "Precondition failed: UID in precondition: {uid}, UID in object meta: {own}"
                )));
            }
            if meta::is_terminating(old) {
                return Err(conflict(&format!(
                    "pod {} is being deleted, cannot be assigned to a host",
                    target.name
                )));
            }
            let assigned = old.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
            if !assigned.is_empty() {
                return Err(conflict(&format!(
                    "pod {} is already assigned to node {assigned:?}",
                    target.name
                )));
            }
            let mut new = old.clone();
            set(&mut new, "/spec/nodeName", node.as_str().into());
            mark_scheduled(&mut new, Timestamp::now());
            Ok(Change::Store { object: new, reservation: Reservation::none() })
        })
        .await?;
        let success =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok(json(done(true), &success))
    }
}

/// Version and kind of what the scale subresource shows.
const SCALE: (&str, &str) = ("autoscaling/v1", "Scale");

/// What a write of the scale subresource says.
enum Wanted {
    Sent(Value),
    Patched(Patch),
    Applied { replicas: Option<Value>, force: bool },
}

fn check_replicas(replicas: &Value, name: &str) -> Result<(), Status> {
    let detail = match replicas.as_i64() {
        None => "must be a whole number",
        Some(number) if number < 0 => "must be greater than or equal to 0",
        Some(number) if number > i64::from(i32::MAX) => "must be at most 2147483647",
        Some(_) => return Ok(()),
    };
    let cause = Cause::invalid("spec.replicas", replicas, detail);
    Err(Status::invalid("autoscaling", "Scale", name, vec![cause]))
}

fn scale_of(target: &Target) -> Result<&Scale, Status> {
    target.served.kind.scale.as_ref().ok_or_else(Status::unknown_path)
}

/// The autoscaling/v1 Scale of an object.
fn shown(object: &Value, scale: &Scale) -> Value {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.get("metadata").and_then(|metadata| metadata.get(field)) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    json!({
        "kind": SCALE.1, "apiVersion": SCALE.0, "metadata": metadata,
        "spec": {"replicas": number(&scale.spec_replicas)},
        "status": {
            "replicas": number(&scale.status_replicas),
            "selector": match object.pointer(&scale.selector) {
                // A custom resource keeps it as text.
                Some(Value::String(text)) => text.clone(),
                Some(selector) if !scale.selector.is_empty() => selector_text(selector),
                _ => String::new(),
            },
        },
    })
}

/// A meta/v1 LabelSelector in the grammar of label selectors.
fn selector_text(selector: &Value) -> String {
    let mut parts = Vec::new();
    for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
        parts.push(format!("{key}={}", value.as_str().unwrap_or_default()));
    }
    parts.sort();
    for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let text = |field| expression.get(field).and_then(Value::as_str).unwrap_or_default();
        let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
        let values: Vec<&str> = values.filter_map(Value::as_str).collect();
        let (key, values) = (text("key"), values.join(","));
        match text("operator") {
            "In" => parts.push(format!("{key} in ({values})")),
            "NotIn" => parts.push(format!("{key} notin ({values})")),
            "Exists" => parts.push(key.to_owned()),
            "DoesNotExist" => parts.push(format!("!{key}")),
            // Validation lets nothing else in.
            _ => {}
        }
    }
    parts.join(",")
}

/// Sets what a pointer of plain field names leads to, making the objects on the way.
fn set(object: &mut Value, pointer: &str, value: Value) {
    let mut place = object;
    for field in pointer.split('/').skip(1) {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[field];
    }
    *place = value;
}

/// The condition that a pod has a node, as the API server sets it with the binding.
fn mark_scheduled(pod: &mut Value, now: Timestamp) {
    set_condition(
        pod,
        json!({
            "type": "PodScheduled", "status": "True", "lastProbeTime": null,
            "lastTransitionTime": meta::time_text(now),
        }),
    );
}

/// Puts a condition in the place of the one of its type.
pub(super) fn set_condition(object: &mut Value, condition: Value) {
    let conditions =
        object.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut conditions: Vec<Value> =
        conditions.into_iter().filter(|known| known["type"] != condition["type"]).collect();
    conditions.push(condition);
    set(object, "/status/conditions", conditions.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_print_as_label_selectors() {
        let selector = json!({
            "matchLabels": {"run": "httpd", "app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["a", "b"]},
                {"key": "gone", "operator": "DoesNotExist"},
            ],
        });
        assert_eq!(selector_text(&selector), "app=web,run=httpd,tier in (a,b),!gone");
    }

    #[test]
    fn a_bound_pod_has_one_condition_that_says_so() {
        let mut pod = json!({"spec": {}, "status": {"conditions": [
            {"type": "PodScheduled", "status": "False"}, {"type": "Ready", "status": "False"},
        ]}});
        mark_scheduled(&mut pod, Timestamp::UNIX_EPOCH);
        let conditions = pod["status"]["conditions"].as_array().unwrap();
        assert_eq!(conditions.len(), 2);
        assert_eq!(conditions[1]["status"], "True");
        assert_eq!(conditions[1]["lastTransitionTime"], "1970-01-01T00:00:00Z");
    }
}
