//! Events: what `kubectl describe` shows at the end.
//!
//! Recording never holds a controller up: events wait in bounded lines, one per writer. All events about one object go through
//! the same line, so that they keep their order. When it is full, an event is dropped and logged. The same event again raises
//! its count instead of making another object.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use tokio::sync::mpsc;

/// Writers at work side by side.
const LINES: usize = 8;
/// Events that may wait in one line.
const LINE: usize = 1024;
/// Different events that are remembered for counting; past it, all are forgotten and counting starts anew.
const REMEMBERED: usize = 4096;

/// How serious an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Severity {
    /// What is meant to happen.
    Normal,
    /// Something a person may want to look at.
    Warning,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Said {
    component: &'static str,
    severity: Severity,
    reason: &'static str,
    message: String,
    uid: String,
}

#[derive(Debug)]
struct Recorded {
    about: ObjectReference,
    said: Said,
    at: Timestamp,
}

/// Where controllers say what they did.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    lines: Vec<mpsc::Sender<Recorded>>,
}

/// The other end of a [`Recorder`].
pub(crate) struct Writers(Vec<Writer>);

/// Writes the events of one line.
struct Writer {
    client: Client,
    line: mpsc::Receiver<Recorded>,
    known: HashMap<Said, (String, i32)>,
}

/// A recorder and the writers that must run for it.
pub(crate) fn recorder(client: &Client) -> (Recorder, Writers) {
    let line = |_| {
        let (sender, receiver) = mpsc::channel(LINE);
        (sender, Writer { client: client.clone(), line: receiver, known: HashMap::new() })
    };
    let (lines, writers) = (0..LINES).map(line).unzip();
    (Recorder { lines }, Writers(writers))
}

impl Recorder {
    /// Records an event about `object`. `component` is the source that kubectl shows in the column FROM.
    pub(crate) fn record<K>(
        &self,
        component: &'static str,
        object: &K,
        severity: Severity,
        reason: &'static str,
        message: String,
    ) where
        K: Resource<DynamicType = ()>,
    {
        self.record_at(component, object, severity, reason, message, Timestamp::now());
    }

    /// Records what happened at `at`.
    pub(crate) fn record_at<K>(
        &self,
        component: &'static str,
        object: &K,
        severity: Severity,
        reason: &'static str,
        message: String,
        at: Timestamp,
    ) where
        K: Resource<DynamicType = ()>,
    {
        let about = object.object_ref(&());
        let uid = about.uid.clone().unwrap_or_default();
        let said = Said { component, severity, reason, message, uid };
        let mut hasher = DefaultHasher::new();
        said.uid.hash(&mut hasher);
        // The remainder is below the number of lines, which is not zero.
        let line = usize::try_from(hasher.finish() % LINES as u64).unwrap_or(0);
        let Some(line) = self.lines.get(line) else { return };
        if let Err(lost) = line.try_send(Recorded { about, said, at }) {
            tracing::warn!(event = %lost, "too many events wait to be written; one is dropped");
        }
    }
}

impl Writers {
    /// Writes events for ever.
    pub(crate) async fn run(self) {
        join_all(self.0.into_iter().map(Writer::run)).await;
    }
}

impl Writer {
    async fn run(mut self) {
        while let Some(recorded) = self.line.recv().await {
            if let Err(error) = self.write(&recorded).await {
                tracing::debug!(reason = recorded.said.reason, %error, "event not written");
            }
        }
    }

    async fn write(&mut self, recorded: &Recorded) -> Result<(), kube::Error> {
        let namespace = recorded.about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        if let Some((name, count)) = self.known.get_mut(&recorded.said) {
            let again = serde_json::json!({"count": *count + 1, "lastTimestamp": Time(recorded.at)});
            match api.patch(name, &PatchParams::default(), &Patch::Merge(&again)).await {
                Ok(_) => {
                    *count += 1;
                    return Ok(());
                }
                // It was deleted meanwhile: begin again.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let event = event(recorded, &namespace, &unique_name(&recorded.about, recorded.at));
        api.create(&PostParams::default(), &event).await?;
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(recorded.said.clone(), (event.metadata.name.unwrap_or_default(), 1));
        Ok(())
    }
}

/// The object's name and the time in nanoseconds, as client-go names events. So events that happened within one second,
/// which is all that their timestamps tell, are listed in order.
fn unique_name(about: &ObjectReference, at: Timestamp) -> String {
    let unique = format!("{:016x}", at.as_nanosecond());
    let mut name = about.name.clone().unwrap_or_default();
    name.truncate(253 - 1 - unique.len());
    format!("{name}.{unique}")
}

fn event(recorded: &Recorded, namespace: &str, name: &str) -> Event {
    let at = Time(recorded.at);
    Event {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: recorded.about.clone(),
        type_: Some(recorded.said.severity.as_str().to_owned()),
        reason: Some(recorded.said.reason.to_owned()),
        message: Some(recorded.said.message.clone()),
        source: Some(EventSource { component: Some(recorded.said.component.to_owned()), host: None }),
        reporting_component: Some(recorded.said.component.to_owned()),
        count: Some(1),
        first_timestamp: Some(at.clone()),
        last_timestamp: Some(at),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_about_whom_what_and_when() {
        let recorded = Recorded {
            about: ObjectReference {
                kind: Some("Pod".to_owned()),
                name: Some("httpd".to_owned()),
                ..ObjectReference::default()
            },
            said: Said {
                component: "default-scheduler",
                severity: Severity::Normal,
                reason: "Scheduled",
                message: "Successfully assigned default/httpd to node1".to_owned(),
                uid: String::new(),
            },
            at: "2026-11-21T20:00:00.5Z".parse().unwrap(),
        };
        let written = serde_json::to_value(event(&recorded, "default", "httpd.1")).unwrap();
        assert_eq!(written["type"], "Normal");
        assert_eq!(written["count"], 1);
        assert_eq!(written["lastTimestamp"], "2026-11-21T20:00:00Z");
        assert_eq!(written["involvedObject"]["name"], "httpd");
        assert_eq!(unique_name(&recorded.about, recorded.at), "httpd.18ea27d5c22fe500");
    }
}
