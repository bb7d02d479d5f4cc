//! Events about pods and the node: the same thing again counts up the event that is there.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tracing::debug;

use super::ports::{PodEvent, PodRef, Severity};
use super::status::time;

/// Who reports, as kubectl shows it.
const COMPONENT: &str = "kubelet";
/// Events waiting to be written; what comes when so many wait is dropped, for events are hints.
const QUEUE: usize = 1000;
/// Series remembered for counting up.
const REMEMBERED: usize = 4096;
/// A request that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Takes events and writes them in order, in a task of its own.
#[derive(Debug, Clone)]
pub struct Recorder {
    node: String,
    queue: mpsc::Sender<(ObjectReference, PodEvent, Timestamp)>,
}

/// What makes two events the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    uid: String,
    field: Option<String>,
    reason: &'static str,
    message: String,
}

/// An event that was written.
#[derive(Debug, Clone)]
struct Written {
    name: String,
    count: i32,
    last: Timestamp,
}

impl Recorder {
    /// Starts the task; it ends with the last recorder.
    #[must_use]
    pub fn start(client: Client, node: String) -> Self {
        let (queue, mut events) = mpsc::channel(QUEUE);
        let name = node.clone();
        tokio::spawn(async move {
            let mut known = BTreeMap::new();
            while let Some((about, event, at)) = events.recv().await {
                let write = write(&client, &node, &mut known, &about, &event, at);
                let reason = event.reason;
                match tokio::time::timeout(TIMEOUT, write).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => debug!(about = about.name, reason, %error, "event not written"),
                    Err(_) => debug!(about = about.name, reason, "event not written in time"),
                }
            }
        });
        Self { node: name, queue }
    }

    /// Records an event about a pod; never waits.
    pub fn record(&self, pod: PodRef, event: PodEvent) {
        let field_path = event.container.as_ref().map(|container| {
            let list = if container.init { "initContainers" } else { "containers" };
            format!("spec.{list}{{{}}}", container.name)
        });
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(pod.namespace),
            name: Some(pod.name),
            uid: Some(pod.uid),
            field_path,
            ..ObjectReference::default()
        };
        self.put(about, event);
    }

    /// Records an event about the node; never waits.
    pub fn record_node(&self, reason: &'static str, message: String) {
        let about = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(self.node.clone()),
            // Kubelets know the name only, and kubectl looks for either.
            uid: Some(self.node.clone()),
            ..ObjectReference::default()
        };
        self.put(about, PodEvent { severity: Severity::Normal, reason, message, container: None });
    }

    fn put(&self, about: ObjectReference, event: PodEvent) {
        if self.queue.try_send((about, event, Timestamp::now())).is_err() {
            debug!("too many events wait: one dropped");
        }
    }
}

async fn write(
    client: &Client,
    node: &str,
    known: &mut BTreeMap<Series, Written>,
    about: &ObjectReference,
    event: &PodEvent,
    at: Timestamp,
) -> kube::Result<()> {
    let namespace = about.namespace.as_deref().unwrap_or("default");
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let series = Series {
        uid: about.uid.clone().unwrap_or_default(),
        field: about.field_path.clone(),
        reason: event.reason,
        message: event.message.clone(),
    };
    if let Some(written) = known.get_mut(&series) {
        written.count = written.count.saturating_add(1);
        written.last = at;
        let patch = serde_json::json!({"count": written.count, "lastTimestamp": time(at)});
        match api.patch(&written.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            // Events are not kept for ever: then it is a new one.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => return other.map(drop),
        }
    }
    let created = new_event(node, namespace, about, event, at);
    let name = created.metadata.name.clone().unwrap_or_default();
    api.create(&PostParams::default(), &created).await?;
    if known.len() >= REMEMBERED
        && let Some(oldest) =
            known.iter().min_by_key(|(_, written)| written.last).map(|(series, _)| series.clone())
    {
        known.remove(&oldest);
    }
    known.insert(series, Written { name, count: 1, last: at });
    Ok(())
}

fn new_event(node: &str, namespace: &str, about: &ObjectReference, event: &PodEvent, at: Timestamp) -> Event {
    // As everywhere in Kubernetes: the object's name and the time in nanoseconds. So events that happened within one
    // second, which is all that their timestamps tell, are listed in order.
    let unique = format!("{:016x}", at.as_nanosecond());
    let mut name = about.name.clone().unwrap_or_default();
    name.truncate(253 - 1 - unique.len());
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{unique}")),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: about.clone(),
        type_: Some(
            match event.severity {
                Severity::Normal => "Normal",
                Severity::Warning => "Warning",
            }
            .to_owned(),
        ),
        reason: Some(event.reason.to_owned()),
        message: Some(event.message.chars().take(1024).collect()),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: Some(node.to_owned()) }),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(node.to_owned()),
        first_timestamp: Some(time(at)),
        last_timestamp: Some(time(at)),
        count: Some(1),
        ..Event::default()
    }
}
