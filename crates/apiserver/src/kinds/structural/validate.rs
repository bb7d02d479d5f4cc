//! Whether a value is what its schema says (`kube-openapi/pkg/validation/validate`), in Kubernetes' words.

use serde_json::{Number, Value};

use super::format::Format;
use super::lists::key_of;
use super::{Additional, Bound, JsonType, META_FIELDS, Schema};
use crate::kinds::schema::ListType;
use crate::status::Cause;

/// How messages name the place of errors that Kubernetes tells of no field: the root's field path in Go.
const NO_FIELD: &str = "<nil>";

impl Schema {
    /// What is wrong with a whole resource.
    ///
    /// With its state before the change, what has not changed is not looked at again (CRD validation ratcheting, KEP 4008).
    pub(in crate::kinds) fn validate(&self, new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
        let mut walk = Walk { path: String::new(), causes: Vec::new() };
        walk.value(self, new, old);
        causes.append(&mut walk.causes);
    }

    /// What is wrong with a value that stands at `path`.
    pub(super) fn validate_at(&self, path: &str, value: &Value, causes: &mut Vec<Cause>) {
        let mut walk = Walk { path: path.to_owned(), causes: Vec::new() };
        walk.value(self, value, None);
        causes.append(&mut walk.causes);
    }
}

struct Walk {
    path: String,
    causes: Vec<Cause>,
}

impl Walk {
    fn value(&mut self, schema: &Schema, new: &Value, old: Option<&Value>) {
        if old == Some(new) {
            return;
        }
        if !self.json_type(schema, new) {
            return;
        }
        self.enumerated(schema, new);
        if new.is_null() {
            return;
        }
        match new {
            Value::String(text) => self.text(schema, text),
            Value::Number(number) => self.number(schema, number),
            Value::Array(items) => self.array(schema, items, old),
            Value::Object(_) => self.object(schema, new, old),
            Value::Bool(_) | Value::Null => {}
        }
        if let Some(format) = schema.format.filter(|format| !format.fits(new)) {
            self.format(format, new);
        }
        self.alternatives(schema, new);
    }

    /// `spec.x in body`; the root has no name.
    fn place(&self) -> String {
        format!("{} in body", self.path)
    }

    fn field(&self) -> String {
        if self.path.is_empty() { NO_FIELD.to_owned() } else { self.path.clone() }
    }

    fn invalid(&mut self, value: &Value, what: &str) {
        let cause = Cause::invalid(self.field(), value, format_args!("{} {what}", self.place()));
        self.causes.push(cause);
    }

    fn json_type(&mut self, schema: &Schema, value: &Value) -> bool {
        let wanted: &[JsonType] = match (&schema.kind, schema.int_or_string) {
            (_, true) => &[JsonType::Integer, JsonType::String],
            (Some(kind), false) => std::slice::from_ref(kind),
            (None, false) => return true,
        };
        if (value.is_null() && schema.nullable) || wanted.iter().any(|kind| is_a(value, *kind)) {
            return true;
        }
        let wanted = wanted.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(",");
        let found = type_name(value);
        let detail = format!("{} must be of type {wanted}: {found:?}", self.place());
        let mut cause = Cause::invalid(self.field(), &found.into(), detail);
        cause.reason = "FieldValueTypeInvalid";
        self.causes.push(cause);
        false
    }

    fn format(&mut self, format: Format, value: &Value) {
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let detail = format!("{} must be of type {}: {shown:?}", self.place(), format.name());
        let mut cause = Cause::invalid(self.field(), value, detail);
        cause.reason = "FieldValueTypeInvalid";
        self.causes.push(cause);
    }

    fn enumerated(&mut self, schema: &Schema, value: &Value) {
        if schema.values.is_empty() || schema.values.iter().any(|allowed| same(allowed, value)) {
            return;
        }
        let allowed: Vec<String> = schema
            .values
            .iter()
            .map(|allowed| allowed.as_str().map_or_else(|| allowed.to_string(), str::to_owned))
            .collect();
        let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
        self.causes.push(Cause::not_supported(self.field(), value, &allowed));
    }

    fn text(&mut self, schema: &Schema, text: &str) {
        let value = Value::from(text);
        let length = text.chars().count() as u64;
        if let Some(max) = schema.max_length.filter(|max| length > *max) {
            self.causes.push(Cause::too_long(self.field(), usize::try_from(max).unwrap_or(usize::MAX)));
        }
        if let Some(min) = schema.min_length.filter(|min| length < *min) {
            self.invalid(&value, &format!("should be at least {min} chars long"));
        }
        if let Some(pattern) = schema.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
            self.invalid(&value, &format!("should match '{}'", pattern.text));
        }
    }

    fn number(&mut self, schema: &Schema, number: &Number) {
        let value = Value::Number(number.clone());
        if let Some(Bound { number: max, exclusive }) = &schema.maximum {
            let order = compare(number, max);
            if order.is_gt() || (*exclusive && order.is_eq()) {
                let relation = if *exclusive { "less than" } else { "less than or equal to" };
                self.invalid(&value, &format!("should be {relation} {max}"));
            }
        }
        if let Some(Bound { number: min, exclusive }) = &schema.minimum {
            let order = compare(number, min);
            if order.is_lt() || (*exclusive && order.is_eq()) {
                let relation = if *exclusive { "greater than" } else { "greater than or equal to" };
                self.invalid(&value, &format!("should be {relation} {min}"));
            }
        }
        if let Some(factor) = schema.multiple_of {
            let quotient = number.as_f64().unwrap_or_default() / factor;
            if (quotient - quotient.round()).abs() > 1e-9 {
                self.invalid(&value, &format!("should be a multiple of {factor}"));
            }
        }
    }

    fn array(&mut self, schema: &Schema, items: &[Value], old: Option<&Value>) {
        let length = items.len() as u64;
        if let Some(min) = schema.min_items.filter(|min| length < *min) {
            self.invalid(&length.into(), &format!("should have at least {min} items"));
        }
        if let Some(max) = schema.max_items.filter(|max| length > *max) {
            self.too_many(length, max);
        }
        schema.repeated(items, &self.path, &mut self.causes);
        let Some(item_schema) = schema.item() else { return };
        let before = old.and_then(Value::as_array);
        for (index, item) in items.iter().enumerate() {
            let old_item = match (&schema.list, before) {
                (ListType::Map(keys), Some(before)) => {
                    let key = key_of(item, keys);
                    before.iter().find(|one| key_of(one, keys) == key)
                }
                // Items of other lists are nobody's successors.
                _ => None,
            };
            let end = self.path.len();
            self.path.push_str(&format!("[{index}]"));
            self.value(item_schema, item, old_item);
            self.path.truncate(end);
        }
    }

    fn object(&mut self, schema: &Schema, new: &Value, old: Option<&Value>) {
        let Some(map) = new.as_object() else { return };
        let length = map.len() as u64;
        if let Some(min) = schema.min_properties.filter(|min| length < *min) {
            self.invalid(&length.into(), &format!("should have at least {min} properties"));
        }
        if let Some(max) = schema.max_properties.filter(|max| length > *max) {
            self.too_many(length, max);
        }
        for name in schema.required.iter().filter(|name| !map.contains_key(*name)) {
            self.causes.push(Cause::required(joined(&self.path, name), ""));
        }
        if schema.embedded && !self.path.is_empty() {
            for name in ["apiVersion", "kind"] {
                if map.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
                    self.causes.push(Cause::required(joined(&self.path, name), "must not be empty"));
                }
            }
        }
        for (name, value) in map {
            let member = match (schema.properties.get(name), &schema.additional) {
                (Some(member), _) => member,
                // A resource's own members are not its map's.
                _ if schema.embedded && META_FIELDS.contains(&name.as_str()) => continue,
                (None, Additional::Schema(member)) => member,
                (None, Additional::None | Additional::Any) => continue,
            };
            let end = self.path.len();
            if end > 0 {
                self.path.push('.');
            }
            self.path.push_str(name);
            self.value(member, value, old.and_then(|old| old.get(name)));
            self.path.truncate(end);
        }
    }

    fn too_many(&mut self, found: u64, max: u64) {
        let message = format!("Too many: {found}: must have at most {max} items");
        self.causes.push(Cause::new("FieldValueTooMany", self.field(), message));
    }

    /// `allOf`, `anyOf`, `oneOf` and `not`: told of no field, and followed by what the nearest alternative lacks.
    fn alternatives(&mut self, schema: &Schema, value: &Value) {
        if !schema.any_of.is_empty() {
            let failures = self.each(&schema.any_of, value);
            if failures.iter().all(|failures| !failures.is_empty()) {
                self.failed("must validate at least one schema (anyOf)");
                self.nearest(failures);
            }
        }
        if !schema.one_of.is_empty() {
            let failures = self.each(&schema.one_of, value);
            match failures.iter().filter(|failures| failures.is_empty()).count() {
                0 => {
                    self.failed("must validate one and only one schema (oneOf). Found none valid");
                    self.nearest(failures);
                }
                1 => {}
                several => {
                    let what = format!(
                        "must validate one and only one schema (oneOf). Found {several} valid alternatives"
                    );
                    self.failed(&what);
                }
            }
        }
        if !schema.all_of.is_empty() {
            let failures = self.each(&schema.all_of, value);
            let valid = failures.iter().filter(|failures| failures.is_empty()).count();
            if valid < failures.len() {
                let none = if valid == 0 { ". None validated" } else { "" };
                self.causes.extend(failures.into_iter().flatten());
                self.failed(&format!("must validate all the schemas (allOf){none}"));
            }
        }
        if let Some(not) = &schema.not
            && self.failures(not, value).is_empty()
        {
            self.failed("must not validate the schema (not)");
        }
    }

    fn failed(&mut self, what: &str) {
        let detail = format!("{:?} {what}", self.path);
        self.causes.push(Cause::invalid(NO_FIELD, &"".into(), detail));
    }

    fn failures(&self, schema: &Schema, value: &Value) -> Vec<Cause> {
        let mut walk = Self { path: self.path.clone(), causes: Vec::new() };
        walk.value(schema, value, None);
        walk.causes
    }

    fn each(&self, schemas: &[Schema], value: &Value) -> Vec<Vec<Cause>> {
        schemas.iter().map(|schema| self.failures(schema, value)).collect()
    }

    fn nearest(&mut self, failures: Vec<Vec<Cause>>) {
        self.causes.extend(failures.into_iter().min_by_key(Vec::len).unwrap_or_default());
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn is_a(value: &Value, kind: JsonType) -> bool {
    match (kind, value) {
        (JsonType::Array, Value::Array(_))
        | (JsonType::Boolean, Value::Bool(_))
        | (JsonType::Number, Value::Number(_))
        | (JsonType::Object, Value::Object(_))
        | (JsonType::String, Value::String(_)) => true,
        (JsonType::Integer, Value::Number(number)) => {
            number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        _ => false,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn compare(left: &Number, right: &Number) -> std::cmp::Ordering {
    match (left.as_i64(), right.as_i64()) {
        (Some(left), Some(right)) => left.cmp(&right),
        // JSON's numbers are finite.
        _ => left.as_f64().unwrap_or_default().total_cmp(&right.as_f64().unwrap_or_default()),
    }
}

/// Equal as JSON: 1 and 1.0 are the same number.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => compare(left, right).is_eq(),
        _ => left == right,
    }
}
