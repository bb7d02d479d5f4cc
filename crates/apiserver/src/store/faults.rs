//! The store on a disk that fails it: power lost at any moment, files cut, altered, exchanged.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redb::StorageBackend;
use serde_json::{Value, json};

use super::*;

/// What a disk sees: each write lies in its cache until the next sync, and of what lies there power loss keeps any part.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<Cached>>);

#[derive(Debug, Default, Clone)]
struct Cached {
    /// As the program sees it.
    seen: Vec<u8>,
    /// What is certain to be there after power loss.
    durable: Vec<u8>,
    /// Since the last sync.
    unsynced: Vec<Change>,
    syncs: usize,
    changes: usize,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// What a disk writes as a whole.
const SECTOR: usize = 512;

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
            Self::Length(length) => bytes.resize(*length, 0),
        }
    }

    /// The same change, sector by sector.
    fn sectors(&self) -> Vec<Self> {
        match self {
            Self::Write(offset, data) => {
                let parts = data.chunks(SECTOR).enumerate();
                parts.map(|(index, part)| Self::Write(offset + index * SECTOR, part.to_vec())).collect()
            }
            Self::Length(_) => vec![self.clone()],
        }
    }
}

impl Disk {
    fn with<T>(&self, work: impl FnOnce(&mut Cached) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    /// The disk after power was lost now: some of the sectors not synced were written all the same, in any order.
    fn without_power(&self, random: &mut StdRng) -> Self {
        self.with(|cached| {
            let mut bytes = cached.durable.clone();
            let kept = random.random_range(0.0..=1.0);
            for change in &cached.unsynced {
                for sector in change.sectors() {
                    if random.random_bool(kept) {
                        sector.apply(&mut bytes);
                    }
                }
            }
            let seen = bytes.clone();
            Self(Arc::new(Mutex::new(Cached { seen, durable: bytes, ..Cached::default() })))
        })
    }

    fn open(&self) -> Store {
        let config = StoreConfig::new("on a disk in memory");
        let database =
            redb::Builder::new().set_check_integrity_on_open(true).create_with_backend(self.clone());
        let (database, published) = disk::loaded(&config, database).unwrap();
        Store::on(database, published, &config).unwrap()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|cached| cached.seen.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|cached| {
            let start = offset as usize;
            let found = cached.seen.get(start..start + out.len());
            out.copy_from_slice(found.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
            Ok(())
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Change::Length(length as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|cached| {
            for change in std::mem::take(&mut cached.unsynced) {
                change.apply(&mut cached.durable);
            }
            cached.syncs += 1;
        });
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write(offset as usize, data.to_vec()));
        Ok(())
    }
}

impl Disk {
    fn change(&self, change: Change) {
        self.with(|cached| {
            change.apply(&mut cached.seen);
            cached.unsynced.push(change);
            cached.changes += 1;
        });
    }
}

fn key(name: &str) -> Key {
    Key::new("pods", "default", name)
}

fn object(name: &str, step: u64) -> Value {
    json!({"metadata": {"name": name}, "step": step, "padding": "x".repeat((step % 7 * 900) as usize)})
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn step_of(json: &[u8]) -> u64 {
    serde_json::from_slice::<Value>(json).unwrap()["step"].as_u64().unwrap()
}

fn contents(store: &Store) -> BTreeMap<String, (u64, u64)> {
    let query =
        ListQuery { resource: "pods", namespace: None, start: Start::Latest { at_least: 0 }, limit: None };
    let records = store.list(&query, |_| true).unwrap().records;
    let entry = |record: &Record| (record.key.name().to_owned(), (record.revision, step_of(&record.json)));
    records.iter().map(entry).collect()
}

/// An answer is given only when what it acknowledges lies on the disk: each write that was answered is looked for on the
/// disk as it would be after power loss at that very moment.
#[test]
fn a_commit_is_answered_after_its_sync() {
    let disk = Disk::default();
    let store = disk.open();
    let mut random = StdRng::seed_from_u64(1);
    for step in 0..12 {
        let before = disk.with(|cached| cached.syncs);
        let name = format!("pod-{step}");
        run(store.write(Operation::Create { key: key(&name), object: object(&name, step) })).unwrap();
        let after = disk.with(|cached| cached.syncs);
        assert!(after > before, "a write was answered without a sync");
        let found = contents(&disk.without_power(&mut random).open());
        assert_eq!(found.get(&name).map(|(_, step)| *step), Some(step), "{name} was acknowledged");
    }
    let before = disk.with(|cached| cached.syncs);
    run(async {
        let writes = (0..200).map(|step| {
            let name = format!("many-{step}");
            store.write(Operation::Create { key: key(&name), object: object(&name, step) })
        });
        assert!(futures::future::join_all(writes).await.iter().all(Result::is_ok));
    });
    let syncs = disk.with(|cached| cached.syncs) - before;
    assert!(syncs < 50, "writes that wait together share a sync: {syncs} syncs for 200 writes");
}

type Answers = Mutex<BTreeMap<String, (u64, u64)>>;

/// Power is lost while several write: what was acknowledged is there, revisions go on, and the log tells how the objects
/// came to be.
#[test]
fn power_may_go_at_any_moment() {
    let mut random = StdRng::seed_from_u64(2);
    let mut disk = Disk::default();
    let answers = Arc::new(Answers::default());
    for round in 0..40_u64 {
        let store = Arc::new(disk.open());
        let writer = {
            let (store, answers) = (Arc::clone(&store), Arc::clone(&answers));
            std::thread::spawn(move || run(write_some(&store, round, &answers)))
        };
        let (goal, begin) = (random.random_range(1..200), disk.with(|cached| cached.changes));
        while disk.with(|cached| cached.changes) < begin + goal && !writer.is_finished() {
            std::thread::yield_now();
        }
        // First the answers, then the disk: what is answered in between need not be on the disk that is looked at.
        let acknowledged = answers.lock().unwrap().clone();
        let broken = disk.without_power(&mut random);
        writer.join().unwrap();
        drop(store);
        let store = broken.open();
        let found = contents(&store);
        for (name, state) in &acknowledged {
            assert_eq!(found.get(name), Some(state), "round {round}: {name} was acknowledged");
        }
        let highest = acknowledged.values().map(|(revision, _)| *revision).max().unwrap_or_default();
        assert!(store.revision() >= highest, "round {round}");
        assert_eq!(replayed(&store), found, "round {round}");
        drop(store);
        disk = broken;
        *answers.lock().unwrap() = acknowledged;
    }
    let count = answers.lock().unwrap().len();
    assert!(count > 100, "{count} writes were acknowledged");
}

async fn write_some(store: &Store, round: u64, answers: &Answers) {
    let writers = (0..4).map(async |writer| {
        for step in 0..10 {
            let name = format!("{round}-{writer}-{step}");
            let operation = Operation::Create { key: key(&name), object: object(&name, step) };
            let record = store.write(operation).await.unwrap();
            answers.lock().unwrap().insert(name, (record.revision, step));
        }
    });
    futures::future::join_all(writers).await;
}

/// The objects as the whole log tells them.
fn replayed(store: &Store) -> BTreeMap<String, (u64, u64)> {
    let mut subscription = store.subscribe("pods", None, 1).unwrap();
    let mut state = BTreeMap::new();
    while subscription.caught_up().is_none() {
        for event in run(subscription.next()).unwrap() {
            state.insert(event.key.name().to_owned(), (event.revision, step_of(&event.object)));
        }
    }
    state
}

/// The bytes of a store of some size in a file: as they are while it is open, as a kill leaves them, and when it is closed.
fn some_store(path: &Path) -> [Vec<u8>; 2] {
    let store = Store::open(&StoreConfig::new(path)).unwrap();
    for step in 0..120 {
        let name = format!("pod-{step}");
        run(store.write(Operation::Create { key: key(&name), object: object(&name, step) })).unwrap();
    }
    let killed = std::fs::read(path).unwrap();
    drop(store);
    [killed, std::fs::read(path).unwrap()]
}

/// What is wrong with a file, and the file.
fn damages(whole: &[u8], random: &mut StdRng) -> Vec<(String, Vec<u8>)> {
    let mut out = vec![
        ("empty".to_owned(), Vec::new()),
        ("another file altogether".to_owned(), b"#!/bin/sh\necho hello\n".repeat(1000)),
        ("zeros".to_owned(), vec![0; whole.len()]),
    ];
    for length in [1, 64, 511, 4096, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        out.push((format!("cut to {length} bytes"), whole[..length].to_vec()));
    }
    let mut magic = whole.to_vec();
    magic[0] ^= 0x20;
    out.push(("first byte altered".to_owned(), magic));
    for start in (0..whole.len()).step_by(4096).filter(|start| start % (64 << 10) < 32 << 10) {
        let end = (start + 4096).min(whole.len());
        if whole[start..end].iter().all(|byte| *byte == 0) {
            continue;
        }
        let mut zeroed = whole.to_vec();
        zeroed[start..end].fill(0);
        out.push((format!("page at {start} zeroed"), zeroed));
        let mut noise = whole.to_vec();
        for byte in &mut noise[start..end] {
            *byte = random.random();
        }
        out.push((format!("page at {start} overwritten with noise"), noise));
        let mut flipped = whole.to_vec();
        let at = random.random_range(start..end);
        flipped[at] ^= 1 << random.random_range(0..8);
        out.push((format!("a bit at {at} flipped"), flipped));
    }
    out
}

/// A damaged file is refused with what to do, and left as it is; or the damage is where nothing is kept, and all is there.
///
/// In a file that was not closed, a page of the newest commit that cannot be read is just what power loss leaves of a
/// commit that nobody was told of. The two cannot be told apart, and the store opens as of the commit before.
#[test]
fn damage_is_told_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let stores = some_store(&path);
    let config = StoreConfig::new(&path);
    let expected = contents(&Store::open(&config).unwrap());
    let mut before = expected.clone();
    before.remove("pod-119");
    let (mut refused, mut harmless, mut undone) = (0, 0, 0);
    let mut random = StdRng::seed_from_u64(3);
    for (closed, whole) in stores.iter().enumerate() {
        for (what, bytes) in damages(whole, &mut random) {
            std::fs::write(&path, &bytes).unwrap();
            match Store::open(&config).map(|store| contents(&store)) {
                Ok(found) if found == expected => harmless += 1,
                Ok(found) if found == before && closed == 0 => undone += 1,
                Ok(found) => panic!("{what}: opened with {} objects", found.len()),
                Err(error) => {
                    assert!(matches!(error, OpenError::Damaged { .. }), "{what}: {error:?}");
                    let text = error.to_string();
                    assert!(
                        text.contains("store.redb is damaged (") && text.contains("put back a copy"),
                        "{text}"
                    );
                    assert!(std::fs::read(&path).unwrap() == bytes, "{what}: the file was changed");
                    refused += 1;
                }
            }
        }
    }
    println!("{refused} refused, {harmless} harmless, {undone} as of the commit before");
    assert!(refused > 100 && undone < 30);
}

#[test]
fn a_store_of_another_version_is_left_to_its_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let config = StoreConfig::new(&path);
    drop(Store::open(&config).unwrap());
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(disk::META).unwrap().insert("format", 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let bytes = std::fs::read(&path).unwrap();
    let error = Store::open(&config).unwrap_err();
    assert!(matches!(error, OpenError::Format { format: 2, .. }), "{error:?}");
    assert!(error.to_string().contains("use the program that wrote it"), "{error}");
    assert!(std::fs::read(&path).unwrap() == bytes, "the file was changed");
}
