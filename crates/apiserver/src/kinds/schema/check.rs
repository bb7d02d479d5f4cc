//! Compares a body with the types: first mismatch, unknown fields, and the form in which Go would write it again.

use jiff::Timestamp;
use serde_json::{Map, Value};
use thiserror::Error;

use super::quantity;
use super::types::{Type, TypeDef, type_def};

/// A value that cannot be decoded; the texts are those of Go's JSON decoder and of the API's own types.
#[derive(Debug, Error, PartialEq, Eq)]
pub(in crate::kinds) enum Mismatch {
    /// Another JSON type than the field's.
    #[error("json: cannot unmarshal {found} into Go struct field {holder}.{path} of type {wanted}")]
    Type { found: String, holder: &'static str, path: String, wanted: String },
    /// The body itself is no object.
    #[error("json: cannot unmarshal {found} into Go value of type v1.{wanted}")]
    Body { found: String, wanted: &'static str },
    /// No quantity (`1Gi`).
    #[error("{path}: {text:?}: {}", quantity::SYNTAX)]
    Quantity { path: String, text: String },
    /// No RFC 3339 time.
    #[error("{path}: parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?}")]
    Time { path: String, text: String },
    /// No base64.
    #[error("{path}: illegal base64 data at input byte {byte}")]
    Base64 { path: String, byte: usize },
}

/// Checks `object` against the named type, removes nulls, unknown fields and empty optional lists and maps, and returns
/// the unknown fields.
pub(super) fn check(name: &'static str, object: &mut Value) -> Result<Vec<String>, Mismatch> {
    let Some(def) = type_def(name) else { return Ok(Vec::new()) };
    let Value::Object(map) = object else {
        return Err(Mismatch::Body { found: found(object, &Type::Any), wanted: name });
    };
    let mut walk = Walk { unknown: Vec::new(), path: Vec::new() };
    walk.object(map, name, def)?;
    Ok(walk.unknown)
}

/// Checks the metadata of a resource that stands at `path`, as [`check`] does.
pub(in crate::kinds) fn check_metadata(path: &str, metadata: &mut Value) -> Result<Vec<String>, Mismatch> {
    let mut walk = Walk { unknown: Vec::new(), path: vec![Segment::Field(path.to_owned())] };
    walk.value(metadata, &Type::Object("ObjectMeta"), "ObjectMeta")?;
    Ok(walk.unknown)
}

/// Where Go's decoder gives up: at the byte, or at the last group of four when that is not whole.
fn position(error: &base64::DecodeError, length: usize) -> usize {
    match *error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
            length.saturating_sub(1) / 4 * 4
        }
    }
}

enum Segment {
    Field(String),
    Index(usize),
    Key(String),
}

struct Walk {
    unknown: Vec<String>,
    path: Vec<Segment>,
}

impl Walk {
    fn object(
        &mut self,
        map: &mut Map<String, Value>,
        holder: &'static str,
        def: &TypeDef,
    ) -> Result<(), Mismatch> {
        let mut dropped = Vec::new();
        for (name, value) in map.iter_mut() {
            self.path.push(Segment::Field(name.clone()));
            match def.fields.get(name.as_str()) {
                None => {
                    self.unknown.push(format!("unknown field {:?}", self.indexed_path()));
                    dropped.push(name.clone());
                }
                Some(_) if value.is_null() => dropped.push(name.clone()),
                Some(field) => {
                    self.value(value, &field.ty, holder)?;
                    if !field.always && is_empty_collection(value, &field.ty) {
                        dropped.push(name.clone());
                    }
                }
            }
            self.path.pop();
        }
        for name in dropped {
            map.shift_remove(&name);
        }
        Ok(())
    }

    fn value(&mut self, value: &mut Value, ty: &Type, holder: &'static str) -> Result<(), Mismatch> {
        match (ty, &mut *value) {
            (Type::Any, _) | (Type::String, Value::String(_)) | (Type::Bool, Value::Bool(_)) => Ok(()),
            (Type::Number, Value::Number(_)) => Ok(()),
            (Type::Int64, Value::Number(number)) if number.is_i64() => Ok(()),
            (Type::Int32 | Type::IntOrString, Value::Number(number)) if fits_i32(number) => Ok(()),
            (Type::IntOrString, Value::String(_)) => Ok(()),
            (Type::Bytes, Value::String(text)) => self.base64(text),
            (Type::Quantity, Value::String(_) | Value::Number(_)) => self.quantity(value),
            (Type::Time, Value::String(text)) => self.time(text, false),
            (Type::MicroTime, Value::String(text)) => self.time(text, true),
            (Type::Object(name), Value::Object(map)) => match type_def(name) {
                Some(def) => self.object(map, name, def),
                None => Ok(()),
            },
            (Type::ObjectOr(name), Value::Object(_)) => self.value(value, &Type::Object(name), holder),
            (Type::ObjectOr(_), _) => Ok(()),
            (Type::List(inner), Value::Array(items)) => self.items(items, inner, holder),
            (Type::Map(inner), Value::Object(map)) => {
                for (key, item) in map.iter_mut() {
                    self.path.push(Segment::Key(key.clone()));
                    self.item(item, inner, holder)?;
                    self.path.pop();
                }
                Ok(())
            }
            (_, other) => {
                let (found, path) = (found(other, ty), self.go_path());
                Err(Mismatch::Type { found, holder, path, wanted: go_type(ty) })
            }
        }
    }

    fn items(&mut self, items: &mut [Value], inner: &Type, holder: &'static str) -> Result<(), Mismatch> {
        for (index, item) in items.iter_mut().enumerate() {
            self.path.push(Segment::Index(index));
            self.item(item, inner, holder)?;
            self.path.pop();
        }
        Ok(())
    }

    /// In a list or a map, `null` is the type's zero value.
    fn item(&mut self, item: &mut Value, ty: &Type, holder: &'static str) -> Result<(), Mismatch> {
        if item.is_null() {
            *item = match ty {
                Type::String | Type::Bytes | Type::IntOrString => Value::String(String::new()),
                Type::Quantity => Value::String("0".to_owned()),
                Type::Object(_) | Type::ObjectOr(_) | Type::Map(_) => Value::Object(Map::new()),
                Type::List(_) => Value::Array(Vec::new()),
                Type::Int32 | Type::Int64 | Type::Number => Value::from(0),
                Type::Bool => Value::Bool(false),
                Type::Time | Type::MicroTime | Type::Any => Value::Null,
            };
            return Ok(());
        }
        self.value(item, ty, holder)
    }

    fn quantity(&self, value: &mut Value) -> Result<(), Mismatch> {
        let text = match &*value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match quantity::canonical(&text) {
            Some(canonical) => *value = Value::String(canonical),
            None => return Err(Mismatch::Quantity { path: self.indexed_path(), text }),
        }
        Ok(())
    }

    /// Times are kept as Kubernetes writes them: in UTC, in whole seconds or microseconds.
    fn time(&self, text: &mut String, micro: bool) -> Result<(), Mismatch> {
        let Ok(time) = text.parse::<Timestamp>() else {
            return Err(Mismatch::Time { path: self.indexed_path(), text: text.clone() });
        };
        *text =
            time.strftime(if micro { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" }).to_string();
        Ok(())
    }

    fn base64(&self, text: &str) -> Result<(), Mismatch> {
        use base64::Engine as _;
        // Go's decoder skips line breaks inside base64.
        let packed: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
        let length = packed.len();
        match base64::engine::general_purpose::STANDARD.decode(packed) {
            Ok(_) => Ok(()),
            Err(error) => Err(Mismatch::Base64 { path: self.indexed_path(), byte: position(&error, length) }),
        }
    }

    /// `spec.ports[0].port`, as strict decoding errors name it.
    fn indexed_path(&self) -> String {
        let mut out = String::new();
        for segment in &self.path {
            match segment {
                Segment::Field(name) | Segment::Key(name) if out.is_empty() => out.push_str(name),
                Segment::Field(name) | Segment::Key(name) => {
                    out.push('.');
                    out.push_str(name);
                }
                Segment::Index(index) => out.push_str(&format!("[{index}]")),
            }
        }
        out
    }

    /// `spec.ports.port`, as Go's decoder names it: without indices and map keys.
    fn go_path(&self) -> String {
        let names = self.path.iter().filter_map(|segment| match segment {
            Segment::Field(name) => Some(name.as_str()),
            Segment::Index(_) | Segment::Key(_) => None,
        });
        names.collect::<Vec<_>>().join(".")
    }
}

fn fits_i32(number: &serde_json::Number) -> bool {
    number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
}

fn is_empty_collection(value: &Value, ty: &Type) -> bool {
    match (ty, value) {
        (Type::List(_), Value::Array(items)) => items.is_empty(),
        (Type::Map(_), Value::Object(map)) => map.is_empty(),
        _ => false,
    }
}

fn found(value: &Value, wanted: &Type) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        // Go names the number when it is of the right JSON type and does not fit.
        Value::Number(number) if matches!(wanted, Type::Int32 | Type::Int64) => format!("number {number}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    }
}

fn go_type(ty: &Type) -> String {
    match ty {
        Type::String | Type::IntOrString | Type::Quantity => "string".to_owned(),
        Type::Bytes => "[]uint8".to_owned(),
        Type::Int32 => "int32".to_owned(),
        Type::Int64 => "int64".to_owned(),
        Type::Number => "float64".to_owned(),
        Type::Bool => "bool".to_owned(),
        Type::Time => "v1.Time".to_owned(),
        Type::MicroTime => "v1.MicroTime".to_owned(),
        Type::Any => "interface {}".to_owned(),
        Type::Object(name) | Type::ObjectOr(name) => {
            format!("v1.{}", name.rsplit('.').next().unwrap_or(name))
        }
        Type::List(inner) => format!("[]{}", go_type(inner)),
        Type::Map(inner) => format!("map[string]{}", go_type(inner)),
    }
}
