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
