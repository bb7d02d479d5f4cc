//! Inputs that the targets understand, to begin with.

use serde_json::{Value, json};

use super::samples::WORLD;

const SELECTORS: [&str; 5] = [
    "run=web,tier in (a,b),!c,d!=e,f notin (g)\nmetadata.name=web",
    "a.example/b==c,d\nmetadata.namespace!=default,metadata.name=a\\,b",
    "x>1,y<2\nspec.nodeName=node1,status.phase!=Running",
    "\n{\"matchLabels\":{\"a\":\"b\"},\"matchExpressions\":[{\"key\":\"k\",\"operator\":\"In\",\"values\":[\"v\"]}]}",
    "run\n",
];

const REQUESTS: [&str; 8] = [
    "/api/v1/namespaces/default/pods/web/log?container=main&tailLines=5&follow=true",
    "/apis/apps/v1/deployments?labelSelector=run%3Dweb&limit=5&resourceVersion=7&resourceVersionMatch=Exact",
    "/api/v1/namespaces/a/services/https:b:web/proxy/x//y%2Fz/?a=b",
    "/api/v1/nodes?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&timeoutSeconds=10&timeout=1m30s",
    "/apis/fuzzing.example/v1/namespaces/default/things/web/status?fieldManager=a&force=true&dryRun=All",
    "/api/v1/namespaces/default/pods/web?gracePeriodSeconds=0&propagationPolicy=Orphan&fieldValidation=Strict",
    "/api/v1/pods?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6Nywic3RhcnQiOiJhL2IifQ",
    "/openapi/v3/apis/apps/v1",
];

const PATCHES: [(u8, &str); 8] = [
    (
        0,
        r#"[{"op":"add","path":"/metadata/labels","value":{"a":"b"}},{"op":"test","path":"/kind","value":"Pod"}]"#,
    ),
    (0, r#"[{"op":"copy","from":"/spec","path":"/spec/x"},{"op":"move","from":"/spec/x","path":"/y"}]"#),
    (
        0,
        r#"[{"op":"replace","path":"/spec/containers/0/image","value":"a"},{"op":"remove","path":"/spec/volumes/0"}]"#,
    ),
    (1, r#"{"metadata":{"labels":{"run":null}},"spec":{"replicas":3,"hosts":[]}}"#),
    (
        2,
        r#"{"spec":{"containers":[{"name":"main","env":[{"$patch":"delete","name":"A"}]},{"name":"b","image":"c"}]}}"#,
    ),
    (
        2,
        r#"{"spec":{"$setElementOrder/containers":[{"name":"b"},{"name":"main"}],"$retainKeys":["containers"]}}"#,
    ),
    (
        2,
        r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["a.example/f"]},"spec":{"$patch":"replace","ports":[]}}"#,
    ),
    (3, "metadata:\n  labels: {a: b}\nspec:\n  ports:\n  - port: 80\n    protocol: TCP\n"),
];

const ENTRIES: &str = r#"[{"manager":"kubectl","operation":"Apply","apiVersion":"v1","time":"2026-01-01T00:00:00Z",
"fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{".":{},"f:run":{}},"f:finalizers":{"v:\"a.example/f\"":{}}},
"f:spec":{"f:containers":{"k:{\"name\":\"main\"}":{".":{},"f:image":{}}},"f:command":{"i:0":{}}}}},
{"manager":"a","operation":"Update","apiVersion":"v1","subresource":"status","fieldsType":"FieldsV1","fieldsV1":{"f:status":{}}}]"#;

/// For every target of this crate by its name, inputs that it understands.
pub fn seeds() -> [(&'static str, Vec<Vec<u8>>); 6] {
    let kinds = || (0_u8..).zip(&WORLD.samples);
    let bodies = kinds().flat_map(|(place, sample)| {
        let text = sample.object.to_string();
        let binary = protobuf(&sample.served.api_version(), &sample.served.kind.kind);
        [
            [&[place, 0], text.as_bytes()].concat(),
            [&[place, 1], &*binary].concat(),
            [&[place, 2], text.as_bytes()].concat(),
        ]
    });
    let patches = kinds().flat_map(|(place, sample)| {
        let own =
            [(1, sample.object.to_string()), (2, sample.object.to_string()), (3, sample.object.to_string())];
        let known = PATCHES.map(|(form, text)| (form, text.to_owned()));
        known.into_iter().chain(own).map(move |(form, text)| [&[place, form], text.as_bytes()].concat())
    });
    let selectors = kinds().flat_map(|(place, _)| SELECTORS.map(|text| [&[place], text.as_bytes()].concat()));
    let entries = kinds().map(|(place, _)| [&[place], ENTRIES.as_bytes()].concat());
    [
        ("body", bodies.collect()),
        ("patch", patches.collect()),
        ("selectors", selectors.collect()),
        ("requests", REQUESTS.map(|text| text.as_bytes().to_vec()).to_vec()),
        ("managed_fields", entries.collect()),
        ("definition", vec![definition().into_bytes()]),
    ]
}

/// The schema of the samples, and its object.
fn definition() -> String {
    let of_kind = |kind: &str| WORLD.samples.iter().find(|sample| sample.served.kind.kind == kind);
    let object = |kind| of_kind(kind).map_or(Value::Null, |sample| sample.object.clone());
    let definition = object("CustomResourceDefinition");
    let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema").cloned().unwrap_or(json!({}));
    format!("{schema}\n{}", object("Thing"))
}

/// An object in protobuf with a name, a namespace and a label.
fn protobuf(api_version: &str, kind: &str) -> Vec<u8> {
    // Everything here is shorter than 128 bytes.
    let entry = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    let label = entry(11, &[entry(1, b"run"), entry(2, b"web")].concat());
    let metadata = entry(1, &[entry(1, b"web"), entry(3, b"default"), label].concat());
    let meta = entry(1, &[entry(1, api_version.as_bytes()), entry(2, kind.as_bytes())].concat());
    [b"k8s\0".to_vec(), meta, entry(2, &metadata)].concat()
}
