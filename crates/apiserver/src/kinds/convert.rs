//! Older versions at the door: they come in as today's version, and go out under the name they were asked by.
//!
//! Of workloads and policies only the names and a few defaults differ from today's; the fields of an Ingress differ too.

use serde_json::{Map, Value, json};

use super::registry::Kind;
use super::{convert_ingress, field};

/// Makes a body sent in `group`/`version` one of the stored version. Nothing happens when that is the stored one.
pub fn convert_in(kind: &Kind, group: &str, version: &str, object: &mut Value) {
    if kind.custom().is_some() {
        // Versions of a custom resource differ in their names alone: its conversion strategy is "None".
        if let Some(map) = object.as_object_mut() {
            field::set(map, "apiVersion", kind.api_version());
        }
        return;
    }
    if group == kind.group && version == kind.version {
        return;
    }
    let Some(map) = object.as_object_mut() else { return };
    field::set(map, "apiVersion", kind.api_version());
    match &*kind.kind {
        "Deployment" | "DaemonSet" | "ReplicaSet" => workload_in(map, &kind.kind, version),
        "Ingress" => convert_ingress::to_todays(map),
        _ => {}
    }
}

fn workload_in(map: &mut Map<String, Value>, kind: &str, version: &str) {
    let Some(spec) = map.get_mut("spec").and_then(Value::as_object_mut) else { return };
    // Fields of the old versions alone: that of the rollback endpoint, and a counter that clients may not set.
    spec.shift_remove("rollbackTo");
    spec.shift_remove("templateGeneration");
    // A DaemonSet of extensions/v1beta1 replaced its pods when somebody deleted them.
    if kind == "DaemonSet"
        && version == "v1beta1"
        && let Some(strategy) = field::object(spec, "updateStrategy")
    {
        field::fill(strategy, "type", "OnDelete");
    }
    // apps/v1beta1 and extensions/v1beta1 take the selector and the labels from the template; apps/v1beta2 does not.
    if version != "v1beta1" {
        return;
    }
    let labels = spec.get("template").and_then(|template| template.pointer("/metadata/labels")).cloned();
    let Some(labels) = labels.filter(|labels| labels.as_object().is_some_and(|labels| !labels.is_empty()))
    else {
        return;
    };
    if spec.get("selector").is_none_or(Value::is_null) {
        field::set(spec, "selector", json!({ "matchLabels": labels }));
    }
    if let Some(metadata) = field::object(map, "metadata")
        && metadata.get("labels").is_none_or(|labels| labels.as_object().is_none_or(Map::is_empty))
    {
        field::set(metadata, "labels", labels);
    }
}

/// Makes a stored object one of the version it was asked for.
///
/// A custom resource is shown as its definition is now: what was stored under an older one is pruned and defaulted.
pub fn convert_out(kind: &Kind, group: &str, version: &str, object: &mut Value) {
    if let Some(custom) = kind.custom() {
        custom.renew(object);
    } else if group == kind.group && version == kind.version {
        return;
    }
    if let Some(map) = object.as_object_mut() {
        field::set(
            map,
            "apiVersion",
            if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") },
        );
        if &*kind.kind == "Ingress" {
            convert_ingress::from_todays(map);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::kind;

    #[test]
    fn a_v1beta1_deployment_becomes_todays() {
        let kind = kind("Deployment");
        let body = json!({"apiVersion": "apps/v1beta1", "kind": "Deployment", "metadata": {"name": "httpd"},
            "spec": {"replicas": 3, "template": {"metadata": {"labels": {"run": "httpd"}}, "spec": {"containers": []}}}});
        let mut object = body.clone();
        convert_in(kind, "apps", "v1beta1", &mut object);
        assert_eq!(object["apiVersion"], "apps/v1");
        assert_eq!(object["spec"]["selector"], json!({"matchLabels": {"run": "httpd"}}));
        assert_eq!(object["metadata"]["labels"], json!({"run": "httpd"}));
        convert_out(kind, "apps", "v1beta1", &mut object);
        assert_eq!(object["apiVersion"], "apps/v1beta1");
        let mut other = body;
        convert_in(kind, "apps", "v1beta2", &mut other);
        assert_eq!(other["spec"].get("selector"), None);
    }
}
