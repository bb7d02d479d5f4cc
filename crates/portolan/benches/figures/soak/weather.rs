//! Changes of every sort, all the time: endpoints, ports, node ports, Services that come and go.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use http::{Method, StatusCode};
use load::{Client, Fleet};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::interval;

use crate::rig::{Cluster, Dice};

/// Services beyond the fleet that come and go.
pub const GUESTS: u32 = 100;
/// Between two changes: fifty a second.
const PACE: Duration = Duration::from_millis(20);
/// Requests under way at a time; while nobody answers no more are made.
const IN_FLIGHT: usize = 64;
/// So many Services take turns with the free node ports.
const TURNS: u32 = 50;

/// The changes, and what became of them.
pub struct Weather {
    fleet: Fleet,
    counts: Arc<Counts>,
    ended: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    next: AtomicU32,
    made: AtomicU32,
    /// The API server was away.
    lost: AtomicU32,
    /// What it would not do, and is not asked to: the last of these.
    wrong: Mutex<Option<String>>,
}

/// One request.
struct Change {
    method: Method,
    path: String,
    media: &'static str,
    body: String,
}

impl Weather {
    /// None yet.
    pub fn new(fleet: Fleet) -> Self {
        Self { fleet, counts: Arc::default(), ended: Arc::default(), task: None }
    }

    /// Begins.
    pub fn begin(&mut self, cluster: &Cluster) {
        self.ended = Arc::default();
        let (client, fleet) = (cluster.client.clone(), self.fleet);
        let blow = blow(client, fleet, self.counts.clone(), self.ended.clone());
        self.task = Some(cluster.runtime.spawn(blow));
    }

    /// Ends; begun requests are waited for.
    pub fn end(&mut self, cluster: &Cluster) -> Result<()> {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(task) = self.task.take() {
            cluster.runtime.block_on(task)?;
        }
        let wrong = self.counts.wrong.lock().unwrap_or_else(PoisonError::into_inner).take();
        ensure!(wrong.is_none(), "{}", wrong.unwrap_or_default());
        Ok(())
    }

    /// Changes that were made.
    pub fn made(&self) -> u32 {
        self.counts.made.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} changes ({} lost)", self.made(), self.counts.lost.load(Ordering::Relaxed))
    }
}

async fn blow(client: Client, fleet: Fleet, counts: Arc<Counts>, ended: Arc<AtomicBool>) {
    let mut clock = interval(PACE);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut requests = JoinSet::new();
    let mut dice = Dice::new(counts.next.load(Ordering::Relaxed).into());
    while !ended.load(Ordering::Relaxed) {
        clock.tick().await;
        for change in changes(fleet, &mut dice, counts.next.fetch_add(1, Ordering::Relaxed)) {
            requests.spawn(make(client.clone(), change, counts.clone()));
        }
        while requests.try_join_next().is_some() {}
        while requests.len() > IN_FLIGHT && requests.join_next().await.is_some() {}
    }
    while requests.join_next().await.is_some() {}
}

async fn make(client: Client, change: Change, counts: Arc<Counts>) {
    let Change { method, path, media, body } = change;
    let answer = client.send(method.clone(), &path, media, body.clone().into()).await;
    match answer.as_ref().map(|answer| answer.code) {
        // A guest that has come or gone already, and a node port that another one has not given back yet.
        Ok(StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY) => {}
        Ok(code) if code.is_success() => {
            counts.made.fetch_add(1, Ordering::Relaxed);
        }
        Ok(code) if !code.is_server_error() && code != StatusCode::TOO_MANY_REQUESTS => {
            let wrong = format!("{method} {path} {body}: {answer:?}");
            *counts.wrong.lock().unwrap_or_else(PoisonError::into_inner) = Some(wrong);
        }
        Ok(_) | Err(_) => {
            counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The next change, in as many requests as it takes.
fn changes(fleet: Fleet, dice: &mut Dice, count: u32) -> Vec<Change> {
    let number = dice.below(fleet.services);
    let guest = fleet.services + dice.below(GUESTS);
    match dice.below(100) {
        0..70 => {
            let place = format!("/endpoints/{}/addresses/0", dice.below(fleet.endpoints.min(100)));
            vec![replace(Fleet::slice_path(number, 0), &place, &Fleet::new_address(count).to_string().into())]
        }
        70..78 => {
            let port = 10_000 + count % 20_000;
            vec![replace(Fleet::service_path(number), "/spec/ports/0/port", &port.into())]
        }
        78..83 => {
            let turns = (fleet.services / 20).clamp(1, TURNS);
            let path = Fleet::service_path(dice.below(turns) * 20 + 7);
            vec![replace(path, "/spec/ports/0/nodePort", &Fleet::free_node_port(count).into())]
        }
        83..90 => {
            let mut changes = vec![post(Fleet::services_path(guest), &fleet.service(guest))];
            changes.extend(fleet.slices(guest).iter().map(|slice| post(Fleet::slices_path(guest), slice)));
            changes
        }
        90..97 => {
            let mut changes = vec![delete(Fleet::service_path(guest))];
            changes.extend((0..fleet.slices_each()).map(|slice| delete(Fleet::slice_path(guest, slice))));
            changes
        }
        _ => {
            let some = dice.below(fleet.endpoints.min(100) + 1);
            let endpoints: Vec<Value> = (0..some).map(|one| fleet.endpoint(number, one)).collect();
            vec![replace(Fleet::slice_path(number, 0), "/endpoints", &endpoints.into())]
        }
    }
}

fn replace(path: String, place: &str, value: &Value) -> Change {
    let body = json!([{"op": "replace", "path": place, "value": value}]).to_string();
    Change { method: Method::PATCH, path, media: "application/json-patch+json", body }
}

fn post(path: String, object: &Value) -> Change {
    Change { method: Method::POST, path, media: "application/json", body: object.to_string() }
}

fn delete(path: String) -> Change {
    Change { method: Method::DELETE, path, media: "application/json", body: String::new() }
}
