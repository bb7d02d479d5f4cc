use std::future::pending;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use model::{Kind, Object, ObjectKey, Service, ServiceKey, Snapshot};
use proxy::NftError;
use tokio::time::timeout;

use super::*;

/// Longer than any step takes; reached only when something hangs.
const DEADLINE: Duration = Duration::from_secs(20);

/// Tells what it was asked, and fails as often as it is told to.
struct Recorder {
    calls: mpsc::UnboundedSender<(Vec<String>, Changes)>,
    failures: Arc<Mutex<usize>>,
    disturbed: Arc<AtomicBool>,
    /// What it fails with.
    errno: Arc<AtomicI32>,
}

impl Dataplane for Recorder {
    fn sync(&mut self, snapshot: &Snapshot<'_>, changes: &Changes) -> Result<SyncReport, SyncError> {
        let services = snapshot.services().map(|service| service.key.to_string()).collect();
        // Decided before the call is told, so that a test which then orders failures orders later ones.
        let failing = {
            let mut failures = self.failures.lock().unwrap();
            let failing = *failures > 0;
            *failures = failures.saturating_sub(1);
            failing
        };
        self.calls.send((services, changes.clone())).unwrap();
        if failing {
            return Err(NftError::Kernel {
                doing: "writing",
                source: io::Error::from_raw_os_error(self.errno.load(Ordering::Relaxed)),
            }
            .into());
        }
        Ok(SyncReport { changes: 1, ..SyncReport::default() })
    }

    fn may_be_disturbed(&mut self) -> Result<bool, SyncError> {
        Ok(self.disturbed.swap(false, Ordering::Relaxed))
    }

    fn cleanup(&mut self) -> Result<(), SyncError> {
        Ok(())
    }
}

struct Rig {
    events: mpsc::Sender<Event>,
    calls: mpsc::UnboundedReceiver<(Vec<String>, Changes)>,
    failures: Arc<Mutex<usize>>,
    disturbed: Arc<AtomicBool>,
    errno: Arc<AtomicI32>,
    status: Arc<ProxyStatus>,
    _running: JoinSet<Result<(), RuntimeError>>,
}

impl Rig {
    fn start(failures: usize) -> Self {
        let (sender, calls) = mpsc::unbounded_channel();
        let (events, receiver) = mpsc::channel(WAITING);
        let failures = Arc::new(Mutex::new(failures));
        let status = Arc::new(ProxyStatus::default());
        let disturbed = Arc::new(AtomicBool::new(false));
        let errno = Arc::new(AtomicI32::new(16));
        let dataplane = Recorder {
            calls: sender,
            failures: failures.clone(),
            disturbed: disturbed.clone(),
            errno: errno.clone(),
        };
        let (checks, _asked) = latest::channel(HealthChecks::default());
        let follower = Follower::new("node1".into(), dataplane, checks, Duration::from_millis(5));
        let mut running = JoinSet::new();
        let told = status.clone();
        running.spawn(async move { follow(receiver, follower, &told, pending()).await });
        Self { events, calls, failures, disturbed, errno, status, _running: running }
    }

    async fn tell(&self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            self.events.send(event).await.unwrap();
        }
    }

    async fn call(&mut self) -> (Vec<String>, Changes) {
        timeout(DEADLINE, self.calls.recv()).await.unwrap().unwrap()
    }
}

fn apply(name: &str) -> Event {
    Event::Apply(Object::Service(Service { ..Service::new(ServiceKey::new("default", name)) }))
}

fn listing(kind: Kind) -> [Event; 2] {
    [Event::BeginListing(kind), Event::EndListing(kind)]
}

fn only(name: &str) -> Changes {
    Changes::Services([ServiceKey::new("default", name)].into())
}

#[tokio::test]
async fn nothing_is_written_before_everything_is_known() {
    let mut rig = Rig::start(0);
    rig.tell([Event::BeginListing(Kind::Service), apply("a"), Event::EndListing(Kind::Service)]).await;
    rig.tell(listing(Kind::EndpointSlice)).await;
    tokio::task::yield_now().await;
    assert!(rig.calls.try_recv().is_err());
    rig.tell(listing(Kind::Node)).await;
    assert_eq!(rig.call().await, (vec!["default/a".to_owned()], Changes::Everything));
}

#[tokio::test]
async fn a_change_names_what_it_changes() {
    let mut rig = Rig::start(0);
    rig.tell(Kind::ALL.into_iter().flat_map(listing)).await;
    rig.call().await;
    rig.tell([apply("a")]).await;
    assert_eq!(rig.call().await, (vec!["default/a".to_owned()], only("a")));
    rig.tell([Event::Delete(ObjectKey::Service(ServiceKey::new("default", "a")))]).await;
    assert_eq!(rig.call().await, (vec![], only("a")));
}

#[tokio::test]
async fn a_failure_is_tried_again_with_everything() {
    let mut rig = Rig::start(0);
    rig.tell(Kind::ALL.into_iter().flat_map(listing)).await;
    rig.call().await;
    *rig.failures.lock().unwrap() = 2;
    rig.tell([apply("a")]).await;
    let seen = [rig.call().await.1, rig.call().await.1, rig.call().await.1];
    assert_eq!(seen, [only("a"), Changes::Everything, Changes::Everything]);
    rig.tell([apply("b")]).await;
    assert_eq!(rig.call().await.1, only("b"), "after a success only changes are looked at");
    assert_eq!(rig.status.failures(), 2);
}

#[tokio::test]
async fn what_others_write_is_noticed() {
    let mut rig = Rig::start(0);
    rig.tell(Kind::ALL.into_iter().flat_map(listing)).await;
    rig.call().await;
    rig.disturbed.store(true, Ordering::Relaxed);
    assert_eq!(rig.call().await.1, Changes::Everything, "without any event");
    rig.tell([apply("a")]).await;
    assert_eq!(rig.call().await.1, only("a"), "and once only");
}

/// Somebody deletes the table, and a change of the API comes before the next look.
#[tokio::test]
async fn a_change_that_meets_missing_rules_counts_as_a_repair() {
    let mut rig = Rig::start(0);
    rig.tell(Kind::ALL.into_iter().flat_map(listing)).await;
    rig.call().await;
    rig.errno.store(2, Ordering::Relaxed);
    *rig.failures.lock().unwrap() = 1;
    rig.tell([apply("a")]).await;
    assert_eq!([rig.call().await.1, rig.call().await.1], [only("a"), Changes::Everything]);
    rig.tell([apply("b")]).await;
    rig.call().await;
    assert_eq!(rig.status.repairs(), 1);
}

#[tokio::test]
async fn a_new_listing_takes_nothing_away_before_its_end() {
    let mut rig = Rig::start(0);
    rig.tell(Kind::ALL.into_iter().flat_map(listing)).await;
    rig.call().await;
    rig.tell([apply("a")]).await;
    rig.call().await;
    rig.tell([Event::BeginListing(Kind::Service), apply("b")]).await;
    assert_eq!(rig.call().await.0, ["default/a", "default/b"]);
    rig.tell([Event::EndListing(Kind::Service)]).await;
    assert_eq!(rig.call().await.0, ["default/b"]);
}

#[tokio::test]
async fn it_ends_when_it_is_told_to() {
    let (_events, receiver) = mpsc::channel(1);
    let (sender, _calls) = mpsc::unbounded_channel();
    let dataplane = Recorder {
        calls: sender,
        failures: Arc::default(),
        disturbed: Arc::default(),
        errno: Arc::default(),
    };
    let (checks, _asked) = latest::channel(HealthChecks::default());
    let follower = Follower::new("node1".into(), dataplane, checks, DEADLINE);
    let status = ProxyStatus::default();
    let ended = follow(receiver, follower, &status, std::future::ready(()));
    timeout(DEADLINE, ended).await.unwrap().unwrap();
}
