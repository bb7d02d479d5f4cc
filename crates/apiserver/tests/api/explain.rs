//! What the server says of its own API: discovery and OpenAPI, read by kubectl.

use std::collections::BTreeSet;

use crate::fixture::Server;

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_is_explained() {
    let server = Server::start().await;
    let resources = server.kubectl("api-resources --no-headers -o wide").await;
    let mut seen = BTreeSet::new();
    for line in resources.lines() {
        // NAME [SHORTNAMES] APIVERSION NAMESPACED KIND VERBS [CATEGORIES]
        let words: Vec<&str> = line.split_whitespace().collect();
        let verbs = words.iter().position(|word| word.contains("get") || *word == "create").unwrap();
        let (name, version, kind) = (words[0], words[verbs - 3], words[verbs - 1]);
        let explained = server.kubectl(&format!("explain {name} --api-version={version} --recursive")).await;
        assert!(explained.contains(&format!("KIND:       {kind}\n")), "{line}\n{explained}");
        assert!(explained.contains("  metadata\t<ObjectMeta>"), "{line}\n{explained}");
        assert!(explained.contains("DESCRIPTION:\n    "), "{line}\n{explained}");
        seen.insert(name.to_owned());
    }
    assert!(seen.len() >= 20, "{resources}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_explained() {
    let server = Server::start().await;
    for (what, expected) in [
        (
            "deployment.spec.strategy.rollingUpdate",
            &["FIELD: rollingUpdate <RollingUpdateDeployment>", "maxSurge\t<IntOrString>"][..],
        ),
        (
            "pods.spec.containers.ports",
            &["FIELD: ports <[]ContainerPort>", "containerPort\t<integer> -required-"],
        ),
        (
            "service.spec.clusterIP",
            &["FIELD: clusterIP <string>", "clusterIP is the IP address of the service"],
        ),
        ("pod.spec.restartPolicy", &["ENUM:\n    Always\n    Never\n    OnFailure\n"]),
        ("pod.spec.nodeSelector", &["FIELD: nodeSelector <map[string]string>"]),
        (
            "deployments --api-version=apps/v1beta1",
            &["GROUP:      apps", "VERSION:    v1beta1", "spec\t<DeploymentSpec>"],
        ),
        ("deployments --api-version=extensions/v1beta1", &["GROUP:      extensions"]),
    ] {
        let explained = server.kubectl(&format!("explain {what}")).await;
        for expected in expected {
            assert!(explained.contains(expected), "{what}: no {expected:?} in\n{explained}");
        }
    }
    let missing = server.kubectl_fails("explain pod.spec.nothing", "").await;
    assert!(missing.contains("field \"nothing\" does not exist"), "{missing}");
    let version = server.kubectl_fails("explain pods --api-version=v7", "").await;
    assert!(version.contains("couldn't find resource for"), "{version}");
}

/// kubectl reads merge keys and strategies from the document when it works out what `apply` changes.
#[tokio::test(flavor = "multi_thread")]
async fn patches_are_made_from_the_document() {
    let server = Server::start().await;
    let deployment = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 2}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: one, image: a, ports: [{containerPort: 80}, {containerPort: 81}]}
      - {name: two, image: b}
      volumes:
      - {name: data, emptyDir: {}}
";
    server.kubectl_input("apply -f -", deployment).await;
    // The others' container stays, one port goes, the volume changes its kind, and the strategy its members.
    server
        .kubectl(r#"patch deployment web -p={"spec":{"template":{"spec":{"containers":[{"name":"three","image":"c"}]}}}}"#)
        .await;
    let changed = deployment
        .replace(
            "strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 2}}",
            "strategy: {type: Recreate}",
        )
        .replace(", {containerPort: 81}", "")
        .replace("      - {name: two, image: b}\n", "")
        .replace("emptyDir: {}", "configMap: {name: web}");
    server.kubectl_input("apply -f -", &changed).await;
    let names =
        server.kubectl("get deployment web -o jsonpath={.spec.template.spec.containers[*].name}").await;
    assert_eq!(names, "three one");
    let pod = "jsonpath={.spec.template.spec.containers[1].ports[*].containerPort},{.spec.strategy},{.spec.template.spec.volumes[*].configMap.name}";
    let stored = server.kubectl(&format!("get deployment web -o {pod}")).await;
    assert_eq!(stored, r#"80,{"type":"Recreate"},web"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_requests_tell_what_there_is() {
    let server = Server::start().await;
    let output = server.kubectl_with("api-resources -o wide -v=6", "").await;
    let log = String::from_utf8(output.stderr).unwrap();
    let asked: Vec<&str> = log.lines().filter(|line| line.contains("round_trippers")).collect();
    assert_eq!(asked.len(), 2, "{log}");
    let resources = String::from_utf8(output.stdout).unwrap();
    let deployments = resources.lines().find(|line| line.starts_with("deployments")).unwrap();
    let words: Vec<&str> = deployments.split_whitespace().collect();
    assert_eq!(words[1..5], ["deploy", "apps/v1", "true", "Deployment"]);
    assert_eq!(words[6..], ["all"]);
    let versions = server.kubectl("api-versions").await;
    assert!(versions.contains("\napps/v1\n") && versions.ends_with("\nv1\n"), "{versions}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_tells_its_paths_and_its_health() {
    let server = Server::start().await;
    let paths = server.kubectl("get --raw /").await;
    let paths: serde_json::Value = serde_json::from_str(&paths).unwrap();
    let paths = paths["paths"].as_array().unwrap();
    for path in
        ["/api/v1", "/apis/apps", "/apis/apps/v1", "/livez/ping", "/openapi/v3/apis/apps/v1", "/version"]
    {
        assert!(paths.iter().any(|known| known == path), "{path}: {paths:?}");
    }
    assert_eq!(server.kubectl("get --raw /healthz").await, "ok");
    let told = server.kubectl("get --raw /livez?verbose").await;
    assert_eq!(told, "[+]ping ok\n[+]store ok\nlivez check passed\n");
    let told = server.kubectl("get --raw /readyz?verbose&exclude=store").await;
    assert_eq!(told, "[+]ping ok\n[+]store excluded: ok\n[+]shutdown ok\nreadyz check passed\n");
    assert_eq!(server.kubectl("get --raw /readyz/shutdown").await, "ok");
    let unknown = server.kubectl_fails("get --raw /livez/nothing", "").await;
    assert!(unknown.contains("the server could not find the requested resource"), "{unknown}");
    let dump = server.kubectl("cluster-info dump").await;
    assert!(dump.contains("\"kind\": \"ReplicaSetList\""), "{dump}");
}
