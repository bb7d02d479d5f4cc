//! CustomResourceDefinitions and their objects, as people and controllers meet them.

use futures::{StreamExt, TryStreamExt};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::fixture::{PATIENCE, Server};

/// In the manner of the Gateway API: two versions, lists told apart by keys, alternatives, columns.
const ROUTES: &str = include_str!("definitions/routes.yaml");
/// In the manner of cert-manager: one of several kinds of issuers, defaults, patterns, everything nested.
const ISSUERS: &str = include_str!("definitions/issuers.yaml");

const ROUTE: &str = "
apiVersion: net.example.com/v1
kind: Route
metadata:
  name: web
spec:
  hostnames: [example.com]
  parents:
  - name: front
  rules:
  - name: all
    backends:
    - name: web
      port: 80
";

const ISSUER: &str = "
apiVersion: certs.example.com/v1
kind: Issuer
metadata:
  name: own
spec:
  selfSigned: {}
";

async fn established(definitions: &str) -> Server {
    let server = Server::start().await;
    server.kubectl_input("apply -f -", definitions).await;
    server
}

fn words<'a>(table: &'a str, name: &str) -> Vec<&'a str> {
    let found = table.lines().find(|line| line.split_whitespace().next() == Some(name));
    found.unwrap_or_else(|| panic!("no {name} in\n{table}")).split_whitespace().collect()
}

fn routes(client: &kube::Client, version: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("net.example.com", version, "Route");
    Api::default_namespaced_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, "routes"))
}

fn route(name: &str, hostname: &str) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "net.example.com/v1", "kind": "Route", "metadata": {"name": name},
        "spec": {"hostnames": [hostname], "parents": [{"name": "front"}]},
    }))
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_served_at_once_in_all_its_versions() {
    let server = Server::start().await;
    // One file brings the kind and an object of it: nobody has to wait in between but for kubectl's own discovery.
    server.kubectl_input("apply -f -", ROUTES).await;
    let waited = server.kubectl("wait --for=condition=Established crd/routes.net.example.com").await;
    assert_eq!(
        waited,
        "customresourcedefinition.apiextensions.k8s.io/routes.net.example.com condition met\n"
    );
    let made = server.kubectl_input("apply -f -", ROUTE).await;
    assert_eq!(made, "route.net.example.com/web created\n");
    let revision = "get rt web -o jsonpath={.metadata.resourceVersion}";
    let before = server.kubectl(revision).await;
    // kubectl's patch replaces the lists, which lack the defaults; with those they are what they were.
    assert_eq!(server.kubectl_input("apply -f -", ROUTE).await, "route.net.example.com/web configured\n");
    assert_eq!(server.kubectl(revision).await, before);

    let resources = server.kubectl("api-resources --api-group=net.example.com --no-headers").await;
    assert_eq!(words(&resources, "routes"), ["routes", "rt", "net.example.com/v1", "true", "Route"]);
    let versions = server.kubectl("api-versions").await;
    assert!(versions.contains("net.example.com/v1\nnet.example.com/v1beta1\n"), "{versions}");
    for name in ["routes.net.example.com", "rt", "route", "networking"] {
        let listed = server.kubectl(&format!("get {name} -o name")).await;
        assert_eq!(listed, "route.net.example.com/web\n", "{name}");
    }
    let old = server.kubectl("get routes.v1beta1.net.example.com web -o jsonpath={.apiVersion}").await;
    assert_eq!(old, "net.example.com/v1beta1");

    let spec = server.kubectl("get rt web -o jsonpath={.spec.parents[0]}{.spec.rules[0].backends[0]}").await;
    assert_eq!(spec, r#"{"kind":"Gateway","name":"front"}{"name":"web","port":80,"weight":1}"#);
    let status = server.kubectl("get crd routes.net.example.com -o json").await;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["spec"]["names"]["listKind"], "RouteList");
    assert_eq!(status["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!(status["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(status["status"]["acceptedNames"], status["spec"]["names"]);
    let conditions = status["status"]["conditions"].as_array().unwrap();
    let shown: Vec<String> =
        conditions.iter().map(|one| format!("{}={} {}", one["type"], one["status"], one["reason"])).collect();
    assert_eq!(
        shown,
        [r#""NamesAccepted"="True" "NoConflicts""#, r#""Established"="True" "InitialNamesAccepted""#]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_have_the_columns_of_the_definition() {
    let server = established(ROUTES).await;
    server.kubectl_input("apply -f -", ROUTE).await;
    let status = json!({"status": {"replicas": 2, "conditions": [
        {"type": "Other", "status": "False"}, {"type": "Accepted", "status": "True"}]}});
    let patch = format!("patch rt web --subresource=status --type=merge -p={status}").replace(", ", ",");
    server.kubectl(&patch).await;
    let table = server.kubectl("get routes").await;
    let head: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["NAME", "HOSTNAMES", "ACCEPTED", "AGE"]);
    assert_eq!(words(&table, "web")[..3], ["web", r#"["example.com"]"#, "True"]);
    let wide = server.kubectl("get routes -o wide").await;
    assert!(wide.lines().next().unwrap().ends_with("AGE   REPLICAS   CHECKED"), "{wide}");
    assert_eq!(words(&wide, "web")[4..], ["2"]);
    let plain = server.kubectl("get routes.v1beta1.net.example.com").await;
    let head: Vec<&str> = plain.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["NAME", "AGE"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_are_explained_by_their_definition() {
    let server = established(ROUTES).await;
    let explained = server.kubectl("explain routes.spec.hostnames").await;
    assert!(explained.contains("FIELD: hostnames <[]string>"), "{explained}");
    assert!(explained.contains("Host names that the route is for."), "{explained}");
    let all = server.kubectl("explain routes --recursive").await;
    for line in [
        "GROUP:      net.example.com",
        "VERSION:    v1\n",
        "  metadata\t<ObjectMeta>",
        "Route says which requests",
    ] {
        assert!(all.contains(line), "no {line:?} in\n{all}");
    }
    let old = server.kubectl("explain routes.spec.parents --api-version=net.example.com/v1beta1").await;
    assert!(old.contains("name\t<string> -required-"), "{old}");
    let changed = ROUTES.replace("Host names that the route is for.", "Names of hosts.");
    server.kubectl_input("apply -f -", &changed).await;
    assert!(server.kubectl("explain routes.spec.hostnames").await.contains("Names of hosts."));
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_follow_the_schema() {
    let server = established(&format!("{ROUTES}---\n{ISSUERS}")).await;
    let unknown = server.kubectl_fails("apply -f -", &ROUTE.replace("hostnames", "hostname")).await;
    assert!(unknown.contains("strict decoding error: unknown field \"spec.hostname\""), "{unknown}");
    let warned =
        server.kubectl_with("apply --validate=warn -f -", &ROUTE.replace("hostnames", "hostname")).await;
    let warning = String::from_utf8(warned.stderr).unwrap();
    assert!(warning.contains("Warning: unknown field \"spec.hostname\""), "{warning}");
    assert_eq!(server.kubectl("get rt web -o jsonpath={.spec.hostname}").await, "");

    let port = server.kubectl_fails("apply -f -", &ROUTE.replace("port: 80", "port: 70000")).await;
    let wrong = "The Route \"web\" is invalid: spec.rules[0].backends[0].port: Invalid value: 70000: \
                 spec.rules[0].backends[0].port in body should be less than or equal to 65535\n";
    assert_eq!(port, wrong);
    let kind = server.kubectl_fails("apply -f -", &ROUTE.replace("port: 80", "port: http")).await;
    assert!(
        kind.contains(
            "spec.rules[0].backends[0].port: Invalid value: \"string\": \
             spec.rules[0].backends[0].port in body must be of type integer: \"string\""
        ),
        "{kind}"
    );
    let both = ISSUER.replace("selfSigned: {}", "selfSigned: {}\n  ca: {secretName: root}");
    let both = server.kubectl_fails("apply -f -", &both).await;
    assert_eq!(
        both,
        "The Issuer \"own\" is invalid: <nil>: Invalid value: \"\": \"spec\" must validate one and only one schema \
         (oneOf). Found 2 valid alternatives\n"
    );
    assert_eq!(server.kubectl_input("apply -f -", ISSUER).await, "issuer.certs.example.com/own created\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_scale_are_subresources() {
    let server = established(ROUTES).await;
    server.kubectl_input("apply -f -", &format!("{ROUTE}status:\n  replicas: 7\n")).await;
    assert_eq!(server.kubectl("get rt web -o jsonpath={.status}|{.metadata.generation}").await, "|1");
    server.kubectl("scale rt/web --replicas=4").await;
    assert_eq!(server.kubectl("get rt web -o jsonpath={.spec.replicas}|{.metadata.generation}").await, "4|2");
    let status = r#"{"status":{"replicas":4,"selector":"app=web"},"spec":{"replicas":1}}"#;
    server.kubectl(&format!("patch rt web --subresource=status --type=merge -p={status}")).await;
    let after = server
        .kubectl("get rt web -o jsonpath={.spec.replicas}|{.status.replicas}|{.metadata.generation}")
        .await;
    assert_eq!(after, "4|4|2");
    let raw = "get --raw /apis/net.example.com/v1/namespaces/default/routes/web/scale";
    let scale: Value = serde_json::from_str(&server.kubectl(raw).await).unwrap();
    assert_eq!(scale["status"], json!({"replicas": 4, "selector": "app=web"}));
    let wrong = server.kubectl_fails("scale rt/web --replicas=-1", "").await;
    assert!(wrong.contains("COUNT must be greater than or equal to 0"), "{wrong}");
    let selected = server.kubectl("get rt --field-selector=spec.replicas=4 -o name").await;
    assert_eq!(selected, "route.net.example.com/web\n");
    let strategic =
        server.kubectl_fails(r#"patch rt web --type=strategic -p={"spec":{"replicas":2}}"#, "").await;
    assert!(
        strategic.contains("strategic-merge-patch+json is not supported by net.example.com/v1"),
        "{strategic}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn appliers_share_an_object_by_its_schema() {
    let server = established(ROUTES).await;
    let parents = |names: &str, weight: i32| {
        format!(
            "apiVersion: net.example.com/v1\nkind: Route\nmetadata: {{name: web}}\nspec:\n  replicas: {weight}\n  parents: \
             {names}\n"
        )
    };
    let first = parents("[{name: front}]", 1);
    let made = server.kubectl_input("apply --server-side --field-manager=a -f -", &first).await;
    assert_eq!(made, "route.net.example.com/web serverside-applied\n");
    let second = parents("[{name: back, kind: Service}]", 2);
    let conflict = server.kubectl_fails("apply --server-side --field-manager=b -f -", &second).await;
    assert!(conflict.contains("conflict with \"a\": .spec.replicas"), "{conflict}");
    server.kubectl_input("apply --server-side --field-manager=b --force-conflicts -f -", &second).await;
    let names = "get rt web -o jsonpath={.spec.parents[*].name}|{.spec.parents[*].kind}|{.spec.replicas}";
    assert_eq!(server.kubectl(names).await, "front back|Gateway Service|2");
    let owned =
        server.kubectl("get rt web --show-managed-fields -o jsonpath={.metadata.managedFields}").await;
    assert!(owned.contains(r#"k:{\"kind\":\"Gateway\",\"name\":\"front\"}"#), "{owned}");
    let unknown =
        server.kubectl_fails("apply --server-side -f -", &first.replace("replicas", "copies")).await;
    assert!(unknown.contains("strict decoding error: unknown field \"spec.copies\""), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_go_with_their_definition() {
    let mut server = established(ROUTES).await;
    let held = ROUTE.replace("name: web\nspec", "name: web\n  finalizers: [example.com/held]\nspec");
    server.kubectl_input("apply -f -", &held).await;
    server.kubectl_input("apply -f -", &ROUTE.replace("name: web\nspec", "name: free\nspec")).await;
    server.kubectl("delete crd routes.net.example.com --wait=false").await;
    let condition =
        "jsonpath={.status.conditions[?(@.type==\"Terminating\")].reason}=InstanceDeletionInProgress";
    server.kubectl(&format!("wait crd/routes.net.example.com --for={condition}")).await;
    server.kubectl("wait rt/free --for=delete").await;
    let refused =
        server.kubectl_fails("create -f -", &ROUTE.replace("name: web\nspec", "name: late\nspec")).await;
    assert!(
        refused.contains("create not allowed while custom resource definition is terminating"),
        "{refused}"
    );
    server.restart().await;
    assert_eq!(server.kubectl("get rt -o name").await, "route.net.example.com/web\n");
    server.kubectl(r#"patch rt web --type=merge -p={"metadata":{"finalizers":null}}"#).await;
    server.kubectl("wait crd/routes.net.example.com --for=delete").await;
    let gone = server.kubectl_fails("get routes.net.example.com", "").await;
    assert!(gone.contains("the server doesn't have a resource type \"routes\""), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_watch_custom_resources() {
    let mut server = established(ROUTES).await;
    let client = server.client().await;
    let api = routes(&client, "v1");
    let made = api.create(&PostParams::default(), &route("a", "example.com")).await.unwrap();
    let revision = made.metadata.resource_version.unwrap();
    let old = routes(&client, "v1beta1");
    let mut events = old.watch(&WatchParams::default(), &revision).await.unwrap().boxed();
    let patch = Patch::Merge(json!({"spec": {"hostnames": ["other.example.com"]}}));
    api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    match tokio::time::timeout(PATIENCE, events.try_next()).await.unwrap().unwrap() {
        Some(WatchEvent::Modified(seen)) => {
            assert_eq!(seen.types.unwrap().api_version, "net.example.com/v1beta1");
            assert_eq!(seen.data["spec"]["hostnames"], json!(["other.example.com"]));
        }
        other => panic!("{other:?}"),
    }
    let refused = api.create(&PostParams::default(), &route("b", "No Host")).await.unwrap_err();
    let kube::Error::Api(refused) = refused else { panic!("{refused}") };
    assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"));
    assert!(refused.message.contains("spec.hostnames[0] in body should match '"), "{}", refused.message);

    server.restart().await;
    let listed = routes(&client, "v1").list(&Default::default()).await.unwrap();
    assert_eq!(listed.items.len(), 1);
    let revision = listed.metadata.resource_version.unwrap();
    let mut events = api.watch(&WatchParams::default(), &revision).await.unwrap().boxed();
    let definitions: Api<DynamicObject> = Api::all_with(
        client.clone(),
        &ApiResource::from_gvk(&GroupVersionKind::gvk(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
        )),
    );
    definitions.delete("routes.net.example.com", &DeleteParams::default()).await.unwrap();
    let ended = async { while events.try_next().await.is_ok_and(|event| event.is_some()) {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("a watch ends with its kind");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_definitions_are_refused_and_names_are_given_once() {
    let server = established(ROUTES).await;
    let name =
        server.kubectl_fails("create -f -", &ROUTES.replace("name: routes.net", "name: route.net")).await;
    assert!(
        name.contains("metadata.name: Invalid value: \"route.net.example.com\": must be spec.names.plural+\".\"+spec.group"),
        "{name}"
    );
    let second = ROUTES
        .replace("name: routes.net", "name: ways.net")
        .replace("plural: routes", "plural: ways")
        .replace("singular: route", "singular: way");
    server.kubectl_input("create -f -", &second).await;
    let conditions =
        "get crd ways.net.example.com -o jsonpath={range.status.conditions[*]}{.reason}:{.message};{end}";
    assert_eq!(
        server.kubectl(conditions).await,
        "ListKindConflict:\"RouteList\" is already in use;NotAccepted:not all names are accepted;"
    );
    server.kubectl("delete crd routes.net.example.com").await;
    server.kubectl("wait --for=condition=Established crd/ways.net.example.com").await;
    assert_eq!(server.kubectl_input("create -f -", ROUTE).await, "route.net.example.com/web created\n");
    assert_eq!(server.kubectl("get ways -o name").await, "route.net.example.com/web\n");
    let kind = ROUTES
        .replace("name: routes.net", "name: ways.net")
        .replace("plural: routes", "plural: ways")
        .replace("singular: route", "singular: way")
        .replace("kind: Route", "kind: Way");
    let kind = server.kubectl_fails("apply -f -", &kind).await;
    assert!(kind.contains("spec.names.kind: Invalid value: \"Way\": field is immutable"), "{kind}");
}
