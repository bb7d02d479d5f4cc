//! Server-side apply and managedFields, with kubectl and kube as clients.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::fixture::Server;

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 3
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: main
        image: httpd
        ports:
        - containerPort: 80
";

/// The entries of managedFields as `manager operation subresource`, and the fields of each.
async fn entries(server: &Server, object: &str) -> Vec<(String, Value)> {
    let line = format!("get {object} -o json --show-managed-fields");
    let object: Value = serde_json::from_str(&server.kubectl(&line).await).unwrap();
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let named = entries.into_iter().map(|entry| {
        assert_eq!(entry["fieldsType"], "FieldsV1");
        assert!(text(&entry, "time").ends_with('Z'), "{entry}");
        let words = [text(&entry, "manager"), text(&entry, "operation"), text(&entry, "subresource")];
        (words.join(" ").trim_end().to_owned(), entry["fieldsV1"].clone())
    });
    named.collect()
}

/// Who owns something, in alphabetical order.
async fn owners(server: &Server, object: &str) -> Vec<String> {
    let mut owners: Vec<String> = entries(server, object).await.into_iter().map(|(owner, _)| owner).collect();
    owners.sort();
    owners
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_belongs_to_its_applier() {
    let server = Server::start().await;
    let applied = server.kubectl_input("apply --server-side -f -", WEB).await;
    assert_eq!(applied, "deployment.apps/web serverside-applied\n");
    let before = server.kubectl("get deployment web -o jsonpath={.metadata.resourceVersion}").await;
    server.kubectl_input("apply --server-side -f -", WEB).await;
    let after = server.kubectl("get deployment web -o jsonpath={.metadata.resourceVersion}").await;
    assert_eq!(before, after, "nothing new was written");
    let found = entries(&server, "deployment web").await;
    let template = json!({"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:containers": {
        "k:{\"name\":\"main\"}": {".": {}, "f:image": {}, "f:name": {}, "f:ports": {
            "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}});
    let fields = json!({"f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": template}});
    assert_eq!(found, [("kubectl Apply".to_owned(), fields)]);

    server.kubectl("scale deployment web --replicas=5").await;
    assert_eq!(owners(&server, "deployment web").await, ["kubectl Apply", "kubectl Update scale"]);
    let refused = server.kubectl_fails("apply --server-side -f -", WEB).await;
    assert!(
        refused.starts_with(
            "error: Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas"
        ),
        "{refused}"
    );
    server.kubectl_input("apply --server-side --force-conflicts -f -", WEB).await;
    let replicas = server.kubectl("get deployment web -o jsonpath={.spec.replicas}").await;
    assert_eq!(replicas, "3");
    assert_eq!(owners(&server, "deployment web").await, ["kubectl Apply"]);

    let without = WEB.replace("  replicas: 3\n", "");
    server.kubectl_input("apply --server-side -f -", &without).await;
    let replicas = server.kubectl("get deployment web -o jsonpath={.spec.replicas}").await;
    assert_eq!(replicas, "1", "what nobody owns any longer gets its default");
    let diff = server.kubectl_input("diff --server-side -f -", &without).await;
    assert_eq!(diff, "");
    let told = server
        .kubectl_with("diff --server-side -f -", &without.replace("image: httpd", "image: nginx"))
        .await;
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("-      - image: httpd") && told.contains("+      - image: nginx"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_appliers_share_an_object() {
    let server = Server::start().await;
    let map =
        |data: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: shared\ndata: {data}\n");
    server.kubectl_input("apply --server-side --field-manager one -f -", &map("{a: '1', b: '1'}")).await;
    let refused =
        server.kubectl_fails("apply --server-side --field-manager two -f -", &map("{a: '2', b: '2'}")).await;
    assert!(
        refused.starts_with(
            "error: Apply failed with 2 conflicts: conflicts with \"one\":\n- .data.a\n- .data.b\n"
        ),
        "{refused}"
    );
    server.kubectl_input("apply --server-side --field-manager two -f -", &map("{b: '1', c: '2'}")).await;
    server.kubectl_input("apply --server-side --field-manager one -f -", &map("{a: '1'}")).await;
    let data = server.kubectl("get configmap shared -o jsonpath={.data}").await;
    assert_eq!(data, r#"{"a":"1","b":"1","c":"2"}"#);
    server.kubectl_input("apply --server-side --field-manager two -f -", &map("{c: '2'}")).await;
    let data = server.kubectl("get configmap shared -o jsonpath={.data}").await;
    assert_eq!(data, r#"{"a":"1","c":"2"}"#);
    let dry = server
        .kubectl_input("apply --server-side --dry-run=server --field-manager two -f -", &map("{d: '2'}"))
        .await;
    assert_eq!(dry, "configmap/shared serverside-applied (server dry run)\n");
    assert_eq!(server.kubectl("get configmap shared -o jsonpath={.data}").await, data);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_side_apply_goes_over_to_the_server_and_back() {
    let server = Server::start().await;
    server.kubectl_input("apply -f -", WEB).await;
    assert_eq!(owners(&server, "deployment web").await, ["kubectl-client-side-apply Update"]);
    // kubectl hands its former entry over with a JSON patch, and applies the annotation under a name of its own.
    let migrated = ["kubectl Apply", "kubectl-last-applied Apply"];
    let nginx = WEB.replace("image: httpd", "image: nginx").replace("  replicas: 3\n", "");
    server.kubectl_input("apply --server-side -f -", &nginx).await;
    assert_eq!(owners(&server, "deployment web").await, migrated);
    let found = server.kubectl("get deployment web -o jsonpath={.spec.replicas},{..image}").await;
    assert_eq!(found, "1,nginx", "what was applied before and is not any longer is gone");
    let back = server.kubectl_input("apply -f -", WEB).await;
    assert_eq!(back, "deployment.apps/web configured\n");
    let found = server.kubectl("get deployment web -o jsonpath={.spec.replicas},{..image}").await;
    assert_eq!(found, "3,httpd");
    assert_eq!(
        owners(&server, "deployment web").await,
        ["kubectl Apply", "kubectl-client-side-apply Update"]
    );
    server.kubectl_input("apply --server-side -f -", WEB).await;
    assert_eq!(owners(&server, "deployment web").await, migrated);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_says_whose_it_is() {
    let server = Server::start().await;
    server.kubectl("create service clusterip web --tcp=80").await;
    let created = entries(&server, "service web").await;
    let spec = json!({"f:internalTrafficPolicy": {}, "f:ports": {".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {
        ".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}}}, "f:selector": {},
        "f:sessionAffinity": {}, "f:type": {}});
    let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": spec});
    assert_eq!(
        created,
        [("kubectl-create Update".to_owned(), fields)],
        "what is allocated belongs to nobody"
    );
    server.kubectl("label service web tier=front").await;
    server.kubectl("annotate service web note=x").await;
    server.kubectl("patch service web --subresource=status --type=merge -p {\"metadata\":{\"annotations\":{\"s\":\"1\"}}}").await;
    assert_eq!(
        owners(&server, "service web").await,
        [
            "kubectl-annotate Update",
            "kubectl-create Update",
            "kubectl-label Update",
            "kubectl-patch Update status"
        ]
    );
    let edit = [("KUBE_EDITOR", "sed -i s/front/back/")];
    server.kubectl_in("edit service web --show-managed-fields", &edit).await;
    let found = entries(&server, "service web").await;
    let own = found.iter().find(|(owner, _)| owner == "kubectl-edit Update").unwrap();
    assert_eq!(own.1, json!({"f:metadata": {"f:labels": {"f:tier": {}}}}));
    assert!(!found.iter().any(|(owner, _)| owner == "kubectl-label Update"), "{found:?}");

    let reset = "patch service web --type=merge -p {\"metadata\":{\"managedFields\":[{}]}}";
    server.kubectl(reset).await;
    assert!(owners(&server, "service web").await.is_empty());
    server.kubectl("label service web again=yes").await;
    assert!(owners(&server, "service web").await.is_empty(), "what is not tracked stays so");
    let namespace = entries(&server, "namespace default").await;
    let labels = json!({"f:metadata": {"f:labels": {".": {}, "f:kubernetes.io/metadata.name": {}}}});
    assert_eq!(namespace, [("portolan-apiserver Update".to_owned(), labels)]);
    server.kubectl("run pod --image=httpd").await;
    let pod = entries(&server, "pod pod").await;
    let container = json!({".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {},
        "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {}});
    let spec = json!({"f:containers": {"k:{\"name\":\"pod\"}": container}, "f:dnsPolicy": {}, "f:enableServiceLinks": {},
        "f:restartPolicy": {}, "f:schedulerName": {}, "f:securityContext": {}, "f:terminationGracePeriodSeconds": {}});
    let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:run": {}}}, "f:spec": spec});
    assert_eq!(pod, [("kubectl-run Update".to_owned(), fields)], "nor does what admission fills in");
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_applies_and_its_conflicts_can_be_read() {
    let server = Server::start().await;
    let client = server.client().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let config =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    let made = maps.patch("a", &PatchParams::apply("one"), &Patch::Apply(&config)).await.unwrap();
    assert_eq!(made.data.unwrap()["k"], "v");
    let other =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "w"}});
    let refused = maps.patch("a", &PatchParams::apply("two"), &Patch::Apply(&other)).await.unwrap_err();
    let kube::Error::Api(status) = refused else { panic!("{refused}") };
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    let causes = status.details.unwrap().causes;
    assert_eq!(causes.len(), 1);
    assert_eq!(causes[0].reason, "FieldManagerConflict");
    assert_eq!((causes[0].field.as_str(), causes[0].message.as_str()), (".data.k", "conflict with \"one\""));
    let forced = maps.patch("a", &PatchParams::apply("two").force(), &Patch::Apply(&other)).await.unwrap();
    assert_eq!(forced.data.unwrap()["k"], "w");

    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let web: Deployment = serde_json::from_value(serde_json::to_value(deployment()).unwrap()).unwrap();
    deployments
        .create(&PostParams { field_manager: Some("maker".to_owned()), ..PostParams::default() }, &web)
        .await
        .unwrap();
    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 9}, "status": {"replicas": 1, "conditions": [{"type": "Available", "status": "True"}]}});
    let params = PatchParams::apply("reporter");
    let shown = deployments.patch_status("web", &params, &Patch::Apply(&status)).await.unwrap();
    assert_eq!((shown.spec.unwrap().replicas, shown.status.unwrap().replicas), (Some(1), Some(1)));
    assert_eq!(owners(&server, "deployment web").await, ["maker Update", "reporter Apply status"]);
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 4}});
    let params = PatchParams::apply("scaler");
    let refused = deployments.patch_scale("web", &params, &Patch::Apply(&scale)).await.unwrap_err();
    assert!(
        refused.to_string().contains("conflict with \"maker\" using apps/v1: .spec.replicas"),
        "{refused}"
    );
    let scaled = deployments.patch_scale("web", &params.force(), &Patch::Apply(&scale)).await.unwrap();
    assert_eq!(scaled.spec.unwrap().replicas, Some(4));
    let found = entries(&server, "deployment web").await;
    assert!(
        found.contains(&("scaler Apply scale".to_owned(), json!({"f:spec": {"f:replicas": {}}}))),
        "{found:?}"
    );
}

fn deployment() -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "httpd"}]}}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_applied_is_refused_with_a_reason() {
    let server = Server::start().await;
    let client = server.client().await;
    let send = async |query: &str, media_type: &str, body: &str| -> (u16, String) {
        let request = http::Request::patch(format!("/api/v1/namespaces/default/services/web?{query}"));
        let request = request.header("content-type", media_type).body(body.as_bytes().to_vec()).unwrap();
        match client.request::<Value>(request).await {
            Ok(answer) => (200, answer.to_string()),
            Err(kube::Error::Api(status)) => (status.code, status.message),
            Err(error) => panic!("{error}"),
        }
    };
    let yaml = "application/apply-patch+yaml";
    let manager = "fieldManager=one";
    let (code, message) = send("", yaml, "apiVersion: v1\nkind: Service").await;
    assert_eq!(code, 422);
    assert_eq!(
        message,
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
    );
    let (code, message) = send("force=true", "application/merge-patch+json", "{}").await;
    assert_eq!(code, 422);
    assert!(message.ends_with("force: Forbidden: may not be specified for non-apply patch"), "{message}");
    let long = format!("fieldManager={}", "a".repeat(129));
    assert_eq!(send(&long, yaml, "apiVersion: v1\nkind: Service").await.0, 422);
    let (code, message) = send(manager, "application/apply-patch+cbor", "x").await;
    assert_eq!(code, 415, "{message}");
    let service = |rest: &str| format!("apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\n{rest}");
    let cases = [
        ("a: b: c".to_owned(), "error decoding YAML: "),
        ("apiVersion: v1\nkind: Pod".to_owned(), "invalid object type: /v1, Kind=Pod"),
        (
            service("").replace("{name: web}", "{name: web, managedFields: []}"),
            "metadata.managedFields must be nil",
        ),
        (
            service("spec: {foo: 1}"),
            "failed to create typed patch object (default/web; v1, Kind=Service): .spec.foo: field not declared in schema",
        ),
        (
            service("spec: {ports: [{port: 80}, {port: 80}]}"),
            "failed to create typed patch object (default/web; v1, Kind=Service): .spec.ports: duplicate entries for key [port=80,protocol=\"TCP\"]",
        ),
        (
            service("").replace("web", "other"),
            "the name of the object (other) does not match the name on the URL (web)",
        ),
    ];
    for (body, expected) in cases {
        let (code, message) = send(manager, yaml, &body).await;
        assert_eq!(code, 400, "{message}");
        assert!(message.starts_with(expected), "{message}");
    }
    let (code, message) =
        send(&format!("{manager}&fieldValidation=Strict"), yaml, &service("spec: {foo: 1}")).await;
    assert_eq!(code, 400);
    assert!(message.contains("strict decoding error: unknown field \"spec.foo\""), "{message}");
    let (code, message) = send(manager, yaml, &service("spec: {ports: []}")).await;
    assert_eq!((code, message.contains("spec.ports: Required value")), (422, true), "{message}");
    let services: Api<Service> = Api::default_namespaced(client.clone());
    assert!(services.get_opt("web").await.unwrap().is_none(), "nothing of it was stored");
    let (code, made) = send(manager, yaml, &service("spec: {ports: [{port: 80}]} # YAML")).await;
    assert_eq!(code, 200);
    assert!(made.contains("\"manager\":\"one\",\"operation\":\"Apply\",\"apiVersion\":\"v1\""), "{made}");
    let (code, message) =
        send(manager, yaml, &service("").replace("web}", "web, resourceVersion: '1'}")).await;
    assert_eq!(code, 409, "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_patch_creates_nothing() {
    let server = Server::start().await;
    server.kubectl("create role patcher --verb=get,patch --resource=configmaps").await;
    server.kubectl("create rolebinding patcher --role=patcher --user=ann").await;
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata: {k: v}\n";
    let refused = server.kubectl_fails("apply --server-side --as=ann -f -", map).await;
    assert!(refused.contains("User \"ann\" cannot create resource \"configmaps\""), "{refused}");
    server.kubectl("create configmap a").await;
    server.kubectl_input("apply --server-side --as=ann -f -", map).await;
}

/// A list that is one value gets its defaults after the merge: applied again it differs, and yet nothing is new.
#[tokio::test(flavor = "multi_thread")]
async fn defaults_inside_a_list_that_is_one_value_are_no_news() {
    let server = Server::start().await;
    let policy = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: a}
spec:
  podSelector: {}
  ingress: [{ports: [{port: 80}]}]
";
    server.kubectl_input("apply --server-side -f -", policy).await;
    let line = "get networkpolicy a -o jsonpath={.metadata.resourceVersion},{..protocol}";
    let before = server.kubectl(line).await;
    assert!(before.ends_with(",TCP"), "{before}");
    server.kubectl_input("apply --server-side -f -", policy).await;
    assert_eq!(server.kubectl(line).await, before);
}
