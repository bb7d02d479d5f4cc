//! How long a change is on its way to each of 100 watchers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use load::{Client, Lines, Report, Samples, Target};
use serde_json::json;

/// 200 writes a second.
const PACE: Duration = Duration::from_millis(5);
const OBJECTS: u32 = 50;
const FOLDER: &str = "/api/v1/namespaces/default/configmaps";

/// How many watch, and how much is written.
#[derive(Clone, Copy)]
pub struct Watching {
    watchers: usize,
    writes: u32,
}

impl Watching {
    /// What figures are made of.
    pub const MEASURED: Self = Self { watchers: 100, writes: 2000 };
    /// Enough to see that events arrive.
    pub const SMOKE: Self = Self { watchers: 5, writes: 60 };

    /// Writes at a steady pace while all watch; each write carries the time at which it was sent.
    pub async fn measure(self, client: &Client, report: &mut Report) {
        for number in 0..OBJECTS {
            let object = json!({"metadata": {"name": format!("watched-{number}")}, "data": {"sent": "none"}});
            assert_eq!(client.post(FOLDER, object.to_string()).await.unwrap().code, StatusCode::CREATED);
        }
        let list = client.get(&format!("{FOLDER}?limit=1")).await.unwrap().json();
        let revision = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let clock = Arc::new(Instant::now());
        let mut watchers = Vec::new();
        for _ in 0..self.watchers {
            let lines = client.watch(&format!("{FOLDER}?watch=1&resourceVersion={revision}")).await.unwrap();
            watchers.push(tokio::spawn(watch(lines, self.writes, Arc::clone(&clock))));
        }
        let acknowledged = write(client, self.writes, &clock).await;
        let (mut from_sent, mut from_acknowledged) = (Samples::default(), Samples::default());
        for watcher in watchers {
            for (number, sent, seen) in watcher.await.unwrap() {
                from_sent.push(seen.saturating_sub(sent));
                from_acknowledged.push(seen.saturating_sub(acknowledged[number as usize]));
            }
        }
        assert_eq!(from_sent.len(), self.watchers * self.writes as usize);
        let what = format!("{} watchers, {} writes/s", self.watchers, 1000 / PACE.as_millis());
        report.row(format!("{what}: sent to seen, p50"), from_sent.percentile(0.5), "ms", None);
        report.row(
            format!("{what}: sent to seen, p99"),
            from_sent.percentile(0.99),
            "ms",
            Some(Target::AtMost(5.0)),
        );
        report.row(format!("{what}: sent to seen, worst"), from_sent.percentile(1.0), "ms", None);
        report.row(format!("{what}: answered to seen, p50"), from_acknowledged.percentile(0.5), "ms", None);
        report.row(format!("{what}: answered to seen, p99"), from_acknowledged.percentile(0.99), "ms", None);
    }
}

/// Writes at the pace, whether or not the writes before are answered; when each was.
async fn write(client: &Client, count: u32, clock: &Arc<Instant>) -> Vec<Duration> {
    let mut ticks = tokio::time::interval(PACE);
    let mut writes = Vec::new();
    for number in 0..count {
        ticks.tick().await;
        let (client, clock) = (client.clone(), Arc::clone(clock));
        writes.push(tokio::spawn(async move {
            let sent = clock.elapsed().as_nanos();
            let body = format!(r#"{{"data":{{"sent":"{number}@{sent}@"}}}}"#);
            let path = format!("{FOLDER}/watched-{}", number % OBJECTS);
            let media = "application/merge-patch+json";
            let answer = client.send(Method::PATCH, &path, media, Bytes::from(body)).await.unwrap();
            assert_eq!(answer.code, StatusCode::OK, "{answer:?}");
            clock.elapsed()
        }));
    }
    let mut acknowledged = Vec::new();
    for write in writes {
        acknowledged.push(write.await.unwrap());
    }
    acknowledged
}

/// The number of each write, when it was sent and when it was seen.
async fn watch(mut lines: Lines, count: u32, clock: Arc<Instant>) -> Vec<(u32, Duration, Duration)> {
    let mut seen = Vec::with_capacity(count as usize);
    while seen.len() < count as usize {
        let line = lines.next().await.unwrap().expect("the watch stays open");
        let now = clock.elapsed();
        let text = std::str::from_utf8(line).unwrap();
        let sent = text.split("\"sent\":\"").nth(1).expect("the data is there");
        let mut parts = sent.split('@');
        let number = parts.next().unwrap().parse().unwrap();
        let sent = Duration::from_nanos(parts.next().unwrap().parse().unwrap());
        seen.push((number, sent, now));
    }
    seen
}
