//! What the versions of a definition say of their objects: schemas, subresources, columns, selectable fields.
//!
//! Kubernetes keeps what all versions say alike once, in front of the versions, and names the fields of errors by that.

use serde_json::Value;

use super::validate::{columns, selectable, subresources};
use crate::kinds::field::list;
use crate::kinds::structural::check_rules;
use crate::status::Cause;

/// What is wrong with what the versions say.
pub(super) fn check(spec: &Value, causes: &mut Vec<Cause>) {
    let versions = list(spec, "versions");
    for (index, version) in versions.iter().enumerate() {
        if version.pointer("/schema/openAPIV3Schema").is_none() {
            let field = format!("spec.versions[{index}].schema.openAPIV3Schema");
            causes.push(Cause::required(field, "schemas are required"));
        }
    }
    for (key, in_front) in [
        ("schema", "validation"),
        ("subresources", ""),
        ("additionalPrinterColumns", ""),
        ("selectableFields", ""),
    ] {
        for (version, place) in places(versions, key, if in_front.is_empty() { key } else { in_front }) {
            let said = &version[key];
            match key {
                "schema" => {
                    // A schema in front of the versions must be fit for each of them.
                    let together = !place.contains('[');
                    let has_status = |version: &Value| version.pointer("/subresources/status").is_some();
                    let status = if together { versions.iter().any(has_status) } else { has_status(version) };
                    if let Some(schema) = said.get("openAPIV3Schema") {
                        check_rules(schema, &format!("{place}.openAPIV3Schema"), status, causes);
                    }
                }
                "subresources" => subresources(said, &place, causes),
                "additionalPrinterColumns" => columns(list(version, key), &place, causes),
                _ => {
                    let schema = version.pointer("/schema/openAPIV3Schema").unwrap_or(&Value::Null);
                    selectable(list(version, key), schema, &place, causes);
                }
            }
        }
    }
}

/// The versions that say something under `key`, and where it stands: once, when all say the same.
fn places<'a>(versions: &'a [Value], key: &str, in_front: &str) -> Vec<(&'a Value, String)> {
    let mut said = versions.iter().enumerate().filter(|(_, version)| version.get(key).is_some());
    match versions {
        [first, rest @ ..]
            if first.get(key).is_some() && rest.iter().all(|other| other.get(key) == first.get(key)) =>
        {
            vec![(first, format!("spec.{in_front}"))]
        }
        _ => {
            said.by_ref().map(|(index, version)| (version, format!("spec.versions[{index}].{key}"))).collect()
        }
    }
}
