//! What a node's agent may write: its own Node, its own Lease, and the pods that are bound to it
//! (`plugin/pkg/admission/noderestriction`, and the lease rules of `plugin/pkg/auth/authorizer/node`).

use serde_json::Value;

use super::user::User;
use crate::status::Status;

/// The group of nodes' agents.
const NODES: &str = "system:nodes";
/// What their names begin with; the node's name follows.
const PREFIX: &str = "system:node:";
/// Where nodes keep their Leases.
const LEASES: &str = "kube-node-lease";

/// A write, as far as nodes are concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeChange<'a> {
    /// `create`, `update` or `delete`.
    pub(crate) verb: &'a str,
    /// `nodes`, `pods`, `leases`, …
    pub(crate) resource: &'a str,
    /// `status`, `token`; empty for the whole.
    pub(crate) part: &'a str,
    /// Namespace of the object.
    pub(crate) namespace: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
    /// What it is to be; null for a deletion.
    pub(crate) new: &'a Value,
    /// What it is; null for a creation.
    pub(crate) old: &'a Value,
}

/// The node whose agent this user is.
pub(crate) fn node_of(user: &User) -> Option<&str> {
    user.name.strip_prefix(PREFIX).filter(|_| user.is_in(NODES))
}

/// Refuses what is not the node's business. Everybody else passes.
///
/// # Errors
/// 403, in Kubernetes' words.
pub(crate) fn restrict(user: &User, change: NodeChange<'_>) -> Result<(), Status> {
    let Some(node) = node_of(user) else { return Ok(()) };
    let text = |value: &Value, pointer: &str| {
        value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let NodeChange { verb, resource, part, namespace, name, new, old } = change;
    let group = if resource == "leases" { "coordination.k8s.io" } else { "" };
    let refuse = |detail: String| Err(Status::forbidden(group, resource, name, &detail));
    match resource {
        "nodes" if name != node => refuse(format!("node {node:?} is not allowed to modify node {name:?}")),
        "nodes" if verb == "update" && new.pointer("/spec/taints") != old.pointer("/spec/taints") => {
            refuse(format!("node {node:?} is not allowed to modify taints"))
        }
        "leases" if namespace != LEASES => {
            refuse(format!("can only access leases in the {LEASES:?} system namespace"))
        }
        "leases" if name != node => {
            refuse("can only access node lease with the same name as the requesting node".to_owned())
        }
        "pods" => {
            let own = text(old, "/spec/nodeName") == node;
            match (verb, part) {
                ("create", "") => refuse(format!(
                    "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"
                )),
                ("delete", "") if !own => {
                    refuse(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
                }
                ("update", "status") if !own => refuse(format!(
                    "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
                )),
                _ => Ok(()),
            }
        }
        "serviceaccounts" if part == "token" => {
            if text(new, "/spec/boundObjectRef/kind") != "Pod" {
                return refuse("node requested token not bound to a pod".to_owned());
            }
            // `old` is the pod that the token is to be bound to.
            let runs_as = text(old, "/spec/serviceAccountName");
            match text(old, "/spec/nodeName") {
                place if place != node => {
                    refuse("node requested token bound to a pod scheduled on a different node".to_owned())
                }
                _ if runs_as != name => {
                    refuse(format!("node requested token for {name:?}, which its pod does not run as"))
                }
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn agent() -> User {
        User { name: "system:node:node1".to_owned(), groups: vec![NODES.to_owned()], ..User::default() }
    }

    fn change<'a>(verb: &'a str, resource: &'a str, name: &'a str, old: &'a Value) -> NodeChange<'a> {
        let (part, namespace) = ("", "kube-node-lease");
        NodeChange { verb, resource, part, namespace, name, new: &Value::Null, old }
    }

    #[test]
    fn a_node_writes_its_own_things_only() {
        let (own, other) = (json!({"spec": {"nodeName": "node1"}}), json!({"spec": {"nodeName": "node2"}}));
        let said = |change: NodeChange<'_>| restrict(&agent(), change).map_err(|status| status.message);
        assert_eq!(said(change("update", "nodes", "node1", &Value::Null)), Ok(()));
        assert_eq!(
            said(change("update", "nodes", "node2", &Value::Null)).unwrap_err(),
            r#"nodes "node2" is forbidden: node "node1" is not allowed to modify node "node2""#
        );
        assert_eq!(said(change("update", "leases", "node1", &Value::Null)), Ok(()));
        assert!(said(change("update", "leases", "node2", &Value::Null)).is_err());
        let elsewhere =
            NodeChange { namespace: "default", ..change("update", "leases", "node1", &Value::Null) };
        assert!(said(elsewhere).is_err());
        assert_eq!(said(change("delete", "pods", "a", &own)), Ok(()));
        assert!(said(change("delete", "pods", "a", &other)).is_err());
        let status = |old| NodeChange { part: "status", ..change("update", "pods", "a", old) };
        assert_eq!(said(status(&own)), Ok(()));
        assert_eq!(
            said(status(&other)).unwrap_err(),
            r#"pods "a" is forbidden: node "node1" can only update pod status for pods with spec.nodeName set to itself"#
        );
        assert!(said(change("create", "pods", "a", &Value::Null)).is_err());
        let tainted = json!({"spec": {"taints": [{"key": "a"}]}});
        assert!(said(NodeChange { old: &tainted, ..change("update", "nodes", "node1", &tainted) }).is_err());
    }

    #[test]
    fn tokens_are_for_pods_of_the_node() {
        let pod = json!({"spec": {"nodeName": "node1", "serviceAccountName": "robot"}});
        let elsewhere = json!({"spec": {"nodeName": "node2", "serviceAccountName": "robot"}});
        let (bound, unbound) =
            (json!({"spec": {"boundObjectRef": {"kind": "Pod", "name": "a"}}}), json!({"spec": {}}));
        for (name, new, old, allowed) in [
            ("robot", &bound, &pod, true),
            ("default", &bound, &pod, false),
            ("robot", &unbound, &pod, false),
            ("robot", &bound, &elsewhere, false),
        ] {
            let request = NodeChange { part: "token", new, ..change("create", "serviceaccounts", name, old) };
            assert_eq!(restrict(&agent(), request).is_ok(), allowed, "{name} {new} {old}");
        }
    }

    #[test]
    fn others_are_not_concerned() {
        let admin = User { name: "system:node:node1".to_owned(), ..User::default() };
        assert!(restrict(&admin, change("update", "nodes", "node2", &Value::Null)).is_ok());
    }
}
