//! The document of one group and version: pure.

use serde_json::{Map, Value, json};

use super::operations::{Subject, capitalized};
use super::parameters::{in_path, pretty};
use crate::api::subresources::{Sub, subresources};
use crate::kinds::{Added, Components, Registry, Served};

/// Version of the form.
const OPENAPI: &str = "3.0.0";
/// Version of the API that is described.
pub(super) const RELEASE: &str = "v1.33.0";

/// `api/v1`, `apis/GROUP/VERSION`.
pub(in crate::api) fn place(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// Writes the document; `None` when nothing is served there.
pub(super) fn write(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let mut components = Components::default();
    let mut paths = Map::new();
    for served in registry.served_in(group, version) {
        Writer { served, base: format!("/{}", place(group, version)), paths: &mut paths }
            .kind(&mut components);
    }
    if paths.is_empty() {
        return None;
    }
    paths.sort_keys();
    let schemas: Map<String, Value> = components.finish().into_iter().collect();
    Some(json!({
        "openapi": OPENAPI,
        "info": {"title": "Kubernetes", "version": RELEASE},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

struct Writer<'a> {
    served: &'a Served,
    /// `/apis/apps/v1`.
    base: String,
    paths: &'a mut Map<String, Value>,
}

impl Writer<'_> {
    fn kind(&mut self, components: &mut Components) {
        let kind = self.served.kind.clone();
        let Added { name: schema, list, built_in } = components.add(self.served);
        let plain = kind.kind.as_ref();
        let noun = if kind.namespaced { format!("Namespaced{plain}") } else { plain.to_owned() };
        let namespace = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
        let collection = format!("{}{namespace}/{}", self.base, kind.plural);
        let subject = Subject { served: self.served, noun: &noun, schema: &schema, strategic: built_in };
        if kind.is_review() {
            return self.path(collection, vec![("post", subject.create(format!("create a {plain}")))]);
        }
        if kind.namespaced {
            let everywhere = Subject { noun: &format!("{plain}ForAllNamespaces"), ..subject };
            let path = format!("{}/{}", self.base, kind.plural);
            self.path(path, vec![("get", everywhere.list(&list))]);
        }
        let operations = vec![
            ("get", subject.list(&list)),
            ("post", subject.create(format!("create a {plain}"))),
            ("delete", subject.delete_collection()),
        ];
        self.path(collection.clone(), operations);
        let one = format!("{collection}/{{name}}");
        let what = format!("the specified {plain}");
        let operations = vec![
            ("get", subject.read(&what)),
            ("put", subject.replace(&what)),
            ("delete", subject.delete()),
            ("patch", subject.patch(&what)),
        ];
        self.path(one.clone(), operations);
        for sub in subresources(self.served) {
            let body = match sub.kind {
                Some((group, version, kind)) => components.add_body(group, version, kind),
                None => Some(schema.clone()),
            };
            let noun = format!("{noun}{}", capitalized(sub.name));
            let subject = Subject { noun: &noun, schema: body.as_deref().unwrap_or(&schema), ..subject };
            self.subresource(&one, &sub, subject);
        }
    }

    fn subresource(&mut self, one: &str, sub: &Sub, subject: Subject<'_>) {
        let path = format!("{one}/{}", sub.name);
        let what = format!("{} of the specified {}", sub.name, self.served.kind.kind);
        let connect = |subject: Subject<'_>| {
            let methods = match sub.name {
                "proxy" => &["get", "put", "post", "delete", "options", "head", "patch"][..],
                _ => &["get", "post"],
            };
            methods.iter().map(|method| (*method, subject.connect(method, sub.name))).collect()
        };
        match sub.name {
            "log" => self.path(path, vec![("get", subject.log())]),
            "proxy" => {
                let with_path = Subject { noun: &format!("{}WithPath", subject.noun), ..subject };
                self.path(format!("{path}/{{path}}"), connect(with_path));
                self.path(path, connect(subject));
            }
            "attach" | "exec" | "portforward" => self.path(path, connect(subject)),
            _ => {
                let operations = sub.verbs.iter().filter_map(|verb| match *verb {
                    "get" => Some(("get", subject.read(&what))),
                    "create" => Some(("post", subject.create(format!("create {what}")))),
                    "update" => Some(("put", subject.replace(&what))),
                    "patch" => Some(("patch", subject.patch(&what))),
                    _ => None,
                });
                self.path(path, operations.collect());
            }
        }
    }

    /// Adds a path with its operations; its variable parts are their parameters.
    fn path(&mut self, path: String, operations: Vec<(&'static str, Value)>) {
        let kind = &self.served.kind.kind;
        let mut item: Map<String, Value> =
            operations.into_iter().map(|(method, operation)| (method.to_owned(), operation)).collect();
        let variables = [
            ("name", format!("Name of the {kind}.")),
            ("namespace", "Namespace of the object.".to_owned()),
            ("path", "Path of the request to the pod.".to_owned()),
        ];
        let named = variables.iter().filter(|(name, _)| path.contains(&format!("{{{name}}}")));
        let parameters: Vec<Value> =
            named.map(|(name, description)| in_path(name, description)).chain([pretty()]).collect();
        item.insert("parameters".to_owned(), parameters.into());
        self.paths.insert(path, item.into());
    }
}
