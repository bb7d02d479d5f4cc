//! What the server answers when it cannot do what was asked: a meta/v1 `Status`, worded as Kubernetes words it.
//!
//! The texts follow `apimachinery/pkg/api/errors` and `apimachinery/pkg/util/validation/field`; clients match on `reason`
//! and `code`, people read `message`.

use std::fmt;

use serde_json::{Map, Value, json};

/// An error answer of the API: HTTP code, machine-readable reason and a message for a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// HTTP status code, 400-599.
    pub code: u16,
    /// Machine-readable reason, Kubernetes' `StatusReason` (`NotFound`, `Conflict`, …).
    pub reason: &'static str,
    /// For a person: what is wrong, where.
    pub message: String,
    /// What the error is about. Boxed: errors travel in every `Result` of the server.
    pub details: Option<Box<Details>>,
}

/// The object an error is about, and the single causes of a validation error.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Details {
    /// Name of the object, empty when there is none.
    pub name: String,
    /// API group, empty for the core group.
    pub group: String,
    /// Plural resource, or the kind in validation errors (Kubernetes does the same).
    pub kind: String,
    /// One entry per wrong field.
    pub causes: Vec<Cause>,
    /// Seconds after which the client should try again, 0 for no advice.
    pub retry_after_seconds: u32,
}

/// One wrong field: Kubernetes' `field.Error`.
#[derive(Debug, Clone, PartialEq)]
pub struct Cause {
    /// Machine-readable reason (`FieldValueInvalid`, …).
    pub reason: &'static str,
    /// The message without the field's path (`Invalid value: 70000: must be …`).
    pub message: String,
    /// Path of the field (`spec.ports[0].port`).
    pub field: String,
}

impl Cause {
    /// `FIELD: Invalid value: VALUE: DETAIL`, the value printed as JSON.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: impl fmt::Display) -> Self {
        Self::new("FieldValueInvalid", field, format!("Invalid value: {}: {detail}", shown(value)))
    }

    /// `FIELD: Required value[: DETAIL]`; an empty detail is left out.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        Self::new("FieldValueRequired", field, with_detail("Required value", detail))
    }

    /// `FIELD: Duplicate value: VALUE`.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new("FieldValueDuplicate", field, format!("Duplicate value: {}", shown(value)))
    }

    /// `FIELD: Unsupported value: VALUE: supported values: "A", "B"`.
    pub fn not_supported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let list: Vec<String> = supported.iter().map(|name| format!("{name:?}")).collect();
        let message = format!("Unsupported value: {}: supported values: {}", shown(value), list.join(", "));
        Self::new("FieldValueNotSupported", field, message)
    }

    /// `FIELD: Forbidden: DETAIL`.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::new("FieldValueForbidden", field, with_detail("Forbidden", detail))
    }

    /// `FIELD: Too long: may not be more than MAX bytes`.
    pub fn too_long(field: impl Into<String>, max: usize) -> Self {
        Self::new("FieldValueTooLong", field, format!("Too long: may not be more than {max} bytes"))
    }

    /// `FIELD: Not found: VALUE`.
    pub fn not_found(field: impl Into<String>, value: &Value) -> Self {
        Self::new("FieldValueNotFound", field, format!("Not found: {}", shown(value)))
    }

    /// A cause with any reason and message.
    pub fn new(reason: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, field: field.into(), message: message.into() }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.field, self.message)
    }
}

impl Status {
    /// 404: the named object does not exist (`deployments.apps "web" not found`).
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {name:?} not found", qualified(resource, group));
        Self::plain(404, "NotFound", message).about(group, resource, name)
    }

    /// 404: there is no such path or resource at all.
    pub fn unknown_path() -> Self {
        Self::plain(404, "NotFound", "the server could not find the requested resource")
    }

    /// 409: an object of that name exists.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", qualified(resource, group));
        Self::plain(409, "AlreadyExists", message).about(group, resource, name)
    }

    /// 409: the object changed in between, or a precondition does not hold; `detail` says which.
    pub fn conflict(group: &str, resource: &str, name: &str, detail: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} {name:?}: {detail}", qualified(resource, group));
        Self::plain(409, "Conflict", message).about(group, resource, name)
    }

    /// 409: the resourceVersion sent is not the stored one.
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        let detail =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, resource, name, detail)
    }

    /// 409: an apply would change fields that others own (`Apply failed with 1 conflict: …`).
    pub fn apply_conflict(message: String, causes: Vec<Cause>) -> Self {
        let details = Details { causes, ..Details::default() };
        Self { details: Some(Box::new(details)), ..Self::plain(409, "Conflict", message) }
    }

    /// 422: the object breaks the kind's rules (`Service "web" is invalid: spec.ports: Required value`).
    /// `group` may be empty (`Deployment.apps "web" is invalid: …` otherwise).
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let mut texts: Vec<String> = Vec::with_capacity(causes.len());
        for cause in &causes {
            let text = cause.to_string();
            // Kubernetes' aggregate leaves repeated messages out.
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let list = match texts.as_slice() {
            [single] => single.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{} {name:?} is invalid: {list}", qualified(kind, group));
        let mut status = Self::plain(422, "Invalid", message).about(group, kind, name);
        if let Some(details) = &mut status.details {
            details.causes = causes;
        }
        status
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::plain(400, "BadRequest", message)
    }

    /// 401: no credentials, or none that we accept.
    pub fn unauthorized() -> Self {
        Self::plain(401, "Unauthorized", "Unauthorized")
    }

    /// 403: understood, and refused (`pods "web" is forbidden: DETAIL`); without a resource it is about a path.
    pub fn forbidden(group: &str, resource: &str, name: &str, detail: &str) -> Self {
        let message = if resource.is_empty() {
            format!("forbidden: {detail}")
        } else if name.is_empty() {
            format!("{} is forbidden: {detail}", qualified(resource, group))
        } else {
            format!("{} {name:?} is forbidden: {detail}", qualified(resource, group))
        };
        Self::plain(403, "Forbidden", message).about(group, resource, name)
    }

    /// 410: the resourceVersion or continue token asked for is no longer kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::plain(410, "Expired", message)
    }

    /// 422: understood, but the change cannot be applied to the object.
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::plain(422, "Invalid", message)
    }

    /// 405: the resource does not have this verb.
    pub fn method_not_allowed() -> Self {
        Self::plain(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    /// 406: no representation that the caller accepts.
    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::plain(406, "NotAcceptable", message)
    }

    /// 415: the body's media type is not one we read.
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::plain(415, "UnsupportedMediaType", message)
    }

    /// 413: the body has more than `limit` bytes.
    pub fn too_large(limit: usize) -> Self {
        Self::plain(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit}"))
    }

    /// 429: there is no place for the request now.
    pub fn too_many_requests() -> Self {
        let message = "Too many requests, please try again later.";
        let details = Details { retry_after_seconds: 1, ..Details::default() };
        Self { details: Some(Box::new(details)), ..Self::plain(429, "TooManyRequests", message) }
    }

    /// 500: our own fault.
    pub fn internal(detail: impl fmt::Display) -> Self {
        Self::plain(500, "InternalError", format!("Internal error occurred: {detail}"))
    }

    /// 503: cannot be done now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::plain(503, "ServiceUnavailable", message)
    }

    /// 504: it took too long.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::plain(504, "Timeout", message)
    }

    /// Names the object that the error is about.
    #[must_use]
    pub fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        let details = self.details.get_or_insert_with(Box::default);
        (details.group, details.kind, details.name) = (group.to_owned(), kind.to_owned(), name.to_owned());
        self
    }

    /// The object is not there.
    pub fn is_not_found(&self) -> bool {
        self.reason == "NotFound"
    }

    /// Somebody else changed the object in between; reading it again and retrying may help.
    pub fn is_conflict(&self) -> bool {
        self.reason == "Conflict"
    }

    /// The meta/v1 `Status` object.
    pub fn to_value(&self) -> Value {
        let mut out = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason,
        });
        out["details"] = Value::Object(self.details.as_deref().map(Details::to_map).unwrap_or_default());
        out["code"] = self.code.into();
        out
    }

    fn plain(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({} {})", self.message, self.code, self.reason)
    }
}

impl std::error::Error for Status {}

impl Details {
    fn to_map(&self) -> Map<String, Value> {
        let mut out = Map::new();
        for (key, value) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind)] {
            if !value.is_empty() {
                out.insert(key.to_owned(), value.as_str().into());
            }
        }
        if !self.causes.is_empty() {
            let causes = self.causes.iter();
            let list = causes
                .map(|cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}));
            out.insert("causes".to_owned(), list.collect());
        }
        if self.retry_after_seconds > 0 {
            out.insert("retryAfterSeconds".to_owned(), self.retry_after_seconds.into());
        }
        out
    }
}

fn qualified(resource: &str, group: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

fn with_detail(text: &str, detail: &str) -> String {
    if detail.is_empty() { text.to_owned() } else { format!("{text}: {detail}") }
}

/// Kubernetes prints strings quoted, numbers plain, the rest as JSON: all of that is JSON but for `null`.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wording_is_that_of_kubernetes() {
        assert_eq!(
            Status::not_found("apps", "deployments", "web").message,
            r#"deployments.apps "web" not found"#
        );
        let one =
            Cause::invalid("spec.ports[0].port", &json!(70000), "must be between 1 and 65535, inclusive");
        let status = Status::invalid("", "Service", "web", vec![one.clone()]);
        assert_eq!(
            status.message,
            r#"Service "web" is invalid: spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive"#
        );
        let two =
            Status::invalid("apps", "Deployment", "web", vec![one, Cause::required("spec.selector", "")]);
        assert!(two.message.starts_with(r#"Deployment.apps "web" is invalid: [spec.ports[0].port: "#));
        assert!(two.message.ends_with("spec.selector: Required value]"));
        let enumerated = Cause::not_supported("spec.type", &json!("X"), &["ClusterIP", "NodePort"]);
        assert_eq!(
            enumerated.message,
            r#"Unsupported value: "X": supported values: "ClusterIP", "NodePort""#
        );
    }

    #[test]
    fn serialises_to_a_meta_status() {
        let value = Status::not_found("", "pods", "web").to_value();
        assert_eq!(value["kind"], "Status");
        assert_eq!(value["code"], 404);
        assert_eq!(value["details"], json!({"name": "web", "kind": "pods"}));
    }
}
