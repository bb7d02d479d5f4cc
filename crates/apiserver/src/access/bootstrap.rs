//! The roles and bindings that a cluster begins with, and what becomes of those that are there already.

use serde_json::{Map, Value, json};

use super::rule::{Rule, missing};
use crate::kinds::rbac::GROUP;

const POLICY: &str = include_str!("policy.txt");
/// `"false"` on a default object leaves it to the administrator.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const BOOTSTRAPPING: &str = "kubernetes.io/bootstrapping";
const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";

const READ: [&str; 3] = ["get", "list", "watch"];
const CHANGE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];

/// The default ClusterRoles and ClusterRoleBindings, roles first.
pub(crate) fn objects() -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    for line in POLICY.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["role", name, options @ ..] => out.push(role(name, options)),
            ["bind", role, "to", subjects @ ..] => out.push(binding(role, subjects)),
            [verbs, groups, resources] => {
                // The policy's rules follow their role; a test reads every line of it.
                if let Some(rules) = out.last_mut().and_then(|role| role["rules"].as_array_mut()) {
                    rules.push(rule(verbs, groups, resources).to_value());
                }
            }
            _ => {}
        }
    }
    out
}

/// What a default object becomes when it is there already: nothing is taken from it, what it lacks is added
/// (`component-helpers/auth/rbac/reconciliation`). `None` when it lacks nothing, or is not to be touched.
pub(crate) fn reconciled(present: &Value, wanted: &Value) -> Option<Value> {
    let annotation = present.get("metadata").and_then(|meta| meta.get("annotations")?.get(AUTOUPDATE));
    if annotation.is_some_and(|value| value == "false") {
        return None;
    }
    let mut new = present.clone();
    for part in ["labels", "annotations"] {
        for (key, value) in wanted["metadata"][part].as_object().into_iter().flatten() {
            if new["metadata"][part].get(key).is_none() {
                new["metadata"][part][key] = value.clone();
            }
        }
    }
    if wanted["kind"] == "ClusterRole" {
        if wanted.get("aggregationRule").is_some() {
            new["aggregationRule"] = wanted["aggregationRule"].clone();
        } else {
            let lacking = missing(&Rule::list(present), &Rule::list(wanted));
            let mut rules = new["rules"].as_array().cloned().unwrap_or_default();
            rules.extend(lacking.iter().map(Rule::to_value));
            new["rules"] = rules.into();
        }
    } else {
        let mut subjects = new["subjects"].as_array().cloned().unwrap_or_default();
        for subject in wanted["subjects"].as_array().into_iter().flatten() {
            if !subjects.contains(subject) {
                subjects.push(subject.clone());
            }
        }
        new["subjects"] = subjects.into();
    }
    (new != *present).then_some(new)
}

fn object(kind: &str, name: &str) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind,
        "metadata": {
            "name": name, "labels": {BOOTSTRAPPING: "rbac-defaults"}, "annotations": {AUTOUPDATE: "true"},
        },
    })
}

fn role(name: &str, options: &[&str]) -> Value {
    let mut role = object("ClusterRole", name);
    for option in options {
        if let Some(target) = option.strip_prefix("aggregate-to=") {
            role["metadata"]["labels"][format!("{AGGREGATE}{target}")] = "true".into();
        } else if let Some(source) = option.strip_prefix("from=") {
            let labels: Map<String, Value> =
                [(format!("{AGGREGATE}{source}"), "true".into())].into_iter().collect();
            role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
        }
    }
    role["rules"] = json!([]);
    role
}

fn rule(verbs: &str, groups: &str, resources: &str) -> Rule {
    let words = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let verbs = match verbs {
        "read" => texts(&READ),
        "change" => texts(&CHANGE),
        "all" => texts(&["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]),
        other => words(other),
    };
    if groups == "url" {
        return Rule { verbs, urls: words(resources), ..Rule::default() };
    }
    let groups = words(groups).into_iter().map(|group| if group == "core" { String::new() } else { group });
    Rule { verbs, groups: groups.collect(), resources: words(resources), ..Rule::default() }
}

fn binding(role: &str, subjects: &[&str]) -> Value {
    let mut binding = object("ClusterRoleBinding", role);
    binding["roleRef"] = json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": role});
    let subject = |text: &&str| match text.split_once(':') {
        Some(("ServiceAccount", account)) => {
            let (namespace, name) = account.split_once('/').unwrap_or(("", account));
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
        Some((kind, name)) => json!({"kind": kind, "apiGroup": GROUP, "name": name}),
        None => Value::Null,
    };
    binding["subjects"] = subjects.iter().map(subject).collect();
    binding
}

#[cfg(test)]
mod tests {
    use super::super::attributes::Attributes;
    use super::*;

    #[test]
    fn every_line_of_the_policy_is_read() {
        let lines = POLICY.lines().filter(|line| !line.starts_with('#'));
        let (rules, others): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with(' '));
        let objects = objects();
        assert_eq!(objects.len(), others.len());
        assert_eq!(objects.iter().map(|object| Rule::list(object).len()).sum::<usize>(), rules.len());
        for object in &objects {
            let kind =
                crate::kinds::Registry::built_in().kind(GROUP, object["kind"].as_str().unwrap()).unwrap();
            let shape = kind.check_shape(&mut object.clone()).unwrap();
            assert_eq!(shape.unknown, Vec::<String>::new(), "{object}");
            assert!(!object.to_string().contains("null"), "{object}");
        }
    }

    #[test]
    fn what_is_missing_comes_back_and_what_was_added_stays() {
        let find = |kind: &str, name: &str| {
            objects()
                .into_iter()
                .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
                .unwrap()
        };
        let wanted = find("ClusterRole", "system:kube-dns");
        assert_eq!(reconciled(&wanted, &wanted), None);
        let mut present = wanted.clone();
        present["rules"] = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]);
        let rules = Rule::list(&reconciled(&present, &wanted).unwrap());
        let allows = |verb, resource| {
            rules.iter().any(|rule| rule.allows(&Attributes::object(verb, "", resource, "", "")))
        };
        assert!(allows("get", "secrets") && allows("watch", "services"));
        present["metadata"]["annotations"][AUTOUPDATE] = "false".into();
        assert_eq!(reconciled(&present, &wanted), None);

        let wanted = find("ClusterRoleBinding", "system:discovery");
        let mut present = wanted.clone();
        present["subjects"] = json!([{"kind": "User", "apiGroup": GROUP, "name": "ann"}]);
        let subjects = reconciled(&present, &wanted).unwrap()["subjects"].clone();
        assert_eq!(subjects.as_array().unwrap().len(), 2);
    }
}
