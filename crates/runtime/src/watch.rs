use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::{Stream, StreamExt, pin_mut};
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, watcher};
use model::{Kind, Object, ObjectKey, ParseError};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::ProxyStatus;
use crate::events::{Recorder, Remark};
use crate::wire::Wire;

/// What happens to the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A full listing begins.
    BeginListing(Kind),
    /// The newest state of an object.
    Apply(Object),
    /// An object is gone.
    Delete(ObjectKey),
    /// The listing is complete.
    EndListing(Kind),
    /// What the next object says beside the model.
    Aside(Aside),
}

/// What an object says that is nothing to plan from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aside {
    /// When that happened which the object was changed for.
    ChangedAt(SystemTime),
    /// Whether the node is about to go.
    NodeLeaves(bool),
}

/// Lists and watches one kind for as long as anybody listens to `events`.
///
/// A lost connection or an expired resource version only leads to another listing. Attempts are 100 ms to
/// 5 s apart: client-go's 30 s would leave a node behind for long after a control plane restarts.
pub(crate) async fn watch<K: Wire>(
    api: Api<K>,
    config: watcher::Config,
    status: Arc<ProxyStatus>,
    recorder: Recorder,
    events: mpsc::Sender<Event>,
) {
    forward(watcher(api, config).backoff(Pauses::default()), &status, Some(&recorder), &events).await;
}

async fn forward<K: Wire>(
    stream: impl Stream<Item = watcher::Result<watcher::Event<K>>>,
    status: &ProxyStatus,
    recorder: Option<&Recorder>,
    events: &mpsc::Sender<Event>,
) {
    pin_mut!(stream);
    let mut lost = false;
    while let Some(item) = stream.next().await {
        let aside = match &item {
            // What was before us is not ours to have been quick about.
            Ok(watcher::Event::InitApply(object)) => {
                object.aside().filter(|aside| !matches!(aside, Aside::ChangedAt(_)))
            }
            Ok(watcher::Event::Apply(object)) => object.aside(),
            _ => None,
        };
        if let Some(aside) = aside
            && events.send(Event::Aside(aside)).await.is_err()
        {
            return;
        }
        let event = match item {
            Ok(watcher::Event::Init) => Some(Event::BeginListing(K::KIND)),
            Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                read(&object, status, recorder)
            }
            Ok(watcher::Event::Delete(object)) => object.object_key().map(Event::Delete),
            Ok(watcher::Event::InitDone) => Some(Event::EndListing(K::KIND)),
            Err(error) => {
                if lost {
                    tracing::debug!(kind = ?K::KIND, %error, "watch still lost");
                } else {
                    tracing::warn!(kind = ?K::KIND, %error, "watch lost, what is known stays");
                }
                lost = true;
                continue;
            }
        };
        if lost && matches!(event, Some(Event::EndListing(_) | Event::Apply(_) | Event::Delete(_))) {
            tracing::info!(kind = ?K::KIND, "watch is back");
            lost = false;
        }
        let Some(event) = event else {
            continue;
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// Pauses between attempts to reach the API server, each twice the one before.
///
/// They are short again once no attempt has failed for a while. An item of the stream without an error is
/// no sign of that, since every attempt begins with one.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    last: Option<(Instant, Duration)>,
}

impl Pauses {
    const SHORTEST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);
    const FORGOTTEN_AFTER: Duration = Duration::from_secs(15);
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let pause = match self.last {
            Some((at, pause)) if now - at < Self::FORGOTTEN_AFTER => (pause * 2).min(Self::LONGEST),
            Some(_) | None => Self::SHORTEST,
        };
        self.last = Some((now, pause));
        Some(pause)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {}
}

/// What an object says; one that no longer says anything to us takes its former state away.
fn read<K: Wire>(object: &K, status: &ProxyStatus, recorder: Option<&Recorder>) -> Option<Event> {
    let parsed = object.parse();
    for error in &parsed.errors {
        tracing::warn!(kind = ?K::KIND, object = ?object.object_key(), %error, "part of an object skipped");
    }
    status.skipped(parsed.errors.len());
    if let Some(recorder) = recorder {
        parsed.errors.iter().for_each(|error| recorder.say(remark(object, error)));
    }
    match parsed.value {
        Some(object) => Some(Event::Apply(object)),
        None => object.object_key().map(Event::Delete),
    }
}

fn remark<K: Wire>(object: &K, error: &ParseError) -> Remark {
    Remark {
        kind: (K::api_version(&()).into_owned(), K::kind(&()).into_owned()),
        namespace: object.meta().namespace.clone(),
        name: object.meta().name.clone().unwrap_or_default(),
        uid: object.meta().uid.clone(),
        reason: "PartNotServed",
        message: error.to_string(),
    }
}

#[cfg(test)]
mod api_tests;
#[cfg(test)]
mod tests;
