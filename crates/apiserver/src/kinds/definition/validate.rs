//! What a definition must be (`apiextensions/validation/validation.go`).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::schemas;
use crate::kinds::field::{flag, items, list, member, one_of, text};
use crate::kinds::names::{dns1035_label, dns1123_subdomain};
use crate::kinds::structural::JsonPath;
use crate::status::Cause;

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
/// Fields that a version may offer to field selectors.
const MOST_SELECTABLE: usize = 8;
/// Who approved an API of Kubernetes' own groups.
const APPROVED: &str = "api-approved.kubernetes.io";

/// What is wrong with the name and the spec.
pub(super) fn spec(object: &Value, causes: &mut Vec<Cause>) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let group = member(spec, "group");
    let name = text(object, "/metadata/name");
    if !name.is_empty() && name != format!("{}.{group}", text(spec, "/names/plural")) {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        causes.push(Cause::invalid("metadata.name", &name.into(), detail));
    }
    let wrong_group = dns1123_subdomain(group);
    if group.is_empty() {
        causes.push(Cause::required("spec.group", ""));
    } else if !wrong_group.is_empty() {
        causes.push(Cause::invalid("spec.group", &group.into(), wrong_group.join(",")));
    } else if !group.contains('.') {
        causes.push(Cause::invalid("spec.group", &group.into(), "should be a domain with at least one dot"));
    }
    one_of(spec, "scope", "spec", &["Cluster", "Namespaced"], causes);
    if flag(spec, "/preserveUnknownFields") {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        causes.push(Cause::invalid("spec.preserveUnknownFields", &Value::Bool(true), detail));
    }
    versions(spec, causes);
    names(spec.get("names").unwrap_or(&Value::Null), causes);
    schemas::check(spec, causes);
    conversion(spec, causes);
}

fn versions(spec: &Value, causes: &mut Vec<Cause>) {
    let versions = list(spec, "versions");
    let all = Value::Array(versions.to_vec());
    let mut seen = BTreeSet::new();
    let mut unique = true;
    for (index, version) in versions.iter().enumerate() {
        let name = member(version, "name");
        let at = |field: &str| format!("spec.versions[{index}].{field}");
        unique &= seen.insert(name);
        let wrong = dns1035_label(name);
        if !wrong.is_empty() {
            causes.push(Cause::invalid(at("name"), &name.into(), wrong.join(",")));
        }
        if let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str) {
            let detail = if !flag(version, "/deprecated") {
                "can only be set for deprecated versions"
            } else if warning.len() > 256 {
                "must be <= 256 characters long"
            } else if warning.is_empty() {
                "must not be an empty string"
            } else if warning.chars().any(char::is_control) {
                "must only contain printable UTF-8 characters"
            } else {
                continue;
            };
            causes.push(Cause::invalid(at("deprecationWarning"), &warning.into(), detail));
        }
    }
    if !unique {
        causes.push(Cause::invalid("spec.versions", &all, "must contain unique version names"));
    }
    if versions.iter().filter(|version| flag(version, "/storage")).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", &all, detail));
    }
}

fn names(names: &Value, causes: &mut Vec<Cause>) {
    for key in ["plural", "singular", "kind", "listKind"] {
        let name = member(names, key);
        let field = format!("spec.names.{key}");
        if name.is_empty() {
            causes.push(Cause::required(field, ""));
            continue;
        }
        let mixed = matches!(key, "kind" | "listKind");
        let wrong = dns1035_label(&if mixed { name.to_lowercase() } else { name.to_owned() });
        if !wrong.is_empty() {
            let prefix = if mixed { "may have mixed case, but should otherwise match: " } else { "" };
            let detail = format!("{prefix}{}", wrong.join(","));
            causes.push(Cause::invalid(field, &name.into(), detail));
        }
    }
    for key in ["shortNames", "categories"] {
        for (index, name) in list(names, key).iter().enumerate() {
            let wrong = dns1035_label(name.as_str().unwrap_or_default());
            if !wrong.is_empty() {
                causes.push(Cause::invalid(format!("spec.names.{key}[{index}]"), name, wrong.join(",")));
            }
        }
    }
    let (kind, list_kind) = (member(names, "kind"), member(names, "listKind"));
    if !kind.is_empty() && kind == list_kind {
        let detail = "kind and listKind may not be the same";
        causes.push(Cause::invalid("spec.names.listKind", &list_kind.into(), detail));
    }
}

fn conversion(spec: &Value, causes: &mut Vec<Cause>) {
    let conversion = spec.get("conversion").unwrap_or(&Value::Null);
    match member(conversion, "strategy") {
        "None" if conversion.get("webhook").is_some() => {
            let detail = "should not be set when strategy is not set to Webhook";
            causes.push(Cause::forbidden("spec.conversion.webhook", detail));
        }
        "None" => {}
        "" => causes.push(Cause::required("spec.conversion.strategy", "")),
        "Webhook" => {
            let detail = "conversion by webhook is not supported by this server: use the strategy \"None\"";
            causes.push(Cause::forbidden("spec.conversion.strategy", detail));
        }
        other => {
            let supported = ["None", "Webhook"];
            causes.push(Cause::not_supported("spec.conversion.strategy", &other.into(), &supported));
        }
    }
}

/// What is wrong with the subresources at `path`.
pub(super) fn subresources(subresources: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(scale) = subresources.get("scale") else { return };
    let paths = [
        ("specReplicasPath", &[".spec."][..], "should be a json path under .spec"),
        ("statusReplicasPath", &[".status."][..], "should be a json path under .status"),
        (
            "labelSelectorPath",
            &[".spec.", ".status."][..],
            "should be a json path under either .spec or .status",
        ),
    ];
    for (key, prefixes, detail) in paths {
        let (given, field) = (member(scale, key), format!("{path}.scale.{key}"));
        if given.is_empty() {
            if key != "labelSelectorPath" {
                causes.push(Cause::required(field, ""));
            }
        } else if !given.starts_with('.') {
            let detail = "must be a simple json path starting with .";
            causes.push(Cause::invalid(field, &given.into(), detail));
        } else if JsonPath::parse(given).ok().and_then(|path| path.pointer()).is_none() {
            causes.push(Cause::invalid(field, &given.into(), "must be a json path in the dot notation"));
        } else if !prefixes.iter().any(|prefix| given.starts_with(prefix)) {
            causes.push(Cause::invalid(field, &given.into(), detail));
        }
    }
}

/// What is wrong with the printed columns at `path`.
pub(super) fn columns(columns: &[Value], path: &str, causes: &mut Vec<Cause>) {
    for (index, column) in columns.iter().enumerate() {
        let at = |field: &str| format!("{path}[{index}].{field}");
        if member(column, "name").is_empty() {
            causes.push(Cause::required(at("name"), ""));
        }
        for (key, known) in [("type", &COLUMN_TYPES[..]), ("format", &COLUMN_FORMATS[..])] {
            let (given, detail) = (member(column, key), format!("must be one of {}", known.join(",")));
            if given.is_empty() && key == "type" {
                causes.push(Cause::required(at(key), &detail));
            } else if !given.is_empty() && !known.contains(&given) {
                causes.push(Cause::invalid(at(key), &given.into(), detail));
            }
        }
        let given = member(column, "jsonPath");
        if given.is_empty() {
            causes.push(Cause::required(at("jsonPath"), ""));
        } else if !given.starts_with('.') {
            let detail = "must be a simple json path starting with .";
            causes.push(Cause::invalid(at("jsonPath"), &given.into(), detail));
        } else if let Err(error) = JsonPath::parse(given) {
            causes.push(Cause::invalid(at("jsonPath"), &given.into(), error));
        }
    }
}

/// What is wrong with the fields at `path` that a version offers to selectors; `schema` is the version's.
pub(super) fn selectable(fields: &[Value], schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    if fields.len() > MOST_SELECTABLE {
        let found = fields.len();
        let message = format!("Too many: {found}: must have at most {MOST_SELECTABLE} items");
        causes.push(Cause::new("FieldValueTooMany", path, message));
    }
    let mut seen = BTreeSet::new();
    for (index, selectable) in fields.iter().enumerate() {
        let (given, field) = (member(selectable, "jsonPath"), format!("{path}[{index}].jsonPath"));
        if given.is_empty() {
            causes.push(Cause::required(field, ""));
            continue;
        }
        if !seen.insert(given) {
            causes.push(Cause::duplicate(&field, &given.into()));
        }
        let pointer = JsonPath::parse(given).ok().and_then(|path| path.pointer());
        let Some(pointer) = pointer.filter(|_| given.starts_with('.')) else {
            causes.push(Cause::invalid(
                field,
                &given.into(),
                "is an invalid path: must be a simple json path",
            ));
            continue;
        };
        if pointer.starts_with("/metadata") {
            let detail = "must not point to fields in metadata";
            causes.push(Cause::invalid(field, &given.into(), detail));
            continue;
        }
        let mut place = schema;
        for name in pointer[1..].split('/') {
            place =
                place.get("properties").and_then(|properties| properties.get(name)).unwrap_or(&Value::Null);
        }
        if place.is_null() {
            let detail = format!("is an invalid path: does not refer to a valid field: {given}");
            causes.push(Cause::invalid(field, &given.into(), detail));
        } else if !matches!(member(place, "type"), "string" | "boolean" | "integer") {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            causes.push(Cause::invalid(field, &given.into(), detail));
        }
    }
}

/// Versions that there may be objects of must be known.
pub(super) fn stored_versions(object: &Value, causes: &mut Vec<Cause>) {
    let (stored, versions) = (items(object, "/status/storedVersions"), items(object, "/spec/versions"));
    if stored.is_empty() {
        let detail = "must have at least one stored version";
        causes.push(Cause::invalid("status.storedVersions", &json!([]), detail));
        return;
    }
    for (index, name) in stored.iter().enumerate() {
        if !versions.iter().any(|version| version.get("name") == Some(name)) {
            let field = format!("status.storedVersions[{index}]");
            causes.push(Cause::invalid(field, name, "must appear in spec.versions"));
        }
    }
    let storage = versions.iter().find(|version| flag(version, "/storage"));
    if let Some(name) = storage.and_then(|version| version.get("name"))
        && !stored.contains(name)
    {
        let detail = format!("must have the storage version {}", name.as_str().unwrap_or_default());
        causes.push(Cause::invalid("status.storedVersions", name, detail));
    }
}

/// How a definition in one of Kubernetes' own groups stands with its approval (KEP 1111).
pub(super) enum Approval {
    /// The group is somebody else's.
    NotNeeded,
    /// The text of the condition's message; whether it is approved.
    Known(bool, String),
    /// The annotation is missing.
    Missing,
    /// It says neither.
    Invalid(String),
}

pub(super) fn approval_of(object: &Value) -> Approval {
    let group = text(object, "/spec/group");
    let protected = ["k8s.io", "kubernetes.io"];
    if !protected.iter().any(|own| group == *own || group.ends_with(&format!(".{own}"))) {
        return Approval::NotNeeded;
    }
    let annotations = object.pointer("/metadata/annotations").unwrap_or(&Value::Null);
    match member(annotations, APPROVED) {
        "" => Approval::Missing,
        reason if reason.starts_with("unapproved") => {
            Approval::Known(false, format!("not approved: {reason:?}"))
        }
        url if url.parse::<http::Uri>().is_ok_and(|url| url.scheme().is_some() && url.host().is_some()) => {
            Approval::Known(true, format!("approved in {url}"))
        }
        other => Approval::Invalid(other.to_owned()),
    }
}

/// What is wrong with the approval.
pub(super) fn approval(object: &Value, causes: &mut Vec<Cause>) {
    let field = format!("metadata.annotations[{APPROVED}]");
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    match approval_of(object) {
        Approval::NotNeeded | Approval::Known(..) => {}
        Approval::Missing => {
            let detail = format!("protected groups must have approval annotation {APPROVED:?}, {see}");
            causes.push(Cause::required(field, &detail));
        }
        Approval::Invalid(given) => {
            let detail = format!(
                "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \"unapproved\", {see}"
            );
            causes.push(Cause::invalid(field, &given.into(), detail));
        }
    }
}
