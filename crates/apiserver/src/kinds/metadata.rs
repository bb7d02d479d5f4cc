//! The rules of `metadata` that all kinds share (`apimachinery/pkg/api/validation/objectmeta.go`).

use serde_json::Value;

use super::field::{self, items, member, texts};
use super::names::{label_value, qualified_name};
use super::registry::Kind;
use crate::status::Cause;

/// Keys and values of all annotations together, in bytes.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// Finalizers that need no domain before their name.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// What is wrong with the metadata of one object.
pub(super) fn validate(kind: &Kind, object: &Value, causes: &mut Vec<Cause>) {
    name(kind, object, causes);
    labels(object, "/metadata/labels", "metadata.labels", causes);
    annotations(object, "/metadata/annotations", "metadata.annotations", causes);
    finalizers(kind, object, causes);
    owner_references(object, causes);
}

/// What is wrong with the step from `old` to `new`.
pub(super) fn validate_update(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    for pointer in ["/metadata/name", "/metadata/namespace"] {
        field::immutable(new, old, pointer, causes);
    }
    if old.pointer("/metadata/deletionTimestamp").is_some() {
        let before = items(old, "/metadata/finalizers");
        let added = items(new, "/metadata/finalizers").iter().filter(|finalizer| !before.contains(finalizer));
        let added: Vec<String> = added.map(ToString::to_string).collect();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            );
            causes.push(Cause::forbidden("metadata.finalizers", &detail));
        }
    }
}

/// What is wrong with a map of labels at a JSON pointer.
pub(super) fn labels(object: &Value, pointer: &str, path: &str, causes: &mut Vec<Cause>) {
    for (key, value) in texts(object, pointer) {
        causes.extend(
            qualified_name(key).into_iter().map(|wrong| Cause::invalid(path, &Value::from(key), wrong)),
        );
        causes.extend(
            label_value(value).into_iter().map(|wrong| Cause::invalid(path, &Value::from(value), wrong)),
        );
    }
}

/// What is wrong with a map of annotations at a JSON pointer.
pub(super) fn annotations(object: &Value, pointer: &str, path: &str, causes: &mut Vec<Cause>) {
    let mut size = 0;
    for (key, value) in texts(object, pointer) {
        // Annotation keys are not case-sensitive in Kubernetes' rule.
        let wrong = qualified_name(&key.to_lowercase());
        causes.extend(wrong.into_iter().map(|wrong| Cause::invalid(path, &Value::from(key), wrong)));
        size += key.len() + value.len();
    }
    if size > ANNOTATIONS_LIMIT {
        causes.push(Cause::too_long(path, ANNOTATIONS_LIMIT));
    }
}

fn name(kind: &Kind, object: &Value, causes: &mut Vec<Cause>) {
    let (name, generate) =
        (field::text(object, "/metadata/name"), field::text(object, "/metadata/generateName"));
    let wrong_prefix = if generate.is_empty() { Vec::new() } else { (kind.name_rule)(generate, true) };
    for wrong in wrong_prefix {
        causes.push(Cause::invalid("metadata.generateName", &Value::from(generate), wrong));
    }
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
        return;
    }
    for wrong in (kind.name_rule)(name, false) {
        causes.push(Cause::invalid("metadata.name", &Value::from(name), wrong));
    }
}

fn finalizers(kind: &Kind, object: &Value, causes: &mut Vec<Cause>) {
    for (index, finalizer) in items(object, "/metadata/finalizers").iter().enumerate() {
        let name = finalizer.as_str().unwrap_or_default();
        for wrong in qualified_name(name) {
            causes.push(Cause::invalid(format!("metadata.finalizers[{index}]"), finalizer, wrong));
        }
        // Of Kubernetes' own kinds (`validateKubeFinalizerName`).
        if kind.custom().is_none() && !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(Cause::invalid(format!("metadata.finalizers[{index}]"), finalizer, detail));
        }
    }
}

fn owner_references(object: &Value, causes: &mut Vec<Cause>) {
    let mut controller: Option<String> = None;
    for (index, owner) in items(object, "/metadata/ownerReferences").iter().enumerate() {
        for key in ["apiVersion", "kind", "name", "uid"] {
            if member(owner, key).is_empty() {
                let field = format!("metadata.ownerReferences[{index}].{key}");
                let detail =
                    if key == "apiVersion" { "version must not be empty" } else { "must not be empty" };
                causes.push(Cause::invalid(field, &Value::from(""), detail));
            }
        }
        if !field::flag(owner, "/controller") {
            continue;
        }
        let name = format!("{}/{}", member(owner, "kind"), member(owner, "name"));
        match &controller {
            None => controller = Some(name),
            Some(first) => {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                );
                let list = object.pointer("/metadata/ownerReferences").unwrap_or(&Value::Null);
                causes.push(Cause::invalid("metadata.ownerReferences", list, detail));
            }
        }
    }
}
