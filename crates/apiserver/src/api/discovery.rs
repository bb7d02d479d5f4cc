//! Discovery: which groups, versions and resources there are.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::health;
use super::openapi::place;
use super::render::ranges;
use super::subresources::subresources;
use super::tags::{hash, tagged};
use crate::http::{Answer, json, json_bytes};
use crate::kinds::{Kind, Registry, Served};
use crate::status::Status;

/// The release whose API this is.
const MINOR: &str = "33";
const GIT_VERSION: &str = "v1.33.0+portolan";

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Verbs of questions, which are not stored.
const ASKING: [&str; 1] = ["create"];
/// Versions of the document that holds everything; they differ in nothing but their name.
const AGGREGATED: [&str; 2] = ["v2", "v2beta1"];

pub(super) fn version() -> Answer {
    let version = json!({
        "major": "1", "minor": MINOR, "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, architecture()),
    });
    json(StatusCode::OK, &version)
}

/// As Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A group with its versions, the stored one first.
struct Group<'a> {
    name: &'a str,
    versions: Vec<&'a str>,
}

/// In the order in which kubectl should prefer them: groups in which something is stored come first.
fn all_groups(registry: &Registry) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for served in registry.served() {
        let index = groups.iter().position(|group| group.name == served.group).unwrap_or_else(|| {
            groups.push(Group { name: &served.group, versions: Vec::new() });
            groups.len() - 1
        });
        if !groups[index].versions.contains(&served.version.as_ref()) {
            groups[index].versions.push(&served.version);
        }
    }
    groups
}

/// The version of the document that holds everything, when the caller prefers it; `None` for the plain lists.
///
/// # Errors
/// 406 when nothing of what is accepted can be had.
fn preferred(headers: &HeaderMap) -> Result<Option<&'static str>, Status> {
    for range in ranges(headers) {
        let own = (range.form, range.group) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io");
        if let Some(version) = AGGREGATED.into_iter().find(|version| own && range.version == *version) {
            return Ok(Some(version));
        }
        if range.form.is_empty() {
            return Ok(None);
        }
    }
    let nothing_asked = !headers.contains_key(header::ACCEPT);
    let refused = "only the following media types are accepted: application/json, \
        application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    if nothing_asked { Ok(None) } else { Err(Status::not_acceptable(refused)) }
}

/// `/api`.
///
/// # Errors
/// 406 when nothing of what is accepted can be had.
pub(super) fn core_versions(registry: &Registry, headers: &HeaderMap) -> Result<Answer, Status> {
    if let Some(version) = preferred(headers)? {
        return aggregated(registry, version, headers, |group| group.name.is_empty());
    }
    let versions = json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [],
    });
    Ok(json(StatusCode::OK, &versions))
}

/// `/apis`.
///
/// # Errors
/// 406 when nothing of what is accepted can be had.
pub(super) fn groups(registry: &Registry, headers: &HeaderMap) -> Result<Answer, Status> {
    if let Some(version) = preferred(headers)? {
        return aggregated(registry, version, headers, |group| !group.name.is_empty());
    }
    let groups = all_groups(registry);
    let named: Vec<Value> = groups.iter().filter(|group| !group.name.is_empty()).map(group_value).collect();
    Ok(json(StatusCode::OK, &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": named})))
}

pub(super) fn group(registry: &Registry, name: &str) -> Result<Answer, Status> {
    let groups = all_groups(registry);
    let found = groups
        .iter()
        .find(|group| group.name == name && !name.is_empty())
        .ok_or_else(Status::unknown_path)?;
    let mut value = group_value(found);
    value["kind"] = "APIGroup".into();
    value["apiVersion"] = "v1".into();
    Ok(json(StatusCode::OK, &value))
}

fn group_value(group: &Group<'_>) -> Value {
    let version =
        |version: &&str| json!({"groupVersion": format!("{}/{version}", group.name), "version": version});
    let versions: Vec<Value> = group.versions.iter().map(version).collect();
    json!({"name": group.name, "versions": versions, "preferredVersion": versions[0]})
}

pub(super) fn resources(registry: &Registry, group: &str, version: &str) -> Result<Answer, Status> {
    let mut list = Vec::new();
    for served in registry.served_in(group, version) {
        let kind = &served.kind;
        let mut entry = json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
            "verbs": verbs(kind),
        });
        name_lists(&mut entry, served);
        list.push(entry);
        for sub in subresources(served) {
            let mut entry = json!({
                "name": format!("{}/{}", kind.plural, sub.name), "singularName": "", "namespaced": kind.namespaced,
            });
            if let Some((group, version, _)) = sub.kind.filter(|(group, ..)| served.group != *group) {
                entry["group"] = group.into();
                entry["version"] = version.into();
            }
            entry["kind"] = sub.kind.map_or(kind.kind.as_ref(), |(.., kind)| kind).into();
            entry["verbs"] = json!(sub.verbs);
            list.push(entry);
        }
    }
    if list.is_empty() {
        return Err(Status::unknown_path());
    }
    let version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let value =
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": list});
    Ok(json(StatusCode::OK, &value))
}

fn verbs(kind: &Kind) -> &'static [&'static str] {
    if kind.is_review() { &ASKING } else { &VERBS }
}

/// Short names and categories of a kind that is served under several groups stand with the stored version only, so that
/// kubectl has one answer; those of a custom kind with every version.
fn name_lists(entry: &mut Value, served: &Served) {
    if !served.stored && served.kind.custom().is_none() {
        return;
    }
    for (field, list) in [("shortNames", &served.kind.short_names), ("categories", &served.kind.categories)] {
        if !list.is_empty() {
            entry[field] = json!(list);
        }
    }
}

/// Everything in one document (apidiscovery.k8s.io).
fn aggregated(
    registry: &Registry,
    version: &str,
    headers: &HeaderMap,
    wanted: impl Fn(&Group<'_>) -> bool,
) -> Result<Answer, Status> {
    let groups = all_groups(registry);
    let items: Vec<Value> =
        groups.iter().filter(|group| wanted(group)).map(|group| aggregated_group(registry, group)).collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {},
        "items": items,
    });
    let text = list.to_string();
    let tag = hash(text.as_bytes());
    let mut answer = json_bytes(StatusCode::OK, text.into());
    let media = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    let out = answer.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::try_from(media).map_err(Status::internal)?);
    out.insert(header::VARY, HeaderValue::from_static("Accept"));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    tagged(answer, &tag, headers)
}

fn aggregated_group(registry: &Registry, group: &Group<'_>) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|version| {
            let resources: Vec<Value> =
                registry.served_in(group.name, version).map(aggregated_resource).collect();
            json!({"version": version, "resources": resources, "freshness": "Current"})
        })
        .collect();
    let mut metadata = Map::new();
    if !group.name.is_empty() {
        metadata.insert("name".to_owned(), group.name.into());
    }
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_resource(served: &Served) -> Value {
    let kind = &served.kind;
    let response = |(group, version, kind): (&str, &str, &str)| json!({"group": group, "version": version, "kind": kind});
    let own = (served.group.as_ref(), served.version.as_ref(), kind.kind.as_ref());
    let mut entry = json!({
        "resource": kind.plural, "responseKind": response(own),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "verbs": verbs(kind),
    });
    name_lists(&mut entry, served);
    let subs: Vec<Value> = subresources(served)
        .iter()
        .map(|sub| json!({"subresource": sub.name, "responseKind": response(sub.kind.unwrap_or(own)), "verbs": sub.verbs}))
        .collect();
    if !subs.is_empty() {
        entry["subresources"] = subs.into();
    }
    entry
}

/// The paths below which something is found, as `/` lists them.
pub(super) fn paths(registry: &Registry) -> Answer {
    let mut paths: BTreeSet<String> = health::paths().collect();
    for path in ["/api", "/apis", "/openapi/v2", "/openapi/v3", "/version"] {
        paths.insert(path.to_owned());
    }
    for served in registry.served() {
        let place = place(&served.group, &served.version);
        paths.insert(format!("/{place}"));
        paths.insert(format!("/openapi/v3/{place}"));
        if !served.group.is_empty() {
            paths.insert(format!("/apis/{}", served.group));
        }
    }
    json(StatusCode::OK, &json!({"paths": paths}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepting(accept: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))])
    }

    #[test]
    fn clients_of_every_age_get_the_document_they_know() {
        let new = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
            application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        let older =
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert_eq!(preferred(&accepting(new)).unwrap(), Some("v2"));
        assert_eq!(preferred(&accepting(older)).unwrap(), Some("v2beta1"));
        assert_eq!(preferred(&accepting("application/json, */*")).unwrap(), None);
        assert_eq!(preferred(&HeaderMap::new()).unwrap(), None);
        assert_eq!(preferred(&accepting("text/html")).unwrap_err().code, 406);
        let first = core_versions(Registry::built_in(), &accepting(new)).unwrap();
        let mut again = accepting(new);
        again.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(core_versions(Registry::built_in(), &again).unwrap().status(), StatusCode::NOT_MODIFIED);
    }
}
