//! Nobody grants what they do not hold (`pkg/registry/rbac/escalation_check.go` and the storages beside it).

use serde_json::Value;

use super::Access;
use super::attributes::Attributes;
use super::rule::{Rule, missing};
use super::user::{MASTERS, User};
use crate::kinds::rbac::GROUP;
use crate::status::Status;

/// A role or binding that is about to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grant<'a> {
    /// `roles`, `clusterrolebindings`, …
    pub(crate) resource: &'a str,
    /// Empty for the cluster's.
    pub(crate) namespace: &'a str,
    /// Name of the object.
    pub(crate) name: &'a str,
    /// What it is to be.
    pub(crate) new: &'a Value,
    /// What it is.
    pub(crate) old: Option<&'a Value>,
}

impl Access {
    /// Checks that a role or binding gives nothing that its writer does not hold.
    ///
    /// # Errors
    /// 403 that says what is missing; 404 when a role is bound that is not there, and whose rules are thus unknown.
    pub(crate) fn check_grant(&self, user: &User, grant: Grant<'_>) -> Result<(), Status> {
        if user.is_in(MASTERS) {
            return Ok(());
        }
        let Grant { resource, namespace, name, new, old } = grant;
        let rules = match resource {
            "roles" | "clusterroles" => {
                let unchanged = |old: &Value| {
                    old.get("rules") == new.get("rules")
                        && old.get("aggregationRule") == new.get("aggregationRule")
                };
                let escalate = Attributes::object("escalate", GROUP, resource, namespace, name);
                if old.is_some_and(unchanged) || self.decide(user, &escalate).allowed {
                    return Ok(());
                }
                if new.get("aggregationRule").is_some_and(Value::is_object) {
                    // Its rules will be those of any role that gets the right label.
                    let objects = Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() };
                    vec![objects, Rule { verbs: all(), urls: all(), ..Rule::default() }]
                } else {
                    Rule::list(new)
                }
            }
            _ => {
                let same = |old: &Value| {
                    old.get("subjects") == new.get("subjects") && old.get("roleRef") == new.get("roleRef")
                };
                match old.is_some_and(same) {
                    true => return Ok(()),
                    false => match self.bound_rules(user, namespace, new)? {
                        Some(rules) => rules,
                        None => return Ok(()),
                    },
                }
            }
        };
        let held = self.rbac().index().rules_of(user, namespace).0;
        let missing = missing(&held, &rules);
        if missing.is_empty() {
            return Ok(());
        }
        let list: Vec<String> = missing.iter().map(Rule::compact).collect();
        let detail = format!(
            "user {} is attempting to grant RBAC permissions not currently held:\n{}",
            user.quoted(),
            list.join("\n")
        );
        Err(Status::forbidden(GROUP, resource, name, &detail))
    }

    /// The rules that a binding gives; `None` when its writer may bind the role whatever it holds.
    fn bound_rules(
        &self,
        user: &User,
        namespace: &str,
        binding: &Value,
    ) -> Result<Option<Vec<Rule>>, Status> {
        let text = |pointer: &str| binding.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (resource, place) = match text("/roleRef/kind") {
            "Role" => ("roles", namespace),
            _ => ("clusterroles", ""),
        };
        let role = text("/roleRef/name");
        // The right to bind a ClusterRole in a namespace may itself be held in that namespace.
        let bind = Attributes::object("bind", GROUP, resource, namespace, role);
        if self.decide(user, &bind).allowed {
            return Ok(None);
        }
        let index = self.rbac().index();
        let rules = index.role(&(place.to_owned(), role.to_owned()));
        rules.map(|rules| Some(rules.to_vec())).ok_or_else(|| Status::not_found(GROUP, resource, role))
    }
}

fn all() -> Vec<String> {
    vec!["*".to_owned()]
}
