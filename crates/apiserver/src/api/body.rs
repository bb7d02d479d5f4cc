//! Bodies: from JSON, YAML or protobuf to an object of the path's kind in its stored version.

use std::fmt;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::operations::{DEEPEST, depth};
use super::options::FieldValidation;
use crate::kinds::{Served, convert_in};
use crate::protobuf;
use crate::status::Status;

/// Most bytes of a body that an error shows.
const MOST_SHOWN: usize = 30;

/// A body, read.
pub(super) struct Decoded {
    /// The object.
    pub(super) object: Value,
    /// What the caller should know (`unknown field "spec.foo"`).
    pub(super) warnings: Vec<String>,
    /// `unknown field "spec.foo"`: what the kind does not have, and what the object was relieved of.
    pub(super) unknown: Vec<String>,
}

/// Media type of a body, without its parameters.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// Reads an object.
pub(super) fn decode(
    headers: &HeaderMap,
    body: &Bytes,
    served: &Served,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let (object, duplicates) = read(headers, body).map_err(|mut refused| {
        if refused.code == 400 {
            let kind = &served.kind.kind;
            refused.message = format!(
                "the object provided is unrecognized (must be of type {kind}): {} ({})",
                refused.message,
                beginning(body)
            );
        }
        refused
    })?;
    finish(object, duplicates, served, validation)
}

/// The first bytes of a body, as Kubernetes shows them: JSON as it is, the rest in hexadecimal digits.
fn beginning(body: &[u8]) -> String {
    let shown = &body[..body.len().min(MOST_SHOWN)];
    let more = if body.len() > MOST_SHOWN { " ..." } else { "" };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(shown)),
        Some(_) => {
            let digits: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{digits}{more}")
        }
    }
}

/// A body in one of the media types that we read, with the fields that stand twice in it.
pub(super) fn read(headers: &HeaderMap, body: &Bytes) -> Result<(Value, Vec<String>), Status> {
    match media_type(headers) {
        "application/vnd.kubernetes.protobuf" => protobuf::to_json(body).map(|value| (value, Vec::new())),
        "" | "application/json" => parse(body),
        "application/yaml" => parse_yaml(body)
            .map_err(|error| Status::bad_request(format!("error converting YAML to JSON: {error}"))),
        other => Err(Status::unsupported_media_type(format!(
            "the body of the request was in an unknown format ({other}) - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        ))),
    }
}

/// JSON text, with the fields that stand twice in it.
pub(super) fn parse(body: &Bytes) -> Result<(Value, Vec<String>), Status> {
    let mut duplicates = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(body);
    let seed = Strict { place: &Place::Root, duplicates: &mut duplicates };
    let value =
        seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value)).map_err(|error| {
            Status::bad_request(format!("couldn't get version/kind; json parse error: {error}"))
        })?;
    Ok((value, duplicates))
}

/// YAML text; JSON is YAML, and tells which fields stand twice.
///
/// # Errors
/// The first line of what the parser has to say.
pub(super) fn parse_yaml(body: &Bytes) -> Result<(Value, Vec<String>), String> {
    parse(body).or_else(|_| {
        let value = serde_saphyr::from_slice(body).map_err(|error| {
            let text = error.to_string();
            text.lines().next().unwrap_or_default().trim_end_matches(':').to_owned()
        })?;
        Ok((value, Vec::new()))
    })
}

/// Brings an object of the path's version into the stored one, and checks the types of its fields.
pub(super) fn finish(
    mut object: Value,
    duplicates: Vec<String>,
    served: &Served,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let Some(map) = object.as_object_mut() else {
        return Err(Status::bad_request(
            "couldn't get version/kind; json parse error: the body is not an object",
        ));
    };
    if map.values().map(depth).max().unwrap_or_default() >= DEEPEST {
        return Err(Status::bad_request(format!("the object nests deeper than {DEEPEST} levels")));
    }
    let version = served.api_version();
    check_text(map, "kind", &served.kind.kind, |found| {
        format!(
            "{found} in version {:?} cannot be handled as a {}: no kind {found:?} is registered for this path",
            served.version, served.kind.kind
        )
    })?;
    check_text(map, "apiVersion", &version, |found| {
        format!("the API version in the data ({found}) does not match the expected API version ({version})")
    })?;
    convert_in(&served.kind, &served.group, &served.version, &mut object);
    let shape = served.kind.check_shape(&mut object)?;
    let found: Vec<String> = match validation {
        FieldValidation::Ignore => Vec::new(),
        FieldValidation::Warn | FieldValidation::Strict => {
            let duplicates = duplicates.into_iter().map(|path| format!("duplicate field {path:?}"));
            shape.unknown.iter().cloned().chain(duplicates).collect()
        }
    };
    if validation == FieldValidation::Strict && !found.is_empty() {
        return Err(Status::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {kind}: strict decoding error: {}",
            served.version,
            found.join(", "),
            kind = served.kind.kind,
        )));
    }
    Ok(Decoded { object, warnings: found, unknown: shape.unknown })
}

fn check_text(
    map: &mut Map<String, Value>,
    field: &str,
    expected: &str,
    message: impl Fn(&str) -> String,
) -> Result<(), Status> {
    match map.get(field) {
        Some(Value::String(found)) if found == expected => Ok(()),
        None | Some(Value::Null) => {
            map.insert(field.to_owned(), expected.into());
            Ok(())
        }
        Some(Value::String(found)) if found.is_empty() => {
            map.insert(field.to_owned(), expected.into());
            Ok(())
        }
        Some(Value::String(found)) => Err(Status::bad_request(message(found))),
        Some(other) => Err(Status::bad_request(format!(
            "couldn't get version/kind; json parse error: {field} must be a string, not {other}"
        ))),
    }
}

/// Reads a value like serde_json does, the last of two equal fields winning, and takes note of the fields that repeat.
struct Strict<'a> {
    place: &'a Place<'a>,
    duplicates: &'a mut Vec<String>,
}

/// Where in the body a value stands. Written out only for a field that repeats: most bodies have none.
enum Place<'a> {
    Root,
    Field(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => out.write_str(name),
            Self::Field(above, name) => write!(out, "{above}.{name}"),
            Self::Item(above, index) => write!(out, "{above}[{index}]"),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        loop {
            let place = Place::Item(self.place, out.len());
            match items.next_element_seed(Strict { place: &place, duplicates: &mut *self.duplicates })? {
                Some(item) => out.push(item),
                None => return Ok(Value::Array(out)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let place = Place::Field(self.place, &name);
            if out.contains_key(&name) {
                self.duplicates.push(place.to_string());
            }
            let value =
                fields.next_value_seed(Strict { place: &place, duplicates: &mut *self.duplicates })?;
            out.insert(name, value);
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn repeated_fields_are_named() {
        let body = Bytes::from_static(br#"{"a":1,"b":{"c":[{"d":1,"d":2}]},"a":-1.5}"#);
        let (value, duplicates) = parse(&body).unwrap();
        assert_eq!(value, json!({"a": -1.5, "b": {"c": [{"d": 2}]}}));
        assert_eq!(duplicates, ["b.c[0].d", "a"]);
    }

    #[test]
    fn what_could_not_be_read_back_is_not_stored() {
        let served = crate::kinds::Registry::built_in()
            .served_in("apps", "v1")
            .find(|served| served.kind.is("apps", "ControllerRevision"));
        let deep = |levels: usize| {
            let data = format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
            let body = format!(r#"{{"metadata":{{"name":"a"}},"revision":1,"data":{data}}}"#);
            let (object, _) = parse(&Bytes::from(body)).unwrap();
            finish(object, Vec::new(), served.as_ref().unwrap(), FieldValidation::Strict)
        };
        assert!(deep(DEEPEST - 1).is_ok());
        let Err(refused) = deep(DEEPEST) else { panic!("it is too deep") };
        assert_eq!((refused.code, refused.message.contains("deeper than 100")), (400, true));
    }

    #[test]
    fn refusals_show_how_a_body_begins() {
        assert_eq!(beginning(b""), "<empty>");
        assert_eq!(beginning(b"{\"kind\""), "{\"kind\"");
        assert_eq!(beginning(b"- a"), "2d2061");
        assert_eq!(beginning(&[b'{'; 31]), format!("{} ...", "{".repeat(30)));
    }

    #[test]
    fn broken_json_is_a_bad_request() {
        for body in ["", "{", "{} x", "nul", "\"\\ud800\""] {
            assert_eq!(parse(&Bytes::from_static(body.as_bytes())).unwrap_err().code, 400, "{body}");
        }
        let deep = Bytes::from("[".repeat(100_000));
        assert_eq!(parse(&deep).unwrap_err().code, 400);
    }
}
