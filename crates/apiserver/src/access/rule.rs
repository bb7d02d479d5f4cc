//! One rule of a role: what it allows, and whether it allows all that another does
//! (`pkg/apis/rbac/v1/evaluation_helpers.go`, `component-helpers/auth/rbac/validation`).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::attributes::{Attributes, Subject};

/// A PolicyRule.
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord)]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) resources: Vec<String>,
    /// Empty for all names.
    pub(crate) names: Vec<String>,
    /// Paths that are no resources.
    pub(crate) urls: Vec<String>,
}

const ALL: &str = "*";

impl Rule {
    /// Reads a rule; what is missing is empty.
    pub(crate) fn parse(value: &Value) -> Self {
        let texts = |key: &str| {
            let list = value.get(key).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            verbs: texts("verbs"),
            groups: texts("apiGroups"),
            resources: texts("resources"),
            names: texts("resourceNames"),
            urls: texts("nonResourceURLs"),
        }
    }

    /// The rules of a role.
    pub(crate) fn list(role: &Value) -> Vec<Self> {
        role.get("rules").and_then(Value::as_array).into_iter().flatten().map(Self::parse).collect()
    }

    /// The rule as it stands in a role.
    pub(crate) fn to_value(&self) -> Value {
        let mut out = Map::new();
        for (key, list) in self.fields() {
            if !list.is_empty() {
                out.insert(key.to_owned(), json!(list));
            }
        }
        out.into()
    }

    /// Whether it allows this.
    pub(crate) fn allows(&self, attributes: &Attributes) -> bool {
        if !has(&self.verbs, &attributes.verb) {
            return false;
        }
        match &attributes.subject {
            Subject::Path(path) => self.urls.iter().any(|url| covers_url(url, path)),
            Subject::Resource { group, resource, subresource, name, .. } => {
                has(&self.groups, group)
                    && self.resources.iter().any(|own| covers_resource(own, resource, subresource))
                    && (self.names.is_empty() || self.names.contains(name))
            }
        }
    }

    /// Whether it allows all that the other does, which must be a single right.
    fn covers(&self, single: &Self) -> bool {
        let each = |own: &[String], of: &[String]| of.iter().all(|wanted| has(own, wanted));
        let resource = |wanted: &String| {
            let (resource, part) = wanted.split_once('/').unwrap_or((wanted, ""));
            self.resources.iter().any(|own| own == wanted || covers_resource(own, resource, part))
        };
        let url = |wanted: &String| self.urls.iter().any(|own| own == wanted || covers_url(own, wanted));
        let names = self.names.is_empty()
            || (!single.names.is_empty() && single.names.iter().all(|name| self.names.contains(name)));
        each(&self.verbs, &single.verbs)
            && each(&self.groups, &single.groups)
            && single.resources.iter().all(resource)
            && names
            && single.urls.iter().all(url)
    }

    /// The single rights: one verb on one resource, name or path each.
    fn singles(&self) -> Vec<Self> {
        let one = |text: &String| vec![text.clone()];
        let names: Vec<Vec<String>> =
            if self.names.is_empty() { vec![Vec::new()] } else { self.names.iter().map(one).collect() };
        let mut out = Vec::new();
        for verb in &self.verbs {
            for (group, resource) in self
                .groups
                .iter()
                .flat_map(|group| self.resources.iter().map(move |resource| (group, resource)))
            {
                for names in &names {
                    let (verbs, groups, resources) = (one(verb), one(group), one(resource));
                    out.push(Self { verbs, groups, resources, names: names.clone(), urls: Vec::new() });
                }
            }
            out.extend(self.urls.iter().map(|url| Self {
                verbs: one(verb),
                urls: one(url),
                ..Self::default()
            }));
        }
        out
    }

    /// `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`, as Kubernetes prints rules.
    pub(crate) fn compact(&self) -> String {
        let labels = ["APIGroups", "Resources", "ResourceNames", "NonResourceURLs", "Verbs"];
        let lists = [&self.groups, &self.resources, &self.names, &self.urls, &self.verbs];
        let parts = labels.iter().zip(lists).filter(|(_, list)| !list.is_empty());
        let parts: Vec<String> =
            parts.map(|(label, list)| format!("{label}:{}", super::user::quoted_list(list))).collect();
        format!("{{{}}}", parts.join(", "))
    }

    fn fields(&self) -> [(&'static str, &Vec<String>); 5] {
        [
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.urls),
            ("verbs", &self.verbs),
        ]
    }
}

/// The rights that `wanted` gives and `held` does not, those of one resource together, in order.
pub(crate) fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let mut together: BTreeMap<Rule, Vec<String>> = BTreeMap::new();
    for single in wanted.iter().flat_map(Rule::singles) {
        if !held.iter().any(|rule| rule.covers(&single)) {
            let verbs = together.entry(Rule { verbs: Vec::new(), ..single.clone() }).or_default();
            verbs.extend(single.verbs.into_iter().filter(|verb| !verbs.contains(verb)).collect::<Vec<_>>());
        }
    }
    together.into_iter().map(|(rule, verbs)| Rule { verbs, ..rule }).collect()
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|own| own == ALL || own == wanted)
}

/// `own` is `*`, `pods`, `pods/exec` or `*/scale`.
fn covers_resource(own: &str, resource: &str, subresource: &str) -> bool {
    if own == ALL {
        return true;
    }
    match own.split_once('/') {
        None => subresource.is_empty() && own == resource,
        Some((own, part)) => {
            !subresource.is_empty() && part == subresource && (own == ALL || own == resource)
        }
    }
}

fn covers_url(own: &str, path: &str) -> bool {
    own == ALL || own == path || own.strip_suffix('*').is_some_and(|stem| path.starts_with(stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(value: Value) -> Rule {
        Rule::parse(&value)
    }

    fn pods(verbs: &[&str]) -> Rule {
        rule(json!({"apiGroups": [""], "resources": ["pods"], "verbs": verbs}))
    }

    #[test]
    fn what_a_rule_allows() {
        let exec = |verb: &str| {
            let mut attributes = Attributes::object(verb, "", "pods", "a", "b");
            if let Subject::Resource { subresource, .. } = &mut attributes.subject {
                *subresource = "exec".to_owned();
            }
            attributes
        };
        let get = Attributes::object("get", "", "pods", "a", "b");
        assert!(pods(&["get"]).allows(&get) && pods(&["*"]).allows(&get) && !pods(&["list"]).allows(&get));
        assert!(!pods(&["*"]).allows(&exec("create")), "a resource is not its subresources");
        let of = |resource: &str| rule(json!({"apiGroups": ["*"], "resources": [resource], "verbs": ["*"]}));
        assert!(of("*").allows(&exec("create")) && of("*/exec").allows(&exec("create")));
        assert!(of("pods/exec").allows(&exec("get")) && !of("*/scale").allows(&exec("get")));
        assert!(!of("*/exec").allows(&get) && !of("pods/exec").allows(&get));
        let named =
            rule(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["*"], "resourceNames": ["b"]}));
        assert!(named.allows(&get) && !named.allows(&Attributes::object("list", "", "pods", "a", "")));
        assert!(!pods(&["get"]).allows(&Attributes::object("get", "apps", "pods", "a", "b")));
    }

    #[test]
    fn paths() {
        let path =
            |path: &str| Attributes { verb: "get".to_owned(), subject: Subject::Path(path.to_owned()) };
        let of = |url: &str| rule(json!({"nonResourceURLs": [url], "verbs": ["get"]}));
        assert!(of("/api/*").allows(&path("/api/v1")) && !of("/api/*").allows(&path("/api")));
        assert!(
            of("*").allows(&path("/x")) && of("/x").allows(&path("/x")) && !of("/x").allows(&path("/x/"))
        );
        assert!(!pods(&["*"]).allows(&path("/x")));
    }

    #[test]
    fn nobody_grants_what_they_do_not_hold() {
        let held = [pods(&["get", "list"]), rule(json!({"nonResourceURLs": ["/a/*"], "verbs": ["get"]}))];
        assert_eq!(missing(&held, &[pods(&["list"])]), []);
        assert_eq!(missing(&held, &[rule(json!({"nonResourceURLs": ["/a/b"], "verbs": ["get"]}))]), []);
        let more = missing(&held, &[pods(&["get", "watch", "delete"])]);
        assert_eq!(more, [pods(&["watch", "delete"])]);
        assert_eq!(more[0].compact(), r#"{APIGroups:[""], Resources:["pods"], Verbs:["watch" "delete"]}"#);
        let everything = rule(json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}));
        assert_eq!(missing(std::slice::from_ref(&everything), &[pods(&["*"])]), []);
        assert_eq!(missing(&held, std::slice::from_ref(&everything)), [everything]);
        let named =
            rule(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["b"]}));
        assert_eq!(missing(&held, std::slice::from_ref(&named)), []);
        assert_eq!(missing(&[named], &[pods(&["get"])]), [pods(&["get"])]);
    }
}
