use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::kinds::Registry;
use crate::kinds::registry::Behaviour;
use crate::kinds::schema::{Type, type_def};
use crate::kinds::testing::references;

fn components(group: &str, version: &str) -> Schemas {
    let mut out = Components::default();
    for served in Registry::built_in().served_in(group, version) {
        out.add(served);
    }
    out.finish()
}

fn all() -> Vec<(String, Schemas)> {
    let places: BTreeSet<(&str, &str)> = Registry::built_in()
        .served()
        .map(|served| (served.group.as_ref(), served.version.as_ref()))
        .collect();
    places
        .into_iter()
        .map(|(group, version)| (format!("{group}/{version}"), components(group, version)))
        .collect()
}

#[test]
fn every_reference_leads_to_a_schema() {
    for (place, schemas) in all() {
        let mut found = Vec::new();
        schemas.values().for_each(|schema| references(schema, &mut found));
        assert!(found.len() > 10, "{place}");
        for reference in found {
            let name = reference.strip_prefix(REFERENCE).unwrap_or_else(|| panic!("{place}: {reference}"));
            assert!(schemas.contains_key(name), "{place}: {reference}");
        }
    }
}

/// Follows a property to the component that describes it.
fn component_of<'a>(schemas: &'a Schemas, property: &'a Value) -> Option<&'a Value> {
    let reference = property.get("$ref").or_else(|| property.pointer("/allOf/0/$ref"))?;
    schemas.get(reference.as_str()?.strip_prefix(REFERENCE)?)
}

fn inner<'a>(property: &'a Value, ty: &'a Type) -> (&'a Value, &'a Type) {
    match ty {
        Type::List(item) => inner(&property["items"], item),
        Type::Map(item) => inner(&property["additionalProperties"], item),
        other => (property, other),
    }
}

fn walk(schemas: &Schemas, schema: &Value, name: &str, seen: &mut BTreeSet<String>) {
    if !seen.insert(name.to_owned()) {
        return;
    }
    for (field, known) in &type_def(name).unwrap().fields {
        let property = &schema["properties"][field];
        let whole = component_of(schemas, property).unwrap_or(property);
        assert!(property.is_object(), "{name}.{field} is not in the schema");
        let required =
            schema["required"].as_array().is_some_and(|names| names.iter().any(|name| name == field));
        assert_eq!(required, known.always, "{name}.{field}");
        // Kubernetes itself leaves most of a schema's own fields without one.
        let described = property["description"].is_string() || whole["description"].is_string();
        let of_schemas = matches!(name, "JSONSchemaProps" | "ExternalDocumentation");
        assert!(described || of_schemas, "{name}.{field}");
        let (property, ty) = inner(property, &known.ty);
        let whole = component_of(schemas, property).unwrap_or(property);
        let form = |key: &str| whole[key].as_str().unwrap_or_default().to_owned();
        match ty {
            Type::String | Type::Bytes | Type::Time | Type::MicroTime => {
                assert_eq!(form("type"), "string", "{name}.{field}")
            }
            Type::Int32 | Type::Int64 => assert_eq!(form("type"), "integer", "{name}.{field}"),
            Type::Number => assert_eq!(form("type"), "number", "{name}.{field}"),
            Type::Bool => assert_eq!(form("type"), "boolean", "{name}.{field}"),
            Type::Quantity | Type::IntOrString => assert!(whole["oneOf"].is_array(), "{name}.{field}"),
            Type::Object(next) => walk(schemas, whole, next, seen),
            Type::Any | Type::ObjectOr(_) | Type::List(_) | Type::Map(_) => {}
        }
    }
}

/// What a body may hold is what the schema says.
#[test]
fn every_field_that_is_checked_is_published() {
    let mut seen = BTreeSet::new();
    for served in Registry::built_in().served().filter(|served| served.stored) {
        let mut components = Components::default();
        let name = components.add(served).name;
        let schemas = components.finish();
        seen.clear();
        let Behaviour::BuiltIn { schema, .. } = &served.kind.behaviour else { panic!("{name}") };
        walk(&schemas, &schemas[&name], schema, &mut seen);
        assert!(seen.len() > 1, "{name}");
    }
}

#[test]
fn every_kind_is_found_by_its_group_version_and_kind() {
    for served in Registry::built_in().served() {
        let mut components = Components::default();
        let Added { name, list, .. } = components.add(served);
        let schemas = components.finish();
        let mark = |kind: &str| json!([{"group": served.group, "kind": kind, "version": served.version}]);
        assert_eq!(schemas[&name]["x-kubernetes-group-version-kind"], mark(&served.kind.kind), "{name}");
        assert_eq!(
            schemas[&list]["x-kubernetes-group-version-kind"],
            mark(&format!("{}List", served.kind.kind))
        );
        assert_ne!(schemas[&name]["x-kubernetes-preserve-unknown-fields"], true, "{name} is not in types.rs");
    }
}

#[test]
fn lists_and_patches_are_marked_as_kubernetes_does() {
    let schemas = components("apps", "v1");
    let field =
        |holder: &str, field: &str| schemas[&format!("io.k8s.api.{holder}")]["properties"][field].clone();
    let containers = field("core.v1.PodSpec", "containers");
    assert_eq!(containers["x-kubernetes-list-type"], "map");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    let volumes = field("core.v1.PodSpec", "volumes");
    assert_eq!(volumes["x-kubernetes-patch-strategy"], "merge,retainKeys");
    assert_eq!(field("apps.v1.DeploymentSpec", "strategy")["x-kubernetes-patch-strategy"], "retainKeys");
    assert_eq!(field("core.v1.Container", "args")["x-kubernetes-list-type"], "atomic");
    assert_eq!(field("core.v1.ContainerPort", "protocol")["default"], "TCP");
    let finalizers = &schemas[&common("ObjectMeta")]["properties"]["finalizers"];
    assert_eq!(finalizers["x-kubernetes-list-type"], "set");
    assert_eq!(schemas[&common("LabelSelector")]["x-kubernetes-map-type"], "atomic");
    let template = field("apps.v1.DeploymentSpec", "template");
    assert_eq!(template["allOf"][0]["$ref"], format!("{REFERENCE}io.k8s.api.core.v1.PodTemplateSpec"));
    assert!(template["description"].is_string() && template.get("$ref").is_none());
}

#[test]
fn older_versions_have_names_and_rules_of_their_own() {
    let today = components("apps", "v1");
    assert_eq!(today["io.k8s.api.apps.v1.DeploymentSpec"]["required"], json!(["selector", "template"]));
    for (group, version, package, required) in [
        ("apps", "v1beta1", "apps.v1beta1", json!(["template"])),
        ("apps", "v1beta2", "apps.v1beta2", json!(["selector", "template"])),
        ("extensions", "v1beta1", "extensions.v1beta1", json!(["template"])),
    ] {
        let schemas = components(group, version);
        assert_eq!(schemas[&format!("io.k8s.api.{package}.DeploymentSpec")]["required"], required);
        assert!(!schemas.keys().any(|name| name.starts_with("io.k8s.api.apps.v1.")));
    }
}

#[test]
fn values_are_those_of_text_fields_that_there_are() {
    let mut last = ("", "");
    for (holder, field, values) in enums::ENUMS {
        let known = &type_def(holder).unwrap_or_else(|| panic!("no type {holder}")).fields;
        let ty = &known.get(field).unwrap_or_else(|| panic!("no {holder}.{field}")).ty;
        let text = |ty: &Type| *ty == Type::String;
        assert!(text(ty) || matches!(ty, Type::List(item) if text(item)), "{holder}.{field}");
        assert!(values.is_sorted() && last < (*holder, *field), "{holder}.{field} is out of order");
        last = (holder, field);
    }
    let schemas = components("networking.k8s.io", "v1");
    let policy = &schemas["io.k8s.api.networking.v1.NetworkPolicySpec"]["properties"]["policyTypes"];
    assert_eq!(policy["items"]["enum"], json!(["Egress", "Ingress"]));
}
