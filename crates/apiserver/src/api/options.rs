//! Options of requests, from the query and from bodies.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::apply::MEDIA_TYPE;
use crate::http::Query;
use crate::kinds::Kind;
use crate::protobuf;
use crate::selector::Selector;
use crate::status::{Cause, Status};
use crate::store::{Key, Start};

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

impl WriteOptions {
    pub(crate) fn parse(query: &Query) -> Result<Self, Status> {
        let field_validation = match query.text("fieldValidation") {
            // Kubernetes' default since 1.27.
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let message = format!(
                    "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
                );
                return Err(Status::unprocessable(message));
            }
        };
        Ok(Self {
            dry_run: dry_run(query.all("dryRun"))?,
            field_validation,
            field_manager: field_manager(query)?,
            force: query.flag("force")?.unwrap_or(false),
        })
    }

    /// The options of a patch of that media type.
    pub(crate) fn parse_patch(query: &Query, media_type: &str) -> Result<Self, Status> {
        let options = Self::parse(query)?;
        let applied = media_type == MEDIA_TYPE;
        let cause = if applied && options.field_manager.is_empty() {
            Cause::required("fieldManager", "is required for apply patch")
        } else if !applied && !query.text("force").is_empty() {
            Cause::forbidden("force", "may not be specified for non-apply patch")
        } else {
            return Ok(options);
        };
        Err(Status::invalid("meta.k8s.io", "PatchOptions", "", vec![cause]))
    }
}

/// The rules of `apimachinery/pkg/apis/meta/v1/validation`.
fn field_manager(query: &Query) -> Result<String, Status> {
    let name = query.text("fieldManager");
    let cause = if name.len() > LONGEST_MANAGER {
        Cause::too_long("fieldManager", LONGEST_MANAGER)
    } else if name.chars().any(char::is_control) {
        Cause::invalid("fieldManager", &Value::from(name), "should only contain printable characters")
    } else {
        return Ok(name.to_owned());
    };
    Err(Status::invalid("meta.k8s.io", "PatchOptions", "", vec![cause]))
}

fn dry_run<'a>(mut values: impl Iterator<Item = &'a str>) -> Result<bool, Status> {
    values.try_fold(false, |_, value| match value {
        "All" => Ok(true),
        other => Err(Status::unprocessable(format!(
            "dryRun: Unsupported value: {other:?}: supported values: \"All\""
        ))),
    })
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
        let propagation = match (policy.as_str(), body.orphan_dependents) {
            ("", Some(true)) | ("Orphan", None) => Some(Propagation::Orphan),
            ("", Some(false)) | ("Background", None) => Some(Propagation::Background),
            ("Foreground", None) => Some(Propagation::Foreground),
            ("", None) => None,
            (other, _) => {
                return Err(Status::unprocessable(format!(
                    "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: {other:?}: supported values: \"Foreground\", \"Background\", \"Orphan\""
                )));
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
            dry_run: dry_run(query.all("dryRun").chain(body_dry_run.iter().map(String::as_str)))?,
        })
    }
}

/// Options of lists and watches.
#[derive(Debug, Clone)]
pub(crate) struct ListOptions {
    pub(crate) selector: Selector,
    pub(crate) limit: Option<usize>,
    pub(crate) start: Start,
    /// As sent; empty, `0` or a revision.
    pub(crate) resource_version: u64,
    pub(crate) bookmarks: bool,
    /// `None` when the caller does not say.
    pub(crate) initial_events: Option<bool>,
    pub(crate) timeout_seconds: Option<u64>,
}

/// Where the next page starts: what the caller hands back as `continue`.
#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    rv: u64,
    start: String,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";

impl ListOptions {
    pub(crate) fn parse(query: &Query, kind: &Arc<Kind>, resource: &str) -> Result<Self, Status> {
        let selector = Selector::parse(kind, query.text("labelSelector"), query.text("fieldSelector"))?;
        let limit = query.number("limit")?.filter(|limit| *limit > 0);
        let text = query.text("resourceVersion");
        let revision = parse_revision(text)?;
        let start = match (query.text("continue"), query.text("resourceVersionMatch")) {
            ("", "" | "NotOlderThan") => Start::Latest { at_least: revision },
            ("", "Exact") if revision > 0 => Start::Exact { revision },
            ("", "Exact") => {
                return Err(Status::bad_request(
                    "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                ));
            }
            ("", other) => {
                return Err(Status::bad_request(format!(
                    "resourceVersionMatch: Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\""
                )));
            }
            (token, _) => read_token(token, resource)?,
        };
        Ok(Self {
            selector,
            limit: limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            start,
            resource_version: revision,
            bookmarks: query.flag("allowWatchBookmarks")?.unwrap_or(false),
            initial_events: query.flag("sendInitialEvents")?,
            timeout_seconds: query.number("timeoutSeconds")?,
        })
    }
}

fn parse_revision(text: &str) -> Result<u64, Status> {
    match text {
        "" => Ok(0),
        text => text.parse().map_err(|_| {
            Status::bad_request(format!("resourceVersion: Invalid value: {text:?}: must be a number"))
        }),
    }
}

/// The token of the page after `key`.
pub(crate) fn continue_token(revision: u64, key: &Key) -> String {
    let start = format!("{}/{}", key.namespace(), key.name());
    let token = Token { v: TOKEN_VERSION.to_owned(), rv: revision, start };
    // Strings and a number: serialising cannot fail.
    URL_SAFE_NO_PAD.encode(serde_json::to_string(&token).unwrap_or_default())
}

fn read_token(text: &str, resource: &str) -> Result<Start, Status> {
    let bad = || Status::bad_request("continue key is not valid: it was not made by this server");
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|_| bad())?;
    let (namespace, name) = token.start.split_once('/').ok_or_else(bad)?;
    if token.v != TOKEN_VERSION || token.start.contains('\0') {
        return Err(bad());
    }
    Ok(Start::After { revision: token.rv, key: Key::new(resource, namespace, name) })
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
    fn a_token_leads_to_where_the_page_ended() {
        let key = Key::new("pods", "default", "web");
        let start = read_token(&continue_token(7, &key), "pods").unwrap();
        assert_eq!(start, Start::After { revision: 7, key });
    }

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

    proptest::proptest! {
        #[test]
        fn any_token_is_read_or_refused(text in "\\PC{0,40}", bytes in proptest::collection::vec(0u8.., 0..40)) {
            _ = read_token(&text, "pods");
            _ = read_token(&URL_SAFE_NO_PAD.encode(bytes), "pods");
        }
    }
}
