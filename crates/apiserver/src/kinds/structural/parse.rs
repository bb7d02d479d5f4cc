//! From the JSON of a checked schema to a [`Schema`].

use std::collections::BTreeMap;

use serde_json::{Number, Value};

use super::format::Format;
use super::pattern::Patterns;
use super::{Additional, Bound, JsonType, Schema};
use crate::kinds::field::{flag, list, member};
use crate::kinds::schema::ListType;

impl Schema {
    /// Reads an `openAPIV3Schema` that [`super::check_rules`] found nothing wrong with. What it would have refused is
    /// left out.
    pub(in crate::kinds) fn parse(json: &Value) -> Self {
        let mut root = parse(json, &mut Patterns::default());
        // The root of a resource has its metadata, whatever is said of it.
        root.embedded = true;
        root
    }

    /// Reads a part of a schema, which is no resource.
    pub(super) fn parse_part(json: &Value) -> Self {
        parse(json, &mut Patterns::default())
    }
}

fn parse(json: &Value, patterns: &mut Patterns) -> Schema {
    let count = |key: &str| json.get(key).and_then(Value::as_u64);
    let mut many = |key: &str| list(json, key).iter().map(|one| parse(one, patterns)).collect();
    let (all_of, any_of, one_of) = (many("allOf"), many("anyOf"), many("oneOf"));
    let additional = match json.get("additionalProperties") {
        Some(Value::Bool(true)) => Additional::Any,
        Some(schema @ Value::Object(_)) => Additional::Schema(Box::new(parse(schema, patterns))),
        _ => Additional::None,
    };
    let properties = json.get("properties").and_then(Value::as_object).into_iter().flatten();
    let properties: BTreeMap<String, Schema> =
        properties.map(|(name, schema)| (name.clone(), parse(schema, patterns))).collect();
    let mut one = |key: &str| {
        json.get(key).filter(|schema| schema.is_object()).map(|schema| Box::new(parse(schema, patterns)))
    };
    let (items, not) = (one("items"), one("not"));
    let pattern = Some(member(json, "pattern")).filter(|text| !text.is_empty());
    Schema {
        kind: JsonType::parse(member(json, "type")),
        nullable: flag(json, "/nullable"),
        default: json.get("default").filter(|value| !value.is_null()).cloned(),
        properties,
        additional,
        items,
        preserve: flag(json, "/x-kubernetes-preserve-unknown-fields"),
        embedded: flag(json, "/x-kubernetes-embedded-resource"),
        int_or_string: flag(json, "/x-kubernetes-int-or-string"),
        list: list_type(json),
        atomic: member(json, "x-kubernetes-map-type") == "atomic",
        format: Format::parse(member(json, "format")),
        minimum: bound(json, "minimum", "/exclusiveMinimum"),
        maximum: bound(json, "maximum", "/exclusiveMaximum"),
        multiple_of: json.get("multipleOf").and_then(Value::as_f64).filter(|factor| *factor > 0.0),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        pattern: pattern.and_then(|text| patterns.compile(text).ok()),
        values: list(json, "enum").to_vec(),
        required: list(json, "required").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        all_of,
        any_of,
        one_of,
        not,
    }
}

fn bound(json: &Value, key: &str, exclusive: &str) -> Option<Bound> {
    let number: Number = json.get(key).and_then(Value::as_number)?.clone();
    Some(Bound { number, exclusive: flag(json, exclusive) })
}

fn list_type(json: &Value) -> ListType {
    match member(json, "x-kubernetes-list-type") {
        "set" => ListType::Set,
        "map" => {
            let keys = list(json, "x-kubernetes-list-map-keys").iter().filter_map(Value::as_str);
            ListType::Map(keys.map(str::to_owned).collect())
        }
        _ => ListType::Atomic,
    }
}
