//! Roles and bindings, arranged so that a request finds what concerns it: the bindings of its user and groups.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::attributes::Attributes;
use super::rule::Rule;
use super::user::{SERVICE_ACCOUNT, User};

/// The outcome of a question.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Decision {
    /// May be done.
    pub(crate) allowed: bool,
    /// Why, where there is something to say: the binding that allows it, or what could not be resolved.
    pub(crate) reason: String,
}

/// Namespace (empty for the cluster's) and name.
pub(crate) type Named = (String, String);

/// Whom a binding names. ServiceAccounts are users.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Holder {
    User(String),
    Group(String),
}

/// A binding.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Binding {
    /// The role: a Role of the binding's namespace, or a ClusterRole (empty namespace).
    role: Named,
    holders: BTreeSet<Holder>,
    /// Whom it names, as Kubernetes prints them in reasons.
    printed: BTreeMap<Holder, String>,
}

/// All roles and bindings.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    roles: HashMap<Named, Vec<Rule>>,
    bindings: HashMap<Named, Binding>,
    /// Per namespace (empty: everywhere) and holder, the bindings that name it.
    held: HashMap<(String, Holder), BTreeSet<String>>,
}

impl Index {
    /// Takes in a Role or ClusterRole as it is now; `None` when it is gone.
    pub(crate) fn apply_role(&mut self, name: Named, role: Option<&Value>) {
        match role {
            Some(role) => _ = self.roles.insert(name, Rule::list(role)),
            None => _ = self.roles.remove(&name),
        }
    }

    /// Takes in a RoleBinding or ClusterRoleBinding as it is now; `None` when it is gone.
    pub(crate) fn apply_binding(&mut self, name: Named, binding: Option<&Value>) {
        if let Some(old) = self.bindings.remove(&name) {
            for holder in old.holders {
                let key = (name.0.clone(), holder);
                if let Some(names) = self.held.get_mut(&key) {
                    names.remove(&name.1);
                    if names.is_empty() {
                        self.held.remove(&key);
                    }
                }
            }
        }
        let Some(binding) = binding else { return };
        let binding = Binding::parse(&name.0, binding);
        for holder in &binding.holders {
            self.held.entry((name.0.clone(), holder.clone())).or_default().insert(name.1.clone());
        }
        self.bindings.insert(name, binding);
    }

    /// Whether a rule that the user holds allows it.
    pub(crate) fn decide(&self, user: &User, attributes: &Attributes) -> Decision {
        let mut unresolved = Vec::new();
        let found =
            self.visit(user, attributes.namespace(), &mut unresolved, |name, holder, binding, rules| {
                rules.iter().any(|rule| rule.allows(attributes)).then(|| reason(name, holder, binding))
            });
        match found {
            Some(reason) => Decision { allowed: true, reason },
            None if unresolved.is_empty() => Decision::default(),
            None => Decision { allowed: false, reason: format!("RBAC: {}", list_of_errors(&unresolved)) },
        }
    }

    /// All rules that the user holds in a namespace (empty: everywhere), and the roles that are bound but not there.
    pub(crate) fn rules_of(&self, user: &User, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let (mut rules, mut unresolved) = (Vec::new(), Vec::new());
        self.visit::<()>(user, namespace, &mut unresolved, |_, _, _, found| {
            rules.extend(found.iter().cloned());
            None
        });
        (rules, unresolved)
    }

    /// The rules of a role.
    pub(crate) fn role(&self, name: &Named) -> Option<&[Rule]> {
        self.roles.get(name).map(Vec::as_slice)
    }

    /// Shows every binding of the user, first those of the cluster, until `look` has found something.
    fn visit<T>(
        &self,
        user: &User,
        namespace: &str,
        unresolved: &mut Vec<String>,
        mut look: impl FnMut(&Named, &Holder, &Binding, &[Rule]) -> Option<T>,
    ) -> Option<T> {
        let groups = user.groups.iter().cloned().map(Holder::Group);
        let holders: Vec<Holder> = std::iter::once(Holder::User(user.name.clone())).chain(groups).collect();
        let places = if namespace.is_empty() { vec![""] } else { vec!["", namespace] };
        for place in places {
            for holder in &holders {
                let names = self.held.get(&(place.to_owned(), holder.clone()));
                for name in names.into_iter().flatten() {
                    let name = (place.to_owned(), name.clone());
                    let Some(binding) = self.bindings.get(&name) else { continue };
                    let Some(rules) = self.roles.get(&binding.role) else {
                        unresolved.push(binding.missing_role());
                        continue;
                    };
                    if let Some(found) = look(&name, holder, binding, rules) {
                        return Some(found);
                    }
                }
            }
        }
        None
    }
}

impl Binding {
    fn parse(namespace: &str, binding: &Value) -> Self {
        let text = |value: &Value, pointer: &str| {
            value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let cluster = text(binding, "/roleRef/kind") == "ClusterRole";
        let place = if cluster { String::new() } else { namespace.to_owned() };
        let mut printed = BTreeMap::new();
        for subject in binding.get("subjects").and_then(Value::as_array).into_iter().flatten() {
            let name = text(subject, "/name");
            match text(subject, "/kind").as_str() {
                "User" => _ = printed.insert(Holder::User(name.clone()), format!("User {name:?}")),
                "Group" => _ = printed.insert(Holder::Group(name.clone()), format!("Group {name:?}")),
                "ServiceAccount" => {
                    let of = text(subject, "/namespace");
                    let of = if of.is_empty() { namespace.to_owned() } else { of };
                    let shown = format!("ServiceAccount \"{name}/{of}\"");
                    printed.insert(Holder::User(format!("{SERVICE_ACCOUNT}{of}:{name}")), shown);
                }
                _ => {}
            }
        }
        Self {
            role: (place, text(binding, "/roleRef/name")),
            holders: printed.keys().cloned().collect(),
            printed,
        }
    }

    fn kind_of_role(&self) -> &'static str {
        if self.role.0.is_empty() { "ClusterRole" } else { "Role" }
    }

    fn missing_role(&self) -> String {
        let resource = self.kind_of_role().to_lowercase();
        format!("{resource}.rbac.authorization.k8s.io {:?} not found", self.role.1)
    }
}

/// `RBAC: allowed by ClusterRoleBinding "x" of ClusterRole "y" to Group "z"`.
fn reason(name: &Named, holder: &Holder, binding: &Binding) -> String {
    let own = if name.0.is_empty() {
        format!("ClusterRoleBinding {:?}", name.1)
    } else {
        format!("RoleBinding \"{}/{}\"", name.1, name.0)
    };
    let to = binding.printed.get(holder).map_or("", String::as_str);
    format!("RBAC: allowed by {own} of {} {:?} to {to}", binding.kind_of_role(), binding.role.1)
}

/// Several errors as Kubernetes' aggregate prints them.
fn list_of_errors(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn named(namespace: &str, name: &str) -> Named {
        (namespace.to_owned(), name.to_owned())
    }

    fn role(verb: &str) -> Value {
        json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]})
    }

    fn binding(kind: &str, role: &str, subjects: Value) -> Value {
        json!({"roleRef": {"kind": kind, "name": role}, "subjects": subjects})
    }

    fn user(name: &str, groups: &[&str]) -> User {
        User {
            name: name.to_owned(),
            groups: groups.iter().map(|&name| name.to_owned()).collect(),
            ..User::default()
        }
    }

    #[test]
    fn rights_come_from_bindings_and_end_at_their_namespace() {
        let mut index = Index::default();
        let get = |namespace: &str| Attributes::object("get", "", "pods", namespace, "x");
        index.apply_role(named("", "reader"), Some(&role("get")));
        index.apply_binding(
            named("a", "b"),
            Some(&binding(
                "ClusterRole",
                "reader",
                json!([{"kind": "User", "name": "ann"},
                {"kind": "ServiceAccount", "name": "robot", "namespace": "c"}]),
            )),
        );
        let ann = user("ann", &[]);
        assert_eq!(
            index.decide(&ann, &get("a")),
            Decision {
                allowed: true,
                reason: r#"RBAC: allowed by RoleBinding "b/a" of ClusterRole "reader" to User "ann""#
                    .to_owned()
            }
        );
        assert!(!index.decide(&ann, &get("b")).allowed && !index.decide(&ann, &get("")).allowed);
        assert!(index.decide(&user("system:serviceaccount:c:robot", &[]), &get("a")).allowed);
        assert!(!index.decide(&user("robot", &["ann"]), &get("a")).allowed);

        index.apply_binding(
            named("", "all"),
            Some(&binding("ClusterRole", "reader", json!([{"kind": "Group", "name": "g"}]))),
        );
        assert!(index.decide(&user("eve", &["g"]), &get("b")).allowed);
        index.apply_role(named("", "reader"), None);
        let refused = index.decide(&user("eve", &["g"]), &get("b"));
        assert_eq!(refused.reason, r#"RBAC: clusterrole.rbac.authorization.k8s.io "reader" not found"#);
        index.apply_binding(named("", "all"), None);
        index.apply_binding(named("a", "b"), None);
        assert_eq!(index, Index::default(), "nothing is left of what is gone");
    }

    proptest! {
        /// Whatever came before, the index is that of the objects that are there now.
        #[test]
        fn the_index_is_a_function_of_what_is_there(
            steps in prop::collection::vec((0..3_usize, 0..2_usize, prop::option::of((0..3_usize, 0..3_usize))), 0..30)
        ) {
            let names = ["x", "y", "z"];
            let spaces = ["", "a"];
            let mut index = Index::default();
            let mut last: BTreeMap<Named, Value> = BTreeMap::new();
            for (name, space, to) in steps {
                let name = named(spaces[space], names[name]);
                let object = to.map(|(role, holder)| {
                    binding("ClusterRole", names[role], json!([{"kind": "User", "name": names[holder]}]))
                });
                index.apply_binding(name.clone(), object.as_ref());
                match object {
                    Some(object) => _ = last.insert(name, object),
                    None => _ = last.remove(&name),
                }
            }
            let mut fresh = Index::default();
            for (name, object) in &last {
                fresh.apply_binding(name.clone(), Some(object));
            }
            prop_assert_eq!(index, fresh);
        }
    }
}
