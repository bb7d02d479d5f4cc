//! An event of `audit.k8s.io/v1`, as it is written (`apiserver/pkg/apis/audit/v1/types.go`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use http::StatusCode;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::access::{Attributes, Decision, Subject, User};
use crate::status::Status;

/// Kubernetes' names of the annotations that say why somebody was let in, or was not.
const DECISION: &str = "authorization.k8s.io/decision";
const REASON: &str = "authorization.k8s.io/reason";

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    kind: &'static str,
    api_version: &'static str,
    level: &'static str,
    #[serde(rename = "auditID")]
    pub(super) audit_id: String,
    pub(super) stage: Stage,
    /// The request's target as it was sent.
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    /// The caller; empty when its credentials are not good.
    user: Person,
    /// Whom the caller acts as.
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonated_user: Option<Person>,
    /// The other end of the connection. Headers that say something else are not believed.
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    source_ips: Vec<IpAddr>,
    #[serde(skip_serializing_if = "String::is_empty")]
    user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<ObjectRef>,
    /// `None` when the caller was gone before there was an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_status: Option<ResponseStatus>,
    #[serde(serialize_with = "microseconds")]
    request_received_timestamp: Timestamp,
    #[serde(serialize_with = "microseconds")]
    pub(super) stage_timestamp: Timestamp,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, String>,
}

/// How far the request had come when the line was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Stage {
    /// The answer has begun, and goes on for as long as both ends like: the connection was switched over.
    ResponseStarted,
    /// The request is answered.
    ResponseComplete,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Person {
    #[serde(skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectRef {
    resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_group: String,
    api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    subresource: String,
}

/// The answer without its body; of an error what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ResponseStatus {
    metadata: BTreeMap<(), ()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'static str,
    code: u16,
}

/// What is known of a request before anything is done with it.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) audit_id: String,
    pub(super) request_uri: String,
    pub(super) source: Option<IpAddr>,
    pub(super) user_agent: String,
    pub(super) at: Timestamp,
}

impl Event {
    /// The beginning of an event.
    pub(super) fn begin(received: Received, attributes: &Attributes) -> Self {
        Self {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: "Metadata",
            audit_id: received.audit_id,
            stage: Stage::ResponseComplete,
            request_uri: received.request_uri,
            verb: attributes.verb.clone(),
            user: Person::default(),
            impersonated_user: None,
            source_ips: received.source.into_iter().collect(),
            user_agent: received.user_agent,
            object_ref: ObjectRef::of(&attributes.subject),
            response_status: None,
            request_received_timestamp: received.at,
            stage_timestamp: received.at,
            annotations: BTreeMap::new(),
        }
    }

    /// Somebody showed good credentials.
    pub(super) fn set_caller(&mut self, user: &User) {
        self.user = Person::of(user);
    }

    /// The caller acts as somebody else, and may.
    pub(super) fn set_impersonated(&mut self, user: &User) {
        self.impersonated_user = Some(Person::of(user));
    }

    /// It is known whether the user may do it.
    pub(super) fn set_decision(&mut self, decision: &Decision) {
        let word = if decision.allowed { "allow" } else { "forbid" };
        self.annotations.insert(DECISION, word.to_owned());
        self.annotations.insert(REASON, decision.reason.clone());
    }

    /// The body, or the server, names the object that the path does not name.
    pub(super) fn set_name(&mut self, name: &str) {
        if let Some(object) = &mut self.object_ref {
            name.clone_into(&mut object.name);
        }
    }
}

impl Person {
    fn of(user: &User) -> Self {
        let User { name, uid, groups, extra } = user.clone();
        Self { username: name, uid, groups, extra }
    }
}

impl ObjectRef {
    fn of(subject: &Subject) -> Option<Self> {
        let Subject::Resource { group, version, resource, subresource, namespace, name } = subject else {
            return None;
        };
        Some(Self {
            resource: resource.clone(),
            namespace: namespace.clone(),
            name: name.clone(),
            api_group: group.clone(),
            api_version: version.clone(),
            subresource: subresource.clone(),
        })
    }
}

impl ResponseStatus {
    /// An answer that is no Status.
    pub(super) fn code(code: u16) -> Self {
        Self { metadata: BTreeMap::new(), status: None, message: String::new(), reason: "", code }
    }

    /// The connection is used for something else from here on.
    pub(super) fn is_switched(&self) -> bool {
        self.code == StatusCode::SWITCHING_PROTOCOLS.as_u16()
    }

    /// An error.
    pub(super) fn failure(status: &Status) -> Self {
        Self {
            status: Some("Failure"),
            message: status.message.clone(),
            reason: status.reason,
            ..Self::code(status.code)
        }
    }
}

/// meta/v1 `MicroTime`.
fn microseconds<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ"))
}
