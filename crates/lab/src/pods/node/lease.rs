//! The node's Lease: the sign of life that others judge it by.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::warn;

/// Where leases of nodes are kept.
const NAMESPACE: &str = "kube-node-lease";
/// How often it is renewed in the time that it is good for, as the kubelet does.
const RENEWALS: u32 = 4;

/// Renews the Lease until dropped, from when the Node is known: the Lease is the Node's and goes with it.
pub(super) async fn keep(
    client: Client,
    node: String,
    duration: Duration,
    mut uid: watch::Receiver<Option<String>>,
) {
    let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
    let period = duration / RENEWALS;
    let mut beat = tokio::time::interval(period);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_written = true;
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            changed = uid.changed() => if changed.is_err() {
                return;
            },
        }
        let Some(owner) = uid.borrow_and_update().clone() else { continue };
        // One that hangs must not keep the next one from being tried.
        let written =
            tokio::time::timeout(period.max(Duration::from_secs(1)), write(&api, &node, duration, &owner));
        let written = match written.await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(_) => Err("the API server does not answer".to_owned()),
        };
        if let Err(error) = &written
            && was_written
        {
            warn!(node, error, "cannot renew the node's lease");
        }
        was_written = written.is_ok();
    }
}

async fn write(api: &Api<Lease>, node: &str, duration: Duration, uid: &str) -> kube::Result<()> {
    let spec = LeaseSpec {
        holder_identity: Some(node.to_owned()),
        lease_duration_seconds: Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)),
        renew_time: Some(MicroTime(Timestamp::now())),
        ..LeaseSpec::default()
    };
    let owners = vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.to_owned(),
        uid: uid.to_owned(),
        ..OwnerReference::default()
    }];
    let patch = serde_json::json!({ "metadata": { "ownerReferences": owners }, "spec": spec });
    match api.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        other => return other.map(drop),
    }
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(node.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            owner_references: Some(owners),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
    };
    api.create(&PostParams::default(), &lease).await.map(drop)
}
