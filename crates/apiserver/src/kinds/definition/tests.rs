use serde_json::{Value, json};

use super::*;
use crate::kinds::testing::{create, refusal, update_in, with};

fn definition(plural: &str, kind: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com"), "creationTimestamp": "2026-11-21T12:00:00Z"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": plural, "kind": kind},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    })
}

fn made(plural: &str, kind: &str) -> Value {
    create("CustomResourceDefinition", definition(plural, kind)).unwrap()
}

fn conditions(status: &Value) -> Vec<String> {
    let conditions = status["conditions"].as_array().unwrap().iter();
    conditions
        .map(|one| format!("{}={} {}", member(one, "type"), member(one, "status"), member(one, "reason")))
        .collect()
}

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

#[test]
fn definitions_are_defaulted() {
    let made = made("things", "Thing");
    assert_eq!(
        made["spec"]["names"],
        json!({"plural": "things", "kind": "Thing", "singular": "thing", "listKind": "ThingList"})
    );
    assert_eq!(made["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!(made["status"], json!({"storedVersions": ["v1"]}));
}

#[test]
fn wrong_definitions_are_refused_in_kubernetes_words() {
    let thing = || definition("things", "Thing");
    let cases = [
        (
            with(thing(), "/metadata/name", json!("thing.example.com")),
            "metadata.name: Invalid value: \"thing.example.com\": must be spec.names.plural+\".\"+spec.group",
        ),
        (
            with(with(thing(), "/spec/group", json!("example")), "/metadata/name", json!("things.example")),
            "spec.group: Invalid value: \"example\": should be a domain with at least one dot",
        ),
        (
            with(thing(), "/spec/scope", json!("Everywhere")),
            "spec.scope: Unsupported value: \"Everywhere\": supported values: \"Cluster\", \"Namespaced\"",
        ),
        (
            with(thing(), "/spec/names/shortNames", json!(["T"])),
            "spec.names.shortNames[0]: Invalid value: \"T\": a DNS-1035 label must consist of",
        ),
        (
            with(thing(), "/spec/names/listKind", json!("Thing")),
            "spec.names.listKind: Invalid value: \"Thing\": kind and listKind may not be the same",
        ),
        (
            with(thing(), "/spec/versions/0/schema", json!({})),
            "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
        ),
        (
            with(thing(), "/spec/versions/0/schema/openAPIV3Schema/properties", json!({"a": {}})),
            "spec.validation.openAPIV3Schema.properties[a].type: Required value: must not be empty for specified object fields",
        ),
        (
            with(thing(), "/spec/conversion", json!({"strategy": "Webhook"})),
            "spec.conversion.strategy: Forbidden: conversion by webhook is not supported by this server",
        ),
        (
            with(
                thing(),
                "/spec/versions/0/additionalPrinterColumns",
                json!([{"name": "A", "type": "text", "jsonPath": ".a"}]),
            ),
            "spec.additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of boolean,date,integer,number,string",
        ),
        (
            with(
                thing(),
                "/spec/versions/0/subresources",
                json!({"scale": {"specReplicasPath": ".a", "statusReplicasPath": ".status.a"}}),
            ),
            "spec.subresources.scale.specReplicasPath: Invalid value: \".a\": should be a json path under .spec",
        ),
        (
            with(thing(), "/spec/versions/0/selectableFields", json!([{"jsonPath": ".spec.a"}])),
            "spec.selectableFields[0].jsonPath: Invalid value: \".spec.a\": is an invalid path: does not refer to a valid field",
        ),
        (
            with(thing(), "/spec/preserveUnknownFields", json!(true)),
            "spec.preserveUnknownFields: Invalid value: true: cannot set to true",
        ),
    ];
    for (object, expected) in cases {
        let found = refusal(create("CustomResourceDefinition", object)).trim_start_matches('[').to_owned();
        assert!(found.starts_with(expected), "{expected}\n{found}");
    }
    let twice = with(thing(), "/spec/versions/0/storage", json!(false));
    assert!(
        refusal(create("CustomResourceDefinition", twice))
            .contains("must have exactly one version marked as storage version")
    );
    let protected =
        serde_json::from_str(&thing().to_string().replace("example.com", "example.k8s.io")).unwrap();
    assert!(
        refusal(create("CustomResourceDefinition", protected)).starts_with(
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation"
        )
    );
}

#[test]
fn versions_that_there_are_objects_of_stay() {
    let allocation = crate::kinds::testing::allocation(&["10.96.0.0/12"]);
    let old = made("things", "Thing");
    let mut new = old.clone();
    new["spec"]["versions"][0]["storage"] = false.into();
    let second = with(old["spec"]["versions"][0].clone(), "/name", json!("v2"));
    new["spec"]["versions"].as_array_mut().unwrap().push(second);
    let new = update_in(&allocation, "CustomResourceDefinition", new, &old).unwrap();
    assert_eq!(new["status"]["storedVersions"], json!(["v1", "v2"]));
    let mut without = new.clone();
    without["spec"]["versions"].as_array_mut().unwrap().remove(0);
    assert_eq!(
        refusal(update_in(&allocation, "CustomResourceDefinition", without, &new)),
        "status.storedVersions[0]: Invalid value: \"v1\": must appear in spec.versions"
    );
}

#[test]
fn names_are_given_to_the_first() {
    let mut first = made("things", "Thing");
    first["status"] = accepted_status(&first, &[], now());
    assert_eq!(
        conditions(&first["status"]),
        ["NamesAccepted=True NoConflicts", "Established=True InitialNamesAccepted"]
    );
    assert!(is_established(&first));
    assert_eq!(
        accepted_status(&first, &[first.clone()], Timestamp::MAX),
        first["status"],
        "nothing more to do"
    );

    let mut second = made("others", "Thing");
    second["spec"]["names"]["shortNames"] = json!(["things"]);
    let status = accepted_status(&second, &[first.clone(), second.clone()], now());
    assert_eq!(
        conditions(&status),
        ["NamesAccepted=False ListKindConflict", "Established=False NotAccepted"],
        "as in Kubernetes the last conflict is told"
    );
    assert_eq!(status["acceptedNames"]["plural"], "others");
    assert_eq!(status["acceptedNames"].get("kind"), None);
}

#[test]
fn the_end_is_told() {
    let mut thing = made("things", "Thing");
    mark_terminating(&mut thing, Terminating::Pending, now());
    assert_eq!(thing["metadata"]["finalizers"], json!([CLEANUP_FINALIZER]));
    assert_eq!(conditions(&thing["status"]), ["Terminating=True InstanceDeletionPending"]);
    mark_terminating(&mut thing, Terminating::Completed, now());
    assert_eq!(thing["metadata"].get("finalizers"), None);
    assert_eq!(conditions(&thing["status"]), ["Terminating=False InstanceDeletionCompleted"]);
}
