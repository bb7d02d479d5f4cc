//! What a schema may say (`apiextensions/validation` and `apiserver/schema/validation`): whether it is structural.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::pattern::Patterns;
use super::{JsonType, META_FIELDS, Schema};
use crate::kinds::field::{flag, list, member};
use crate::status::Cause;

/// Members of a schema that Kubernetes' type of it has and a definition may not use.
const NOT_SUPPORTED: [&str; 6] =
    ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];
/// What a schema inside `allOf` and its kin may not say: member, and what it must be instead.
const NOT_NESTED: [(&str, &str); 14] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("externalDocs", "must be undefined to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
];
/// What the root of a schema may say beside a status subresource, which validates a part of it alone.
const AT_STATUS_ROOT: [&str; 24] = [
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
    "nullable",
    "$schema",
];

/// What is wrong with an `openAPIV3Schema` that stands at `path`.
pub(in crate::kinds) fn check(json: &Value, path: &str, status: bool, causes: &mut Vec<Cause>) {
    let mut walk = Walk { causes: Vec::new(), patterns: Patterns::default() };
    if status {
        walk.root_beside_status(json, path);
    }
    if flag(json, "/nullable") {
        walk.forbidden(&format!("{path}.nullable"), "nullable cannot be true at the root");
    }
    walk.place(json, path, Level::Root, Defaults::Allowed, false);
    if walk.causes.is_empty() {
        walk.defaults(json, path, true);
    }
    causes.append(&mut walk.causes);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Whether a default may stand here, and why not.
#[derive(Debug, Clone, Copy)]
enum Defaults<'a> {
    Allowed,
    Forbidden(&'a str),
}

struct Walk {
    causes: Vec<Cause>,
    patterns: Patterns,
}

impl Walk {
    fn forbidden(&mut self, field: &str, detail: &str) {
        self.causes.push(Cause::forbidden(field, detail));
    }

    fn root_beside_status(&mut self, json: &Value, path: &str) {
        let named = |(name, value): (&String, &Value)| (!is_zero(value)).then_some(name.clone());
        let names: Vec<String> = json.as_object().into_iter().flatten().filter_map(named).collect();
        if names.iter().any(|name| !AT_STATUS_ROOT.contains(&name.as_str())) {
            let detail = format!(
                "only {} fields are allowed at the root of the schema if the status subresource is enabled",
                AT_STATUS_ROOT[..22].join(" ")
            );
            self.causes.push(Cause::invalid(path, json, detail));
        }
    }

    /// A place of the structure.
    fn place(&mut self, json: &Value, path: &str, level: Level, defaults: Defaults<'_>, in_meta: bool) {
        self.supported(json, path, defaults);
        self.extensions(json, path);
        self.lists(json, path);
        self.types(json, path, level);
        let embedded = flag(json, "/x-kubernetes-embedded-resource");
        if in_meta && embedded {
            let field = format!("{path}.x-kubernetes-embedded-resource");
            self.forbidden(&field, "must not be used inside of resource meta");
        }
        for (name, inner) in members(json, "properties") {
            let meta = (level == Level::Root || embedded) && META_FIELDS.contains(&name);
            let field = format!("{path}.properties[{name}]");
            let reason = format!("in top-level {name}");
            let inner_defaults =
                if meta && level == Level::Root { Defaults::Forbidden(&reason) } else { defaults };
            if meta {
                self.metadata(name, inner, &field, level);
            }
            // The root's metadata is known; all that may be said of it was checked just now.
            if !(meta && level == Level::Root && name == "metadata") {
                self.place(inner, &field, Level::Field, inner_defaults, in_meta || meta);
            }
        }
        if let Some(items) = json.get("items") {
            let field = format!("{path}.items");
            if items.is_array() {
                self.forbidden(&field, "items must be a schema object and not an array");
            } else {
                self.place(items, &field, Level::Item, defaults, in_meta);
            }
        } else if member(json, "type") == "array" {
            self.causes.push(Cause::required(format!("{path}.items"), "must be specified"));
        }
        self.additional(json, path, level, defaults, in_meta);
        self.values(json, json, path, path, true);
    }

    fn supported(&mut self, json: &Value, path: &str, defaults: Defaults<'_>) {
        for name in NOT_SUPPORTED {
            if json.get(name).is_some_and(|value| !is_zero(value)) {
                self.forbidden(&format!("{path}.{name}"), &format!("{name} is not supported"));
            }
        }
        if let (Defaults::Forbidden(reason), Some(_)) = (defaults, json.get("default")) {
            self.forbidden(&format!("{path}.default"), &format!("must not be set {reason}"));
        }
        if flag(json, "/uniqueItems") {
            let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.forbidden(&format!("{path}.uniqueItems"), detail);
        }
        if !list(json, "x-kubernetes-validations").is_empty() {
            let detail = "rules in the Common Expression Language are not supported by this server";
            self.forbidden(&format!("{path}.x-kubernetes-validations"), detail);
        }
    }

    fn types(&mut self, json: &Value, path: &str, level: Level) {
        let (kind, field) = (member(json, "type"), format!("{path}.type"));
        let embedded = flag(json, "/x-kubernetes-embedded-resource");
        let open =
            flag(json, "/x-kubernetes-int-or-string") || flag(json, "/x-kubernetes-preserve-unknown-fields");
        match kind {
            "null" => self.forbidden(&field, "type cannot be set to null, use nullable as an alternative"),
            "" if embedded => {
                let detail = "must be object if x-kubernetes-embedded-resource is true";
                self.causes.push(Cause::required(field, detail));
            }
            "" if !open => {
                let detail = match level {
                    Level::Root => "must not be empty at the root",
                    Level::Item => "must not be empty for specified array items",
                    Level::Field => "must not be empty for specified object fields",
                };
                self.causes.push(Cause::required(field, detail));
            }
            "" => {}
            known if JsonType::NAMES.contains(&known) => {
                let detail = match level {
                    Level::Root => "must be object at the root",
                    _ if embedded => "must be object if x-kubernetes-embedded-resource is true",
                    Level::Item | Level::Field => return,
                };
                if known != "object" {
                    self.causes.push(Cause::invalid(field, &known.into(), detail));
                }
            }
            other => self.causes.push(Cause::not_supported(field, &other.into(), &JsonType::NAMES)),
        }
    }

    fn extensions(&mut self, json: &Value, path: &str) {
        let (kind, type_field) = (member(json, "type"), format!("{path}.type"));
        let has = |name: &str| flag(json, &format!("/x-kubernetes-{name}"));
        let must = |name: &str| (format!("{path}.x-kubernetes-{name}"), Value::Bool(true));
        if json.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
            let field = format!("{path}.x-kubernetes-preserve-unknown-fields");
            self.causes.push(Cause::invalid(field, &Value::Bool(false), "must be true or undefined"));
        }
        for name in ["preserve-unknown-fields", "embedded-resource"] {
            if has("int-or-string") && has(name) {
                let (field, value) = must(name);
                let detail = "must be false if x-kubernetes-int-or-string is true";
                self.causes.push(Cause::invalid(field, &value, detail));
            }
        }
        if has("embedded-resource") {
            if json.get("additionalProperties").is_some() {
                let detail = "must not be used if x-kubernetes-embedded-resource is set";
                self.forbidden(&format!("{path}.additionalProperties"), detail);
            }
            if !has("preserve-unknown-fields") && members(json, "properties").next().is_none() {
                let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
                self.causes.push(Cause::required(format!("{path}.properties"), detail));
            }
        }
        for (name, wanted, supported) in [
            ("x-kubernetes-map-type", "object", &["atomic", "granular"][..]),
            ("x-kubernetes-list-type", "array", &["atomic", "set", "map"][..]),
        ] {
            let Some(value) = json.get(name).and_then(Value::as_str) else { continue };
            let detail = format!("must be {wanted} if {name} is specified");
            if kind.is_empty() {
                self.causes.push(Cause::required(&type_field, &detail));
            } else if kind != wanted {
                self.causes.push(Cause::invalid(&type_field, &kind.into(), detail));
            }
            if !supported.contains(&value) {
                self.causes.push(Cause::not_supported(format!("{path}.{name}"), &value.into(), supported));
            }
        }
    }

    /// Lists that are sets or maps.
    fn lists(&mut self, json: &Value, path: &str) {
        let (kind, keys) = (member(json, "x-kubernetes-list-type"), list(json, "x-kubernetes-list-map-keys"));
        let at = |name: &str| format!("{path}.{name}");
        let items = json.get("items").filter(|items| items.is_object());
        if !keys.is_empty() && kind != "map" {
            let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
            let field = at("x-kubernetes-list-type");
            self.causes.push(if kind.is_empty() {
                Cause::required(field, detail)
            } else {
                Cause::invalid(field, &kind.into(), detail)
            });
        }
        if matches!(kind, "set" | "map") && items.is_some_and(|items| flag(items, "/nullable")) {
            let detail = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
            self.forbidden(&at("items.nullable"), &detail);
        }
        match (kind, items) {
            ("set", Some(items)) => {
                let atomic = |name: &str| matches!(member(items, name), "" | "atomic");
                let name = match member(items, "type") {
                    "array" if !atomic("x-kubernetes-list-type") => "x-kubernetes-list-type",
                    "object" if member(items, "x-kubernetes-map-type") != "atomic" => "x-kubernetes-map-type",
                    _ => return,
                };
                let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
                let value = items.get(name).unwrap_or(&Value::Null);
                self.causes.push(Cause::invalid(format!("{path}.items.{name}"), value, detail));
            }
            ("map", items) => {
                if keys.is_empty() {
                    let detail = "must not be empty if x-kubernetes-list-type is map";
                    self.causes.push(Cause::required(at("x-kubernetes-list-map-keys"), detail));
                }
                match items {
                    None => {
                        let detail = "must have a schema if x-kubernetes-list-type is map";
                        self.causes.push(Cause::required(at("items"), detail));
                    }
                    Some(items) => self.map_keys(items, keys, path),
                }
            }
            _ => {}
        }
    }

    fn map_keys(&mut self, items: &Value, keys: &[Value], path: &str) {
        let field = format!("{path}.x-kubernetes-list-map-keys");
        let all = Value::Array(keys.to_vec());
        if member(items, "type") != "object" {
            let detail = "must be object if parent array's x-kubernetes-list-type is map";
            let kind = member(items, "type").into();
            self.causes.push(Cause::invalid(format!("{path}.items.type"), &kind, detail));
            return;
        }
        let mut seen = BTreeSet::new();
        for key in keys.iter().filter_map(Value::as_str) {
            if !seen.insert(key) {
                self.causes.push(Cause::invalid(&field, &all, "must not contain duplicate entries"));
            }
            let Some(property) = items.get("properties").and_then(|properties| properties.get(key)) else {
                self.causes.push(Cause::invalid(
                    &field,
                    &all,
                    "entries must all be names of item properties",
                ));
                continue;
            };
            let place = format!("{path}.items.properties[{key}]");
            if matches!(member(property, "type"), "array" | "object") {
                let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                let kind = member(property, "type").into();
                self.causes.push(Cause::invalid(format!("{place}.type"), &kind, detail));
            }
            let required = list(items, "required").iter().any(|name| name == key);
            if !required && property.get("default").is_none() {
                let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                self.causes.push(Cause::required(format!("{place}.default"), detail));
            }
            if flag(property, "/nullable") {
                let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                self.forbidden(&format!("{place}.nullable"), detail);
            }
        }
    }

    fn additional(&mut self, json: &Value, path: &str, level: Level, defaults: Defaults<'_>, in_meta: bool) {
        let Some(additional) = json.get("additionalProperties") else { return };
        let field = format!("{path}.additionalProperties");
        if members(json, "properties").next().is_some() && *additional != Value::Bool(true) {
            self.forbidden(&field, "additionalProperties and properties are mutual exclusive");
        }
        if level == Level::Root {
            self.forbidden(&field, "must not be used at the root");
        }
        if additional.is_object() {
            let reason = "inside additionalProperties applying to object metadata";
            let defaults = if in_meta { Defaults::Forbidden(reason) } else { defaults };
            self.place(additional, &field, Level::Field, defaults, in_meta);
        }
    }

    /// What is said of a resource's own members.
    fn metadata(&mut self, name: &str, json: &Value, path: &str, level: Level) {
        let wanted = if name == "metadata" { "object" } else { "string" };
        let kind = member(json, "type");
        if kind != wanted {
            let detail = format!("must be {wanted}");
            self.causes.push(Cause::invalid(format!("{path}.type"), &kind.into(), detail));
        }
        if name != "metadata" || level != Level::Root {
            return;
        }
        let only_names = members(json, "properties").all(|(name, _)| matches!(name, "name" | "generateName"));
        let said = json.as_object().into_iter().flatten();
        let only_that = said.into_iter().all(|(name, value)| {
            matches!(name.as_str(), "type" | "properties" | "description" | "title") || is_zero(value)
        });
        if !only_names || !only_that {
            let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            self.forbidden(path, detail);
        }
        for (name, inner) in members(json, "properties") {
            let field = format!("{path}.properties[{name}]");
            self.place(inner, &field, Level::Field, Defaults::Forbidden("in top-level metadata"), true);
        }
    }

    /// What `json` says of values. Under `allOf` and its kin that is all it may say, and only of places that the structure
    /// has: `structure` is what the structure says of the same place, `structure_path` where it says so.
    fn values(&mut self, json: &Value, structure: &Value, path: &str, structure_path: &str, outer: bool) {
        let pattern = member(json, "pattern");
        if !pattern.is_empty()
            && let Err(error) = self.patterns.compile(pattern)
        {
            let detail = format!("must be a valid regular expression, but isn't: {error}");
            self.causes.push(Cause::invalid(format!("{path}.pattern"), &pattern.into(), detail));
        }
        let int_or_string = outer && flag(json, "/x-kubernetes-int-or-string");
        for name in ["anyOf", "allOf", "oneOf"] {
            if int_or_string && name == "anyOf" && is_int_or_string(json.get(name)) {
                continue;
            }
            for (index, inner) in list(json, name).iter().enumerate() {
                let at = format!("{path}.{name}[{index}]");
                let pattern = int_or_string && name == "allOf" && index == 0;
                if pattern && is_int_or_string(inner.get("anyOf")) {
                    continue;
                }
                self.nested(inner, structure, &at, structure_path);
            }
        }
        if let Some(not) = json.get("not") {
            self.nested(not, structure, &format!("{path}.not"), structure_path);
        }
    }

    fn nested(&mut self, json: &Value, structure: &Value, path: &str, structure_path: &str) {
        for (name, detail) in NOT_NESTED {
            if json.get(name).is_some_and(|value| !is_zero(value)) {
                self.forbidden(&format!("{path}.{name}"), detail);
            }
        }
        for name in NOT_SUPPORTED {
            if json.get(name).is_some_and(|value| !is_zero(value)) {
                self.forbidden(&format!("{path}.{name}"), &format!("{name} is not supported"));
            }
        }
        for (name, inner) in members(json, "properties") {
            let (at, structure_at) =
                (format!("{path}.properties[{name}]"), format!("{structure_path}.properties[{name}]"));
            if name == "metadata" {
                self.forbidden(&at, "must not be specified in a nested context");
            }
            match structure.get("properties").and_then(|properties| properties.get(name)) {
                Some(structure) => self.nested(inner, structure, &at, &structure_at),
                None => self.incomplete(&structure_at, &at),
            }
        }
        if let Some(inner) = json.get("items") {
            let (at, structure_at) = (format!("{path}.items"), format!("{structure_path}.items"));
            match structure.get("items") {
                Some(structure) => self.nested(inner, structure, &at, &structure_at),
                None => self.incomplete(&structure_at, &at),
            }
        }
        self.values(json, structure, path, structure_path, false);
    }

    fn incomplete(&mut self, structure_path: &str, path: &str) {
        self.causes.push(Cause::required(structure_path, &format!("because it is defined in {path}")));
    }

    /// Defaults that are no valid values, in a schema that is fine otherwise.
    fn defaults(&mut self, json: &Value, path: &str, root: bool) {
        if let Some(default) = json.get("default").filter(|_| !root) {
            let (schema, field) = (Schema::parse_part(json), format!("{path}.default"));
            if schema.has_unknown(default) {
                self.causes.push(Cause::invalid(&field, default, "must not have unknown fields"));
            } else {
                schema.validate_at(&field, default, &mut self.causes);
            }
        }
        for (name, inner) in members(json, "properties") {
            self.defaults(inner, &format!("{path}.properties[{name}]"), false);
        }
        for name in ["items", "additionalProperties"] {
            if let Some(inner) = json.get(name).filter(|inner| inner.is_object()) {
                self.defaults(inner, &format!("{path}.{name}"), false);
            }
        }
    }
}

fn members<'a>(json: &'a Value, key: &str) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
    let map = json.get(key).and_then(Value::as_object);
    map.into_iter().flat_map(Map::iter).map(|(name, value)| (name.as_str(), value))
}

/// As Go sees it: the same as absent.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// The one exception from the rule that types do not stand in alternatives.
fn is_int_or_string(any_of: Option<&Value>) -> bool {
    any_of == Some(&json!([{"type": "integer"}, {"type": "string"}]))
}
