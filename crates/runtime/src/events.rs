//! Events on objects that cannot be served as they are: what `kubectl describe` shows at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use model::{NodeName, ServiceKey};
use proxy::Contest;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::ProxyStatus;

/// Who reports, as kubectl shows it.
const COMPONENT: &str = "portolan-proxy";
/// Events that may wait to be written; further ones are dropped, for events are hints.
const QUEUE: usize = 256;
/// Things that were said and are remembered.
const REMEMBERED: usize = 4096;
/// The same thing is not said again before.
const AGAIN: Duration = Duration::from_secs(1800);
/// Events at once, and how often one more: thousands of bad objects must not burden the API server.
const BURST: u32 = 25;
const REFILL: Duration = Duration::from_secs(2);
/// A request that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The longest message of an Event, in characters.
const LONGEST: usize = 1024;
/// The longest name of an object, in bytes.
const LONGEST_NAME: usize = 253;

/// Something to say about an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Remark {
    /// The object's kind, with its API version.
    pub(crate) kind: (String, String),
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) uid: Option<String>,
    /// A word for machines.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// Takes remarks and writes them as Events, in a task of its own.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<Remark>,
    status: Arc<ProxyStatus>,
}

impl Remark {
    /// A Service of which only the name is known.
    pub(crate) fn on_service(key: &ServiceKey, reason: &'static str, message: String) -> Self {
        Self {
            kind: ("v1".to_owned(), "Service".to_owned()),
            namespace: Some(key.namespace.to_string()),
            name: key.name.to_string(),
            uid: None,
            reason,
            message,
        }
    }

    /// A Service that does not get an address or a port.
    pub(crate) fn of_contest(contest: &Contest) -> Self {
        let message = format!("{} is served for {}, which comes first", contest.door, contest.holder);
        Self::on_service(&contest.service, "AlreadyClaimed", message)
    }
}

impl Recorder {
    /// Starts the task; it ends with the last recorder.
    pub(crate) fn start(client: Client, node: NodeName, status: Arc<ProxyStatus>) -> Self {
        let (queue, mut remarks) = mpsc::channel::<Remark>(QUEUE);
        let told = status.clone();
        tokio::spawn(async move {
            let mut measure = Measure::new(Instant::now());
            while let Some(remark) = remarks.recv().await {
                match measure.may_say(&remark, Instant::now()) {
                    Say::Yes => write(&client, &node, &remark).await,
                    Say::SaidAlready => {}
                    Say::TooMuch => told.dropped_event(),
                }
            }
        });
        Self { queue, status }
    }

    /// Says something; never waits.
    pub(crate) fn say(&self, remark: Remark) {
        if self.queue.try_send(remark).is_err() {
            self.status.dropped_event();
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Say {
    Yes,
    SaidAlready,
    TooMuch,
}

/// How much has been said.
struct Measure {
    said: BTreeMap<Remark, Instant>,
    left: u32,
    refilled: Instant,
}

impl Measure {
    fn new(now: Instant) -> Self {
        Self { said: BTreeMap::new(), left: BURST, refilled: now }
    }

    fn may_say(&mut self, remark: &Remark, now: Instant) -> Say {
        if self.said.get(remark).is_some_and(|at| now - *at < AGAIN) {
            return Say::SaidAlready;
        }
        let more = (now - self.refilled).as_secs() / REFILL.as_secs();
        if more > 0 {
            self.left = self.left.saturating_add(u32::try_from(more).unwrap_or(BURST)).min(BURST);
            self.refilled = now;
        }
        if self.left == 0 {
            return Say::TooMuch;
        }
        self.left -= 1;
        if self.said.len() >= REMEMBERED {
            self.said.retain(|_, at| now - *at < AGAIN);
            if self.said.len() >= REMEMBERED {
                self.said.clear();
            }
        }
        self.said.insert(remark.clone(), now);
        Say::Yes
    }
}

async fn write(client: &Client, node: &NodeName, remark: &Remark) {
    // Events about objects without a namespace are kept there.
    let namespace = remark.namespace.as_deref().unwrap_or("default");
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let writing = async {
        let mut remark = remark.clone();
        if remark.uid.is_none() {
            remark.uid = uid_of_service(client, namespace, &remark.name).await;
        }
        let event = event(node, namespace, &remark, Timestamp::now());
        api.create(&PostParams::default(), &event).await
    };
    match timeout(TIMEOUT, writing).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!(object = %remark.name, %error, "event not written"),
        Err(_) => tracing::debug!(object = %remark.name, "event not written in time"),
    }
}

/// kubectl finds an object's Events by its uid. Proxies may list Services, and not get one by its name.
async fn uid_of_service(client: &Client, namespace: &str, name: &str) -> Option<String> {
    let api: Api<Service> = Api::namespaced(client.clone(), namespace);
    let only = ListParams::default().fields(&format!("metadata.name={name}"));
    let found = api.list_metadata(&only).await.ok()?;
    found.items.into_iter().next()?.metadata.uid
}

fn event(node: &NodeName, namespace: &str, remark: &Remark, at: Timestamp) -> Event {
    // The object's name and the time in nanoseconds, as everywhere in Kubernetes.
    let unique = format!("{:016x}", at.as_nanosecond());
    let room = LONGEST_NAME - 1 - unique.len();
    let name: String = remark.name.chars().filter(char::is_ascii).take(room).collect();
    let (api_version, kind) = remark.kind.clone();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{unique}")),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(api_version),
            kind: Some(kind),
            namespace: remark.namespace.clone(),
            name: Some(remark.name.clone()),
            uid: remark.uid.clone(),
            ..ObjectReference::default()
        },
        type_: Some("Warning".to_owned()),
        reason: Some(remark.reason.to_owned()),
        message: Some(remark.message.chars().take(LONGEST).collect()),
        source: Some(EventSource {
            component: Some(COMPONENT.to_owned()),
            host: Some(node.as_str().to_owned()),
        }),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(node.as_str().to_owned()),
        first_timestamp: Some(Time(at)),
        last_timestamp: Some(Time(at)),
        count: Some(1),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remark(number: u32) -> Remark {
        Remark {
            kind: ("v1".to_owned(), "Service".to_owned()),
            namespace: Some("default".to_owned()),
            name: format!("service-{number}"),
            uid: None,
            reason: "Unserved",
            message: "spec.ports[0].port: 0 is no port".to_owned(),
        }
    }

    #[test]
    fn the_same_is_said_once_in_a_while() {
        let start = Instant::now();
        let mut measure = Measure::new(start);
        assert_eq!(measure.may_say(&remark(0), start), Say::Yes);
        assert_eq!(measure.may_say(&remark(0), start + AGAIN / 2), Say::SaidAlready);
        assert_eq!(measure.may_say(&remark(0), start + AGAIN), Say::Yes);
    }

    #[test]
    fn many_bad_objects_are_not_all_told_of_at_once() {
        let start = Instant::now();
        let mut measure = Measure::new(start);
        let said = (0..1000).filter(|number| measure.may_say(&remark(*number), start) == Say::Yes).count();
        assert_eq!(said, 25);
        let later = start + REFILL * 3;
        let said = (0..1000).filter(|number| measure.may_say(&remark(*number), later) == Say::Yes).count();
        assert_eq!(said, 3);
    }

    #[test]
    fn a_name_of_any_length_makes_an_event_s_name() {
        let long = Remark { name: "ä".repeat(40) + &"a".repeat(4000), ..remark(0) };
        let event = event(&"node1".into(), "default", &long, Timestamp::UNIX_EPOCH);
        assert_eq!(event.metadata.name.unwrap().len(), 253);
    }
}
