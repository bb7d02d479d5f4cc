//! What Kubernetes' own documents say and the library's schemas do not: list types, merge keys, defaults, and the forms of
//! the few types that are not plain JSON.

use serde_json::{Map, Value, json};

use super::{META, enums};
use crate::kinds::schema::{Field, ListKind, Merge, Type, TypeDef, type_def};

/// Fields of which a patch keeps only the members that it names (`patchStrategy:"retainKeys"` in `k8s.io/api`).
const RETAIN_KEYS: [(&str, &str); 2] = [("DeploymentSpec", "strategy"), ("PodSpec", "volumes")];

/// Makes a schema of the library one as Kubernetes publishes it.
pub(super) fn complete(name: &str, schema: &mut Value) {
    let Value::Object(schema) = schema else { return };
    match name.rsplit('.').next().unwrap_or_default() {
        "IntOrString" => {
            schema.shift_remove("x-kubernetes-int-or-string");
            schema.insert("format".to_owned(), "int-or-string".into());
            schema.insert("oneOf".to_owned(), json!([{"type": "integer"}, {"type": "string"}]));
        }
        "Quantity" => {
            schema.shift_remove("x-kubernetes-int-or-string");
            schema.insert("oneOf".to_owned(), json!([{"type": "string"}, {"type": "number"}]));
        }
        word => {
            let def = definition(name);
            if let Some(def) = def {
                require(schema, def);
                if def.atomic {
                    schema.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
                }
            }
            let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
            for (field, property) in properties.iter_mut() {
                let Value::Object(property) = property else { continue };
                let known = def.and_then(|def| def.fields.get(field.as_str()));
                if let Some(known) = known {
                    mark(property, known);
                }
                if let Some(values) = enums::values(word, field) {
                    match property.get_mut("items") {
                        Some(Value::Object(items)) => _ = items.insert("enum".to_owned(), json!(values)),
                        _ => _ = property.insert("enum".to_owned(), json!(values)),
                    }
                }
                if RETAIN_KEYS.contains(&(word, field)) {
                    retain_keys(property);
                }
                wrap_references(property, known.is_some_and(|known| known.embedded));
            }
        }
    }
}

/// The library requires what it always writes; Kubernetes often requires less (no object's metadata).
fn require(schema: &mut Map<String, Value>, def: &TypeDef) {
    let mut required: Vec<&str> =
        def.fields.iter().filter(|(_, field)| field.always).map(|(name, _)| *name).collect();
    required.sort_unstable();
    if required.is_empty() {
        schema.shift_remove("required");
    } else {
        schema.insert("required".to_owned(), json!(required));
    }
}

/// The type in `types.txt`, where the name of the group stands before words that two groups use.
pub(super) fn definition(name: &str) -> Option<&'static TypeDef> {
    let mut words = name.rsplit('.');
    let (word, _version, group) = (words.next()?, words.next()?, words.next()?);
    // Types of the same word in other packages are not meant: the table has those of the API and its machinery only.
    let known =
        name.starts_with("io.k8s.api.") || name.starts_with(META) || name.starts_with("io.k8s.apiextensions");
    known.then(|| type_def(&format!("{group}.{word}")).or_else(|| type_def(word))).flatten()
}

fn mark(property: &mut Map<String, Value>, field: &Field) {
    let mut say = |key: &str, value: Value| _ = property.insert(key.to_owned(), value);
    match (&field.ty, field.list.kind()) {
        (Type::List(_), ListKind::Atomic) => say("x-kubernetes-list-type", "atomic".into()),
        (Type::List(_), ListKind::Set) => say("x-kubernetes-list-type", "set".into()),
        (Type::List(_), ListKind::Map(keys)) => {
            say("x-kubernetes-list-type", "map".into());
            say("x-kubernetes-list-map-keys", json!(keys));
        }
        _ if field.atomic => say("x-kubernetes-map-type", "atomic".into()),
        _ => {}
    }
    match field.merge {
        Merge::Plain => {}
        Merge::Set => say("x-kubernetes-patch-strategy", "merge".into()),
        Merge::ByKey(key) => {
            say("x-kubernetes-patch-strategy", "merge".into());
            say("x-kubernetes-patch-merge-key", key.into());
        }
    }
    if let Some(default) = &field.default {
        say("default", default.clone());
    }
}

fn retain_keys(property: &mut Map<String, Value>) {
    let strategy = match property.get("x-kubernetes-patch-strategy").and_then(Value::as_str) {
        Some(others) => format!("{others},retainKeys"),
        None => "retainKeys".to_owned(),
    };
    property.insert("x-kubernetes-patch-strategy".to_owned(), strategy.into());
}

/// Beside `$ref` nothing else counts in OpenAPI 3.0: what is said of the field goes around it.
fn wrap_references(property: &mut Map<String, Value>, embedded: bool) {
    if let Some(reference) = property.shift_remove("$ref") {
        if property.is_empty() {
            property.insert("$ref".to_owned(), reference);
        } else {
            property.insert("allOf".to_owned(), json!([{"$ref": reference}]));
            if embedded {
                property.insert("default".to_owned(), json!({}));
            }
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(Value::Object(inner)) = property.get_mut(inner) {
            wrap_references(inner, false);
        }
    }
}

/// The field may be left out.
pub(super) fn without_required(schema: &mut Value, field: &str) {
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| name != field);
    }
}

/// Rewrites every reference for which `change` has another one.
pub(super) fn visit_references(schema: &mut Value, change: &impl Fn(&str) -> Option<String>) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match value {
                    Value::String(text) if key == "$ref" => {
                        if let Some(changed) = change(text) {
                            *text = changed;
                        }
                    }
                    other => visit_references(other, change),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| visit_references(item, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
