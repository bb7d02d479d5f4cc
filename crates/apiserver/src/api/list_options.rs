//! Options of lists and watches, and where the next page of a list starts.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::options::parse_revision;
use super::target::is_watch;
use crate::http::Query;
use crate::kinds::Kind;
use crate::selector::Selector;
use crate::status::{Cause, Status};
use crate::store::{Key, Start};

const MATCH: &str = "resourceVersionMatch";
const INITIAL_EVENTS: &str = "sendInitialEvents";
const NOT_OLDER: &str = "NotOlderThan";
const WITH_CONTINUE: &str = "resourceVersionMatch is forbidden when continue is provided";

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
        query.flag("watch")?;
        let initial_events = query.flag(INITIAL_EVENTS)?;
        let wrong =
            if is_watch(query) { wrong_for_watch(query, initial_events) } else { wrong_for_list(query) };
        if !wrong.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "ListOptions", "", wrong));
        }
        let revision = parse_revision(query.text("resourceVersion"))?;
        let start = match (query.text("continue"), query.text(MATCH)) {
            ("", "Exact") => Start::Exact { revision },
            ("", _) => Start::Latest { at_least: revision },
            (_, _) if revision > 0 => {
                return Err(Status::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            (token, _) => read_token(token, resource)?,
        };
        Ok(Self {
            selector,
            limit: limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            start,
            resource_version: revision,
            bookmarks: query.flag("allowWatchBookmarks")?.unwrap_or(false),
            initial_events,
            timeout_seconds: query.number("timeoutSeconds")?,
        })
    }
}

/// What a list may not say (`apimachinery/pkg/apis/meta/internalversion/validation`).
fn wrong_for_list(query: &Query) -> Vec<Cause> {
    let (found, revision) = (query.text(MATCH), query.text("resourceVersion"));
    let forbidden = |detail: &str| Cause::forbidden(MATCH, detail);
    let mut wrong = Vec::new();
    if !found.is_empty() {
        if revision.is_empty() {
            wrong.push(forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"));
        }
        if !query.text("continue").is_empty() {
            wrong.push(forbidden(WITH_CONTINUE));
        }
        if !["Exact", NOT_OLDER].contains(&found) {
            wrong.push(Cause::not_supported(MATCH, &found.into(), &["Exact", NOT_OLDER, ""]));
        }
        if found == "Exact" && matches!(parse_revision(revision), Ok(0)) && !revision.is_empty() {
            wrong.push(forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
        }
    }
    if !query.text(INITIAL_EVENTS).is_empty() {
        wrong.push(Cause::forbidden(INITIAL_EVENTS, "sendInitialEvents is forbidden for list"));
    }
    wrong
}

/// What a watch may not say.
fn wrong_for_watch(query: &Query, initial_events: Option<bool>) -> Vec<Cause> {
    let found = query.text(MATCH);
    let mut wrong = Vec::new();
    if initial_events.is_some() && found != NOT_OLDER {
        let detail = format!("sendInitialEvents requires setting resourceVersionMatch to {NOT_OLDER}");
        wrong.push(Cause::forbidden(MATCH, &detail));
    }
    if found.is_empty() {
        return wrong;
    }
    if initial_events.is_none() {
        let detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        wrong.push(Cause::forbidden(MATCH, detail));
    }
    if found != NOT_OLDER {
        wrong.push(Cause::not_supported(MATCH, &found.into(), &[NOT_OLDER]));
    }
    if !query.text("continue").is_empty() {
        wrong.push(Cause::forbidden(MATCH, WITH_CONTINUE));
    }
    wrong
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_to_where_the_page_ended() {
        let key = Key::new("pods", "default", "web");
        let start = read_token(&continue_token(7, &key), "pods").unwrap();
        assert_eq!(start, Start::After { revision: 7, key });
    }

    proptest::proptest! {
        #[test]
        fn any_token_is_read_or_refused(text in "\\PC{0,40}", bytes in proptest::collection::vec(0u8.., 0..40)) {
            _ = read_token(&text, "pods");
            _ = read_token(&URL_SAFE_NO_PAD.encode(bytes), "pods");
        }
    }
}
