//! The node's own objects: its Node with status, and its Lease.

mod facts;
mod lease;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use ipnet::Ipv4Net;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tracing::{info, warn};

use self::facts::MachineFacts;
use super::api::Retry;
use super::events::Recorder;
use super::status::time;

/// What a container of this machine can have at most.
#[must_use]
pub fn machine_capacity() -> super::quantity::Amounts {
    super::quantity::Amounts::of(Some(&MachineFacts::read().capacity()))
}

/// How often the Node's status is written though nothing has changed.
const STATUS_PERIOD: Duration = Duration::from_secs(300);
/// How long a node that was ready before may take until it says that it is not.
const COMING_BACK: Duration = Duration::from_secs(3);

/// What makes the node's objects.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: std::net::Ipv4Addr,
    /// Labels beside the well-known ones.
    pub labels: BTreeMap<String, String>,
    /// Port of the kubelet API.
    pub kubelet_port: u16,
    /// How long others take the node for alive after a renewal of its Lease.
    pub lease_duration: Duration,
}

/// What the agent and this task tell each other.
#[derive(Debug)]
pub struct NodeLink {
    /// Set by the agent: pods can be connected.
    pub network_ready: watch::Receiver<bool>,
    /// Set by this task: the node's range, once the control plane has given one.
    pub pod_range: watch::Sender<Option<Ipv4Net>>,
}

/// Keeps the Node and its Lease until dropped. An API server that is away is waited for.
pub async fn keep(client: Client, config: NodeConfig, mut link: NodeLink, recorder: Recorder) {
    let (uid, known_uid) = watch::channel(None);
    let node =
        OwnNode { api: Api::all(client.clone()), machine: MachineFacts::read(), config, recorder, uid };
    node.recorder.record_node("Starting", "Starting kubelet.".to_owned());
    let lease = lease::keep(client, node.config.name.clone(), node.config.lease_duration, known_uid);
    let object = async {
        if link.pod_range.borrow().is_some() {
            // An agent that comes back will be ready in a moment: it need not say first that it is not.
            let _ = tokio::time::timeout(COMING_BACK, link.network_ready.wait_for(|ready| *ready)).await;
        }
        loop {
            // Not in the call: what `borrow` gives locks the channel, and must not be held while waiting.
            let ready = *link.network_ready.borrow();
            node.register_until_done(ready).await;
            node.follow(&mut link, ready).await;
        }
    };
    tokio::join!(lease, object);
}

struct OwnNode {
    api: Api<core::Node>,
    machine: MachineFacts,
    config: NodeConfig,
    recorder: Recorder,
    /// Tells the Lease whose it is.
    uid: watch::Sender<Option<String>>,
}

impl OwnNode {
    async fn register_until_done(&self, ready: bool) {
        let mut retry = Retry::default();
        while let Err(error) = self.register(ready).await {
            warn!(node = self.config.name, %error, "cannot register the node yet");
            wait(&mut retry).await;
        }
        info!(node = self.config.name, "node registered");
    }

    async fn register(&self, ready: bool) -> kube::Result<()> {
        let labels = self.labels();
        let node = core::Node {
            metadata: ObjectMeta {
                name: Some(self.config.name.clone()),
                labels: Some(labels.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(core::NodeSpec::default()),
            ..core::Node::default()
        };
        match self.api.create(&PostParams::default(), &node).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let patch = serde_json::json!({"metadata": {"labels": labels}});
                self.api.patch(&self.config.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
            }
            Err(error) => return Err(error),
        }
        self.write_status(ready).await
    }

    /// Reports the range and keeps the status; returns when the Node has been deleted.
    /// `written` is the readiness that the Node shows.
    async fn follow(&self, link: &mut NodeLink, mut written: bool) {
        let selector = format!("metadata.name={}", self.config.name);
        let events =
            watcher(self.api.clone(), watcher::Config::default().fields(&selector)).backoff(Retry::default());
        tokio::pin!(events);
        let mut seen = false;
        let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + STATUS_PERIOD, STATUS_PERIOD);
        let mut retry = Retry::default();
        loop {
            let ready = *link.network_ready.borrow_and_update();
            if ready != written {
                match self.write_status(ready).await {
                    Ok(()) => written = ready,
                    Err(error) => {
                        warn!(node = self.config.name, %error, "cannot write the node's status yet");
                        wait(&mut retry).await;
                        continue;
                    }
                }
            }
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(watcher::Event::Init)) => seen = false,
                    Some(Ok(watcher::Event::Apply(node) | watcher::Event::InitApply(node))) => {
                        seen = true;
                        report_range(&node, link);
                        self.uid.send_if_modified(|known| {
                            let news = *known != node.metadata.uid;
                            known.clone_from(&node.metadata.uid);
                            news
                        });
                        // While this node was not heard of, its conditions were made unknown.
                        written = written && !is_given_up(&node);
                    }
                    Some(Ok(watcher::Event::InitDone)) if seen => {}
                    Some(Ok(watcher::Event::Delete(_) | watcher::Event::InitDone)) | None => return,
                    Some(Err(error)) => warn!(node = self.config.name, %error, "lost sight of the node"),
                },
                changed = link.network_ready.changed() => if changed.is_err() {
                    // The agent is ending.
                    return std::future::pending().await;
                },
                _ = beat.tick() => if let Err(error) = self.write_status(written).await {
                    warn!(node = self.config.name, %error, "cannot write the node's status");
                },
            }
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let well_known = [
            ("kubernetes.io/hostname", self.config.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", facts::architecture()),
            ("beta.kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", facts::architecture()),
        ];
        let mut labels = self.config.labels.clone();
        labels.extend(well_known.map(|(name, value)| (name.to_owned(), value.to_owned())));
        labels
    }

    async fn write_status(&self, ready: bool) -> kube::Result<()> {
        let before = self.api.get(&self.config.name).await?.status.unwrap_or_default();
        let status = self.status(ready, &before, Timestamp::now());
        let patch = serde_json::json!({ "status": status });
        self.api.patch_status(&self.config.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        let change = match (said_ready(&before), ready) {
            (Some(false) | None, true) => Some("NodeReady"),
            (Some(true), false) => Some("NodeNotReady"),
            (Some(true), true) | (Some(false) | None, false) => None,
        };
        if let Some(reason) = change {
            let message = format!("Node {} status is now: {reason}", self.config.name);
            self.recorder.record_node(reason, message);
        }
        Ok(())
    }

    fn status(&self, ready: bool, before: &core::NodeStatus, now: Timestamp) -> core::NodeStatus {
        let ready = if ready {
            ("Ready", "True", "KubeletReady", "kubelet is posting ready status")
        } else {
            ("Ready", "False", "KubeletNotReady", "the pod network is not set up yet")
        };
        let all = [
            (
                "MemoryPressure",
                "False",
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ),
            ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ready,
        ];
        let old = before.conditions.as_deref().unwrap_or_default();
        let conditions = all.map(|(kind, status, reason, message)| {
            let same = old.iter().find(|condition| condition.type_ == kind && condition.status == status);
            core::NodeCondition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message.to_owned()),
                last_heartbeat_time: Some(time(now)),
                last_transition_time: same
                    .and_then(|same| same.last_transition_time.clone())
                    .or_else(|| Some(time(now))),
            }
        });
        let address = |kind: &str, address: String| core::NodeAddress { type_: kind.to_owned(), address };
        core::NodeStatus {
            addresses: Some(vec![
                address("InternalIP", self.config.address.to_string()),
                address("Hostname", self.config.name.clone()),
            ]),
            capacity: Some(self.machine.capacity()),
            allocatable: Some(self.machine.capacity()),
            conditions: Some(conditions.to_vec()),
            daemon_endpoints: Some(core::NodeDaemonEndpoints {
                kubelet_endpoint: Some(core::DaemonEndpoint { port: self.config.kubelet_port.into() }),
            }),
            node_info: Some(self.machine.node_info()),
            ..core::NodeStatus::default()
        }
    }
}

/// Whether the node said before that it is ready; `None` when it said nothing.
fn said_ready(before: &core::NodeStatus) -> Option<bool> {
    let conditions = before.conditions.as_deref().unwrap_or_default();
    conditions.iter().find(|condition| condition.type_ == "Ready").map(|ready| ready.status == "True")
}

/// Whether the control plane says of the node that nobody knows how it is.
fn is_given_up(node: &core::Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "Unknown")
}

fn report_range(node: &core::Node, link: &NodeLink) {
    let range =
        node.spec.as_ref().and_then(|spec| spec.pod_cidr.as_deref()).and_then(|text| text.parse().ok());
    link.pod_range.send_if_modified(|known| {
        let news = range.is_some() && *known != range;
        if news {
            *known = range;
        }
        news
    });
}

async fn wait(retry: &mut Retry) {
    tokio::time::sleep(retry.next().unwrap_or_default()).await;
}
