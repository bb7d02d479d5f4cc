//! The steps of the walkthrough that the controllers carry, judged with kubectl.

use std::collections::BTreeSet;
use std::time::Instant;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, ListParams, WatchEvent, WatchParams};

use crate::fixture::{Cluster, HTTPD_SERVICE, eventually, httpd};

/// As the article writes it.
const ARTICLE: &str = "
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_stand_on_three_nodes_behind_one_service() {
    let cluster = Cluster::start(3).await;
    cluster.kubectl_input("apply -f -", ARTICLE).await;
    cluster.kubectl("rollout status deployment/httpd --timeout=30s").await;
    cluster.kubectl("wait --for=condition=Available deployment/httpd --timeout=30s").await;
    let pods = cluster.active_pods("run=httpd").await;
    let nodes: BTreeSet<_> =
        pods.iter().map(|pod| pod.spec.as_ref().unwrap().node_name.clone().unwrap()).collect();
    assert_eq!(nodes.len(), 3, "{nodes:?}");

    cluster.kubectl_input("apply -f -", HTTPD_SERVICE).await;
    let mut addresses: Vec<String> =
        pods.iter().map(|pod| pod.status.as_ref().unwrap().pod_ip.clone().unwrap()).collect();
    addresses.sort();
    eventually("three ready endpoints", async || {
        (cluster.ready_addresses("httpd-svc").await == addresses).then_some(())
    })
    .await;
    let described = eventually("the Endpoints", async || {
        let described = cluster.kubectl("describe service httpd-svc").await;
        addresses.iter().all(|address| described.contains(&format!("{address}:80"))).then_some(described)
    })
    .await;
    assert!(described.contains("Session Affinity:         None"), "{described}");

    let ranges = cluster.kubectl("get nodes -o jsonpath={.items[*].spec.podCIDR}").await;
    assert_eq!(ranges, "10.244.1.0/24 10.244.2.0/24 10.244.3.0/24");
    let kubernetes = cluster.kubectl("get service,endpoints kubernetes").await;
    assert!(kubernetes.contains("10.96.0.1") && kubernetes.contains("10.100.0.254:6443"), "{kubernetes}");
    eventually("the ServiceAccount", async || {
        let accounts = cluster.kubectl("get serviceaccounts -A").await;
        (accounts.matches(" default ").count() >= 4).then_some(())
    })
    .await;
    let events = eventually("the events", async || {
        let events = cluster.kubectl("get events").await;
        ["ScalingReplicaSet", "SuccessfulCreate", "Scheduled"]
            .iter()
            .all(|reason| events.contains(reason))
            .then_some(events)
    })
    .await;
    assert!(events.contains("from 0 to 3"), "{events}");
    let deployments = cluster.kubectl("get deployments").await;
    assert!(deployments.contains("3/3"), "{deployments}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_pod_leaves_the_slice_at_once_and_has_one_successor() {
    let cluster = Cluster::start(3).await;
    cluster.kubectl_input("apply -f -", &httpd(3)).await;
    cluster.kubectl_input("apply -f -", HTTPD_SERVICE).await;
    let before = eventually("three endpoints", async || {
        Some(cluster.ready_addresses("httpd-svc").await).filter(|ready| ready.len() == 3)
    })
    .await;
    let client = cluster.client("admin").await;
    let slices: Api<EndpointSlice> = Api::default_namespaced(client.clone());
    let listed = slices.list(&ListParams::default()).await.unwrap();
    let version = listed.metadata.resource_version.unwrap();
    let changes = slices.watch(&WatchParams::default(), &version).await.unwrap();
    let victim = cluster.active_pods("run=httpd").await.remove(0);
    let address = victim.status.unwrap().pod_ip.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client);
    let begin = Instant::now();
    pods.delete(&victim.metadata.name.unwrap(), &DeleteParams::default()).await.unwrap();
    let mut changes = changes.boxed();
    let withdrawn = async {
        while let Some(Ok(change)) = changes.next().await {
            let (WatchEvent::Added(slice) | WatchEvent::Modified(slice)) = change else { continue };
            let found = slice.endpoints.iter().find(|endpoint| endpoint.addresses[0] == address);
            if found.is_none_or(|endpoint| endpoint.conditions.as_ref().unwrap().ready == Some(false)) {
                return;
            }
        }
        panic!("the watch ended");
    };
    tokio::time::timeout(crate::fixture::PATIENCE, withdrawn).await.unwrap();
    println!("deletion asked for → withdrawn from the slice: {:?}", begin.elapsed());
    let after = eventually("the successor", async || {
        let ready = cluster.ready_addresses("httpd-svc").await;
        (ready.len() == 3 && !ready.contains(&address)).then_some(ready)
    })
    .await;
    assert_eq!(after.iter().filter(|address| before.contains(address)).count(), 2);
    assert_eq!(cluster.active_pods("run=httpd").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scaling_creates_exactly_what_was_asked_for() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client("admin").await;
    let pods: Api<Pod> = Api::default_namespaced(client);
    let version = pods.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    cluster.kubectl_input("apply -f -", &httpd(2)).await;
    cluster.kubectl("rollout status deployment/httpd --timeout=30s").await;
    cluster.kubectl("scale deployment/httpd --replicas=60").await;
    cluster.kubectl("rollout status deployment/httpd --timeout=60s").await;
    cluster.kubectl("scale deployment/httpd --replicas=1").await;
    eventually("one pod", async || (cluster.active_pods("run=httpd").await.len() == 1).then_some(())).await;
    cluster.kubectl("rollout status deployment/httpd --timeout=30s").await;
    // Every pod that ever was is in the log.
    let mut history = pods.watch(&WatchParams::default().timeout(1), &version).await.unwrap().boxed();
    let mut made = BTreeSet::new();
    while let Some(Ok(change)) = history.next().await {
        if let WatchEvent::Added(pod) = change {
            made.insert(pod.metadata.uid.unwrap());
        }
    }
    assert_eq!(made.len(), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_image_rolls_out_and_back() {
    let cluster = Cluster::start(3).await;
    cluster.kubectl_input("apply -f -", &httpd(4)).await;
    cluster.kubectl("rollout status deployment/httpd --timeout=30s").await;
    cluster.kubectl("set image deployment/httpd httpd=nginx").await;
    cluster.kubectl("rollout status deployment/httpd --timeout=60s").await;
    let images = "get pods -l run=httpd -o jsonpath={.items[*].spec.containers[0].image}";
    eventually("only new pods", async || {
        (cluster.kubectl(images).await == "nginx nginx nginx nginx").then_some(())
    })
    .await;
    let history = cluster.kubectl("rollout history deployment/httpd").await;
    assert!(history.lines().any(|line| line.starts_with("2 ")), "{history}");
    cluster.kubectl("rollout undo deployment/httpd").await;
    cluster.kubectl("rollout status deployment/httpd --timeout=60s").await;
    eventually("only old pods", async || {
        (cluster.kubectl(images).await == "httpd httpd httpd httpd").then_some(())
    })
    .await;
    let sets = cluster.kubectl("get replicasets -o jsonpath={.items[*].spec.replicas}").await;
    assert_eq!(sets.split(' ').collect::<BTreeSet<_>>(), BTreeSet::from(["0", "4"]));
    let described = cluster.kubectl("describe deployment httpd").await;
    assert!(described.contains("NewReplicaSetAvailable"), "{described}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_fits_nowhere_says_so_and_is_placed_once_it_fits() {
    let mut cluster = Cluster::start(1).await;
    let pod = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "picky"},
        "spec": {"nodeSelector": {"kubernetes.io/hostname": "node2"}, "containers": [{"name": "c", "image": "httpd"}]}}"#;
    cluster.kubectl_input("create -f -", pod).await;
    let described = eventually("the refusal", async || {
        let described = cluster.kubectl("describe pod picky").await;
        described.contains("FailedScheduling").then_some(described)
    })
    .await;
    assert!(
        described.contains("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."),
        "{described}"
    );
    cluster.add_node("node2").await;
    cluster.kubectl("wait --for=condition=Ready pod/picky --timeout=30s").await;
    assert_eq!(cluster.kubectl("get pod picky -o jsonpath={.spec.nodeName}").await, "node2");
}
