use serde_json::json;

use super::types::{Type, names, type_def};
use super::*;
use crate::kinds::Registry;
use crate::kinds::registry::Behaviour;
use crate::kinds::testing::kind;

fn checked(name: &str, mut object: Value) -> (Value, Vec<String>) {
    let shape = check(kind(name), &mut object).unwrap();
    (object, shape.unknown)
}

fn refused(name: &str, mut object: Value) -> String {
    check(kind(name), &mut object).unwrap_err().message
}

#[test]
fn every_type_that_is_named_is_there() {
    fn named(ty: &Type) -> Option<&'static str> {
        match ty {
            Type::Object(name) => Some(name),
            Type::List(inner) | Type::Map(inner) => named(inner),
            _ => None,
        }
    }
    for (holder, def) in names() {
        for (field, spec) in &def.fields {
            if let Some(name) = named(&spec.ty) {
                assert!(type_def(name).is_some(), "{holder}.{field}: no type {name}");
            }
        }
    }
    assert!(Registry::built_in().served().all(|served| matches!(served.kind.behaviour, Behaviour::BuiltIn { schema, .. } if type_def(schema).is_some())));
}

#[test]
fn wrong_types_are_worded_as_go_does() {
    let object = json!({"spec": {"ports": [{"port": "eighty"}]}});
    assert_eq!(
        refused("Service", object),
        "Service in version \"v1\" cannot be handled as a Service: json: cannot unmarshal string into Go struct field \
         ServicePort.spec.ports.port of type int32"
    );
    let object =
        json!({"spec": {"template": {"spec": {"containers": [{"env": [{"name": "A", "value": 1}]}]}}}});
    assert!(refused("Deployment", object).ends_with(
        "json: cannot unmarshal number into Go struct field EnvVar.spec.template.spec.containers.env.value of type string"
    ));
    let object = json!({"spec": {"replicas": 3_000_000_000_u64}});
    assert!(refused("Deployment", object).contains(
        "cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32"
    ));
    assert!(refused("Pod", json!([])).ends_with("json: cannot unmarshal array into Go value of type v1.Pod"));
    let object = json!({"spec": {"ports": {}}});
    assert!(refused("Service", object).ends_with(
        "cannot unmarshal object into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort"
    ));
    assert!(
        refused("Secret", json!({"data": {"a": "%"}}))
            .ends_with("data.a: illegal base64 data at input byte 0")
    );
    for (text, byte) in [("not base64!", 3), ("aGVsbG8", 4), ("aGVs\nbG8*", 7)] {
        let refusal = refused("Secret", json!({"data": {"a": text}}));
        assert!(refusal.ends_with(&format!("at input byte {byte}")), "{text:?}: {refusal}");
    }
    assert!(refused("Pod", json!({"metadata": {"creationTimestamp": "yesterday"}})).contains("cannot parse"));
}

#[test]
fn unknown_fields_are_found_and_dropped() {
    let object = json!({"spec": {"foo": 1, "containers": [{"name": "a", "imagee": "x"}]}, "bar": {}});
    let (object, unknown) = checked("Pod", object);
    assert_eq!(
        unknown,
        [
            "unknown field \"spec.foo\"",
            "unknown field \"spec.containers[0].imagee\"",
            "unknown field \"bar\""
        ]
    );
    assert_eq!(object, json!({"spec": {"containers": [{"name": "a"}]}}));
}

#[test]
fn nulls_and_empty_optional_lists_go() {
    let object = json!({"metadata": {"name": "a", "labels": {}, "creationTimestamp": null, "annotations": {"k": null}},
        "spec": {"containers": [], "volumes": [], "securityContext": {}}, "status": {}});
    let (object, _) = checked("Pod", object);
    assert_eq!(
        object,
        json!({"metadata": {"name": "a", "annotations": {"k": ""}},
        "spec": {"containers": [], "securityContext": {}}, "status": {}})
    );
}

#[test]
fn quantities_and_times_get_their_written_form() {
    let object = json!({"metadata": {"creationTimestamp": "2026-11-21T12:00:00.5+01:00"}, "spec": {"containers": [
        {"name": "a", "resources": {"limits": {"cpu": 1, "memory": "1024Ki"}, "requests": {"cpu": "0.5", "memory": "1000k"}}}]}});
    let (object, _) = checked("Pod", object);
    assert_eq!(object["metadata"]["creationTimestamp"], "2026-11-21T11:00:00Z");
    assert_eq!(
        object["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "1", "memory": "1Mi"}, "requests": {"cpu": "500m", "memory": "1M"}})
    );
    let wrong = refused("Pod", json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "one"}}}]}}));
    assert!(wrong.ends_with(quantity::SYNTAX), "{wrong}");
    let (lease, _) = checked("Lease", json!({"spec": {"renewTime": "2026-11-21T12:00:00Z"}}));
    assert_eq!(lease["spec"]["renewTime"], "2026-11-21T12:00:00.000000Z");
}

#[test]
fn canonical_quantities() {
    let cases = [
        ("0", "0"),
        ("1000m", "1"),
        ("1.5", "1500m"),
        ("1500Mi", "1500Mi"),
        ("2048Mi", "2Gi"),
        ("0.5Gi", "512Mi"),
        ("1e3", "1e3"),
        ("12000", "12k"),
        ("-1", "-1"),
        ("100n", "100n"),
        ("1E", "1E"),
        ("1Ki", "1Ki"),
    ];
    for (text, canonical) in cases {
        assert_eq!(quantity::canonical(text).as_deref(), Some(canonical), "{text}");
    }
    for wrong in
        ["", "x", "1.2.3", "1 Gi", "Gi", "1Kii", "--1", "1e", "9999999999999999999999999999999999999E"]
    {
        assert_eq!(quantity::canonical(wrong), None, "{wrong}");
    }
}
