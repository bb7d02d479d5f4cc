use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dns::{Kind, PodNames, SharedZone};
use futures::{Stream, StreamExt, pin_mut};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::task::JoinSet;

use crate::RuntimeError;
use crate::watch::Pauses;
use crate::wire::{self, Named};

/// How fresh a zone is. Written by its watches, read by whoever reports it.
#[derive(Debug, Default)]
pub struct NamesStatus {
    /// Since when each watch is lost.
    lost: Mutex<BTreeMap<Kind, Instant>>,
    bad_parts: AtomicU64,
}

impl NamesStatus {
    /// For how long the API server has been out of sight, for any kind; nothing while it is in sight.
    pub fn lost_for(&self) -> Option<Duration> {
        self.lock().values().min().map(Instant::elapsed)
    }

    /// Parts of objects that made no sense and were skipped, counted at each event.
    pub fn bad_parts(&self) -> u64 {
        self.bad_parts.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Kind, Instant>> {
        // A map of times is whole at every moment.
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the watch was in sight until now.
    fn lose(&self, kind: Kind) -> bool {
        let mut lost = self.lock();
        let first = !lost.contains_key(&kind);
        lost.entry(kind).or_insert_with(Instant::now);
        first
    }

    fn find(&self, kind: Kind) {
        if self.lock().remove(&kind).is_some() {
            tracing::info!(?kind, "watch is back");
        }
    }
}

/// Keeps a zone in step with the API until `shutdown` resolves. Each event changes what it names and nothing else.
/// With `labels`, a label selector, only the Services, EndpointSlices and Pods that it fits are seen.
///
/// # Errors
/// [`RuntimeError::Panicked`] or [`RuntimeError::WatchEnded`], both bugs. An API server that is away is none: what
/// is known stays.
pub async fn run_names(
    client: Client,
    zone: Arc<SharedZone>,
    status: Arc<NamesStatus>,
    labels: Option<&str>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RuntimeError> {
    let mut watches = JoinSet::new();
    let all = watcher::Config::default();
    let fitting = labels.map_or_else(|| all.clone(), |labels| all.clone().labels(labels));
    let verified = zone.read().config().pods == PodNames::Verified;
    watches.spawn(watch::<wire::Service>(client.clone(), fitting.clone(), zone.clone(), status.clone()));
    watches.spawn(watch::<wire::EndpointSlice>(
        client.clone(),
        fitting.clone(),
        zone.clone(),
        status.clone(),
    ));
    watches.spawn(watch::<wire::Namespace>(client.clone(), all, zone.clone(), status.clone()));
    if verified {
        watches.spawn(watch::<wire::Pod>(client, fitting, zone, status));
    }
    tokio::select! {
        () = shutdown => Ok(()),
        Some(ended) = watches.join_next() => match ended {
            Ok(()) => Err(RuntimeError::WatchEnded),
            Err(panic) => Err(RuntimeError::Panicked(panic)),
        },
    }
}

async fn watch<K: Named>(
    client: Client,
    config: watcher::Config,
    zone: Arc<SharedZone>,
    status: Arc<NamesStatus>,
) {
    let events = watcher(Api::<K>::all(client), config).backoff(Pauses::default());
    follow(events, &zone, &status).await;
}

async fn follow<K: Named>(
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    zone: &SharedZone,
    status: &NamesStatus,
) {
    pin_mut!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => zone.change(|zone| zone.begin_listing(K::KIND)),
            Ok(Event::InitApply(object)) => apply(&object, zone, status),
            Ok(Event::InitDone) => {
                status.find(K::KIND);
                zone.change(|zone| zone.end_listing(K::KIND));
            }
            Ok(Event::Apply(object)) => {
                status.find(K::KIND);
                apply(&object, zone, status);
            }
            Ok(Event::Delete(object)) => {
                status.find(K::KIND);
                if let Some(key) = object.named_key() {
                    zone.change(|zone| zone.delete(&key));
                }
            }
            Err(error) if status.lose(K::KIND) => {
                tracing::warn!(kind = ?K::KIND, %error, "watch lost, the names that are known stay");
            }
            Err(error) => tracing::debug!(kind = ?K::KIND, %error, "watch still lost"),
        }
    }
}

/// What an object says; one that no longer says anything takes its former state away.
fn apply<K: Named>(object: &K, zone: &SharedZone, status: &NamesStatus) {
    let parsed = object.named();
    for error in &parsed.errors {
        tracing::warn!(object = ?object.named_key(), %error, "part of an object skipped");
    }
    status.bad_parts.fetch_add(u64::try_from(parsed.errors.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
    match (parsed.value, object.named_key()) {
        (Some(object), _) => zone.change(|zone| zone.apply(object)),
        (None, Some(key)) => zone.change(|zone| zone.delete(&key)),
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use dns::{Name, Query, Reply, Zone, ZoneConfig, answer};
    use futures::stream;
    use serde_json::{Value, json};

    use super::*;

    fn object<K: Named>(value: Value) -> K {
        serde_json::from_value(value).unwrap()
    }

    fn shared() -> Arc<SharedZone> {
        SharedZone::new(Zone::new(ZoneConfig {
            pods: PodNames::Insecure,
            ..ZoneConfig::new(Name::parse("cluster.local").unwrap())
        }))
    }

    /// Answers and response code for an address query.
    fn ask(zone: &SharedZone, name: &str) -> (u8, u16) {
        let mut message = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(Name::parse(name).unwrap().wire());
        message.extend_from_slice(&[0, 1, 0, 1]);
        let query = Query::parse(&message).unwrap();
        let mut reply = Reply::to(&query, None);
        answer(&zone.read(), &query, &mut reply);
        let bytes = reply.finish();
        (bytes[7], u16::from(bytes[3] & 15))
    }

    #[tokio::test]
    async fn events_become_names_and_a_lost_watch_takes_nothing_away() {
        let (zone, status) = (shared(), NamesStatus::default());
        let db = "db-0.db.default.svc.cluster.local";
        assert_eq!(ask(&zone, db), (0, 2), "not in sync");
        let namespace = object::<wire::Namespace>(json!({"metadata": {"name": "default"}}));
        let listed = vec![Ok(Event::Init), Ok(Event::InitApply(namespace)), Ok(Event::InitDone)];
        follow(stream::iter(listed), &zone, &status).await;
        let service = object::<wire::Service>(json!({
            "metadata": {"name": "db", "namespace": "default"},
            "spec": {"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 5432}]},
        }));
        let listed = vec![Ok(Event::Init), Ok(Event::InitApply(service)), Ok(Event::InitDone)];
        follow(stream::iter(listed), &zone, &status).await;
        let slice = object::<wire::EndpointSlice>(json!({
            "metadata": {"name": "db-x", "namespace": "default", "labels": {"kubernetes.io/service-name": "db"}},
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["10.244.1.7"], "hostname": "db-0"},
                {"addresses": ["10.244.1.8"], "conditions": {"ready": false}},
                {"addresses": ["nonsense"]},
            ],
        }));
        let lost = Err(watcher::Error::NoResourceVersion);
        let listed = vec![Ok(Event::Init), Ok(Event::InitApply(slice.clone())), Ok(Event::InitDone), lost];
        follow(stream::iter(listed), &zone, &status).await;
        assert_eq!(ask(&zone, db), (1, 0));
        assert_eq!(ask(&zone, "db.default.svc.cluster.local"), (1, 0), "ready ones only");
        assert_eq!(status.bad_parts(), 1);
        assert!(status.lost_for().is_some());
        follow(stream::iter(vec![Ok(Event::Delete(slice))]), &zone, &status).await;
        assert_eq!(ask(&zone, db), (0, 3));
        assert!(status.lost_for().is_none());
    }
}
