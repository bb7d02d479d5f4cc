//! 50,000 objects in a server process of its own, over TLS: creates a second, lists, watch latency, memory, start.
//!
//! `cargo bench -p portolan-apiserver --bench size -- [--objects N] [--clients N]`. Without `--bench`, which cargo gives,
//! a few of everything: `cargo test` runs that, to see that all of it is there and arrives.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is what a benchmark is for")]
#![expect(clippy::unwrap_used, reason = "a failing benchmark may panic")]

mod server;
mod watches;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use load::{Client, Purpose, Report, Samples, Target, objects};
use serde_json::Value;

use server::ServerProcess;
use watches::Watching;

/// As the binary that users run has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What one run is asked for.
struct Options {
    objects: u32,
    clients: u32,
    watching: Watching,
}

/// A kind's share of the objects, in tenths, and how one is made.
struct Share {
    what: &'static str,
    tenths: u32,
    path: fn(u32) -> String,
    make: fn(u32) -> Value,
}

const MIX: [Share; 4] = [
    Share { what: "Pods", tenths: 4, path: |n| core(n, "pods"), make: objects::pod },
    Share { what: "Services", tenths: 2, path: |n| core(n, "services"), make: objects::service },
    Share {
        what: "EndpointSlices of 10 endpoints",
        tenths: 2,
        path: |n| format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices", objects::namespace(n)),
        make: |n| objects::endpoint_slice(n, 10),
    },
    Share { what: "ConfigMaps", tenths: 2, path: |n| core(n, "configmaps"), make: objects::config_map },
];

fn core(number: u32, plural: &str) -> String {
    format!("/api/v1/namespaces/{}/{plural}", objects::namespace(number))
}

fn main() {
    if let Some(folder) = std::env::var_os(server::FOLDER) {
        return server::run(PathBuf::from(folder));
    }
    let purpose = Purpose::of("api", std::env::args().skip(1));
    let options = match purpose {
        Purpose::Measure => measured(),
        Purpose::Smoke => Options { objects: 100, clients: 4, watching: Watching::SMOKE },
        Purpose::Nothing => return,
    };
    let title = format!("API server, {} objects, {} clients", options.objects, options.clients);
    let mut report = Report::new("api", title);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&options, &mut report));
    if purpose == Purpose::Measure {
        print!("{report}");
    }
    report.save().unwrap();
}

/// What figures are made of, unless the command line has something else.
fn measured() -> Options {
    let mut options = Options { objects: 50_000, clients: 32, watching: Watching::MEASURED };
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_else(|| panic!("{name} needs a value"));
        match name.as_str() {
            "--objects" => options.objects = value.parse().unwrap(),
            "--clients" => options.clients = value.parse().unwrap(),
            other => panic!("{other} is not known: --objects N, --clients N"),
        }
    }
    options
}

async fn measure(options: &Options, report: &mut Report) {
    let mut server = ServerProcess::start().await;
    let client = server.client().await;
    creates(&client, options, report).await;
    report.row("resident memory after the creates", server.resident(), "MB", None);
    lists(&client, options.objects / 10 * MIX[0].tenths, report).await;
    report.row("resident memory after the lists", server.resident(), "MB", None);
    options.watching.measure(&client, report).await;
    report.row("resident memory after all of this", server.resident(), "MB", Some(Target::AtMost(500.0)));
    report.row("most resident memory there ever was", server.peak(), "MB", None);
    report.row("store file", server.store_size(), "MB", None);
    let begin = Instant::now();
    server.restart().await;
    let client = server.client().await;
    server.wait_until_ready().await;
    report.row("kill -9 and start until ready", begin.elapsed().as_secs_f64() * 1000.0, "ms", None);
    let begin = Instant::now();
    assert_eq!(client.get("/api/v1/pods?limit=500").await.unwrap().code, StatusCode::OK);
    report.row("its first list, 500 Pods", begin.elapsed().as_secs_f64() * 1000.0, "ms", None);
    report.row("resident memory after the start", server.resident(), "MB", None);
}

async fn creates(client: &Client, options: &Options, report: &mut Report) {
    for namespace in objects::namespaces() {
        let answer = client.post("/api/v1/namespaces", namespace.to_string()).await.unwrap();
        assert_eq!(answer.code, StatusCode::CREATED, "{answer:?}");
    }
    let (begin, mut all) = (Instant::now(), Samples::default());
    for share in &MIX {
        let count = options.objects / 10 * share.tenths;
        let began = Instant::now();
        all.extend(create(client, options.clients, count, share).await);
        let what = format!("creates of {}", share.what);
        report.row(what, f64::from(count) / began.elapsed().as_secs_f64(), "/s", None);
    }
    let rate = all.len() as f64 / begin.elapsed().as_secs_f64();
    report.row("creates, all", rate, "/s", Some(Target::AtLeast(2000.0)));
    report.row("a create, p50", all.percentile(0.5), "ms", None);
    report.row("a create, p99", all.percentile(0.99), "ms", None);
}

/// Creates objects from as many tasks as there are clients; the time of each.
async fn create(client: &Client, clients: u32, count: u32, share: &'static Share) -> Samples {
    let next = Arc::new(AtomicU32::new(0));
    let tasks = (0..clients).map(|_| {
        let (client, next) = (client.clone(), Arc::clone(&next));
        tokio::spawn(async move {
            let mut samples = Samples::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return samples;
                }
                let (path, body) = ((share.path)(number), (share.make)(number).to_string());
                let begin = Instant::now();
                let answer = client.post(&path, body).await.unwrap();
                samples.push(begin.elapsed());
                assert_eq!(answer.code, StatusCode::CREATED, "{}", answer.json());
            }
        })
    });
    let mut samples = Samples::default();
    for task in futures::future::join_all(tasks).await {
        samples.extend(task.unwrap());
    }
    samples
}

/// Lists so many Pods in several ways.
async fn lists(client: &Client, pods: u32, report: &mut Report) {
    let timed = async |path: String| {
        let begin = Instant::now();
        let answer = client.get(&path).await.unwrap();
        assert_eq!(answer.code, StatusCode::OK, "{path}");
        (begin.elapsed(), answer.body)
    };
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let mut best = Duration::MAX;
    let mut size = 0;
    for _ in 0..3 {
        let (time, body) = timed("/api/v1/pods".to_owned()).await;
        (best, size) = (best.min(time), body.len());
    }
    report.row("list of all Pods, best of 3", milliseconds(best), "ms", Some(Target::AtMost(1000.0)));
    report.row("its size", size as f64 / 1e6, "MB", None);
    let (time, _) = timed("/api/v1/pods?labelSelector=tier%3Dfront".to_owned()).await;
    report.row("list of a quarter of the Pods, by label", milliseconds(time), "ms", None);
    let begin = Instant::now();
    let (mut next, mut listed) = (String::new(), 0);
    loop {
        let (_, body) = timed(format!("/api/v1/pods?limit=500&continue={next}")).await;
        let page: Value = serde_json::from_slice(&body).unwrap();
        listed += page["items"].as_array().unwrap().len();
        next = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        if next.is_empty() {
            break;
        }
    }
    assert_eq!(listed, pods as usize, "every Pod is in a list in pieces");
    report.row("list of all Pods, 500 at a time", milliseconds(begin.elapsed()), "ms", None);
}
