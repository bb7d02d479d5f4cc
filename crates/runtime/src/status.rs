use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use model::Kind;
use proxy::{SyncReport, WithoutLocalEndpoints};
use tokio::time::Instant;

use crate::Requests;
use crate::health::{Condition, Health};
use crate::metrics::{Histogram, Page};

/// How the proxy of a node fares. Written by its loop, read by whoever reports it.
#[derive(Debug)]
pub struct ProxyStatus {
    in_sync: AtomicBool,
    syncs: AtomicU64,
    failures: AtomicU64,
    bad_parts: AtomicU64,
    repairs: AtomicU64,
    kernel_changes: AtomicU64,
    forgotten_connections: AtomicU64,
    dropped_events: AtomicU64,
    requests: Arc<Requests>,
    services: Changes,
    slices: Changes,
    last_queued: Mutex<Option<SystemTime>>,
    without_local_endpoints: Mutex<WithoutLocalEndpoints>,
    health: Mutex<Health>,
    sync_duration: Histogram,
    programming_duration: Histogram,
    answers: Mutex<BTreeMap<(&'static str, u16), u64>>,
}

/// Events about one kind.
#[derive(Debug, Default)]
struct Changes {
    total: AtomicU64,
    /// Not written yet.
    pending: AtomicU64,
}

impl Default for ProxyStatus {
    fn default() -> Self {
        // kube-proxy's: 0.25 s, 0.5 s, then seconds, then five seconds each, then half minutes.
        let programming = [0.0, 0.25, 0.5].into_iter();
        let programming = programming
            .chain((1..60).map(f64::from))
            .chain((12..24).map(|step| f64::from(step * 5)))
            .chain((4..11).map(|step| f64::from(step * 30)));
        Self {
            in_sync: AtomicBool::default(),
            syncs: AtomicU64::default(),
            failures: AtomicU64::default(),
            bad_parts: AtomicU64::default(),
            repairs: AtomicU64::default(),
            kernel_changes: AtomicU64::default(),
            forgotten_connections: AtomicU64::default(),
            dropped_events: AtomicU64::default(),
            requests: Arc::default(),
            services: Changes::default(),
            slices: Changes::default(),
            last_queued: Mutex::default(),
            without_local_endpoints: Mutex::default(),
            health: Mutex::default(),
            sync_duration: Histogram::doubling(0.001, 15),
            programming_duration: Histogram::new(programming.collect()),
            answers: Mutex::default(),
        }
    }
}

impl ProxyStatus {
    /// Whether the kernel has been brought in line once, and the last attempt to succeeded.
    pub fn is_in_sync(&self) -> bool {
        self.in_sync.load(Ordering::Relaxed)
    }

    /// Syncs that succeeded.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Syncs that failed and were tried again.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Parts of objects that made no sense and were skipped, counted at each event.
    pub fn bad_parts(&self) -> u64 {
        self.bad_parts.load(Ordering::Relaxed)
    }

    /// How often rules that somebody else had changed were mended.
    pub fn repairs(&self) -> u64 {
        self.repairs.load(Ordering::Relaxed)
    }

    /// What `/healthz` and `/livez` go by.
    pub fn condition(&self) -> Condition {
        lock(&self.health).condition(Instant::now())
    }

    /// Where answers of the API server are counted.
    pub fn requests(&self) -> Arc<Requests> {
        self.requests.clone()
    }

    /// A page of kube-proxy's (`healthz`, `livez`) was answered with this status.
    pub fn answered(&self, page: &'static str, code: u16) {
        *lock(&self.answers).entry((page, code)).or_default() += 1;
    }

    /// A watch told something of an object.
    pub(crate) fn heard(&self, kind: Kind) {
        let changes = match kind {
            Kind::Service => &self.services,
            Kind::EndpointSlice => &self.slices,
            Kind::Node => return,
        };
        changes.total.fetch_add(1, Ordering::Relaxed);
        changes.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// There is something to write.
    pub(crate) fn queued(&self) {
        lock(&self.health).queued(Instant::now());
        *lock(&self.last_queued) = Some(SystemTime::now());
    }

    /// The node is about to go, or not.
    pub(crate) fn node_leaves(&self, leaves: bool) {
        lock(&self.health).node_leaves(leaves);
    }

    pub(crate) fn synced(&self, report: SyncReport, took: Duration) {
        self.in_sync.store(true, Ordering::Relaxed);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.kernel_changes.fetch_add(count(report.changes), Ordering::Relaxed);
        self.forgotten_connections.fetch_add(count(report.connections), Ordering::Relaxed);
        for changes in [&self.services, &self.slices] {
            changes.pending.store(0, Ordering::Relaxed);
        }
        self.sync_duration.observe(took);
        lock(&self.health).updated(SystemTime::now());
    }

    /// What was changed in the API at that time is in the kernel now.
    pub(crate) fn programmed(&self, changed_at: SystemTime) {
        // A control plane whose clock is ahead gives no time at all.
        self.programming_duration.observe(changed_at.elapsed().unwrap_or_default());
    }

    pub(crate) fn failed(&self) {
        self.in_sync.store(false, Ordering::Relaxed);
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn mended(&self) {
        self.repairs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped_event(&self) {
        self.dropped_events.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn skipped(&self, parts: usize) {
        self.bad_parts.fetch_add(count(parts), Ordering::Relaxed);
    }

    pub(crate) fn without_local_endpoints(&self, now: WithoutLocalEndpoints) {
        *lock(&self.without_local_endpoints) = now;
    }

    /// The metrics under kube-proxy's names, and our own, in the text form of Prometheus.
    pub fn metrics(&self) -> String {
        let mut page = Page::default();
        self.kube_proxy_metrics(&mut page);
        self.own_metrics(&mut page);
        page.finish()
    }

    fn kube_proxy_metrics(&self, page: &mut Page) {
        let number = |number: &AtomicU64| number.load(Ordering::Relaxed);
        page.histogram(
            "kubeproxy_sync_proxy_rules_duration_seconds",
            "How long it took to bring the kernel in line.",
            &self.sync_duration,
        );
        page.histogram(
            "kubeproxy_network_programming_duration_seconds",
            "From the change of a Service's endpoints to the kernel.",
            &self.programming_duration,
        );
        let last = lock(&self.health).condition(Instant::now()).last_updated;
        page.gauge(
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
            "When the kernel was brought in line last.",
            seconds(last),
        );
        page.gauge(
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
            "When there was something to write last.",
            seconds(*lock(&self.last_queued)),
        );
        for (kind, changes) in [("service", &self.services), ("endpoint", &self.slices)] {
            let name = format!("kubeproxy_sync_proxy_rules_{kind}_changes");
            page.counter(&format!("{name}_total"), "Changes that watches told.", number(&changes.total));
            #[expect(clippy::cast_precision_loss, reason = "a number of events that wait")]
            let pending = number(&changes.pending) as f64;
            page.gauge(&format!("{name}_pending"), "Changes that are not written yet.", pending);
        }
        let missing = *lock(&self.without_local_endpoints);
        page.family(
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
            "gauge",
            "Service ports whose traffic stays on the node, which has no endpoint of them.",
            [
                ("{traffic_policy=\"external\"}".to_owned(), missing.external),
                ("{traffic_policy=\"internal\"}".to_owned(), missing.internal),
            ],
        );
        page.family(
            "rest_client_requests_total",
            "counter",
            "Answers of the API server, by status, server and method.",
            self.requests.rows(),
        );
        let answers = lock(&self.answers).clone();
        for kind in ["healthz", "livez"] {
            let rows = answers.iter().filter(|((page, _), _)| *page == kind);
            page.family(
                &format!("kubeproxy_proxy_{kind}_total"),
                "counter",
                "Answers by status.",
                rows.map(|((_, code), count)| (format!("{{code=\"{code}\"}}"), *count)),
            );
        }
    }

    fn own_metrics(&self, page: &mut Page) {
        let number = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let mut counter = |name: &str, help: &str, value| {
            page.counter(&format!("portolan_proxy_{name}_total"), help, value);
        };
        counter("syncs", "Syncs that succeeded.", self.syncs());
        counter("sync_failures", "Syncs that failed and were tried again.", self.failures());
        counter("repairs", "How often rules that somebody else had changed were mended.", self.repairs());
        counter("skipped_parts", "Parts of objects that made no sense.", self.bad_parts());
        counter("kernel_changes", "Rules, elements and the like sent.", number(&self.kernel_changes));
        counter("forgotten_connections", "Stale connections deleted.", number(&self.forgotten_connections));
        counter("dropped_events", "Events on objects that were too many.", number(&self.dropped_events));
        let build = concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
        page.family("portolan_build_info", "gauge", "What runs.", [(build.to_owned(), 1)]);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Since 1970; zero for never.
fn seconds(time: Option<SystemTime>) -> f64 {
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.unwrap_or_default().as_secs_f64()
}
