//! Structural schemas: what a CustomResourceDefinition says of its objects (KEP "vanilla OpenAPI subset").
//!
//! ```text
//! openAPIV3Schema (JSON) ─► rules::check (is it structural?) ─► Schema::parse
//!                                                                    │
//!                    body ─► Schema::prune ─► Schema::default ─► Schema::validate ─► store
//! ```
//!
//! A [`Schema`] is one tree for both halves of a structural schema: the structure (`properties`, `items`,
//! `additionalProperties` outside of `allOf` and its kin), which prunes and defaults, and the validation of values, which
//! looks at everything.

mod default;
mod format;
mod json_path;
mod lists;
mod parse;
mod pattern;
mod prune;
mod rules;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Number, Value};

pub(super) use format::is_date_time;
pub(super) use json_path::JsonPath;
pub(super) use rules::check as check_rules;

use super::schema::ListType;
use format::Format;
use pattern::Pattern;

/// The members that every resource has, whatever its schema says.
const META_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// A JSON type as OpenAPI names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JsonType {
    Array,
    Boolean,
    Integer,
    Number,
    Object,
    String,
}

impl JsonType {
    /// The names, in the order in which messages list them.
    pub(super) const NAMES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "array" => Self::Array,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "object" => Self::Object,
            "string" => Self::String,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Object => "object",
            Self::String => "string",
        }
    }
}

/// What the members of an object may be that `properties` does not name.
#[derive(Debug, Default)]
pub(super) enum Additional {
    /// There are none: they are pruned.
    #[default]
    None,
    /// `additionalProperties: true`: anything.
    Any,
    /// All follow this schema.
    Schema(Box<Schema>),
}

/// A limit of a number.
#[derive(Debug)]
struct Bound {
    number: Number,
    exclusive: bool,
}

/// One place of a schema.
#[derive(Debug, Default)]
pub(super) struct Schema {
    kind: Option<JsonType>,
    nullable: bool,
    default: Option<Value>,
    properties: BTreeMap<String, Schema>,
    additional: Additional,
    items: Option<Box<Schema>>,
    /// `x-kubernetes-preserve-unknown-fields`.
    preserve: bool,
    /// `x-kubernetes-embedded-resource`.
    embedded: bool,
    /// `x-kubernetes-int-or-string`.
    int_or_string: bool,
    /// `x-kubernetes-list-type` and `x-kubernetes-list-map-keys`.
    list: ListType,
    /// `x-kubernetes-map-type: atomic`.
    atomic: bool,
    format: Option<Format>,
    minimum: Option<Bound>,
    maximum: Option<Bound>,
    multiple_of: Option<f64>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    min_properties: Option<u64>,
    max_properties: Option<u64>,
    pattern: Option<Arc<Pattern>>,
    /// `enum`.
    values: Vec<Value>,
    required: Vec<String>,
    all_of: Vec<Schema>,
    any_of: Vec<Schema>,
    one_of: Vec<Schema>,
    not: Option<Box<Schema>>,
}

impl Schema {
    /// The schema of a member of an object here; `None` where nothing is known of it.
    pub(super) fn member(&self, name: &str) -> Option<&Self> {
        match (self.properties.get(name), &self.additional) {
            (Some(schema), _) => Some(schema),
            (None, Additional::Schema(schema)) => Some(schema),
            (None, Additional::None | Additional::Any) => None,
        }
    }

    /// Whether `properties` names the member.
    pub(super) fn names(&self, name: &str) -> bool {
        self.properties.contains_key(name)
    }

    /// The schema of the items of a list here.
    pub(super) fn item(&self) -> Option<&Self> {
        self.items.as_deref()
    }

    /// How the items of a list here are told apart.
    pub(super) fn list_type(&self) -> &ListType {
        &self.list
    }

    /// The object here is one value, owned as a whole.
    pub(super) fn is_atomic(&self) -> bool {
        self.atomic
    }

    /// The default of the value here.
    pub(super) fn default_value(&self) -> Option<&Value> {
        self.default.as_ref()
    }

    /// A resource stands here: it has `apiVersion`, `kind` and `metadata`.
    pub(super) fn is_resource(&self) -> bool {
        self.embedded
    }
}
