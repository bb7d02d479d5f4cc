//! The operations of one path: what can be asked there, with what, and what comes back.

use serde_json::{Map, Value, json};

use super::parameters::{COMMAND, DELETE, LIST, LOG, PATCH, PORTS, Parameter, SESSION, WRITE, in_query};
use crate::kinds::{Served, common, reference};

/// Media types of patches.
const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// What a path is about: a kind's collection, its objects, or one of their subresources.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) served: &'a Served,
    /// `NamespacedPod`, `Node`: how operations name the path.
    pub(super) noun: &'a str,
    /// Component of what is sent and comes back.
    pub(super) schema: &'a str,
    /// Whether the kind has strategic merge patches.
    pub(super) strategic: bool,
}

/// `CoreV1`, `NetworkingV1`, `StableExampleComV1`.
fn camel_version(served: &Served) -> String {
    let group = match served.group.as_ref() {
        "" => "core",
        group => group.strip_suffix(".k8s.io").unwrap_or(group),
    };
    let words = group.split(['.', '-']).chain([served.version.as_ref()]);
    words.map(capitalized).collect()
}

pub(super) fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn answers(list: &[(&str, &str)], schema: &str, stream: bool) -> Value {
    let mut out = Map::new();
    for (code, description) in list {
        let mut content = Map::new();
        content.insert("application/json".to_owned(), json!({"schema": reference(schema)}));
        if stream {
            content.insert("application/json;stream=watch".to_owned(), json!({"schema": reference(schema)}));
        }
        out.insert((*code).to_owned(), json!({"description": description, "content": content}));
    }
    out.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    out.into()
}

impl Subject<'_> {
    fn operation(&self, action: &str, id: &str, description: String, parameters: &[Parameter]) -> Value {
        let served = self.served;
        let group = served.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
        let mut out = json!({
            "tags": [format!("{group}_{}", served.version)],
            "description": description,
            "operationId": id,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind":
                {"group": served.group, "version": served.version, "kind": served.kind.kind},
        });
        if !parameters.is_empty() {
            out["parameters"] = parameters.iter().map(in_query).collect();
        }
        out
    }

    fn id(&self, verb: &str, rest: &str) -> String {
        format!("{verb}{}{rest}{}", camel_version(self.served), self.noun)
    }

    fn body(&self, schema: &str, required: bool) -> Value {
        json!({"content": {"*/*": {"schema": reference(schema)}}, "required": required})
    }

    /// GET of a collection.
    pub(super) fn list(&self, list: &str) -> Value {
        let kind = &self.served.kind.kind;
        let mut out = self.operation(
            "list",
            &self.id("list", ""),
            format!("list or watch objects of kind {kind}"),
            LIST,
        );
        out["responses"] = answers(&[("200", "OK")], list, true);
        out
    }

    /// POST to a collection, or to a subresource that takes something in.
    pub(super) fn create(&self, description: String) -> Value {
        let mut out = self.operation("post", &self.id("create", ""), description, WRITE);
        out["requestBody"] = self.body(self.schema, true);
        let codes = [("200", "OK"), ("201", "Created"), ("202", "Accepted")];
        out["responses"] = answers(&codes, self.schema, false);
        out
    }

    /// DELETE of a collection.
    pub(super) fn delete_collection(&self) -> Value {
        let description = format!("delete collection of {}", self.served.kind.kind);
        let parameters = [DELETE, LIST].concat();
        let mut out =
            self.operation("deletecollection", &self.id("delete", "Collection"), description, &parameters);
        out["requestBody"] = self.body(&common("DeleteOptions"), false);
        out["responses"] = answers(&[("200", "OK")], &common("Status"), false);
        out
    }

    /// DELETE of an object.
    pub(super) fn delete(&self) -> Value {
        let description = format!("delete the specified {}", self.served.kind.kind);
        let mut out = self.operation("delete", &self.id("delete", ""), description, DELETE);
        out["requestBody"] = self.body(&common("DeleteOptions"), false);
        out["responses"] = answers(&[("200", "OK"), ("202", "Accepted")], &common("Status"), false);
        out
    }

    /// GET of an object or a subresource; `what` is `the specified Pod` or `status of the specified Pod`.
    pub(super) fn read(&self, what: &str) -> Value {
        let mut out = self.operation("get", &self.id("read", ""), format!("read {what}"), &[]);
        out["responses"] = answers(&[("200", "OK")], self.schema, false);
        out
    }

    /// PUT.
    pub(super) fn replace(&self, what: &str) -> Value {
        let mut out = self.operation("put", &self.id("replace", ""), format!("replace {what}"), WRITE);
        out["requestBody"] = self.body(self.schema, true);
        out["responses"] = answers(&[("200", "OK"), ("201", "Created")], self.schema, false);
        out
    }

    /// PATCH.
    pub(super) fn patch(&self, what: &str) -> Value {
        let mut out =
            self.operation("patch", &self.id("patch", ""), format!("partially update {what}"), PATCH);
        let kinds = PATCHES.iter().filter(|kind| self.strategic || !kind.contains("strategic"));
        let content: Map<String, Value> =
            kinds.map(|kind| ((*kind).to_owned(), json!({"schema": reference(&common("Patch"))}))).collect();
        out["requestBody"] = json!({"content": content, "required": true});
        out["responses"] = answers(&[("200", "OK"), ("201", "Created")], self.schema, false);
        out
    }

    /// GET of a pod's log.
    pub(super) fn log(&self) -> Value {
        let mut out =
            self.operation("get", &self.id("read", ""), "read log of the specified Pod".to_owned(), LOG);
        out["responses"] = texts();
        out
    }

    /// A request that goes through to a pod: a session or a proxied one.
    pub(super) fn connect(&self, method: &str, part: &str) -> Value {
        let kind = &self.served.kind.kind;
        let description = format!("connect {} requests to {part} of {kind}", method.to_uppercase());
        let parameters = match part {
            "exec" => [&[COMMAND], SESSION].concat(),
            "attach" => SESSION.to_vec(),
            "portforward" => PORTS.to_vec(),
            _ => Vec::new(),
        };
        let id = self.id("connect", &capitalized(method));
        let mut out = self.operation("connect", &id, description, &parameters);
        out["responses"] = texts();
        out
    }
}

/// Answers that are no objects.
fn texts() -> Value {
    json!({
        "200": {"description": "OK", "content": {"*/*": {"schema": {"type": "string"}}}},
        "401": {"description": "Unauthorized"},
    })
}
