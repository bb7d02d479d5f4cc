//! Compares a body with the types: first mismatch, unknown fields, and the form in which Go would write it again.

use std::fmt;

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
    let mut walk = Walk { unknown: Vec::new() };
    walk.object(map, name, def, &Place::Root)?;
    Ok(walk.unknown)
}

/// Checks the metadata of a resource that stands at `path`, as [`check`] does.
pub(in crate::kinds) fn check_metadata(path: &str, metadata: &mut Value) -> Result<Vec<String>, Mismatch> {
    let mut walk = Walk { unknown: Vec::new() };
    walk.value(metadata, &Type::Object("ObjectMeta"), "ObjectMeta", &Place::Field(&Place::Root, path))?;
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

/// Where in the body a value stands. Written out only for what is wrong or unknown: most fields are neither.
enum Place<'a> {
    Root,
    Field(&'a Place<'a>, &'a str),
    Index(&'a Place<'a>, usize),
    Key(&'a Place<'a>, &'a str),
}

impl Place<'_> {
    /// `spec.ports.port`, as Go's decoder names it: without indices and map keys.
    fn go_path(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Field(above, name) => match above.go_path() {
                path if path.is_empty() => (*name).to_owned(),
                path => format!("{path}.{name}"),
            },
            Self::Index(above, _) | Self::Key(above, _) => above.go_path(),
        }
    }
}

/// `spec.ports[0].port`, as strict decoding errors name it.
impl fmt::Display for Place<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) | Self::Key(Self::Root, name) => out.write_str(name),
            Self::Field(above, name) | Self::Key(above, name) => write!(out, "{above}.{name}"),
            Self::Index(above, index) => write!(out, "{above}[{index}]"),
        }
    }
}

/// Goes through a body; collects what the types do not know.
struct Walk {
    unknown: Vec<String>,
}

impl Walk {
    fn object(
        &mut self,
        map: &mut Map<String, Value>,
        holder: &'static str,
        def: &TypeDef,
        place: &Place<'_>,
    ) -> Result<(), Mismatch> {
        let mut dropped = Vec::new();
        for (name, value) in map.iter_mut() {
            let place = Place::Field(place, name);
            match def.fields.get(name.as_str()) {
                None => {
                    self.unknown.push(format!("unknown field {:?}", place.to_string()));
                    dropped.push(name.clone());
                }
                Some(_) if value.is_null() => dropped.push(name.clone()),
                Some(field) => {
                    self.value(value, &field.ty, holder, &place)?;
                    if !field.always && is_empty_collection(value, &field.ty) {
                        dropped.push(name.clone());
                    }
                }
            }
        }
        for name in dropped {
            map.shift_remove(&name);
        }
        Ok(())
    }

    fn value(
        &mut self,
        value: &mut Value,
        ty: &Type,
        holder: &'static str,
        place: &Place<'_>,
    ) -> Result<(), Mismatch> {
        match (ty, &mut *value) {
            (Type::Any, _) | (Type::String, Value::String(_)) | (Type::Bool, Value::Bool(_)) => Ok(()),
            (Type::Number, Value::Number(_)) => Ok(()),
            (Type::Int64, Value::Number(number)) if number.is_i64() => Ok(()),
            (Type::Int32 | Type::IntOrString, Value::Number(number)) if fits_i32(number) => Ok(()),
            (Type::IntOrString, Value::String(_)) => Ok(()),
            (Type::Bytes, Value::String(text)) => base64(text, place),
            (Type::Quantity, Value::String(_) | Value::Number(_)) => quantity(value, place),
            (Type::Time, Value::String(text)) => time(text, false, place),
            (Type::MicroTime, Value::String(text)) => time(text, true, place),
            (Type::Object(name), Value::Object(map)) => match type_def(name) {
                Some(def) => self.object(map, name, def, place),
                None => Ok(()),
            },
            (Type::ObjectOr(name), Value::Object(_)) => self.value(value, &Type::Object(name), holder, place),
            (Type::ObjectOr(_), _) => Ok(()),
            (Type::List(inner), Value::Array(items)) => self.items(items, inner, holder, place),
            (Type::Map(inner), Value::Object(map)) => {
                for (key, item) in map.iter_mut() {
                    self.item(item, inner, holder, &Place::Key(place, key))?;
                }
                Ok(())
            }
            (_, other) => {
                let (found, path) = (found(other, ty), place.go_path());
                Err(Mismatch::Type { found, holder, path, wanted: go_type(ty) })
            }
        }
    }

    fn items(
        &mut self,
        items: &mut [Value],
        inner: &Type,
        holder: &'static str,
        place: &Place<'_>,
    ) -> Result<(), Mismatch> {
        for (index, item) in items.iter_mut().enumerate() {
            self.item(item, inner, holder, &Place::Index(place, index))?;
        }
        Ok(())
    }

    /// In a list or a map, `null` is the type's zero value.
    fn item(
        &mut self,
        item: &mut Value,
        ty: &Type,
        holder: &'static str,
        place: &Place<'_>,
    ) -> Result<(), Mismatch> {
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
        self.value(item, ty, holder, place)
    }
}

fn quantity(value: &mut Value, place: &Place<'_>) -> Result<(), Mismatch> {
    let text = match &*value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match quantity::canonical(&text) {
        Some(canonical) => *value = Value::String(canonical),
        None => return Err(Mismatch::Quantity { path: place.to_string(), text }),
    }
    Ok(())
}

/// Times are kept as Kubernetes writes them: in UTC, in whole seconds or microseconds.
fn time(text: &mut String, micro: bool, place: &Place<'_>) -> Result<(), Mismatch> {
    let Ok(time) = text.parse::<Timestamp>() else {
        return Err(Mismatch::Time { path: place.to_string(), text: text.clone() });
    };
    *text = time.strftime(if micro { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" }).to_string();
    Ok(())
}

fn base64(text: &str, place: &Place<'_>) -> Result<(), Mismatch> {
    use base64::Engine as _;
    // Go's decoder skips line breaks inside base64.
    let packed: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    let length = packed.len();
    match base64::engine::general_purpose::STANDARD.decode(packed) {
        Ok(_) => Ok(()),
        Err(error) => Err(Mismatch::Base64 { path: place.to_string(), byte: position(&error, length) }),
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
