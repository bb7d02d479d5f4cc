use serde_json::{Value, json};

use super::*;
use crate::kinds::registry::Served;

fn served() -> Vec<Served> {
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "replicas": {"type": "integer", "default": 1}, "color": {"type": "string", "enum": ["red", "blue"]}}},
        "status": {"type": "object", "properties": {"ready": {"type": "integer"}}},
    }}});
    let definition = json!({
        "metadata": {"name": "things.example.com", "uid": "1"},
        "spec": {"group": "example.com", "scope": "Namespaced", "versions": [
            {"name": "v1beta1", "served": true, "storage": false, "schema": schema, "deprecated": true},
            {"name": "v1", "served": true, "storage": true, "schema": schema,
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.ready"}},
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "additionalPrinterColumns": [
                    {"name": "Color", "type": "string", "jsonPath": ".spec.color"},
                    {"name": "Ready", "type": "integer", "jsonPath": ".status.ready", "priority": 1, "description": "How many."},
                    {"name": "Since", "type": "date", "jsonPath": ".spec.color"}]},
            {"name": "v1alpha1", "served": false, "storage": false, "schema": schema},
        ]},
        "status": {"acceptedNames": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}},
    });
    served_kinds(&definition, false)
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "x", "namespace": "default"}, "spec": spec})
}

#[test]
fn a_definition_brings_its_served_versions() {
    let all = served();
    let versions: Vec<(&str, bool)> = all.iter().map(|one| (one.version.as_ref(), one.stored)).collect();
    assert_eq!(versions, [("v1", true), ("v1beta1", false)]);
    assert!(all.iter().all(|one| one.kind.version == "v1"), "all are stored as one");
    let deprecation = all[1].kind.custom().unwrap().deprecation();
    assert_eq!(deprecation, Some("example.com/v1beta1 Thing is deprecated"));
}

#[test]
fn rows_are_what_the_columns_say() {
    let kind = &served()[0].kind;
    let columns: Vec<(&str, i32)> =
        kind.columns.iter().map(|one| (one.name.as_ref(), one.priority)).collect();
    assert_eq!(columns, [("Name", 0), ("Color", 0), ("Ready", 1), ("Since", 0)]);
    assert_eq!(kind.columns[2].description, "How many.");
    let object = json!({"metadata": {"name": "x"}, "spec": {"color": "red"}, "status": {"ready": 2.0}});
    assert_eq!(
        kind.row(&object, Timestamp::UNIX_EPOCH),
        [json!("x"), json!("red"), json!(2), json!("<invalid>")]
    );
    let empty = json!({"metadata": {"name": "x"}});
    assert_eq!(kind.row(&empty, Timestamp::UNIX_EPOCH)[1..], [Value::Null, Value::Null, Value::Null]);
}

#[test]
fn status_is_set_through_its_subresource_alone() {
    let all = served();
    let mut with_status = object(json!({}));
    with_status["status"] = json!({"ready": 1});
    let mut made = with_status.clone();
    all[0].kind.prepare_create(&mut made).unwrap();
    assert_eq!((made.get("status"), &made["spec"]["replicas"]), (None, &json!(1)));
    let mut changed = object(json!({"replicas": 5}));
    changed["status"] = json!({"ready": 5});
    changed["metadata"]["labels"] = json!({"a": "b"});
    all[0].kind.prepare_status_update(&mut changed, &made).unwrap();
    assert_eq!((&changed["spec"]["replicas"], changed["metadata"].get("labels")), (&json!(1), None));
    assert_eq!(changed["status"], json!({"ready": 5}));
    assert_eq!(all[0].kind.next_generation(&changed, Some(&made)), Some(1));
    // v1beta1 has no status subresource: the status is a field like others.
    let mut plain = with_status;
    all[1].kind.prepare_create(&mut plain).unwrap();
    assert_eq!(plain["status"], json!({"ready": 1}));
    assert_eq!(all[1].kind.next_generation(&plain, Some(&made)), Some(2));
}

#[test]
fn objects_are_checked() {
    let all = served();
    let kind = &all[0].kind;
    let refused = |spec: Value| kind.prepare_create(&mut object(spec)).unwrap_err().message;
    assert_eq!(
        refused(json!({"color": "green"})),
        "Thing.example.com \"x\" is invalid: spec.color: Unsupported value: \"green\": supported values: \"red\", \"blue\""
    );
    assert!(
        refused(json!({"replicas": -1})).ends_with("Invalid value: -1: should be a non-negative integer")
    );
    assert!(kind.offers_field("spec.color") && !kind.offers_field("spec.replicas"));
    assert_eq!(kind.selectable(&object(json!({"color": "red"})), "spec.color").as_deref(), Some("red"));
}
