//! What a request wants to do, in the terms that rules speak of (`apiserver/pkg/endpoints/request/requestinfo.go`).

use http::Method;

use super::user::User;
use crate::http::{Query, decode};
use crate::status::Status;

/// One thing that somebody wants to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// `get`, `list`, `watch`, `create`, `deletecollection`, …; for paths that are no resources the method, in lower case.
    pub(crate) verb: String,
    /// To what.
    pub(crate) subject: Subject,
}

/// What something is done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Objects of the API.
    Resource {
        /// API group, empty for the core group.
        group: String,
        /// `v1`.
        version: String,
        /// `pods`.
        resource: String,
        /// `exec`; empty for the object itself.
        subresource: String,
        /// Empty for all namespaces, and for what lives in none.
        namespace: String,
        /// Empty for collections.
        name: String,
    },
    /// Another path: `/healthz`.
    Path(String),
}

/// Subresources of namespaces; other words behind a namespace's name are resources in it.
const OF_NAMESPACES: [&str; 2] = ["status", "finalize"];

impl Attributes {
    /// Reads a request's line.
    pub(crate) fn of(method: &Method, path: &str, query: &Query) -> Self {
        let segments: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decode).collect();
        let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
            _ => {
                let verb = method.as_str().to_lowercase();
                return Self { verb, subject: Subject::Path(path.to_owned()) };
            }
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, inner, ..] if !OF_NAMESPACES.contains(inner) => {
                (*namespace, &rest[2..])
            }
            ["namespaces", namespace, ..] => (*namespace, rest),
            _ => ("", rest),
        };
        let word = |index: usize| rest.get(index).copied().unwrap_or_default();
        let mut name = word(1).to_owned();
        let verb = match *method {
            Method::GET | Method::HEAD if !name.is_empty() => "get",
            Method::GET | Method::HEAD => {
                name = selected_name(query.text("fieldSelector"));
                if matches!(query.flag("watch"), Ok(Some(true))) { "watch" } else { "list" }
            }
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if name.is_empty() => "deletecollection",
            Method::DELETE => "delete",
            _ => "",
        };
        Self {
            verb: verb.to_owned(),
            subject: Subject::Resource {
                group: group.to_owned(),
                version: version.to_owned(),
                resource: word(0).to_owned(),
                subresource: word(2).to_owned(),
                namespace: namespace.to_owned(),
                name,
            },
        }
    }

    /// A verb on a named object or, with an empty name, on all of them.
    pub(crate) fn object(verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> Self {
        Self {
            verb: verb.to_owned(),
            subject: Subject::Resource {
                group: group.to_owned(),
                version: "v1".to_owned(),
                resource: resource.to_owned(),
                subresource: String::new(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            },
        }
    }

    /// The namespace, empty when there is none.
    pub(crate) fn namespace(&self) -> &str {
        match &self.subject {
            Subject::Resource { namespace, .. } => namespace,
            Subject::Path(_) => "",
        }
    }

    /// The refusal in Kubernetes' words (`apiserver/pkg/endpoints/handlers/responsewriters/errors.go`).
    pub(crate) fn forbidden(&self, user: &User, reason: &str) -> Status {
        let (who, verb) = (&user.name, &self.verb);
        let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        match &self.subject {
            Subject::Path(path) => {
                let detail = format!("User {who:?} cannot {verb} path {path:?}{because}");
                Status::forbidden("", "", "", &detail)
            }
            Subject::Resource { group, resource, subresource, namespace, name, .. } => {
                let part = if subresource.is_empty() {
                    resource.clone()
                } else {
                    format!("{resource}/{subresource}")
                };
                let place = if namespace.is_empty() {
                    "at the cluster scope".to_owned()
                } else {
                    format!("in the namespace {namespace:?}")
                };
                let detail = format!(
                    "User {who:?} cannot {verb} resource {part:?} in API group {group:?} {place}{because}"
                );
                Status::forbidden(group, resource, name, &detail)
            }
        }
    }
}

/// A list or watch of one name is about that object alone.
fn selected_name(selector: &str) -> String {
    let name = selector.split(',').find_map(|part| part.strip_prefix("metadata.name="));
    name.map(|name| name.trim_start_matches('=').to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: Method, uri: &str) -> String {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let attributes = Attributes::of(&method, path, &Query::parse(query));
        match attributes.subject {
            Subject::Path(path) => format!("{} {path}", attributes.verb),
            Subject::Resource { group, resource, subresource, namespace, name, .. } => {
                format!("{} [{group}] {resource}/{subresource} {namespace}:{name}", attributes.verb)
            }
        }
    }

    #[test]
    fn verbs_and_places() {
        for (method, uri, expected) in [
            (Method::GET, "/api/v1/namespaces/a/pods", "list [] pods/ a:"),
            (Method::GET, "/api/v1/namespaces/a/pods?watch=true", "watch [] pods/ a:"),
            (Method::GET, "/api/v1/pods?watch=0&fieldSelector=metadata.name=b", "list [] pods/ :b"),
            (Method::GET, "/api/v1/namespaces/a/pods/b", "get [] pods/ a:b"),
            (Method::GET, "/api/v1/namespaces/a/pods/b/exec", "get [] pods/exec a:b"),
            (Method::POST, "/api/v1/namespaces/a/pods/b/exec", "create [] pods/exec a:b"),
            (Method::GET, "/api/v1/namespaces/a", "get [] namespaces/ a:a"),
            (Method::PUT, "/api/v1/namespaces/a/finalize", "update [] namespaces/finalize a:a"),
            (Method::GET, "/api/v1/namespaces", "list [] namespaces/ :"),
            (
                Method::DELETE,
                "/apis/apps/v1/namespaces/a/deployments",
                "deletecollection [apps] deployments/ a:",
            ),
            (Method::DELETE, "/apis/apps/v1/namespaces/a/deployments/b", "delete [apps] deployments/ a:b"),
            (
                Method::PATCH,
                "/apis/apps/v1/namespaces/a/deployments/b/scale",
                "patch [apps] deployments/scale a:b",
            ),
            (Method::PUT, "/api/v1/nodes/n/status", "update [] nodes/status :n"),
            (Method::GET, "/healthz", "get /healthz"),
            (Method::GET, "/apis/apps/v1", "get /apis/apps/v1"),
            (Method::GET, "/api/v1/", "get /api/v1/"),
        ] {
            assert_eq!(of(method, uri), expected, "{uri}");
        }
    }

    #[test]
    fn refusals_are_worded_as_in_kubernetes() {
        let user = User { name: "ann".to_owned(), ..User::default() };
        let message = |attributes: Attributes| attributes.forbidden(&user, "").message;
        assert_eq!(
            message(Attributes::object("list", "", "services", "default", "")),
            r#"services is forbidden: User "ann" cannot list resource "services" in API group "" in the namespace "default""#
        );
        assert_eq!(
            message(Attributes::object("get", "apps", "deployments", "", "web")),
            r#"deployments.apps "web" is forbidden: User "ann" cannot get resource "deployments" in API group "apps" at the cluster scope"#
        );
        let exec = Attributes::of(&Method::POST, "/api/v1/namespaces/a/pods/b/exec", &Query::default());
        assert_eq!(
            message(exec),
            r#"pods "b" is forbidden: User "ann" cannot create resource "pods/exec" in API group "" in the namespace "a""#
        );
        let path = Attributes::of(&Method::GET, "/metrics", &Query::default());
        assert_eq!(message(path), r#"forbidden: User "ann" cannot get path "/metrics""#);
    }
}
