//! Things that must go when others go.

use crate::fixture::{Cluster, HTTPD_SERVICE, eventually, httpd};

const SHOP: &str = r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}"#;

async fn gone(cluster: &Cluster, line: &str) {
    eventually(line, async || cluster.kubectl(line).await.trim().is_empty().then_some(())).await;
}

async fn started(nodes: usize) -> Cluster {
    let cluster = Cluster::start(nodes).await;
    cluster.kubectl_input("apply -f -", &httpd(3)).await;
    cluster.kubectl_input("apply -f -", HTTPD_SERVICE).await;
    cluster.kubectl("rollout status deployment/httpd --timeout=30s").await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_takes_its_pods_with_it_and_a_service_its_endpoints() {
    let cluster = started(3).await;
    cluster.kubectl("delete deployment httpd").await;
    gone(&cluster, "get replicasets,pods -o name").await;
    eventually("empty slices", async || {
        cluster.slices("httpd-svc").await.iter().all(|slice| slice.endpoints.is_empty()).then_some(())
    })
    .await;
    cluster.kubectl("delete service httpd-svc").await;
    gone(&cluster, "get endpointslices -l kubernetes.io/service-name=httpd-svc -o name").await;
    eventually("no Endpoints", async || {
        (!cluster.kubectl("get endpoints -o name").await.contains("httpd")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreground_deletion_waits_for_the_pods() {
    let cluster = started(2).await;
    // kubectl returns once the Deployment is gone; by then everything below it must be.
    cluster.kubectl("delete deployment httpd --cascade=foreground --timeout=50s").await;
    assert_eq!(cluster.kubectl("get replicasets,pods -o name").await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_stay_and_are_adopted_again() {
    let cluster = started(2).await;
    let pods = cluster.kubectl("get pods -o name").await;
    let sets = cluster.kubectl("get replicasets -o name").await;
    cluster.kubectl("delete deployment httpd --cascade=orphan").await;
    let owners = "get replicasets -o jsonpath={.items[*].metadata.ownerReferences[*].name}";
    gone(&cluster, owners).await;
    cluster.kubectl_input("apply -f -", &httpd(3)).await;
    eventually("the new owner", async || (cluster.kubectl(owners).await == "httpd").then_some(())).await;
    cluster.kubectl("rollout status deployment/httpd --timeout=30s").await;
    assert_eq!(cluster.kubectl("get replicasets -o name").await, sets);
    assert_eq!(cluster.kubectl("get pods -o name").await, pods);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_goes_with_all_that_is_in_it() {
    let cluster = Cluster::start(2).await;
    cluster.kubectl_input("apply -f -", SHOP).await;
    cluster.kubectl_input("apply -n shop -f -", &httpd(3)).await;
    cluster.kubectl_input("apply -n shop -f -", HTTPD_SERVICE).await;
    cluster.kubectl("-n shop rollout status deployment/httpd --timeout=30s").await;
    cluster.kubectl("delete namespace shop --timeout=50s").await;
    assert!(!cluster.kubectl("get namespaces -o name").await.contains("shop"));
    assert_eq!(cluster.kubectl("get pods,replicasets,deployments -A -o name").await, "");
    // The name can be used again.
    cluster.kubectl_input("apply -f -", SHOP).await;
    cluster.kubectl_input("apply -n shop -f -", HTTPD_SERVICE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_node_gives_back_its_range_and_its_pods_move() {
    let mut cluster = started(3).await;
    cluster.remove_node("node2").await;
    eventually("all pods elsewhere", async || {
        let pods = cluster.active_pods("run=httpd").await;
        let moved = pods.iter().all(|pod| {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            node.is_some_and(|node| node != "node2")
        });
        (pods.len() == 3 && moved && cluster.ready_addresses("httpd-svc").await.len() == 3).then_some(())
    })
    .await;
    cluster.add_node("node2").await;
    eventually("the range of old", async || {
        let range = cluster.kubectl("get node node2 -o jsonpath={.spec.podCIDR}").await;
        (range == "10.244.2.0/24").then_some(())
    })
    .await;
}

const THINGS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: things.example.com
spec:
  group: example.com
  scope: Namespaced
  names: {plural: things, kind: Thing}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resources_own_are_owned_and_go_with_their_namespace() {
    let cluster = Cluster::start(1).await;
    let owned = |kind: &str,
                 version: &str,
                 name: &str,
                 owner: &str,
                 owner_kind: &str,
                 owner_version: &str,
                 id: &str| {
        format!(
            "apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: {name}\n  ownerReferences:\n  - apiVersion: \
             {owner_version}\n    kind: {owner_kind}\n    name: {owner}\n    uid: {id}\n"
        )
    };
    cluster.kubectl_input("apply -f -", THINGS).await;
    cluster.kubectl("wait --for=condition=Established crd/things.example.com").await;
    let thing = |name: &str| format!("apiVersion: example.com/v1\nkind: Thing\nmetadata:\n  name: {name}\n");
    cluster.kubectl_input("apply -f -", &thing("root")).await;
    let id = cluster.kubectl("get thing root -o jsonpath={.metadata.uid}").await;
    cluster
        .kubectl_input(
            "apply -f -",
            &owned("ConfigMap", "v1", "leaf", "root", "Thing", "example.com/v1", &id),
        )
        .await;
    let id = cluster.kubectl("get configmap leaf -o jsonpath={.metadata.uid}").await;
    cluster
        .kubectl_input(
            "apply -f -",
            &owned("Thing", "example.com/v1", "twig", "leaf", "ConfigMap", "v1", &id),
        )
        .await;
    cluster.kubectl("delete thing root").await;
    gone(&cluster, "get configmap leaf --ignore-not-found -o name").await;
    gone(&cluster, "get things -o name").await;

    cluster.kubectl_input("apply -f -", SHOP).await;
    cluster.kubectl_input("apply -n shop -f -", &thing("sold")).await;
    cluster.kubectl("delete namespace shop --timeout=50s").await;
    assert_eq!(cluster.kubectl("get things -A -o name").await, "");
}
