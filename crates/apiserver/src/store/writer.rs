//! The one thread that writes.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use jiff::Timestamp;
use redb::{Database, ReadableTable, Table};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::StoreConfig;
use super::disk::{self, COMPACTED, LOG, META, OBJECTS, REVISION};
use super::record::{Event, EventKind, Key, Record};
use super::window::{self, Published};

/// Most writes in one transaction: bounds how long the first of them waits.
const MAX_BATCH: usize = 1024;

/// One write, with the state it expects.
#[derive(Debug)]
pub enum Operation {
    /// The object must not exist.
    Create {
        /// Its name.
        key: Key,
        /// The object; `metadata.resourceVersion` is set by the store.
        object: Value,
    },
    /// The object must exist in exactly the given revision.
    Update {
        /// Its name.
        key: Key,
        /// The revision that the new object was made from.
        expected: u64,
        /// The new object; `metadata.resourceVersion` is set by the store.
        object: Value,
    },
    /// The object must exist in exactly the given revision.
    Delete {
        /// Its name.
        key: Key,
        /// The revision that was looked at.
        expected: u64,
        /// The last state, for the watchers.
        object: Value,
    },
}

/// Why a write was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// Creation of an object that is there.
    #[error("the object exists")]
    Exists,
    /// Change of an object that is not there.
    #[error("the object does not exist")]
    Missing,
    /// The object changed in between.
    #[error("the object has been modified")]
    Modified,
    /// The object is not a JSON object with metadata.
    #[error("the object has no metadata")]
    NoMetadata,
    /// The file cannot be written; nothing of the transaction is stored.
    #[error("the store cannot be written")]
    Disk(#[source] Arc<redb::Error>),
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

pub(super) struct Request {
    pub(super) operation: Operation,
    pub(super) reply: oneshot::Sender<Result<Record, WriteError>>,
}

pub(super) struct Writer {
    database: Database,
    published: Arc<RwLock<Published>>,
    config: StoreConfig,
}

type Outcome = Result<Record, WriteError>;

/// What one transaction did.
struct Committed {
    events: Vec<Arc<Event>>,
    outcomes: Vec<Outcome>,
    compacted: u64,
}

impl Writer {
    pub(super) fn new(database: Database, published: Arc<RwLock<Published>>, config: StoreConfig) -> Self {
        Self { database, published, config }
    }

    /// Writes until every sender is gone.
    pub(super) fn run(self, mut queue: mpsc::Receiver<Request>) {
        while let Some(first) = queue.blocking_recv() {
            let mut operations = vec![first.operation];
            let mut replies = vec![first.reply];
            while operations.len() < MAX_BATCH {
                let Ok(request) = queue.try_recv() else { break };
                operations.push(request.operation);
                replies.push(request.reply);
            }
            let outcomes = self.batch(operations, replies.len());
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                // Who asked may have gone away; the write stands.
                let _gone = reply.send(outcome);
            }
        }
    }

    fn batch(&self, operations: Vec<Operation>, count: usize) -> Vec<Outcome> {
        let result = self.transaction(operations).and_then(|committed| {
            let Committed { events, outcomes, compacted } = committed;
            if !events.is_empty() {
                let objects = disk::snapshot(&self.database)?;
                let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
                published.publish(events, objects, compacted);
            }
            Ok(outcomes)
        });
        result.unwrap_or_else(|error| {
            tracing::error!(%error, writes = count, "the store cannot be written");
            let error = WriteError::Disk(Arc::new(error));
            vec![Err(error); count]
        })
    }

    fn transaction(&self, operations: Vec<Operation>) -> Result<Committed, redb::Error> {
        let now = Timestamp::now().as_millisecond();
        let mut revision = window::read(&self.published).revision();
        let mut events = Vec::new();
        let mut outcomes = Vec::with_capacity(operations.len());
        let mut compacted = 0;
        let transaction = self.database.begin_write()?;
        {
            let mut objects = transaction.open_table(OBJECTS)?;
            let mut log = transaction.open_table(LOG)?;
            for operation in operations {
                let outcome = apply(&mut objects, operation, revision + 1, now)?;
                outcomes.push(outcome.map(|event| {
                    revision += 1;
                    let event = Arc::new(event);
                    let (key, json) = (event.key.clone(), event.object.clone());
                    events.push(event);
                    Record { key, revision, json }
                }));
            }
            for event in &events {
                log.insert(event.revision, disk::encode_event(event).as_slice())?;
            }
            if !events.is_empty() {
                compacted = self.compact(&mut log, now)?;
                let mut meta = transaction.open_table(META)?;
                meta.insert(REVISION, revision)?;
                if compacted > 0 {
                    meta.insert(COMPACTED, compacted)?;
                }
            }
        }
        if events.is_empty() {
            transaction.abort()?;
        } else {
            transaction.commit()?;
        }
        Ok(Committed { events, outcomes, compacted })
    }

    fn compact(&self, log: &mut Table<'_, u64, &'static [u8]>, now: i64) -> Result<u64, redb::Error> {
        let age = i64::try_from(self.config.max_event_age.as_millis()).unwrap_or(i64::MAX);
        let published = window::read(&self.published);
        let target = published.window.compaction(
            self.config.max_events,
            self.config.max_event_bytes,
            now.saturating_sub(age),
        );
        for revision in published.window.revisions_to(target) {
            log.remove(revision)?;
        }
        Ok(target)
    }
}

fn apply(
    objects: &mut Table<'_, &'static str, &'static [u8]>,
    operation: Operation,
    revision: u64,
    now: i64,
) -> Result<Result<Event, WriteError>, redb::Error> {
    let (kind, key, expected, mut object) = match operation {
        Operation::Create { key, object } => (EventKind::Created, key, None, object),
        Operation::Update { key, expected, object } => (EventKind::Updated, key, Some(expected), object),
        Operation::Delete { key, expected, object } => (EventKind::Deleted, key, Some(expected), object),
    };
    let current = objects.get(key.encoded())?.map(|guard| disk::decode_object(key.clone(), guard.value()));
    let previous = match (current, expected) {
        (None, None) => None,
        (Some(_), None) => return Ok(Err(WriteError::Exists)),
        (None, Some(_)) => return Ok(Err(WriteError::Missing)),
        (Some(record), Some(expected)) if record.revision == expected => Some(record.json),
        (Some(_), Some(_)) => return Ok(Err(WriteError::Modified)),
    };
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return Ok(Err(WriteError::NoMetadata));
    };
    metadata.insert("resourceVersion".to_owned(), revision.to_string().into());
    let json = Bytes::from(object.to_string());
    if kind == EventKind::Deleted {
        objects.remove(key.encoded())?;
    } else {
        objects.insert(key.encoded(), disk::encode_object(revision, &json).as_slice())?;
    }
    Ok(Ok(Event::new(revision, kind, key, json, previous, now)))
}
