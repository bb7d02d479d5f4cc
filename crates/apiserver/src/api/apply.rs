//! Server-side apply: PATCH with `application/apply-patch+yaml`.

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use super::body::{finish, parse_yaml};
use super::options::{FieldValidation, WriteOptions, revision_of};
use super::render::{Renderer, negotiate};
use super::target::{Part, Target};
use super::write::with_warnings;
use super::writer::{Ownership, Write};
use super::{Api, Call, done, meta};
use crate::access::Attributes;
use crate::fields::{self, ApplyError, Configuration};
use crate::http::{Answer, json_bytes};
use crate::status::{Cause, Status};

/// The media type of an applied configuration; JSON is YAML.
pub(super) const MEDIA_TYPE: &str = "application/apply-patch+yaml";
/// How often an object may come and go while it is applied.
const ATTEMPTS: usize = 8;

impl Api {
    pub(super) async fn apply(&self, target: &Target, call: &Call) -> Result<Answer, Status> {
        let renderer =
            Renderer { served: target.served.clone(), form: negotiate(&call.headers, &call.query)? };
        let options = WriteOptions::parse_patch(&call.query, MEDIA_TYPE)?;
        let (config, warnings) = configuration(target, &call.body, options.field_validation)?;
        let write = Write::new(target, &call.headers, &options);
        let config = Configuration { object: &config, force: options.force };
        let mut attempts = 0;
        loop {
            let applied = self
                .modify(target, options.dry_run, |old, record| {
                    let applied = fields::apply(write.root(), Some(old), &config, &write.writer.author());
                    let applied = applied.map_err(|error| refused(target, error))?;
                    self.updated(&write, applied.object, Ownership::Applied(applied.managed), old, record)
                })
                .await;
            match applied {
                Ok(modified) => {
                    let answer = json_bytes(StatusCode::OK, renderer.object(&modified.record.json));
                    return Ok(with_warnings(answer, &warnings));
                }
                Err(status) if status.is_not_found() && target.part == Part::Whole => {}
                Err(status) => return Err(status),
            }
            match self.apply_new(&write, &config).await {
                Ok(json) => {
                    let answer = json_bytes(done(true), renderer.object(&json));
                    return Ok(with_warnings(answer, &warnings));
                }
                Err(status) if status.reason == "AlreadyExists" && attempts < ATTEMPTS => attempts += 1,
                Err(status) => return Err(status),
            }
        }
    }

    /// Creates the object that a configuration describes.
    async fn apply_new(&self, write: &Write<'_>, config: &Configuration<'_>) -> Result<Bytes, Status> {
        let (kind, name) = (&write.target.served.kind, &write.target.name);
        // To patch is what the request asks for; to create is what it would do.
        let create = Attributes::object("create", &kind.group, &kind.plural, &write.target.namespace, name);
        self.access.require(&write.target.caller, &create)?;
        let uid = meta::text(config.object, "uid");
        if !uid.is_empty() {
            let detail = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(Status::conflict(&kind.group, &kind.plural, name, &detail));
        }
        if revision_of(config.object)?.is_some() {
            return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
        }
        let applied = fields::apply(write.root(), None, config, &write.writer.author());
        let applied = applied.map_err(|error| refused(write.target, error))?;
        let record = self.create_named(write, applied.object, Ownership::Applied(applied.managed)).await?;
        Ok(record.json)
    }
}

/// A body that may be YAML, with the fields that stand twice in it.
pub(super) fn read(body: &Bytes) -> Result<(Value, Vec<String>), Status> {
    let read =
        parse_yaml(body).map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
    if read.0.is_object() {
        return Ok(read);
    }
    Err(Status::bad_request("error decoding YAML: the configuration is not an object"))
}

/// Whether a body is of this version and kind.
pub(super) fn check_type(object: &Value, api_version: &str, kind: &str) -> Result<(), Status> {
    let text = |name| object.get(name).and_then(Value::as_str).unwrap_or_default();
    if (text("apiVersion"), text("kind")) == (api_version, kind) {
        return Ok(());
    }
    let found = text("apiVersion");
    let slash = if found.contains('/') { "" } else { "/" };
    Err(Status::bad_request(format!("invalid object type: {slash}{found}, Kind={}", text("kind"))))
}

/// The fields that the caller wants, checked, and what it should know.
fn configuration(
    target: &Target,
    body: &Bytes,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Status> {
    let served = &target.served;
    let kind = &served.kind;
    let (object, duplicates) = read(body)?;
    check_type(&object, &served.api_version(), &kind.kind)?;
    if object.pointer("/metadata/managedFields").is_some_and(|managed| !managed.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let decoded = finish(object, duplicates, served, validation)?;
    if !decoded.unknown.is_empty() {
        // Whatever the caller thinks of unknown fields: there is no telling how to merge them.
        let unknown = decoded.unknown.iter().map(|text| text.trim_start_matches("unknown field "));
        let unknown: Vec<String> = unknown
            .map(|path| format!(".{}: field not declared in schema", path.trim_matches('"')))
            .collect();
        return Err(untyped(target, &unknown.join(", ")));
    }
    let mut object = decoded.object;
    meta::check_path(&object, kind, &target.namespace, &target.name)?;
    if let Some(members) = object.as_object_mut() {
        // Each part of the object owns its own fields (`resetFields` of Kubernetes' strategies).
        match target.part {
            Part::Status => _ = members.shift_remove("spec"),
            _ if kind.status => _ = members.shift_remove("status"),
            _ => {}
        }
    }
    Ok((object, decoded.warnings))
}

/// Why nothing was applied.
pub(super) fn refused(target: &Target, error: ApplyError) -> Status {
    match error {
        ApplyError::List(error) => untyped(target, &error.to_string()),
        ApplyError::Conflicts(conflicts) => {
            let causes = conflicts.iter().map(|conflict| {
                let message = format!("conflict with {}", conflict.owner);
                Cause::new("FieldManagerConflict", conflict.field.as_str(), message)
            });
            Status::apply_conflict(fields::conflict_message(&conflicts), causes.collect())
        }
    }
}

fn untyped(target: &Target, detail: &str) -> Status {
    let served = &target.served;
    Status::bad_request(format!(
        "failed to create typed patch object ({}/{}; {}, Kind={}): {detail}",
        target.namespace,
        target.name,
        served.api_version(),
        served.kind.kind
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    #[test]
    fn yaml_and_json_are_read() {
        let (value, _) = read(&body("# a comment\na:\n- b: 1\n  c: 'x'\nd: |\n  e\n")).unwrap();
        assert_eq!(value, json!({"a": [{"b": 1, "c": "x"}], "d": "e\n"}));
        let (value, duplicates) = read(&body(r#"{"a":1,"a":2}"#)).unwrap();
        assert_eq!((value, duplicates), (json!({"a": 2}), vec!["a".to_owned()]));
        assert_eq!(read(&body("{a: &x [1], b: *x}")).unwrap().0, json!({"a": [1], "b": [1]}));
    }

    #[test]
    fn broken_bodies_are_bad_requests() {
        let bombs = format!(
            "a: &a [x,x]\n{}",
            (b'b'..b'z').map(char::from).fold(String::new(), |text, name| {
                let before = char::from(name as u8 - 1);
                format!("{text}{name}: &{name} [{}]\n", format!("*{before},").repeat(9))
            })
        );
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "a: b: c",
            "- 1",
            "7",
            "a: 1\na: 2",
            "{",
            "a: [",
            "\u{0}",
            "%",
            bombs.as_str(),
            deep.as_str(),
        ] {
            let refused = read(&body(text)).unwrap_err();
            assert_eq!(refused.code, 400, "{text:.20}");
            assert!(refused.message.starts_with("error decoding YAML: "), "{}", refused.message);
        }
    }

    #[test]
    fn another_type_is_named_as_kubernetes_does() {
        let wrong = |object: Value| check_type(&object, "v1", "Pod").unwrap_err().message;
        assert_eq!(
            wrong(json!({"apiVersion": "v1", "kind": "Service"})),
            "invalid object type: /v1, Kind=Service"
        );
        assert_eq!(wrong(json!({"apiVersion": "apps/v1"})), "invalid object type: apps/v1, Kind=");
        assert!(check_type(&json!({"apiVersion": "v1", "kind": "Pod"}), "v1", "Pod").is_ok());
    }
}
