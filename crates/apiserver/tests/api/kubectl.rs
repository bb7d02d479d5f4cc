//! What people type.

use crate::fixture::Server;

const HTTPD: &str = "
apiVersion: apps/v1beta1
kind: Deployment
metadata:
  name: httpd
spec:
  replicas: 3
  template:
    metadata:
      labels:
        run: httpd
    spec:
      containers:
      - name: httpd
        image: httpd
        ports:
        - containerPort: 80
";

const HTTPD_SVC: &str = "
apiVersion: v1
kind: Service
metadata:
  name: httpd-svc
spec:
  clusterIP: 10.96.203.6
  selector:
    run: httpd
  ports:
  - protocol: TCP
    port: 8080
    targetPort: 80
";

/// Words of a table's row.
fn row<'a>(table: &'a str, name: &str) -> Vec<&'a str> {
    let found = table.lines().find(|line| line.split_whitespace().next() == Some(name));
    found.unwrap_or_else(|| panic!("no {name} in\n{table}")).split_whitespace().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifests_of_the_walkthrough_apply_as_written() {
    let server = Server::start().await;
    let both = format!("{HTTPD}---{HTTPD_SVC}");
    let created = server.kubectl_input("apply -f -", &both).await;
    assert_eq!(created, "deployment.apps/httpd created\nservice/httpd-svc created\n");
    let unchanged = server.kubectl_input("apply -f -", &both).await;
    assert_eq!(unchanged, "deployment.apps/httpd unchanged\nservice/httpd-svc unchanged\n");
    let version = server.kubectl("get deployment httpd -o jsonpath={.apiVersion}").await;
    assert_eq!(version, "apps/v1");
    let services = server.kubectl("get services").await;
    assert_eq!(row(&services, "httpd-svc")[1..5], ["ClusterIP", "10.96.203.6", "<none>", "8080/TCP"]);
    let described = server.kubectl("describe service httpd-svc").await;
    assert!(described.contains("Session Affinity:         None"), "{described}");
    let changed = server.kubectl_input("apply -f -", &HTTPD.replace("replicas: 3", "replicas: 4")).await;
    assert_eq!(changed, "deployment.apps/httpd configured\n");
    server.kubectl("scale deployment httpd --replicas=5").await;
    let scaled =
        server.kubectl("get deployment httpd -o jsonpath={.spec.replicas},{.metadata.generation}").await;
    assert_eq!(scaled, "5,3");
    server.kubectl("expose deployment httpd --port=90 --name=second").await;
    let selector = server.kubectl("get service second -o jsonpath={.spec.selector.run}").await;
    assert_eq!(selector, "httpd");
    assert_eq!(server.kubectl("delete service second").await, "service \"second\" deleted\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_manifests_are_refused_and_not_stored() {
    let server = Server::start().await;
    let unknown = server.kubectl_fails("apply -f -", &format!("{HTTPD_SVC}  foo: 1\n")).await;
    assert!(unknown.contains("strict decoding error: unknown field \"spec.foo\""), "{unknown}");
    let port = server.kubectl_fails("apply -f -", &HTTPD_SVC.replace("8080", "70000")).await;
    assert!(
        port.contains("spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive"),
        "{port}"
    );
    let kind = server.kubectl_fails("apply -f -", &HTTPD.replace("replicas: 3", "replicas: many")).await;
    assert!(kind.contains("replicas"), "{kind}");
    let missing = server.kubectl_fails("apply -n nowhere -f -", HTTPD).await;
    assert!(missing.contains("namespaces \"nowhere\" not found"), "{missing}");
    let dry = server.kubectl_input("apply --dry-run=server -f -", HTTPD).await;
    assert_eq!(dry, "deployment.apps/httpd created (server dry run)\n");
    assert_eq!(server.kubectl("get deployments,services -o name").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_selected_and_watched() {
    let server = Server::start().await;
    for (name, labels) in [("one", "app=a,tier=x"), ("two", "app=b"), ("three", "app=a")] {
        server.kubectl(&format!("run {name} --image=nginx --labels={labels}")).await;
    }
    assert_eq!(server.kubectl("get pods -l app=a -o name").await, "pod/one\npod/three\n");
    assert_eq!(server.kubectl("get pods -l app!=a,!tier -o name").await, "pod/two\n");
    assert_eq!(server.kubectl("get pods --field-selector metadata.name=two -o name").await, "pod/two\n");
    assert_eq!(server.kubectl("get pods --chunk-size=1 -o name").await, "pod/one\npod/three\npod/two\n");
    let unknown = server.kubectl_fails("get pods --field-selector spec.foo=x", "").await;
    assert!(unknown.contains("field label not supported: spec.foo"), "{unknown}");
    let wide = server.kubectl("get pods -o wide").await;
    assert_eq!(row(&wide, "two")[1..3], ["0/1", "Pending"]);
    // A wait is a watch of one name; deletion ends it.
    let wait = server.kubectl("wait --for=delete pod/one --timeout=30s");
    let delete = server.kubectl("delete pod one");
    let (waited, deleted) = tokio::join!(wait, delete);
    assert_eq!(deleted, "pod \"one\" deleted\n");
    assert!(waited.is_empty() || waited.contains("condition met"), "{waited}");
    server.kubectl("label pod two app=c --overwrite").await;
    server
        .kubectl(r#"patch pod two --type=json -p=[{"op":"add","path":"/metadata/labels/z","value":"1"}]"#)
        .await;
    server.kubectl(r#"patch pod two --type=merge -p={"metadata":{"labels":{"y":"2","app":null}}}"#).await;
    assert_eq!(server.kubectl("get pod two -o jsonpath={.metadata.labels}").await, r#"{"y":"2","z":"1"}"#);
    server.kubectl("delete pods --all").await;
    assert_eq!(server.kubectl("get pods -o name").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_and_allocations_survive_a_restart() {
    let mut server = Server::start().await;
    server.kubectl_input("apply -f -", HTTPD_SVC).await;
    let before = server.kubectl("get service httpd-svc -o yaml").await;
    server.restart().await;
    assert_eq!(server.kubectl("get service httpd-svc -o yaml").await, before);
    let taken = server.kubectl_fails("apply -f -", &HTTPD_SVC.replace("httpd-svc", "other")).await;
    assert!(taken.contains("provided IP is already allocated"), "{taken}");
    server.kubectl("delete service httpd-svc").await;
    server.kubectl_input("apply -f -", &HTTPD_SVC.replace("httpd-svc", "other")).await;
}

/// These commands send protobuf.
#[tokio::test(flavor = "multi_thread")]
async fn kubectl_create_without_a_manifest() {
    let server = Server::start().await;
    server.kubectl("create namespace team").await;
    server.kubectl("create -n team deployment web --image=nginx --replicas=2 --port=80").await;
    server.kubectl("create -n team service clusterip web --tcp=8080:80").await;
    server.kubectl("create -n team service nodeport out --tcp=80:http --node-port=30001").await;
    server.kubectl("create -n team configmap settings --from-literal=a=b").await;
    server.kubectl("create -n team secret generic key --from-literal=a=b").await;
    let web = "jsonpath={.spec.replicas},{.spec.template.spec.containers[0].ports[0].containerPort},{.spec.selector.matchLabels.app}";
    assert_eq!(server.kubectl(&format!("get -n team deployment web -o {web}")).await, "2,80,web");
    let ports = "jsonpath={.spec.ports[0].port},{.spec.ports[0].targetPort},{.spec.selector.app}";
    assert_eq!(server.kubectl(&format!("get -n team service web -o {ports}")).await, "8080,80,web");
    let out = "jsonpath={.spec.type},{.spec.ports[0].targetPort},{.spec.ports[0].nodePort}";
    assert_eq!(server.kubectl(&format!("get -n team service out -o {out}")).await, "NodePort,http,30001");
    assert_eq!(server.kubectl("get -n team configmap settings -o jsonpath={.data.a}").await, "b");
    assert_eq!(server.kubectl("get -n team secret key -o jsonpath={.data.a}").await, "Yg==");
    let twice = server.kubectl_fails("create namespace team", "").await;
    assert!(twice.contains("namespaces \"team\" already exists"), "{twice}");
}

/// kubectl validates these itself unless the server's description of its API has nothing to validate with.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_one_manifest() {
    let server = Server::start().await;
    let list = "{apiVersion: v1, kind: List, items: [
        {apiVersion: v1, kind: ConfigMap, metadata: {name: one}, data: {a: b}},
        {apiVersion: v1, kind: ConfigMap, metadata: {name: two}, data: {a: b}}]}";
    let created = server.kubectl_input("apply -f -", list).await;
    assert_eq!(created, "configmap/one created\nconfigmap/two created\n");
    let unchanged = server.kubectl_input("apply -f -", list).await;
    assert_eq!(unchanged, "configmap/one unchanged\nconfigmap/two unchanged\n");
    let misspelled = list.replacen("{name: two}, data", "{name: two}, dato", 1);
    let refused = server.kubectl_fails("apply -f -", &misspelled).await;
    assert!(refused.contains("strict decoding error: unknown field \"dato\""), "{refused}");
    server.kubectl_input("delete -f -", list).await;
}

/// An editor that works by itself: a script for `kubectl edit`.
fn editor(server: &Server, script: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = server.kubeconfig.with_file_name("editor");
    std::fs::write(&path, format!("#!/bin/sh\nsed -i '{script}' \"$1\"\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn ways_to_change_an_object() {
    let server = Server::start().await;
    server.kubectl_input("apply -f -", HTTPD).await;
    let script = editor(&server, "s/replicas: 3/replicas: 4/");
    let environment = [("EDITOR", script.to_str().unwrap())];
    let edited = server.kubectl_in("edit deployment httpd", &environment).await;
    assert_eq!(edited, "deployment.apps/httpd edited\n");
    let unedited = server.kubectl_in("edit deployment httpd", &environment).await;
    assert!(unedited.is_empty(), "kubectl says on stderr that nothing was changed: {unedited}");
    let stored = server.kubectl("get deployment httpd -o yaml").await;
    assert!(stored.contains("replicas: 4"), "{stored}");
    let wanted = stored.replace("replicas: 4", "replicas: 6");
    let difference = server.kubectl_with("diff -f -", &wanted).await;
    let shown = String::from_utf8_lossy(&difference.stdout).into_owned();
    assert!(shown.contains("-  replicas: 4\n+  replicas: 6"), "{shown}");
    assert_eq!(server.kubectl_input("replace -f -", &wanted).await, "deployment.apps/httpd replaced\n");
    let stale = server.kubectl_fails("replace -f -", &stored).await;
    assert!(stale.contains("the object has been modified"), "{stale}");
    server.kubectl("set image deployment httpd httpd=nginx").await;
    server.kubectl("set env deployment httpd A=b").await;
    server.kubectl("set serviceaccount deployment httpd web").await;
    server.kubectl("set resources deployment httpd --limits=cpu=200m").await;
    let pod = "jsonpath={.spec.template.spec.containers[0].image},{.spec.template.spec.containers[0].env[0].value},\
        {.spec.template.spec.serviceAccount},{.spec.template.spec.containers[0].resources}";
    assert_eq!(
        server.kubectl(&format!("get deployment httpd -o {pod}")).await,
        r#"nginx,b,web,{"limits":{"cpu":"200m"}}"#
    );
    server.kubectl("annotate deployment httpd team=net").await;
    let taken = server.kubectl_fails("annotate deployment httpd team=lab", "").await;
    assert!(taken.contains("--overwrite is false"), "{taken}");
    server.kubectl("rollout pause deployment httpd").await;
    assert_eq!(server.kubectl("get deployment httpd -o jsonpath={.spec.paused}").await, "true");
    let negative = server.kubectl_fails(r#"patch deployment httpd -p={"spec":{"replicas":-2}}"#, "").await;
    assert!(
        negative.contains("spec.replicas: Invalid value: -2: must be greater than or equal to 0"),
        "{negative}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named() {
    let server = Server::start().await;
    server.kubectl("run web --image=nginx").await;
    server.kubectl("create deployment web --image=nginx").await;
    for (command, answer) in [
        ("get cronjobs", "the server doesn't have a resource type \"cronjobs\""),
        ("top pods", "Metrics API not available"),
        ("create quota all --hard=pods=1", "the server could not find the requested resource"),
        ("create job once --image=busybox", "could not find the requested resource (post jobs.batch)"),
        (
            "autoscale deployment web --max=3",
            "could not find the requested resource (post horizontalpodautoscalers.autoscaling)",
        ),
    ] {
        let refused = server.kubectl_fails(command, "").await;
        assert!(refused.contains(answer), "{command}: {refused}");
    }
    let kind = "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db}}";
    let unknown = server.kubectl_fails("apply -f -", kind).await;
    assert!(unknown.contains("no matches for kind \"StatefulSet\" in version \"apps/v1\""), "{unknown}");
}
