//! Bodies in protobuf, as `kubectl create` sends them: read into the same JSON that everybody else sends.
//!
//! A body is `k8s\0` and a `runtime.Unknown`: the object's kind and its bytes. Which field is which number says
//! `numbers.txt`. Go leaves out zeros in JSON but writes them in protobuf: they are left out here, but for fields that are
//! pointers in Go.

mod table;
mod wire;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::status::Status;
use table::{Field, Many, Message, Type};
use wire::{Cursor, Damaged, Raw};

const MAGIC: &[u8] = b"k8s\0";
/// Deepest nesting of messages; real objects stay below 20.
const DEEPEST: usize = 64;

/// Whether a body says that it is protobuf.
pub(crate) fn is_protobuf(body: &[u8]) -> bool {
    body.starts_with(MAGIC)
}

/// Reads a body into JSON.
///
/// # Errors
/// 400 when it is not what it says, 415 for kinds that are not in the table.
pub(crate) fn to_json(body: &Bytes) -> Result<Value, Status> {
    let damaged = |_: Damaged| Status::bad_request("the body of the request is not valid protobuf");
    let Some(envelope) = body.strip_prefix(MAGIC) else {
        return Err(Status::bad_request(
            "provided data does not appear to be a protobuf message, expected prefix 6b387300",
        ));
    };
    let (api_version, kind, raw) = open(envelope).map_err(damaged)?;
    if kind.is_empty() {
        return Err(Status::bad_request("Object 'Kind' is missing"));
    }
    let name = message_name(&api_version, &kind);
    let Some(message) = table::message(&name) else {
        return Err(Status::unsupported_media_type(format!(
            "the body of the request was in protobuf, which this server does not read for {kind} of {api_version:?} - accepted media types include: application/json"
        )));
    };
    let mut out = Map::new();
    out.insert("apiVersion".to_owned(), api_version.into());
    out.insert("kind".to_owned(), kind.into());
    read(raw, message, &mut out, 0).map_err(damaged)?;
    Ok(Value::Object(out))
}

/// `runtime.Unknown`: 1 is the TypeMeta, 2 the object.
fn open(envelope: &[u8]) -> Result<(String, String, &[u8]), Damaged> {
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for entry in Cursor::new(envelope) {
        match entry? {
            (1, Raw::Bytes(meta)) => {
                for entry in Cursor::new(meta) {
                    match entry? {
                        (1, Raw::Bytes(value)) => api_version = text(value)?,
                        (2, Raw::Bytes(value)) => kind = text(value)?,
                        _ => {}
                    }
                }
            }
            (2, Raw::Bytes(value)) => raw = value,
            _ => {}
        }
    }
    Ok((api_version, kind, raw))
}

fn message_name(api_version: &str, kind: &str) -> String {
    // The options of a deletion come with the version of what is deleted.
    if kind == "DeleteOptions" {
        return "apimachinery.pkg.apis.meta.v1.DeleteOptions".to_owned();
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
    // networking.k8s.io is package `networking`, rbac.authorization.k8s.io is package `rbac`.
    let group = group.split('.').next().unwrap_or(group);
    format!("api.{group}.{version}.{kind}")
}

fn read(bytes: &[u8], message: &Message, out: &mut Map<String, Value>, depth: usize) -> Result<(), Damaged> {
    if depth > DEEPEST {
        return Err(Damaged);
    }
    for entry in Cursor::new(bytes) {
        let (number, raw) = entry?;
        // Fields newer than the table are left out, as protobuf asks.
        let Some(field) = message.get(&number) else { continue };
        let Some(name) = field.name else {
            if let (Type::Message(inner), Raw::Bytes(bytes)) = (field.ty, raw) {
                read(bytes, table::message(inner).ok_or(Damaged)?, out, depth + 1)?;
            }
            continue;
        };
        match field.many {
            Many::One => {
                if let Some(value) = single(raw, field, depth)? {
                    out.insert(name.to_owned(), value);
                }
            }
            Many::List => {
                let list = out.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                push(list, raw, field, depth)?;
            }
            Many::Map => {
                let map = out.entry(name).or_insert_with(|| Value::Object(Map::new()));
                insert(map, raw, field, depth)?;
            }
        }
    }
    Ok(())
}

/// A field that comes once; `None` when its zero means that it is not there.
fn single(raw: Raw<'_>, field: &Field, depth: usize) -> Result<Option<Value>, Damaged> {
    let value = value(raw, field.ty, depth)?;
    let zero = match &value {
        Value::Null => true,
        Value::Bool(value) => !value && !field.zero,
        Value::Number(value) => value.as_i64() == Some(0) && !field.zero && field.ty == Type::Int,
        Value::String(value) => value.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    };
    Ok((!zero).then_some(value))
}

fn push(list: &mut Value, raw: Raw<'_>, field: &Field, depth: usize) -> Result<(), Damaged> {
    let Some(list) = list.as_array_mut() else { return Err(Damaged) };
    match (raw, field.ty) {
        // Numbers may be packed into one entry.
        (Raw::Bytes(packed), Type::Int) => {
            let mut rest = packed;
            while !rest.is_empty() {
                list.push(wire::varint(&mut rest)?.cast_signed().into());
            }
        }
        (raw, ty) => list.push(value(raw, ty, depth)?),
    }
    Ok(())
}

/// An entry of a map is a message: 1 is the key, 2 the value.
fn insert(map: &mut Value, raw: Raw<'_>, field: &Field, depth: usize) -> Result<(), Damaged> {
    let (Some(map), Raw::Bytes(entry)) = (map.as_object_mut(), raw) else { return Err(Damaged) };
    let (mut key, mut found) = (String::new(), None);
    for part in Cursor::new(entry) {
        match part? {
            (1, Raw::Bytes(bytes)) => key = text(bytes)?,
            (2, raw) => found = Some(value(raw, field.ty, depth)?),
            _ => {}
        }
    }
    map.insert(key, found.unwrap_or_else(|| "".into()));
    Ok(())
}

fn value(raw: Raw<'_>, ty: Type, depth: usize) -> Result<Value, Damaged> {
    match (ty, raw) {
        (Type::Int, Raw::Number(number)) => Ok(number.cast_signed().into()),
        (Type::Bool, Raw::Number(number)) => Ok((number != 0).into()),
        (Type::String, Raw::Bytes(bytes)) => text(bytes).map(Value::String),
        (Type::Bytes, Raw::Bytes(bytes)) => Ok(STANDARD.encode(bytes).into()),
        (Type::Skip, _) => Ok(Value::Null),
        (Type::Quantity, Raw::Bytes(bytes)) => {
            let (_, text) = numbers_and_text(bytes, 1)?;
            Ok(text.into())
        }
        // type (0 number, 1 text), number, text.
        (Type::IntOrString, Raw::Bytes(bytes)) => {
            let (numbers, text) = numbers_and_text(bytes, 3)?;
            Ok(if numbers[1] == 1 { text.into() } else { numbers[2].into() })
        }
        // Seconds, nanoseconds; nothing at all for no time.
        (Type::Time | Type::MicroTime, Raw::Bytes([])) => Ok(Value::Null),
        (Type::Time | Type::MicroTime, Raw::Bytes(bytes)) => {
            let (numbers, _) = numbers_and_text(bytes, 0)?;
            let nanoseconds = i32::try_from(numbers[2]).map_err(|_| Damaged)?;
            let time = Timestamp::new(numbers[1], nanoseconds).map_err(|_| Damaged)?;
            let format = if ty == Type::Time { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S.%6fZ" };
            Ok(time.strftime(format).to_string().into())
        }
        (Type::Strings, Raw::Bytes(bytes)) => {
            let mut texts = Vec::new();
            for entry in Cursor::new(bytes) {
                if let (1, Raw::Bytes(bytes)) = entry? {
                    texts.push(Value::String(text(bytes)?));
                }
            }
            Ok(texts.into())
        }
        (Type::Message(name), Raw::Bytes(bytes)) => {
            let mut out = Map::new();
            read(bytes, table::message(name).ok_or(Damaged)?, &mut out, depth + 1)?;
            Ok(Value::Object(out))
        }
        (Type::Int | Type::Bool, Raw::Bytes(_)) | (_, Raw::Number(_)) => Err(Damaged),
    }
}

/// Numbers of a small message by field number (below 4), and the text in field `text_field`.
fn numbers_and_text(bytes: &[u8], text_field: u32) -> Result<([i64; 4], String), Damaged> {
    let (mut numbers, mut found) = ([0; 4], String::new());
    for entry in Cursor::new(bytes) {
        match entry? {
            (number @ 1..=3, Raw::Number(value)) => numbers[number as usize] = value.cast_signed(),
            (number, Raw::Bytes(bytes)) if number == text_field => found = text(bytes)?,
            _ => {}
        }
    }
    Ok((numbers, found))
}

fn text(bytes: &[u8]) -> Result<String, Damaged> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Damaged)
}

#[cfg(test)]
mod tests;
