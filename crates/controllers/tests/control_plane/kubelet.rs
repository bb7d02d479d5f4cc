//! What a node says about itself and its pods, without any containers behind it: a pod that is bound to it runs and is ready
//! at once, and one that is asked to go is gone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use serde_json::json;

static ADDRESSES: AtomicU32 = AtomicU32::new(1);

pub async fn register(client: &kube::Client, name: &str) {
    let api: Api<Node> = Api::all(client.clone());
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
    }))
    .unwrap();
    api.create(&PostParams::default(), &node).await.unwrap();
    let status = json!({"status": {
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        "allocatable": {"pods": "110"}, "capacity": {"pods": "110"},
    }});
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
}

pub async fn run(client: kube::Client, node: String) {
    let all: Api<Pod> = Api::all(client.clone());
    let mine = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let mut events = watcher(all, mine).boxed();
    let mut addresses: BTreeMap<String, String> = BTreeMap::new();
    while let Some(event) = events.next().await {
        // The API server may be away for a while; the watcher comes back by itself.
        let Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) = event else { continue };
        let id = pod.metadata.uid.clone().unwrap();
        let address = addresses.entry(id).or_insert_with(|| {
            let number = ADDRESSES.fetch_add(1, Ordering::Relaxed);
            format!("10.244.{}.{}", number / 250, number % 250 + 2)
        });
        // A watch that is resumed tells no event twice: what fails while the API server is away is tried again. A pod
        // that is gone meanwhile needs nothing.
        while let Err(error) = drive(&client, &pod, address).await
            && !matches!(&error, kube::Error::Api(status) if status.code == 404)
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn drive(client: &kube::Client, pod: &Pod, address: &str) -> kube::Result<()> {
    let name = pod.metadata.name.as_deref().unwrap();
    let api: Api<Pod> = Api::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap());
    if pod.metadata.deletion_timestamp.is_some() {
        api.delete(name, &DeleteParams::default().grace_period(0)).await?;
        return Ok(());
    }
    if pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running") {
        return Ok(());
    }
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let status = json!({"status": {
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "startTime": now,
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
    }});
    api.patch_status(name, &PatchParams::default(), &Patch::Strategic(&status)).await?;
    Ok(())
}
