//! From a CustomResourceDefinition to the kinds it brings.

use std::cmp::Reverse;
use std::sync::Arc;

use serde_json::{Value, json};

use super::CustomKind;
use super::columns::columns;
use crate::kinds::field::{flag, items, list, member, text};
use crate::kinds::names::subdomain_name;
use crate::kinds::registry::{Behaviour, Kind, Scale, Served};
use crate::kinds::structural::{JsonPath, Schema};

/// The kinds of an established definition, one per version, the preferred version first; with `all`, versions that are
/// not served are among them.
pub fn served_kinds(definition: &Value, all: bool) -> Vec<Served> {
    let mut versions: Vec<&Value> = items(definition, "/spec/versions").iter().collect();
    versions.sort_by_key(|version| Reverse(priority(member(version, "name"))));
    let storage =
        versions.iter().find(|version| flag(version, "/storage")).map(|version| member(version, "name"));
    let storage = storage.unwrap_or_default();
    versions
        .into_iter()
        .filter(|version| all || flag(version, "/served"))
        .map(|version| {
            let name = member(version, "name");
            Served {
                group: text(definition, "/spec/group").to_owned().into(),
                version: name.to_owned().into(),
                stored: name == storage,
                kind: Arc::new(kind(definition, version, storage)),
            }
        })
        .collect()
}

fn kind(definition: &Value, version: &Value, storage: &str) -> Kind {
    // The names that were accepted: those of the spec may be another's.
    let names = definition.pointer("/status/acceptedNames").unwrap_or(&Value::Null);
    let word = |key: &str| member(names, key).to_owned().into();
    let words = |key: &str| {
        list(names, key).iter().filter_map(Value::as_str).map(|name| name.to_owned().into()).collect()
    };
    let (columns, cells) = columns(version);
    let status = version.pointer("/subresources/status").is_some();
    let scale = scale(version);
    let replicas = scale.iter().flat_map(|scale| [&scale.spec_replicas, &scale.status_replicas]);
    let replicas = replicas.map(|pointer| pointer.clone().into_owned()).collect();
    let document =
        version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_else(|| json!({"type": "object"}));
    let custom = CustomKind {
        schema: Schema::parse(&document),
        document,
        cells,
        selectable: selectable(version),
        status,
        replicas,
        terminating: definition.pointer("/metadata/deletionTimestamp").is_some(),
        deprecation: deprecation(definition, version, member(names, "kind")),
    };
    Kind {
        group: text(definition, "/spec/group").to_owned().into(),
        version: storage.to_owned().into(),
        kind: word("kind"),
        plural: word("plural"),
        singular: word("singular"),
        short_names: words("shortNames"),
        categories: words("categories"),
        namespaced: text(definition, "/spec/scope") == "Namespaced",
        status,
        scale,
        generation: true,
        also: Vec::new(),
        columns: columns.into(),
        list_kind: word("listKind"),
        name_rule: subdomain_name,
        behaviour: Behaviour::Custom(Box::new(custom)),
    }
}

fn scale(version: &Value) -> Option<Scale> {
    let scale = version.pointer("/subresources/scale")?;
    let pointer = |key: &str| JsonPath::parse(member(scale, key)).ok()?.pointer();
    Some(Scale {
        spec_replicas: pointer("specReplicasPath")?.into(),
        status_replicas: pointer("statusReplicasPath")?.into(),
        selector: pointer("labelSelectorPath").unwrap_or_default().into(),
    })
}

fn selectable(version: &Value) -> Vec<(String, String)> {
    let paths = list(version, "selectableFields").iter().map(|field| member(field, "jsonPath"));
    let known = paths.filter_map(|path| {
        let pointer = JsonPath::parse(path).ok()?.pointer()?;
        Some((path.trim_start_matches('.').to_owned(), pointer))
    });
    known.collect()
}

fn deprecation(definition: &Value, version: &Value, kind: &str) -> Option<String> {
    if !flag(version, "/deprecated") {
        return None;
    }
    Some(match member(version, "deprecationWarning") {
        "" => {
            format!("{}/{} {kind} is deprecated", text(definition, "/spec/group"), member(version, "name"))
        }
        given => given.to_owned(),
    })
}

/// Which of two versions clients should prefer (`apimachinery/pkg/version`): stable before beta before alpha, then the
/// higher number; other names last, by the alphabet.
fn priority(name: &str) -> (u8, u64, u64, Reverse<String>) {
    let other = (0, 0, 0, Reverse(name.to_owned()));
    let Some(rest) = name.strip_prefix('v') else { return other };
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (major, rest) = rest.split_at(digits(rest));
    let Ok(major) = major.parse::<u64>() else { return other };
    let (stage, minor) = match rest {
        "" => return (3, major, 0, Reverse(String::new())),
        rest if rest.starts_with("beta") => (2, &rest[4..]),
        rest if rest.starts_with("alpha") => (1, &rest[5..]),
        _ => return other,
    };
    match minor.parse::<u64>() {
        Ok(minor) => (stage, major, minor, Reverse(String::new())),
        Err(_) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_preferred_as_kubernetes_prefers_them() {
        let mut names =
            ["foo1", "v1alpha1", "v11alpha2", "v10", "v1", "v3beta1", "v2", "v12alpha1", "v10beta3", "foo10"];
        names.sort_by_key(|name| Reverse(priority(name)));
        assert_eq!(
            names,
            ["v10", "v2", "v1", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "v1alpha1", "foo1", "foo10"]
        );
    }
}
