//! Controllers and API server that end at any moment: nothing is made twice, and all comes right again.

use crate::fixture::{Cluster, HTTPD_SERVICE, eventually, httpd};

async fn settled(cluster: &Cluster, replicas: usize) {
    eventually(&format!("{replicas} replicas and their endpoints"), async || {
        let pods = cluster.active_pods("run=httpd").await;
        let mut addresses: Vec<String> =
            pods.iter().filter_map(|pod| pod.status.as_ref()?.pod_ip.clone()).collect();
        addresses.sort();
        (addresses.len() == replicas && cluster.ready_addresses("httpd-svc").await == addresses).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_killed_in_the_middle_of_anything_go_on_where_they_were() {
    let mut cluster = Cluster::start(3).await;
    cluster.kubectl_input("apply -f -", &httpd(3)).await;
    cluster.kubectl_input("apply -f -", HTTPD_SERVICE).await;
    settled(&cluster, 3).await;
    for round in 0..20_usize {
        let replicas = [12, 2, 7, 20, 1][round % 5];
        cluster.kubectl(&format!("scale deployment/httpd --replicas={replicas}")).await;
        // A different moment each round: as many turns of the runtime later.
        for _ in 0..round * 40 {
            tokio::task::yield_now().await;
        }
        cluster.kill_controllers().await;
        cluster.start_controllers().await;
        settled(&cluster, replicas).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_restarts_is_found_again() {
    let mut cluster = Cluster::start(3).await;
    cluster.kubectl_input("apply -f -", &httpd(3)).await;
    cluster.kubectl_input("apply -f -", HTTPD_SERVICE).await;
    settled(&cluster, 3).await;
    for replicas in [9, 2, 6] {
        cluster.kubectl(&format!("scale deployment/httpd --replicas={replicas}")).await;
        cluster.restart_server().await;
        settled(&cluster, replicas).await;
    }
}

/// Names and versions of everything that controllers write.
async fn versions(cluster: &Cluster) -> Vec<String> {
    let kinds =
        "nodes,services,endpoints,endpointslices,deployments,replicasets,pods,serviceaccounts,namespaces";
    let columns =
        "NAMESPACE:.metadata.namespace,NAME:.metadata.name,KIND:.kind,VERSION:.metadata.resourceVersion";
    let listed = cluster.kubectl(&format!("get {kinds} -A --no-headers -o custom-columns={columns}")).await;
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    listed.lines().filter(|line| !line.contains("marker")).map(words).collect()
}

const MARKER: &str = r#"
{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "marker"}}
---
{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "marker", "namespace": "marker"},
    "spec": {"selector": {"run": "marker"}, "ports": [{"port": 80}]}}
---
{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "marker", "namespace": "marker"},
    "spec": {"selector": {"matchLabels": {"run": "marker"}}, "template": {"metadata": {"labels": {"run": "marker"}},
        "spec": {"containers": [{"name": "marker", "image": "httpd"}]}}}}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_controllers_writes_nothing_when_all_is_right() {
    let mut cluster = Cluster::start(3).await;
    cluster.kubectl_input("apply -f -", &httpd(3)).await;
    cluster.kubectl_input("apply -f -", HTTPD_SERVICE).await;
    settled(&cluster, 3).await;
    cluster.kubectl("rollout status deployment/httpd --timeout=30s").await;
    let before = eventually("rest", async || {
        let first = versions(&cluster).await;
        (versions(&cluster).await == first).then_some(first)
    })
    .await;
    cluster.kill_controllers().await;
    cluster.start_controllers().await;
    // What comes after the restart is done after what was there: once the marker stands, all else has been looked at.
    cluster.kubectl_input("apply -f -", MARKER).await;
    cluster.kubectl("rollout status -n marker deployment/marker --timeout=30s").await;
    eventually("the marker's endpoints", async || {
        let slices = cluster
            .kubectl("get endpointslices -n marker -o jsonpath={.items[*].endpoints[*].addresses}")
            .await;
        let old =
            cluster.kubectl("get endpoints -n marker marker -o jsonpath={.subsets[*].addresses[*].ip}").await;
        (!slices.is_empty() && !old.is_empty()).then_some(())
    })
    .await;
    assert_eq!(versions(&cluster).await, before);
}
