//! Which subresources a kind has.

use crate::kinds::Served;

const PROXY_VERBS: [&str; 5] = ["create", "delete", "get", "patch", "update"];

/// A subresource as discovery lists it.
pub(super) struct Sub {
    pub(super) name: &'static str,
    /// Group, version and kind of its bodies, where they are not the object's.
    pub(super) kind: Option<(&'static str, &'static str, &'static str)>,
    pub(super) verbs: &'static [&'static str],
}

/// The subresources of a kind, in the order in which discovery lists them.
pub(super) fn subresources(served: &Served) -> Vec<Sub> {
    let (kind, read_write): (_, &[&str]) = (&served.kind, &["get", "patch", "update"]);
    let mut out = Vec::new();
    match (kind.group.as_ref(), kind.kind.as_ref()) {
        ("", "Pod") => {
            let session: &[&str] = &["create", "get"];
            out.push(Sub { name: "attach", kind: Some(("", "v1", "PodAttachOptions")), verbs: session });
            out.push(Sub { name: "binding", kind: Some(("", "v1", "Binding")), verbs: &["create"] });
            let eviction = Some(("policy", "v1", "Eviction"));
            out.push(Sub { name: "eviction", kind: eviction, verbs: &["create"] });
            out.push(Sub { name: "exec", kind: Some(("", "v1", "PodExecOptions")), verbs: session });
            out.push(Sub { name: "log", kind: None, verbs: &["get"] });
            out.push(Sub {
                name: "portforward",
                kind: Some(("", "v1", "PodPortForwardOptions")),
                verbs: session,
            });
            out.push(Sub { name: "proxy", kind: Some(("", "v1", "PodProxyOptions")), verbs: &PROXY_VERBS });
        }
        ("", "Service") => {
            let kind = Some(("", "v1", "ServiceProxyOptions"));
            out.push(Sub { name: "proxy", kind, verbs: &PROXY_VERBS });
        }
        ("", "ServiceAccount") => {
            let kind = Some(("authentication.k8s.io", "v1", "TokenRequest"));
            out.push(Sub { name: "token", kind, verbs: &["create"] });
        }
        ("", "Namespace") => out.push(Sub { name: "finalize", kind: None, verbs: &["update"] }),
        _ => {}
    }
    if kind.scale.is_some() {
        out.push(Sub { name: "scale", kind: Some(("autoscaling", "v1", "Scale")), verbs: read_write });
    }
    if kind.status {
        out.push(Sub { name: "status", kind: None, verbs: read_write });
    }
    out
}
