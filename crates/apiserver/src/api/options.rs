//! Options of requests, from the query and from bodies.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::apply::MEDIA_TYPE;
use crate::http::Query;
use crate::protobuf;
use crate::status::{Cause, Status};

/// What happens to fields that the kind does not have, and to fields that stand twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// Longest name of a field manager, in bytes.
const LONGEST_MANAGER: usize = 128;

/// Options of creations, updates and patches.
#[derive(Debug, Clone)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) field_validation: FieldValidation,
    /// As managedFields shall name the writer; empty when the caller does not say.
    pub(crate) field_manager: String,
    /// An apply that takes fields away from others.
    pub(crate) force: bool,
}

/// What is done to an object: Kubernetes names the options after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writing {
    Create,
    Update,
    Patch,
}

impl Writing {
    /// The options are refused.
    fn refuse(self, cause: Cause) -> Status {
        let options = match self {
            Self::Create => "CreateOptions",
            Self::Update => "UpdateOptions",
            Self::Patch => "PatchOptions",
        };
        Status::invalid("meta.k8s.io", options, "", vec![cause])
    }
}

impl WriteOptions {
    /// The rules of `apimachinery/pkg/apis/meta/v1/validation`.
    pub(crate) fn parse(query: &Query, writing: Writing) -> Result<Self, Status> {
        let field_validation = match query.text("fieldValidation") {
            // Kubernetes' default since 1.27.
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                let cause = Cause::not_supported("fieldValidation", &other.into(), &supported);
                return Err(writing.refuse(cause));
            }
        };
        Ok(Self {
            dry_run: dry_run(query.all("dryRun")).map_err(|cause| writing.refuse(cause))?,
            field_validation,
            field_manager: field_manager(query).map_err(|cause| writing.refuse(cause))?,
            force: query.flag("force")?.unwrap_or(false),
        })
    }

    /// The options of a patch of that media type.
    pub(crate) fn parse_patch(query: &Query, media_type: &str) -> Result<Self, Status> {
        let options = Self::parse(query, Writing::Patch)?;
        let applied = media_type == MEDIA_TYPE;
        let cause = if applied && options.field_manager.is_empty() {
            Cause::required("fieldManager", "is required for apply patch")
        } else if !applied && !query.text("force").is_empty() {
            Cause::forbidden("force", "may not be specified for non-apply patch")
        } else {
            return Ok(options);
        };
        Err(Writing::Patch.refuse(cause))
    }
}

fn field_manager(query: &Query) -> Result<String, Cause> {
    let name = query.text("fieldManager");
    let cause = if name.len() > LONGEST_MANAGER {
        Cause::too_long("fieldManager", LONGEST_MANAGER)
    } else if name.chars().any(char::is_control) {
        Cause::invalid("fieldManager", &Value::from(name), "should only contain printable characters")
    } else {
        return Ok(name.to_owned());
    };
    Err(cause)
}

fn dry_run<'a>(values: impl Iterator<Item = &'a str>) -> Result<bool, Cause> {
    let values: Vec<&str> = values.collect();
    if values.iter().all(|value| *value == "All") {
        return Ok(!values.is_empty());
    }
    let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    // The list as Go prints it.
    let found = format!("Unsupported value: []string{{{}}}: supported values: \"All\"", quoted.join(", "));
    Err(Cause::new("FieldValueNotSupported", "dryRun", found))
}

/// What becomes of objects that the deleted one owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// The object goes at once, what it owns later.
    Background,
    /// What it owns goes first.
    Foreground,
    /// What it owns stays.
    Orphan,
}

/// Options of deletions.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) grace_seconds: Option<i64>,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) dry_run: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct DeleteBody {
    grace_period_seconds: Option<i64>,
    propagation_policy: Option<String>,
    orphan_dependents: Option<bool>,
    preconditions: Option<Preconditions>,
    dry_run: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

impl DeleteOptions {
    /// The body wins over the query.
    pub(crate) fn parse(query: &Query, body: &Bytes) -> Result<Self, Status> {
        let refuse = |cause| Status::invalid("meta.k8s.io", "DeleteOptions", "", vec![cause]);
        let unread =
            |error| Status::bad_request(format!("the options of the deletion cannot be read: {error}"));
        let body: DeleteBody = if body.iter().all(u8::is_ascii_whitespace) {
            DeleteBody::default()
        } else if protobuf::is_protobuf(body) {
            serde_json::from_value(protobuf::to_json(body)?).map_err(unread)?
        } else {
            serde_json::from_slice(body).map_err(unread)?
        };
        let grace = match body.grace_period_seconds {
            Some(seconds) => Some(seconds),
            None => {
                query.number("gracePeriodSeconds")?.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX))
            }
        };
        let policy = body.propagation_policy.unwrap_or_else(|| query.text("propagationPolicy").to_owned());
        let field = "propagationPolicy";
        let propagation = match (policy.as_str(), body.orphan_dependents) {
            ("", Some(true)) | ("Orphan", None) => Some(Propagation::Orphan),
            ("", Some(false)) | ("Background", None) => Some(Propagation::Background),
            ("Foreground", None) => Some(Propagation::Foreground),
            ("", None) => None,
            ("Orphan" | "Background" | "Foreground", Some(_)) => {
                let detail = "orphanDependents and deletionPropagation cannot be both set";
                return Err(refuse(Cause::invalid(field, &policy.into(), detail)));
            }
            _ => {
                let supported = ["Foreground", "Background", "Orphan", "nil"];
                return Err(refuse(Cause::not_supported(field, &policy.into(), &supported)));
            }
        };
        let body_dry_run = body.dry_run.unwrap_or_default();
        let preconditions = body.preconditions.unwrap_or_default();
        Ok(Self {
            // Negative grace periods mean 1 second in Kubernetes.
            grace_seconds: grace.map(|seconds| if seconds < 0 { 1 } else { seconds }),
            propagation,
            uid: preconditions.uid,
            resource_version: preconditions.resource_version,
            dry_run: dry_run(query.all("dryRun").chain(body_dry_run.iter().map(String::as_str)))
                .map_err(refuse)?,
        })
    }
}

/// A resourceVersion as a parameter or a field; 0 for an empty one, which means any.
pub(super) fn parse_revision(text: &str) -> Result<u64, Status> {
    match text {
        "" => Ok(0),
        text => text.parse().map_err(|_| {
            Status::bad_request(format!("resourceVersion: Invalid value: {text:?}: must be a number"))
        }),
    }
}

/// A resourceVersion in an object; `None` when there is none, which means any.
pub(crate) fn revision_of(object: &Value) -> Result<Option<u64>, Status> {
    match object.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
        None | Some("" | "0") => Ok(None),
        Some(text) => parse_revision(text).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_of_a_deletion_wins_over_its_query() {
        let query = Query::parse("gracePeriodSeconds=5&propagationPolicy=Orphan");
        let options = DeleteOptions::parse(&query, &Bytes::new()).unwrap();
        assert_eq!((options.grace_seconds, options.propagation), (Some(5), Some(Propagation::Orphan)));
        let body = br#"{"kind":"DeleteOptions","gracePeriodSeconds":0,"propagationPolicy":"Foreground","dryRun":["All"]}"#;
        let options = DeleteOptions::parse(&query, &Bytes::from_static(body)).unwrap();
        assert_eq!((options.grace_seconds, options.propagation), (Some(0), Some(Propagation::Foreground)));
        assert!(options.dry_run);
        for body in ["{", r#"{"propagationPolicy":"Sideways"}"#, r#"{"dryRun":["Some"]}"#] {
            DeleteOptions::parse(&query, &Bytes::from(body)).expect_err(body);
        }
    }
}
