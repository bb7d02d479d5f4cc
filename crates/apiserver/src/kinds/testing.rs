//! What the tests of the kinds share: a cluster of one service range, and the way of an object through the door.

use serde_json::{Value, json};

use super::{Allocation, AllocationConfig, Context, Kind, Registry};
use crate::status::Status;

pub(super) fn kind(name: &str) -> &'static Kind {
    let served = Registry::built_in().served().find(|served| served.stored && served.kind.kind == name);
    &served.unwrap().kind
}

pub(super) fn allocation(ranges: &[&str]) -> Allocation {
    let service_ranges = ranges.iter().map(|range| range.parse().unwrap()).collect();
    Allocation::new(AllocationConfig { service_ranges, reserved: Vec::new(), node_ports: 30000..=32767 })
        .unwrap()
}

pub(super) fn context(allocation: &Allocation) -> Context<'_> {
    Context { now: "2026-11-21T12:00:00Z".parse().unwrap(), allocation, dry_run: false }
}

/// Creates the object and commits what it took.
pub(super) fn create_in(allocation: &Allocation, name: &str, mut object: Value) -> Result<Value, Status> {
    kind(name).check_shape(&mut object)?;
    kind(name).prepare_create(&mut object)?;
    kind(name).allocate(&mut object, None, &context(allocation))?.commit();
    Ok(object)
}

pub(super) fn create(name: &str, object: Value) -> Result<Value, Status> {
    create_in(&allocation(&["10.96.0.0/12"]), name, object)
}

/// Brings `old` to `new` and commits what that took.
pub(super) fn update_in(
    allocation: &Allocation,
    name: &str,
    mut new: Value,
    old: &Value,
) -> Result<Value, Status> {
    kind(name).check_shape(&mut new)?;
    kind(name).prepare_update(&mut new, old)?;
    kind(name).allocate(&mut new, Some(old), &context(allocation))?.commit();
    Ok(new)
}

/// The message of the refusal, after `… is invalid: `.
pub(super) fn refusal(result: Result<Value, Status>) -> String {
    let message = result.unwrap_err().message;
    message.split_once(" is invalid: ").map_or(message.clone(), |(_, rest)| rest.to_owned())
}

/// The object with the value at a JSON pointer's place, parents made.
pub(super) fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let mut place = &mut object;
    for part in pointer[1..].split('/') {
        place = match part.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[part],
        };
    }
    *place = value;
    object
}

pub(super) fn pod_spec() -> Value {
    json!({"containers": [{"name": "main", "image": "httpd"}]})
}

pub(super) fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"}, "spec": pod_spec()})
}

pub(super) fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"run": "web"}},
            "template": {"metadata": {"labels": {"run": "web"}}, "spec": pod_spec()}}})
}

pub(super) fn service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"run": "web"}, "ports": [{"port": 80}]}})
}

/// What a schema refers to, everywhere in it.
pub(crate) fn references<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            out.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|value| references(value, out));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, out)),
        _ => {}
    }
}
