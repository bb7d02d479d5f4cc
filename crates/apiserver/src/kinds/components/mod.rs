//! The component schemas of OpenAPI version 3: what `kubectl explain` prints and generated clients read.
//!
//! ```text
//! k8s-openapi's schemas ─┐ types, formats, descriptions, required fields
//! types.txt             ─┼─► Components ─► name → schema, for one group and version
//! a CRD's own schema    ─┘ list types, merge keys, defaults
//! ```

mod enums;
mod marks;
#[cfg(test)]
mod tests;
mod types;

use std::collections::BTreeMap;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::custom::CustomKind;
use super::registry::{Kind, Served};

/// Where components are found in a document.
const REFERENCE: &str = "#/components/schemas/";
/// Package of the types that all groups share.
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// Schemas by name.
pub type Schemas = BTreeMap<String, Value>;

/// Collects the components of the document of one group and version.
pub struct Components {
    generator: SchemaGenerator,
    /// Schemas that the library does not have.
    own: Schemas,
    /// Group, version and kind by component, where it is a kind.
    kinds: BTreeMap<String, Vec<Value>>,
    /// Packages whose types are shown as those of an older version.
    renamed: Vec<Renamed>,
}

/// A kind that was added.
#[derive(Debug)]
pub struct Added {
    /// Its component.
    pub name: String,
    /// The component of its list.
    pub list: String,
    /// One of Kubernetes' own kinds, whose lists strategic merge patches know.
    pub built_in: bool,
}

/// A package's new name: `io.k8s.api.apps.v1.` is shown as `io.k8s.api.apps.v1beta1.`.
struct Renamed {
    from: String,
    to: String,
    /// The selector is taken from the template when it is left out; see [`super::convert_in`].
    selector_optional: bool,
}

/// A reference to a component.
pub fn reference(name: &str) -> Value {
    json!({"$ref": format!("{REFERENCE}{name}")})
}

/// Name of a type that all groups share (`Status`, `Patch`, …).
pub fn common(name: &str) -> String {
    format!("{META}{name}")
}

impl Default for Components {
    fn default() -> Self {
        let settings = SchemaSettings::openapi3().with(|settings| {
            settings.transforms.clear();
            settings.meta_schema = None;
        });
        let mut generator = settings.into_generator();
        types::define_common(&mut generator);
        Self { generator, own: Schemas::new(), kinds: BTreeMap::new(), renamed: Vec::new() }
    }
}

impl Components {
    /// Adds a kind and its list.
    pub fn add(&mut self, served: &Served) -> Added {
        let kind = &served.kind;
        let mut built_in = true;
        let name = match types::find(&kind.group, &kind.version, &kind.kind) {
            Some(known) => {
                (known.define)(&mut self.generator);
                let stored = (known.name)();
                if served.stored { stored.into_owned() } else { self.rename(&stored, served) }
            }
            None => {
                built_in = false;
                let name = format!("{}.{}", package(&served.group, &served.version), kind.kind);
                self.own.insert(name.clone(), custom_kind(kind));
                name
            }
        };
        let list = format!("{name}List");
        self.own.insert(list.clone(), list_schema(&kind.kind, &name));
        let marks = |kind: String| json!({"group": served.group, "kind": kind, "version": served.version});
        self.kinds.entry(name.clone()).or_default().push(marks(kind.kind.to_string()));
        self.kinds.entry(list.clone()).or_default().push(marks(format!("{}List", kind.kind)));
        for (shared, kind) in [("DeleteOptions", "DeleteOptions"), ("WatchEvent", "WatchEvent")] {
            let of = self.kinds.entry(common(shared)).or_default();
            let mark = marks(kind.to_owned());
            if !of.contains(&mark) {
                of.push(mark);
            }
        }
        Added { name, list, built_in }
    }

    /// Adds the body of a subresource, and tells its name; `None` when its type is not known.
    pub fn add_body(&mut self, group: &str, version: &str, kind: &str) -> Option<String> {
        let known = types::find(group, version, kind)?;
        (known.define)(&mut self.generator);
        let name = (known.name)().into_owned();
        self.kinds
            .entry(name.clone())
            .or_insert_with(|| vec![json!({"group": group, "kind": kind, "version": version})]);
        Some(name)
    }

    /// All that was added, and what it refers to.
    pub fn finish(mut self) -> Schemas {
        self.kinds.insert(common("Status"), vec![json!({"group": "", "kind": "Status", "version": "v1"})]);
        let mut out = Schemas::new();
        for (name, mut schema) in self.generator.take_definitions(false) {
            marks::complete(&name, &mut schema);
            let package = self.renamed.iter().find(|renamed| name.starts_with(&renamed.from));
            if package.is_some_and(|renamed| renamed.selector_optional) {
                marks::without_required(&mut schema, "selector");
            }
            out.insert(self.shown(&name), schema);
        }
        // The library describes the two fields that every object has; lists have them too.
        let common_fields =
            out.get(&common("DeleteOptions")).and_then(|schema| schema.get("properties")).cloned();
        for (name, mut schema) in std::mem::take(&mut self.own) {
            for field in ["apiVersion", "kind"] {
                if let Some(described) = common_fields.as_ref().and_then(|fields| fields.get(field)) {
                    schema["properties"][field] = described.clone();
                }
            }
            out.insert(name, schema);
        }
        for schema in out.values_mut() {
            marks::visit_references(schema, &|text| {
                let name = text.strip_prefix(REFERENCE)?;
                Some(format!("{REFERENCE}{}", self.shown(name)))
            });
        }
        for (name, marks) in &self.kinds {
            if let Some(Value::Object(schema)) = out.get_mut(name) {
                schema.insert("x-kubernetes-group-version-kind".to_owned(), marks.clone().into());
            }
        }
        out
    }

    /// The older name of a stored type's package, from now on.
    fn rename(&mut self, stored: &str, served: &Served) -> String {
        let from = stored.strip_suffix(served.kind.kind.as_ref()).unwrap_or(stored).to_owned();
        let group = served.group.split('.').next().unwrap_or_default();
        let to = format!("io.k8s.api.{group}.{}.", served.version);
        if !self.renamed.iter().any(|renamed| renamed.from == from) {
            let selector_optional = served.version == "v1beta1";
            self.renamed.push(Renamed { from, to, selector_optional });
        }
        self.shown(stored)
    }

    fn shown(&self, name: &str) -> String {
        let renamed = self.renamed.iter().find_map(|renamed| {
            let rest = name.strip_prefix(&renamed.from)?;
            Some(format!("{}{rest}", renamed.to))
        });
        renamed.unwrap_or_else(|| name.to_owned())
    }
}

/// `com.example.stable.v1`, as Kubernetes names the packages of custom kinds.
fn package(group: &str, version: &str) -> String {
    let mut words: Vec<&str> = group.split('.').rev().collect();
    words.push(version);
    words.join(".")
}

/// The schema of the kind's definition, with the metadata that every object has (`controller/openapi/builder`).
fn custom_kind(kind: &Kind) -> Value {
    let document = kind.custom().map(CustomKind::document);
    let mut schema = document.filter(|document| document.is_object()).cloned().unwrap_or_else(|| json!({}));
    if !schema["properties"].is_object() {
        schema["properties"] = json!({});
    }
    let metadata = json!({
        "allOf": [reference(&common("ObjectMeta"))], "description": "Standard object's metadata.", "default": {},
    });
    schema["properties"]["metadata"] = metadata;
    schema["type"] = "object".into();
    schema
}

fn list_schema(kind: &str, item: &str) -> Value {
    let mut properties = Map::new();
    for field in ["apiVersion", "kind"] {
        properties.insert(field.to_owned(), json!({"type": "string"}));
    }
    let items = json!({"description": format!("The objects of kind {kind}."), "type": "array", "items": reference(item)});
    properties.insert("items".to_owned(), items);
    let metadata = json!({"allOf": [reference(&common("ListMeta"))], "description": "Metadata of the list.", "default": {}});
    properties.insert("metadata".to_owned(), metadata);
    json!({
        "description": format!("{kind}List is a list of objects of kind {kind}."),
        "type": "object", "required": ["items"], "properties": properties,
    })
}
