//! Paths: what a request is about.

use std::sync::Arc;

use super::health::Probe;
use crate::access::User;
use crate::http::Query;
use crate::kinds::{Kind, Registry, Served};
use crate::store::Key;

/// What a path names.
#[derive(Debug, Clone)]
pub(crate) enum Route {
    /// `/`.
    Root,
    /// `/healthz`, `/livez`, `/readyz`, each with or without a check's name.
    Health(Probe, Option<String>),
    /// `/version`.
    Version,
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/v1`, `/apis/GROUP/VERSION`.
    Resources { group: String, version: String },
    /// `/openapi/v3`.
    OpenApiIndex,
    /// The description in its former version.
    OpenApiV2,
    /// `/openapi/v3/api/v1`, `/openapi/v3/apis/GROUP/VERSION`.
    OpenApi { group: String, version: String },
    /// The ReplicationControllers: none. Clients that look at every workload ask for them without looking first whether
    /// they are served (`kubectl cluster-info dump`).
    NoReplicationControllers,
    /// `/.well-known/openid-configuration`.
    OpenId,
    /// `/openid/v1/jwks`.
    OpenIdKeys,
    /// Objects.
    Objects(Target),
}

/// The objects, or the object, that a request is about.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Kind and version of the path.
    pub(crate) served: Served,
    /// Namespace of the path; empty for all, and for kinds outside namespaces.
    pub(crate) namespace: String,
    /// Name of the path; empty for the collection.
    pub(crate) name: String,
    /// Part of the object that the request is about.
    pub(crate) part: Part,
    /// Who asks; nobody, who may do nothing, until it is known.
    pub(crate) caller: Arc<User>,
}

/// A subresource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The object itself.
    Whole,
    /// `/status`.
    Status,
    /// `/scale`.
    Scale,
    /// `/log` of a pod.
    Log,
    /// `/binding` of a pod.
    Binding,
    /// `/token` of a ServiceAccount.
    Token,
    /// `/eviction` of a pod.
    Eviction,
    /// `/finalize` of a namespace.
    Finalize,
    /// `/exec`, `/attach` and `/portforward` of a pod.
    Session(Session),
    /// `/proxy` of a pod or a service, with any path behind it; the target's name is `[SCHEME:]NAME[:PORT]`.
    Proxy,
}

/// Segments before the path that a proxied request is about: `api/v1/namespaces/NS/pods/NAME/proxy`.
const PROXY_SEGMENTS: usize = 7;

/// What somebody does with a running pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Session {
    /// Runs a command in a container.
    Exec,
    /// Talks to a container's main process.
    Attach,
    /// Connects to the pod's ports.
    PortForward,
}

impl Route {
    /// Reads a path; `None` when there is nothing.
    pub(crate) fn parse(path: &str, registry: &Registry) -> Option<Self> {
        let mut segments: Vec<String> =
            path.split('/').filter(|part| !part.is_empty()).map(crate::http::decode).collect();
        if is_proxied(&segments) {
            // What follows is the pod's to understand.
            segments.truncate(PROXY_SEGMENTS);
        }
        // NUL divides keys in the store, and a slash cannot be part of a name.
        if segments.iter().any(|segment| segment.contains(['\0', '/'])) {
            return None;
        }
        let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
        match parts.as_slice() {
            [] => Some(Self::Root),
            [probe] | [probe, _] if Probe::parse(probe).is_some() => {
                Some(Self::Health(Probe::parse(probe)?, parts.get(1).map(|check| (*check).to_owned())))
            }
            ["version"] => Some(Self::Version),
            [".well-known", "openid-configuration"] => Some(Self::OpenId),
            ["openid", "v1", "jwks"] => Some(Self::OpenIdKeys),
            ["api"] => Some(Self::CoreVersions),
            ["apis"] => Some(Self::Groups),
            ["apis", group] => Some(Self::Group((*group).to_owned())),
            ["openapi", "v3"] => Some(Self::OpenApiIndex),
            ["openapi", "v2"] => Some(Self::OpenApiV2),
            ["openapi", "v3", "api", version] => {
                Some(Self::OpenApi { group: String::new(), version: (*version).to_owned() })
            }
            ["openapi", "v3", "apis", group, version] => {
                Some(Self::OpenApi { group: (*group).to_owned(), version: (*version).to_owned() })
            }
            ["api", version] => {
                Some(Self::Resources { group: String::new(), version: (*version).to_owned() })
            }
            ["apis", group, version] => {
                Some(Self::Resources { group: (*group).to_owned(), version: (*version).to_owned() })
            }
            ["api", "v1", "replicationcontrollers"]
            | ["api", "v1", "namespaces", _, "replicationcontrollers"] => {
                Some(Self::NoReplicationControllers)
            }
            ["api", version, rest @ ..] => objects(registry, "", version, rest).map(Self::Objects),
            ["apis", group, version, rest @ ..] => objects(registry, group, version, rest).map(Self::Objects),
            _ => None,
        }
    }
}

fn is_proxied(segments: &[String]) -> bool {
    let parts: Vec<&str> = segments.iter().take(PROXY_SEGMENTS).map(String::as_str).collect();
    matches!(parts.as_slice(), ["api", "v1", "namespaces", _, "pods" | "services", _, "proxy"])
}

/// What follows `/proxy` in the path of a proxied request, as it was sent.
pub(crate) fn proxied_path(path: &str) -> &str {
    let mut rest = path;
    for _ in 0..PROXY_SEGMENTS {
        rest = rest.trim_start_matches('/');
        rest = &rest[rest.find('/').unwrap_or(rest.len())..];
    }
    rest
}

fn objects(registry: &Registry, group: &str, version: &str, rest: &[&str]) -> Option<Target> {
    let find = |plural: &str, namespaced: Option<bool>| {
        let found = registry.find(group, version, plural);
        found.filter(|served| namespaced.is_none_or(|namespaced| namespaced == served.kind.namespaced))
    };
    let target = |served: &Served, namespace: &str, name: &str, part: Part| Target {
        served: served.clone(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        part,
        caller: Arc::default(),
    };
    match rest {
        // A namespace's own subresources look like collections in it.
        ["namespaces", name, part @ ("status" | "finalize")] => {
            let served = find("namespaces", Some(false))?;
            Some(target(served, "", name, part_of(served, part)?))
        }
        ["namespaces", namespace, plural, inner @ ..] => {
            let served = find(plural, Some(true))?;
            match inner {
                [] => Some(target(served, namespace, "", Part::Whole)),
                [name] => Some(target(served, namespace, name, Part::Whole)),
                [name, part] => Some(target(served, namespace, name, part_of(served, part)?)),
                _ => None,
            }
        }
        [plural] => Some(target(find(plural, None)?, "", "", Part::Whole)),
        [plural, name] => Some(target(find(plural, Some(false))?, "", name, Part::Whole)),
        [plural, name, part] => {
            let served = find(plural, Some(false))?;
            Some(target(served, "", name, part_of(served, part)?))
        }
        _ => None,
    }
}

fn part_of(served: &Served, segment: &str) -> Option<Part> {
    let kind = &served.kind;
    let parts = [
        ("status", Part::Status, kind.status),
        ("scale", Part::Scale, kind.scale.is_some()),
        ("log", Part::Log, kind.is("", "Pod")),
        ("binding", Part::Binding, kind.is("", "Pod")),
        ("eviction", Part::Eviction, kind.is("", "Pod")),
        ("exec", Part::Session(Session::Exec), kind.is("", "Pod")),
        ("attach", Part::Session(Session::Attach), kind.is("", "Pod")),
        ("portforward", Part::Session(Session::PortForward), kind.is("", "Pod")),
        ("token", Part::Token, kind.is("", "ServiceAccount")),
        ("finalize", Part::Finalize, kind.is("", "Namespace")),
        ("proxy", Part::Proxy, kind.is("", "Pod") || kind.is("", "Service")),
    ];
    parts.into_iter().find(|(name, _, has)| *name == segment && *has).map(|(_, part, _)| part)
}

impl Part {
    /// The subresource, for rules of who may do what; empty for the object itself, or where no rule asks.
    pub(crate) fn name(self) -> &'static str {
        if self == Self::Status { "status" } else { "" }
    }
}

impl Target {
    /// Key of the object in the store.
    pub(crate) fn key(&self) -> Key {
        self.key_of(&self.name)
    }

    /// Key of another object of the same collection.
    pub(crate) fn key_of(&self, name: &str) -> Key {
        Key::new(&resource_of(&self.served.kind), &self.namespace, name)
    }

    /// The collection in the store: `pods`, `deployments.apps`.
    pub(crate) fn resource(&self) -> String {
        resource_of(&self.served.kind)
    }

    /// The one namespace that the request is about.
    pub(crate) fn only_namespace(&self) -> Option<&str> {
        (!self.namespace.is_empty()).then_some(self.namespace.as_str())
    }
}

/// Name of a kind's collection in the store.
pub(crate) fn resource_of(kind: &Kind) -> String {
    if kind.group.is_empty() {
        kind.plural.clone().into_owned()
    } else {
        format!("{}.{}", kind.plural, kind.group)
    }
}

/// Whether a GET is a watch.
pub(crate) fn is_watch(query: &Query) -> bool {
    matches!(query.flag("watch"), Ok(Some(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Option<(String, String, String, Part)> {
        match Route::parse(path, Registry::built_in()) {
            Some(Route::Objects(target)) => {
                Some((target.resource(), target.namespace.clone(), target.name.clone(), target.part))
            }
            _ => None,
        }
    }

    #[test]
    fn paths() {
        let found = |resource: &str, namespace: &str, name: &str, part| {
            Some((resource.to_owned(), namespace.to_owned(), name.to_owned(), part))
        };
        assert_eq!(target("/api/v1/pods"), found("pods", "", "", Part::Whole));
        assert_eq!(target("/api/v1/namespaces"), found("namespaces", "", "", Part::Whole));
        assert_eq!(target("/api/v1/namespaces/a"), found("namespaces", "", "a", Part::Whole));
        assert_eq!(target("/api/v1/namespaces/a/status"), found("namespaces", "", "a", Part::Status));
        assert_eq!(target("/api/v1/namespaces/a/finalize"), found("namespaces", "", "a", Part::Finalize));
        assert_eq!(target("/api/v1/namespaces/a/pods"), found("pods", "a", "", Part::Whole));
        assert_eq!(target("/api/v1/namespaces/a/pods/b/log"), found("pods", "a", "b", Part::Log));
        let exec = Part::Session(Session::Exec);
        assert_eq!(target("/api/v1/namespaces/a/pods/b/exec"), found("pods", "a", "b", exec));
        let proxy = "/api/v1/namespaces/a/services/https:b:web/proxy";
        for path in ["", "/", "/x//y%2Fz/"] {
            assert_eq!(target(&format!("{proxy}{path}")), found("services", "a", "https:b:web", Part::Proxy));
            assert_eq!(proxied_path(&format!("{proxy}{path}")), path);
        }
        assert_eq!(target("/api/v1/nodes/n/status"), found("nodes", "", "n", Part::Status));
        assert_eq!(
            target("/apis/apps/v1/namespaces/a/deployments/b/scale"),
            found("deployments.apps", "a", "b", Part::Scale)
        );
        assert_eq!(
            target("/apis/apps/v1beta1/namespaces/a/deployments/b"),
            found("deployments.apps", "a", "b", Part::Whole)
        );
        for path in [
            "/api/v1/pods/b",
            "/api/v1/namespaces/a/nodes",
            "/api/v2/pods",
            "/api/v1/namespaces/a/pods/b/scale",
            "/api/v1/namespaces/a/services/b/exec",
            "/api/v1/namespaces/a/configmaps/b/proxy",
            "/api/v1/namespaces/a/pods/b/ephemeralcontainers",
            "/api/v1/namespaces/a/pods/b%00c",
            "/apis/apps/v1/things",
            "/nothing",
        ] {
            assert_eq!(target(path), None, "{path}");
        }
    }
}
