use std::collections::BTreeMap;
use std::future::Future;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

/// A store in a folder of its own, that can be closed and opened again.
struct Fixture {
    folder: TempDir,
    config: StoreConfig,
    store: Option<Store>,
}

impl Fixture {
    fn new(max_events: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig { max_events, ..StoreConfig::new(folder.path().join("store.redb")) };
        let store = Some(Store::open(&config).unwrap());
        Self { folder, config, store }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(Store::open(&self.config).unwrap());
    }

    fn write(&self, operation: Operation) -> Result<Record, WriteError> {
        run(self.store().write(operation))
    }

    fn create(&self, name: &str, value: i64) -> Record {
        self.write(Operation::Create { key: key(name), object: object(name, value) }).unwrap()
    }

    fn all(&self, query: &ListQuery<'_>) -> BTreeMap<String, i64> {
        contents(&self.store().list(query, |_| true).unwrap().records)
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
        tokio::time::timeout(Duration::from_secs(20), future).await.expect("done in time")
    })
}

fn key(name: &str) -> Key {
    Key::new("pods", if name.len().is_multiple_of(2) { "even" } else { "odd" }, name)
}

fn object(name: &str, value: i64) -> Value {
    json!({"metadata": {"name": name}, "value": value})
}

fn value_of(json: &Bytes) -> i64 {
    serde_json::from_slice::<Value>(json).unwrap()["value"].as_i64().unwrap()
}

fn contents(records: &[Record]) -> BTreeMap<String, i64> {
    records.iter().map(|record| (record.key.name().to_owned(), value_of(&record.json))).collect()
}

fn pods(start: Start, limit: Option<usize>) -> ListQuery<'static> {
    ListQuery { resource: "pods", namespace: None, start, limit }
}

fn latest() -> ListQuery<'static> {
    pods(Start::Latest { at_least: 0 }, None)
}

/// The state after applying all events since `after` to `state`.
fn replay(store: &Store, after: u64, mut state: BTreeMap<String, i64>) -> BTreeMap<String, i64> {
    let mut subscription = store.subscribe("pods", None, after).unwrap();
    let mut seen = after;
    while subscription.caught_up().is_none() {
        for event in run(subscription.next()).unwrap() {
            assert!(event.revision > seen, "events come in order, none twice");
            seen = event.revision;
            let name = event.key.name().to_owned();
            let before = event.previous.as_ref().map(value_of);
            assert_eq!(before, state.get(&name).copied(), "the state before {name}'s event");
            match event.kind {
                EventKind::Deleted => _ = state.remove(&name),
                EventKind::Created | EventKind::Updated => _ = state.insert(name, value_of(&event.object)),
            }
        }
    }
    state
}

#[test]
fn writes_check_the_state_they_expect() {
    let fixture = Fixture::new(100);
    let first = fixture.create("a", 1);
    let exists = fixture.write(Operation::Create { key: key("a"), object: object("a", 2) });
    assert!(matches!(exists, Err(WriteError::Exists)));
    let update = |expected, value| {
        fixture.write(Operation::Update { key: key("a"), expected, object: object("a", value) })
    };
    let second = update(first.revision, 2).unwrap();
    assert_eq!(second.revision, first.revision + 1);
    let stored: Value = serde_json::from_slice(&second.json).unwrap();
    assert_eq!(stored["metadata"]["resourceVersion"], second.revision.to_string());
    assert!(matches!(update(first.revision, 3), Err(WriteError::Modified)));
    let delete = |name: &str, expected| {
        fixture.write(Operation::Delete { key: key(name), expected, object: object(name, 0) })
    };
    assert!(matches!(delete("b", 1), Err(WriteError::Missing)));
    assert!(matches!(delete("a", first.revision), Err(WriteError::Modified)));
    delete("a", second.revision).unwrap();
    assert!(fixture.store().get(&key("a")).unwrap().is_none());
    let nothing = fixture.write(Operation::Create { key: key("a"), object: json!([]) });
    assert!(matches!(nothing, Err(WriteError::NoMetadata)));
}

#[test]
fn many_writers_share_commits_and_none_is_lost() {
    let fixture = Fixture::new(10_000);
    run(async {
        let writes = (0..500).map(|number| {
            let name = format!("pod-{number}");
            fixture.store().write(Operation::Create { key: key(&name), object: object(&name, number) })
        });
        for outcome in futures::future::join_all(writes).await {
            outcome.unwrap();
        }
    });
    assert_eq!(fixture.all(&latest()).len(), 500);
    assert_eq!(fixture.store().revision(), 501);
}

#[test]
fn a_namespace_or_resource_is_no_prefix_of_another() {
    let fixture = Fixture::new(100);
    for (resource, namespace) in [("pods", "a"), ("pods", "a-b"), ("podsets", "a"), ("pods", "")] {
        let operation = Operation::Create { key: Key::new(resource, namespace, "x"), object: object("x", 1) };
        fixture.write(operation).unwrap();
    }
    let count = |namespace| {
        let query = ListQuery { namespace, ..latest() };
        fixture.store().list(&query, |_| true).unwrap().records.len()
    };
    assert_eq!((count(None), count(Some("a")), count(Some("a-b"))), (3, 1, 1));
}

#[test]
fn pages_show_one_revision_whatever_happens_meanwhile() {
    let fixture = Fixture::new(1000);
    for number in 0..10 {
        fixture.create(&format!("p{number}"), number);
    }
    let before = fixture.all(&latest());
    let mut found = BTreeMap::new();
    let mut start = Start::Latest { at_least: 0 };
    for round in 0..100 {
        let page = fixture.store().list(&pods(start, Some(3)), |_| true).unwrap();
        found.extend(contents(&page.records));
        let Some(next) = page.next else { break };
        start = Start::After { revision: page.revision, key: next };
        // Something before, something behind, something new and something gone in every round.
        fixture.create(&format!("a{round}"), 100);
        fixture.create(&format!("p5{round}"), 100);
        let expected = fixture.store().get(&key("p9")).unwrap().map(|record| record.revision);
        if let Some(expected) = expected.filter(|_| round == 1) {
            fixture.write(Operation::Delete { key: key("p9"), expected, object: object("p9", 9) }).unwrap();
        }
        let old = fixture.store().get(&key("p8")).unwrap().unwrap().revision;
        fixture
            .write(Operation::Update { key: key("p8"), expected: old, object: object("p8", 1000) })
            .unwrap();
    }
    assert_eq!(found, before);
}

#[test]
fn what_was_dropped_is_said_to_be_gone() {
    let mut fixture = Fixture::new(20);
    let first = fixture.create("first", 1).revision;
    let lease = fixture
        .write(Operation::Create { key: Key::new("leases", "", "idle"), object: object("idle", 1) })
        .unwrap();
    let mut idle = fixture.store().subscribe("leases", None, lease.revision).unwrap();
    for number in 0..50 {
        fixture.create(&format!("p{number}"), number);
    }
    let store = fixture.store();
    assert!(matches!(store.subscribe("pods", None, first), Err(WatchError::Expired { .. })));
    let exact = pods(Start::Exact { revision: first }, None);
    assert!(matches!(store.list(&exact, |_| true), Err(ListError::Expired { .. })));
    let ahead = store.revision() + 1;
    assert!(matches!(store.subscribe("pods", None, ahead), Err(WatchError::TooNew { .. })));
    let future = pods(Start::Latest { at_least: ahead }, None);
    assert!(matches!(store.list(&future, |_| true), Err(ListError::TooNew { .. })));
    // Others' events do not throw out a watcher who has missed nothing.
    let update = Operation::Update {
        key: Key::new("leases", "", "idle"),
        expected: lease.revision,
        object: object("idle", 2),
    };
    fixture.write(update).unwrap();
    assert_eq!(run(idle.next()).unwrap().len(), 1);
    drop(idle);
    fixture.reopen();
    assert!(matches!(fixture.store().subscribe("pods", None, first), Err(WatchError::Expired { .. })));
    fixture.store().subscribe("pods", None, fixture.store().revision()).unwrap();
}

#[test]
fn a_slow_watcher_is_told_so() {
    let fixture = Fixture::new(20);
    let mut slow = fixture.store().subscribe("pods", None, fixture.store().revision()).unwrap();
    for number in 0..50 {
        fixture.create(&format!("p{number}"), number);
    }
    assert!(matches!(run(slow.next()), Err(WatchError::Expired { .. })));
}

#[test]
fn old_events_go_by_age_and_size() {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        max_event_age: Duration::ZERO,
        max_event_bytes: 10_000,
        ..StoreConfig::new(folder.path().join("store.redb"))
    };
    let store = Store::open(&config).unwrap();
    for number in 0..100 {
        let name = format!("p{number}");
        run(store.write(Operation::Create { key: key(&name), object: object(&name, number) })).unwrap();
    }
    assert!(matches!(store.subscribe("pods", None, 2), Err(WatchError::Expired { .. })));
}

#[test]
fn a_second_process_is_refused() {
    let fixture = Fixture::new(10);
    let error = Store::open(&fixture.config).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
}

#[test]
fn a_damaged_file_is_a_clear_error() {
    let mut fixture = Fixture::new(100);
    for number in 0..200 {
        fixture.create(&format!("p{number}"), number);
    }
    fixture.store = None;
    let whole = std::fs::read(&fixture.config.path).unwrap();
    let mut broken = whole.clone();
    // Everywhere: some of the pages that hold it are no longer in use.
    for at in (0..whole.len() - 5).filter(|at| whole[*at..].starts_with(b"value")) {
        broken[at] = b'V';
    }
    let nonsense = vec![b'x'; 8192];
    for (what, bytes) in
        [("altered", &broken), ("nonsense", &nonsense), ("cut", &whole[..whole.len() / 2].to_vec())]
    {
        std::fs::write(&fixture.config.path, bytes).unwrap();
        let error = Store::open(&fixture.config).expect_err(what);
        assert!(matches!(error, OpenError::Damaged { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains("remove it to start with an empty cluster"), "{error}");
    }
    std::fs::write(&fixture.config.path, &whole).unwrap();
    fixture.reopen();
    assert_eq!(fixture.all(&latest()).len(), 200);
    assert!(fixture.folder.path().exists());
}

#[derive(Debug, Clone)]
enum Step {
    Create(u8, i64),
    Update(u8, i64),
    Delete(u8),
    /// With the revision of some older state.
    Stale(u8),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = 0..8u8;
    let step = prop_oneof![
        6 => (name.clone(), 0..1000i64).prop_map(|(name, value)| Step::Create(name, value)),
        6 => (name.clone(), 0..1000i64).prop_map(|(name, value)| Step::Update(name, value)),
        4 => name.clone().prop_map(Step::Delete),
        2 => name.prop_map(Step::Stale),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..60)
}

/// The plainest store: all states there ever were.
#[derive(Default)]
struct Model {
    now: BTreeMap<String, (u64, i64)>,
    history: Vec<(u64, BTreeMap<String, i64>)>,
}

impl Model {
    fn remember(&mut self, revision: u64) {
        let state = self.now.iter().map(|(name, (_, value))| (name.clone(), *value)).collect();
        self.history.push((revision, state));
    }

    fn apply(&mut self, fixture: &mut Fixture, step: &Step) {
        let (index, value) = match step {
            Step::Create(index, value) | Step::Update(index, value) => (*index, *value),
            Step::Delete(index) | Step::Stale(index) => (*index, 0),
            Step::Reopen => return fixture.reopen(),
        };
        let name = format!("{}{index}", "x".repeat(usize::from(index % 3)));
        let (key, object) = (key(&name), object(&name, value));
        let known = self.now.get(&name).map(|(revision, _)| *revision);
        let expected = known.unwrap_or(1);
        let outcome = fixture.write(match step {
            Step::Create(..) => Operation::Create { key, object },
            Step::Delete(_) => Operation::Delete { key, expected, object },
            Step::Stale(_) => Operation::Update { key, expected: expected.wrapping_sub(1), object },
            Step::Update(..) | Step::Reopen => Operation::Update { key, expected, object },
        });
        match (step, known, outcome) {
            (Step::Create(..), None, Ok(record)) | (Step::Update(..), Some(_), Ok(record)) => {
                self.now.insert(name, (record.revision, value));
                self.remember(record.revision);
            }
            (Step::Delete(_), Some(_), Ok(record)) => {
                self.now.remove(&name);
                self.remember(record.revision);
            }
            (Step::Create(..), Some(_), Err(WriteError::Exists))
            | (Step::Update(..) | Step::Delete(_) | Step::Stale(_), None, Err(WriteError::Missing))
            | (Step::Stale(_), Some(_), Err(WriteError::Modified)) => {}
            (step, known, outcome) => panic!("{step:?} with {known:?} gave {outcome:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_its_model(steps in steps()) {
        let mut fixture = Fixture::new(1000);
        let mut model = Model::default();
        model.remember(fixture.store().revision());
        for step in &steps {
            model.apply(&mut fixture, step);
        }
        let (newest, now) = model.history.last().unwrap().clone();
        prop_assert_eq!(fixture.store().revision(), newest);
        prop_assert_eq!(fixture.all(&latest()), now.clone());
        for (revision, state) in model.history {
            let exact = pods(Start::Exact { revision }, None);
            prop_assert_eq!(&fixture.all(&exact), &state);
            prop_assert_eq!(replay(fixture.store(), revision, state), now.clone());
        }
    }
}
