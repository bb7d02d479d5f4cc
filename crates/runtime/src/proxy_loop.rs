use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kube::runtime::watcher;
use kube::{Api, Client};
use model::{Changes, Index, NodeName};
use proxy::{Contests, Dataplane, LocalServices, NodeContext, SyncError, SyncReport};
use tokio::sync::{mpsc, watch as latest};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::events::{Recorder, Remark};
use crate::service_health::{self, HealthChecks};
use crate::watch::{Aside, Event, watch};
use crate::wire;
use crate::{ProxyStatus, RuntimeError};

/// Events that may wait while the kernel is written; the watches pause when there are more.
const WAITING: usize = 1024;

/// Pauses between attempts after a failed sync.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often to ask whether somebody else wrote over the rules, which are to be back within 2 s. To ask costs
/// microseconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// When somebody wrote, the whole table is read, which beside 50,000 services takes a second on a busy machine. With
/// a neighbour who writes all the time we spend no more than one part in so many of our time on that.
const LOOK_SHARE: u32 = 20;

/// Times of changes that are kept until they are written; further ones are not measured.
const MEASURED: usize = 4096;

/// The proxy of one node.
pub struct ProxyTask<D> {
    /// The way to the API.
    pub client: Client,
    /// The node it works on. Its name, and where health checks of Services are answered.
    pub context: NodeContext,
    /// What serves.
    pub dataplane: D,
    /// How it fares.
    pub status: Arc<ProxyStatus>,
    /// What is to be done when Services are served for the first time. It may block.
    pub once_served: Option<Box<dyn FnOnce() + Send>>,
}

/// Serves the cluster's services on one node until `shutdown` resolves.
///
/// What was written stays in the kernel afterwards: a proxy that restarts or is upgraded interrupts
/// nobody. While the kernel is written on a thread of its own, events gather and are then handled as one.
///
/// # Errors
/// [`RuntimeError::Panicked`] or [`RuntimeError::WatchEnded`], both bugs. A failing API server or kernel is
/// no error: it is logged, counted in `status` and tried again.
pub async fn run_proxy<D: Dataplane + 'static>(
    task: ProxyTask<D>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RuntimeError> {
    let ProxyTask { client, context, dataplane, status, once_served } = task;
    let NodeContext { node, node_port_addresses, .. } = context;
    let (checks, asked) = latest::channel(HealthChecks::default());
    let recorder = Recorder::start(client.clone(), node.clone(), status.clone());
    let mut servers = JoinSet::new();
    servers.spawn(service_health::serve(asked, node_port_addresses, status.clone(), Some(recorder.clone())));
    let (sender, events) = mpsc::channel(WAITING);
    let mut watches = JoinSet::new();
    let all = watcher::Config::default;
    let own = all().fields(&format!("metadata.name={node}"));
    watches.spawn(watch::<wire::Service>(
        Api::all(client.clone()),
        all(),
        status.clone(),
        recorder.clone(),
        sender.clone(),
    ));
    watches.spawn(watch::<wire::EndpointSlice>(
        Api::all(client.clone()),
        all(),
        status.clone(),
        recorder.clone(),
        sender.clone(),
    ));
    watches.spawn(watch::<wire::Node>(Api::all(client), own, status.clone(), recorder.clone(), sender));
    let recorder = Some(recorder);
    let follower = Follower { once_served, recorder, ..Follower::new(node, dataplane, checks, LOOK_EVERY) };
    tokio::select! {
        result = follow(events, follower, &status, shutdown) => result,
        Some(Err(panic)) = servers.join_next() => Err(RuntimeError::Panicked(panic)),
        Some(ended) = watches.join_next() => match ended {
            Ok(()) => Err(RuntimeError::WatchEnded),
            Err(panic) => Err(RuntimeError::Panicked(panic)),
        },
    }
}

async fn follow<D: Dataplane + 'static>(
    mut events: mpsc::Receiver<Event>,
    mut follower: Follower<D>,
    status: &ProxyStatus,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RuntimeError> {
    tokio::pin!(shutdown);
    let mut batch = Vec::with_capacity(WAITING);
    loop {
        let (retry, look) = (follower.retry_at, follower.look_at);
        tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            count = events.recv_many(&mut batch, WAITING) => {
                if count == 0 {
                    return Err(RuntimeError::WatchEnded);
                }
            }
            () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {}
            () = sleep_until(look), if retry.is_none() => follower = follower.look().await?,
        }
        batch.drain(..).for_each(|event| follower.take_in(event, status));
        if follower.is_due(Instant::now(), status) {
            follower = follower.sync(status).await?;
        }
    }
}

/// The index and the dataplane that follows it.
struct Follower<D> {
    index: Index,
    dataplane: D,
    node: NodeName,
    local: LocalServices,
    /// What load balancers are told.
    checks: latest::Sender<HealthChecks>,
    /// When that happened which is to be written now.
    changed_at: Vec<SystemTime>,
    pending: Changes,
    /// The first sync is reported apart.
    synced_once: bool,
    once_served: Option<Box<dyn FnOnce() + Send>>,
    contests: Contests,
    /// Who tells of contests.
    recorder: Option<Recorder>,
    /// Set after a failure.
    retry_at: Option<Instant>,
    pause: Duration,
    /// When to ask next whether somebody else wrote.
    look_at: Instant,
    look_every: Duration,
    /// Somebody did, and nothing was synced since.
    disturbed: bool,
}

impl<D: Dataplane + 'static> Follower<D> {
    fn new(node: NodeName, dataplane: D, checks: latest::Sender<HealthChecks>, look_every: Duration) -> Self {
        Self {
            index: Index::new(),
            dataplane,
            node,
            local: LocalServices::default(),
            checks,
            changed_at: Vec::new(),
            pending: Changes::Everything,
            synced_once: false,
            once_served: None,
            contests: Contests::default(),
            recorder: None,
            retry_at: None,
            pause: FIRST_PAUSE,
            look_at: Instant::now() + look_every,
            look_every,
            disturbed: false,
        }
    }

    fn take_in(&mut self, event: Event, status: &ProxyStatus) {
        match event {
            Event::BeginListing(kind) => self.index.begin_listing(kind),
            Event::Apply(object) => {
                status.heard(object.key().kind());
                self.index.apply(object);
            }
            Event::Delete(key) => {
                status.heard(key.kind());
                self.index.delete(&key);
            }
            Event::EndListing(kind) => self.index.end_listing(kind),
            Event::Aside(Aside::NodeLeaves(leaves)) => status.node_leaves(leaves),
            Event::Aside(Aside::ChangedAt(at)) if self.changed_at.len() < MEASURED => {
                self.changed_at.push(at)
            }
            Event::Aside(Aside::ChangedAt(_)) => {}
        }
    }

    /// Whether there is something to write, everything is known and no pause is to be kept.
    fn is_due(&mut self, now: Instant, status: &ProxyStatus) -> bool {
        let changes = self.index.take_changes();
        if !changes.is_empty() {
            status.queued();
        }
        self.pending.add(changes);
        self.index.is_in_sync() && !self.pending.is_empty() && self.retry_at.is_none_or(|at| at <= now)
    }

    /// Asks whether somebody else wrote over the rules; then everything is to be looked at.
    async fn look(self) -> Result<Self, RuntimeError> {
        let (mut follower, answer) = spawn_blocking(move || {
            let mut follower = self;
            let answer = follower.dataplane.may_be_disturbed();
            (follower, answer)
        })
        .await
        .map_err(RuntimeError::Panicked)?;
        // A kernel that does not answer is not known to be as it should be.
        if answer.unwrap_or(true) {
            follower.pending = Changes::Everything;
            follower.disturbed = true;
        }
        follower.look_at = Instant::now() + follower.look_every;
        Ok(follower)
    }

    async fn sync(self, status: &ProxyStatus) -> Result<Self, RuntimeError> {
        let begin = Instant::now();
        let (mut follower, result) = spawn_blocking(move || {
            let mut follower = self;
            let result = follower.commit();
            (follower, result)
        })
        .await
        .map_err(RuntimeError::Panicked)?;
        if follower.disturbed {
            follower.look_at = Instant::now() + follower.look_every.max(begin.elapsed() * LOOK_SHARE);
        }
        match result {
            Some(Ok(report)) => follower.succeeded(report, begin.elapsed(), status),
            Some(Err(error)) => follower.failed(&error, status),
            None => {}
        }
        if let Some(then) = follower.once_served.take_if(|_| follower.synced_once) {
            spawn_blocking(then).await.map_err(RuntimeError::Panicked)?;
        }
        Ok(follower)
    }

    /// `None` when not everything is known yet.
    fn commit(&mut self) -> Option<Result<SyncReport, SyncError>> {
        let snapshot = self.index.snapshot()?;
        let result = self.dataplane.sync(&snapshot, &self.pending);
        // Load balancers are told of an endpoint once it can be reached.
        if result.is_ok() && self.local.update(&snapshot, &self.pending, &self.node) {
            self.checks.send_replace(Arc::new(self.local.health_checks()));
        }
        if let (true, Some(recorder)) = (result.is_ok(), &self.recorder) {
            let contests = self.contests.update(&snapshot, &self.pending);
            contests.iter().map(Remark::of_contest).for_each(|remark| recorder.say(remark));
        }
        Some(result)
    }

    fn succeeded(&mut self, report: SyncReport, took: Duration, status: &ProxyStatus) {
        if !self.synced_once {
            tracing::info!(changes = report.changes, "services are served");
        } else if self.disturbed && report.changes > 0 {
            tracing::warn!(changes = report.changes, "somebody else changed our rules, they are mended");
            status.mended();
        } else if self.retry_at.is_some() {
            tracing::info!(changes = report.changes, "services are served again as they should be");
        } else {
            tracing::debug!(?report, "services changed");
        }
        status.synced(report, took);
        status.without_local_endpoints(self.local.without_endpoints());
        self.changed_at.drain(..).for_each(|at| status.programmed(at));
        self.synced_once = true;
        self.disturbed = false;
        self.pending = Changes::Services(BTreeSet::new());
        self.retry_at = None;
        self.pause = FIRST_PAUSE;
    }

    fn failed(&mut self, error: &SyncError, status: &ProxyStatus) {
        if self.retry_at.is_none() {
            tracing::error!(%error, "sync failed, what was there stays; trying again");
        } else {
            tracing::debug!(%error, "sync failed again");
        }
        status.failed();
        // A change of ours met theirs before we looked.
        self.disturbed |= error.is_surprise() && self.synced_once;
        self.pending = Changes::Everything;
        self.retry_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests;
