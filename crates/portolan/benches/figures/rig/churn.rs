//! Changes that go on beside what is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use load::{Client, Fleet};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::interval;

use super::Cluster;

/// Changes of Services with odd numbers, at a steady pace; all but one in twenty replace an endpoint. Services with node
/// ports are left alone.
pub struct Churn<'a> {
    cluster: &'a Cluster,
    ended: Arc<AtomicBool>,
    /// Returns how many were made, and how many of them were refused.
    task: JoinHandle<(u32, u32)>,
}

impl<'a> Churn<'a> {
    /// Begins to make changes, at most so many.
    pub fn start(cluster: &'a Cluster, a_second: u32, most: u32) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let (client, fleet) = (cluster.client.clone(), cluster.fleet);
        let pace = Duration::from_secs(1) / a_second;
        let task = cluster.runtime.spawn(run(client, fleet, pace, most, ended.clone()));
        Self { cluster, ended, task }
    }

    /// Ends it, and returns how many changes there were.
    pub fn stop(self) -> Result<u32> {
        self.ended.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits until all changes are made.
    pub fn finish(self) -> Result<u32> {
        let (made, refused) = self.cluster.runtime.block_on(self.task)?;
        ensure!(refused == 0, "{refused} of {made} changes beside the measured ones were refused");
        Ok(made)
    }
}

async fn run(client: Client, fleet: Fleet, pace: Duration, most: u32, ended: Arc<AtomicBool>) -> (u32, u32) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut clock = interval(pace);
    let mut requests = tokio::task::JoinSet::new();
    let (mut made, mut refused) = (0, 0);
    while made < most && !ended.load(Ordering::Relaxed) {
        clock.tick().await;
        let (path, patch) = change(fleet, NEXT.fetch_add(1, Ordering::Relaxed));
        let client = client.clone();
        requests.spawn(async move {
            client.patch(&path, patch).await.is_ok_and(|answer| answer.code.is_success())
        });
        made += 1;
        while let Some(done) = requests.try_join_next() {
            refused += u32::from(!done.unwrap_or(false));
        }
    }
    while let Some(done) = requests.join_next().await {
        refused += u32::from(!done.unwrap_or(false));
    }
    (made, refused)
}

/// Where a change is made, and what it is.
fn change(fleet: Fleet, count: u32) -> (String, String) {
    let odd = count.wrapping_mul(6271) % (fleet.services / 2) * 2 + 1;
    let number = if Fleet::node_port(odd).is_some() { odd - 2 } else { odd };
    if count % 20 == 19 {
        let value = 30_000 + count % 30_000;
        let patch = json!([{"op": "replace", "path": "/spec/ports/0/port", "value": value}]);
        return (Fleet::service_path(number), patch.to_string());
    }
    let value = Fleet::new_address(count * 2 + 1);
    let patch = json!([{"op": "replace", "path": "/endpoints/0/addresses/0", "value": value}]);
    (Fleet::slice_path(number, 0), patch.to_string())
}
