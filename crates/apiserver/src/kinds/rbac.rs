//! Role, ClusterRole, RoleBinding and ClusterRoleBinding (`pkg/apis/rbac/validation`).
//!
//! Who may grant what (escalation) is no matter of the object alone: [`crate::access`] decides it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::field::{self, fill, items, list, member, objects};
use super::names::dns1123_subdomain;
use super::strategy::Rules;
use super::table::{self, Column};
use crate::status::Cause;

/// The API group of roles and bindings, and of users and groups in bindings.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) const ROLE_COLUMNS: &[Column] = &[Column::NAME, Column::text("Created At")];
pub(super) const BINDING_COLUMNS: &[Column] = &[
    Column::NAME,
    Column::text("Role"),
    Column::AGE,
    Column::text("Users").wide(),
    Column::text("Groups").wide(),
    Column::text("ServiceAccounts").wide(),
];

pub(super) fn role_row(object: &Value, _: Timestamp) -> Vec<Value> {
    vec![table::name(object), field::text(object, "/metadata/creationTimestamp").into()]
}

pub(super) fn binding_row(object: &Value, now: Timestamp) -> Vec<Value> {
    let subjects = |kind: &str| {
        let of_kind = list(object, "subjects").iter().filter(|subject| member(subject, "kind") == kind);
        let names = of_kind.map(|subject| match (kind, member(subject, "namespace")) {
            ("ServiceAccount", namespace) => format!("{namespace}/{}", member(subject, "name")),
            _ => member(subject, "name").to_owned(),
        });
        Value::from(names.collect::<Vec<_>>().join(", "))
    };
    let role = format!("{}/{}", field::text(object, "/roleRef/kind"), field::text(object, "/roleRef/name"));
    let (users, groups) = (subjects("User"), subjects("Group"));
    vec![table::name(object), role.into(), table::age(object, now), users, groups, subjects("ServiceAccount")]
}

/// Names of roles and bindings may hold anything that can stand in a path: `system:node`.
pub(super) fn path_segment(name: &str, _: bool) -> Vec<String> {
    if matches!(name, "." | "..") {
        return vec![format!("may not be '{name}'")];
    }
    let illegal = ["/", "%"].into_iter().filter(|part| name.contains(part));
    illegal.map(|part| format!("may not contain '{part}'")).collect()
}

/// The rules of Role and ClusterRole.
pub(super) struct Role {
    /// Role; a ClusterRole may also speak of paths that are no resources.
    pub(super) namespaced: bool,
}

impl Rules for Role {
    fn default(&self, object: &mut Value) {
        // Written even when empty; a list is what everybody expects of it.
        if let Some(map) = object.as_object_mut()
            && map.get("rules").is_none_or(Value::is_null)
        {
            map.insert("rules".to_owned(), json!([]));
        }
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        for (index, rule) in list(object, "rules").iter().enumerate() {
            policy_rule(rule, self.namespaced, &format!("rules[{index}]"), causes);
        }
        for (index, selector) in items(object, "/aggregationRule/clusterRoleSelectors").iter().enumerate() {
            let path = format!("aggregationRule.clusterRoleSelectors[{index}]");
            super::metadata::labels(selector, "/matchLabels", &format!("{path}.matchLabels"), causes);
        }
        let selectors = items(object, "/aggregationRule/clusterRoleSelectors");
        if object.get("aggregationRule").is_some_and(Value::is_object) && selectors.is_empty() {
            let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            causes.push(Cause::required("aggregationRule.clusterRoleSelectors", detail));
        }
    }
}

fn policy_rule(rule: &Value, namespaced: bool, path: &str, causes: &mut Vec<Cause>) {
    let count = |key: &str| list(rule, key).len();
    let required = |key: &str, detail: &str| Cause::required(format!("{path}.{key}"), detail);
    if count("verbs") == 0 {
        causes.push(required("verbs", "verbs must contain at least one value"));
    }
    if count("nonResourceURLs") > 0 {
        let urls = &rule["nonResourceURLs"];
        let mut refuse =
            |detail: &str| causes.push(Cause::invalid(format!("{path}.nonResourceURLs"), urls, detail));
        if namespaced {
            refuse("namespaced rules cannot apply to non-resource URLs");
        }
        if count("apiGroups") + count("resources") + count("resourceNames") > 0 {
            refuse("rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if count("apiGroups") == 0 {
        causes.push(required("apiGroups", "resource rules must supply at least one api group"));
    }
    if count("resources") == 0 {
        causes.push(required("resources", "resource rules must supply at least one resource"));
    }
}

/// The rules of RoleBinding and ClusterRoleBinding.
pub(super) struct Binding {
    /// RoleBinding, which may name a Role of its namespace as well as a ClusterRole.
    pub(super) namespaced: bool,
}

impl Rules for Binding {
    fn default(&self, object: &mut Value) {
        let Some(map) = object.as_object_mut() else { return };
        if let Some(role) = map.get_mut("roleRef").and_then(Value::as_object_mut) {
            fill(role, "apiGroup", GROUP);
        }
        for subject in objects(map, "subjects") {
            if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
                fill(subject, "apiGroup", GROUP);
            }
        }
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        let text = |pointer: &str| field::text(object, pointer);
        let supported: &[&str] = if self.namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
        let (group, kind, name) = (text("/roleRef/apiGroup"), text("/roleRef/kind"), text("/roleRef/name"));
        if group != GROUP {
            causes.push(Cause::not_supported("roleRef.apiGroup", &group.into(), &[GROUP]));
        }
        if !supported.contains(&kind) {
            causes.push(Cause::not_supported("roleRef.kind", &kind.into(), supported));
        }
        if name.is_empty() {
            causes.push(Cause::required("roleRef.name", ""));
        }
        let wrong = path_segment(name, false);
        causes.extend(wrong.into_iter().map(|wrong| Cause::invalid("roleRef.name", &name.into(), wrong)));
        for (index, one) in list(object, "subjects").iter().enumerate() {
            subject(one, self.namespaced, &format!("subjects[{index}]"), causes);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
        if new.get("roleRef") != old.get("roleRef") {
            let value = new.get("roleRef").unwrap_or(&Value::Null);
            causes.push(Cause::invalid("roleRef", value, "cannot change roleRef"));
        }
    }
}

fn subject(subject: &Value, namespaced: bool, path: &str, causes: &mut Vec<Cause>) {
    let (name, group) = (member(subject, "name"), member(subject, "apiGroup"));
    if name.is_empty() {
        causes.push(Cause::required(format!("{path}.name"), ""));
    }
    let group_of = |expected: &str, causes: &mut Vec<Cause>| {
        if group != expected {
            causes.push(Cause::not_supported(format!("{path}.apiGroup"), &group.into(), &[expected]));
        }
    };
    match member(subject, "kind") {
        "ServiceAccount" => {
            let wrong = if name.is_empty() { Vec::new() } else { dns1123_subdomain(name) };
            let refuse = |wrong| Cause::invalid(format!("{path}.name"), &name.into(), wrong);
            causes.extend(wrong.into_iter().map(refuse));
            group_of("", causes);
            if !namespaced && member(subject, "namespace").is_empty() {
                causes.push(Cause::required(format!("{path}.namespace"), ""));
            }
        }
        kind @ ("User" | "Group") => {
            if name.is_empty() {
                let detail = format!("{} name cannot be empty", kind.to_lowercase());
                causes.push(Cause::invalid(format!("{path}.name"), &name.into(), detail));
            }
            group_of(GROUP, causes);
        }
        other => {
            let known = ["ServiceAccount", "User", "Group"];
            causes.push(Cause::not_supported(format!("{path}.kind"), &other.into(), &known));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{allocation, create, kind, refusal, update_in, with};
    use super::*;

    fn role(rule: Value) -> Value {
        json!({"metadata": {"name": "system:reader", "namespace": "default"}, "rules": [rule]})
    }

    fn binding() -> Value {
        json!({"metadata": {"name": "b", "namespace": "default"},
            "roleRef": {"kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "User", "name": "ann"}, {"kind": "ServiceAccount", "name": "s", "namespace": "x"}]})
    }

    #[test]
    fn roles_are_checked_in_the_words_of_kubernetes() {
        let plain = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
        assert!(create("Role", role(plain.clone())).is_ok());
        let urls = json!({"nonResourceURLs": ["/healthz"], "verbs": ["get"]});
        assert!(create("ClusterRole", role(urls.clone())).is_ok());
        assert_eq!(
            refusal(create("Role", role(urls))),
            r#"rules[0].nonResourceURLs: Invalid value: ["/healthz"]: namespaced rules cannot apply to non-resource URLs"#
        );
        assert_eq!(
            refusal(create("Role", role(json!({"apiGroups": [""], "resources": ["pods"]})))),
            "rules[0].verbs: Required value: verbs must contain at least one value"
        );
        assert_eq!(
            refusal(create("Role", role(json!({"verbs": ["get"]})))),
            "[rules[0].apiGroups: Required value: resource rules must supply at least one api group, \
             rules[0].resources: Required value: resource rules must supply at least one resource]"
        );
        let aggregated = json!({"metadata": {"name": "all"}, "aggregationRule": {}});
        assert_eq!(
            refusal(create("ClusterRole", aggregated)),
            "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if \
             aggregationRule is non-nil"
        );
        let named = with(role(plain), "/metadata/name", json!("a/b"));
        assert_eq!(
            refusal(create("Role", named)),
            r#"metadata.name: Invalid value: "a/b": may not contain '/'"#
        );
    }

    #[test]
    fn bindings_are_defaulted_checked_and_keep_their_role() {
        let made = create("RoleBinding", binding()).unwrap();
        assert_eq!(made["roleRef"]["apiGroup"], GROUP);
        assert_eq!(made["subjects"][0]["apiGroup"], GROUP);
        assert_eq!(made["subjects"][1].get("apiGroup"), None);
        let other = with(made.clone(), "/roleRef/name", json!("edit"));
        assert!(
            refusal(update_in(&allocation(&["10.96.0.0/12"]), "RoleBinding", other, &made))
                .ends_with("cannot change roleRef")
        );
        let robot = with(binding(), "/subjects/0/kind", json!("Robot"));
        assert_eq!(
            refusal(create("RoleBinding", robot)),
            r#"subjects[0].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group""#
        );
        let own = with(binding(), "/roleRef/kind", json!("Role"));
        assert_eq!(
            refusal(create("ClusterRoleBinding", own)),
            r#"roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole""#
        );
        let row = kind("RoleBinding").row(&made, Timestamp::UNIX_EPOCH);
        assert_eq!(row[1], "ClusterRole/view");
        assert_eq!(row[3..], [json!("ann"), json!(""), json!("x/s")]);
    }
}
