//! A request that is followed from its first line to its answer.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use jiff::Timestamp;
use uuid::Uuid;

use super::event::{Event, Received, ResponseStatus, Stage};
use super::log::AuditLog;
use crate::access::{Attributes, Decision, Subject, User};
use crate::http::{Answer, Peer};
use crate::status::Status;

/// Names the line: a caller may choose the name, and is told it.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// Longest name that a caller may choose, in bytes.
const LONGEST_ID: usize = 64;
/// Verbs that change objects.
const CHANGES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];
/// Subresources by which a caller reaches into pods, whatever the verb: sessions over WebSocket begin with a GET.
const REACHING_IN: [&str; 4] = ["exec", "attach", "portforward", "proxy"];
/// Methods that change nothing at paths that are no resources.
const HARMLESS: [&str; 3] = ["get", "head", "options"];

/// Whether there is to be a line about such requests.
pub(crate) fn is_change(attributes: &Attributes) -> bool {
    match &attributes.subject {
        Subject::Resource { subresource, .. } => {
            CHANGES.contains(&attributes.verb.as_str()) || REACHING_IN.contains(&subresource.as_str())
        }
        Subject::Path(_) => !HARMLESS.contains(&attributes.verb.as_str()),
    }
}

/// A request, as far as a line will be written about it. Clones are about the same request; the first that tells of the
/// answer ends it. [`Observed::default`] is a request that nobody asks about: it takes everything, and does nothing.
///
/// When all clones are gone without an answer, the caller had hung up: that is a line as well.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed(Option<Arc<Pending>>);

#[derive(Debug)]
struct Pending {
    log: AuditLog,
    audit_id: String,
    /// `None` when the line is made.
    event: Mutex<Option<Box<Event>>>,
}

impl Observed {
    /// Begins to follow a request.
    pub(crate) fn begin<B>(log: &AuditLog, request: &Request<B>, attributes: &Attributes) -> Self {
        let (uri, headers) = (request.uri(), request.headers());
        let audit_id = chosen_id(headers).unwrap_or_else(|| Uuid::new_v4().to_string());
        let target = uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
        let agent = headers.get(header::USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
        let source: Option<IpAddr> = request.extensions().get::<Peer>().map(|peer| peer.0);
        let received = Received {
            audit_id: audit_id.clone(),
            request_uri: target.to_owned(),
            source,
            user_agent: String::from_utf8_lossy(agent).into_owned(),
            at: Timestamp::now(),
        };
        let event = Mutex::new(Some(Box::new(Event::begin(received, attributes))));
        Self(Some(Arc::new(Pending { log: log.clone(), audit_id, event })))
    }

    /// Somebody showed good credentials.
    pub(crate) fn caller(&self, user: &User) {
        self.learn(|event| event.set_caller(user));
    }

    /// The caller acts as somebody else, and may.
    pub(crate) fn impersonated(&self, user: &User) {
        self.learn(|event| event.set_impersonated(user));
    }

    /// It is known whether the user may do it.
    pub(crate) fn decided(&self, decision: &Decision) {
        self.learn(|event| event.set_decision(decision));
    }

    /// The object's name, where the path does not say it.
    pub(crate) fn named(&self, name: &str) {
        self.learn(|event| event.set_name(name));
    }

    /// The request is answered: the line is made.
    pub(crate) fn answered(&self, answer: &Result<Answer, Status>) {
        let Some(pending) = &self.0 else { return };
        let outcome = match answer {
            Ok(answer) => ResponseStatus::code(answer.status().as_u16()),
            Err(status) => ResponseStatus::failure(status),
        };
        let event = pending.event.lock().unwrap_or_else(PoisonError::into_inner).take();
        pending.log.end(event, Some(outcome));
    }

    /// Tells the caller the line's name.
    pub(crate) fn mark(&self, answer: &mut Answer) {
        let Some(pending) = &self.0 else { return };
        if let Ok(id) = HeaderValue::from_str(&pending.audit_id) {
            answer.headers_mut().insert(AUDIT_ID, id);
        }
    }

    fn learn(&self, note: impl FnOnce(&mut Event)) {
        let Some(pending) = &self.0 else { return };
        // Each note is a single assignment or insertion: an event is never half noted.
        let mut event = pending.event.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(event) = event.as_mut() {
            note(event);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let event = self.event.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        self.log.end(event, None);
    }
}

impl AuditLog {
    /// Dates the event and writes it; nothing when it was written before.
    fn end(&self, event: Option<Box<Event>>, outcome: Option<ResponseStatus>) {
        let Some(mut event) = event else { return };
        if outcome.as_ref().is_some_and(ResponseStatus::is_switched) {
            event.stage = Stage::ResponseStarted;
        }
        (event.response_status, event.stage_timestamp) = (outcome, Timestamp::now());
        self.write(event);
    }
}

/// The name that the caller wants, if it is one: it is repeated in a header and in a line.
fn chosen_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(AUDIT_ID)?.to_str().ok()?;
    let fits = (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.to_owned())
}
