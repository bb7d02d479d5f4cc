//! The durable, versioned store of the API server and its watch log.
//!
//! One number, the revision, counts every write; it is the resourceVersion that clients see. One thread writes: it takes
//! all requests that wait, checks each against the newest state, commits them in one transaction with one fsync, and
//! publishes the events together with a read snapshot of exactly that revision.
//!
//! ```text
//! Store::write ─► queue ─► writer thread ─► redb: objects + log ─► Published { window, snapshot }
//!                                                                      │            │
//!                                                     Subscription ◄───┘            └─► get, list
//! ```
//!
//! The log of the newest events lies on disk and, the same events, in memory, where all watchers share their bytes. Older
//! events are dropped by count, size and age; who asks for them is told that they are gone.

mod disk;
mod list;
mod record;
mod staged;
mod watch;
mod window;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::Database;
use tokio::sync::{mpsc, oneshot};

pub use disk::OpenError;
pub use list::{ListError, ListQuery, Page, Start};
pub use record::{Event, EventKind, Key, Labels, Record, labels_of};
pub use watch::{Subscription, WatchError};
pub use writer::{Operation, WriteError};

use window::Published;
use writer::Request;

/// Where the store lies and how much of the past it keeps.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The database file; made when it is not there. Its folder must exist.
    pub path: PathBuf,
    /// Most events kept.
    pub max_events: usize,
    /// Most bytes of events kept.
    pub max_event_bytes: usize,
    /// Events older than this are dropped with the next write.
    pub max_event_age: Duration,
}

impl StoreConfig {
    /// 50,000 events, 64 MiB, one hour.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_events: 50_000,
            max_event_bytes: 64 << 20,
            max_event_age: Duration::from_secs(3600),
        }
    }
}

/// Requests that may wait for the writer before callers have to wait themselves.
const QUEUE: usize = 4096;

/// The store. Dropping it lets the writer finish what is queued and closes the file.
pub struct Store {
    published: Arc<RwLock<Published>>,
    queue: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
}

impl Store {
    /// Opens the file, checks it, reads the log of events and starts the writer. Blocks.
    ///
    /// # Errors
    /// When the file is in use, damaged or cannot be read; the message says what to do.
    pub fn open(config: &StoreConfig) -> Result<Self, OpenError> {
        let (database, published) = disk::open(config)?;
        Self::on(database, published, config)
    }

    fn on(database: Database, published: Published, config: &StoreConfig) -> Result<Self, OpenError> {
        let published = Arc::new(RwLock::new(published));
        let (sender, receiver) = mpsc::channel(QUEUE);
        let writer = writer::Writer::new(database, Arc::clone(&published), config.clone());
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(receiver))
            .map_err(|source| OpenError::Thread { source })?;
        Ok(Self { published, queue: Some(sender), writer: Some(thread) })
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        window::read(&self.published).revision()
    }

    /// The object stored under the key, as of now.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn get(&self, key: &Key) -> Result<Option<Record>, redb::StorageError> {
        let snapshot = window::read(&self.published).snapshot();
        disk::get(&snapshot, key)
    }

    /// One page of the objects of a resource that `keep` lets through, in order of namespace and name, all as of one
    /// revision. Blocks for as long as the scan takes.
    ///
    /// # Errors
    /// When the revision asked for is gone or has not come yet.
    pub fn list(&self, query: &ListQuery<'_>, keep: impl FnMut(&Record) -> bool) -> Result<Page, ListError> {
        list::list(&self.published, query, keep)
    }

    /// Writes one object; returns it as stored, with its resourceVersion, once it is on disk and visible to all readers.
    /// For a deletion that is the last state.
    ///
    /// # Errors
    /// When the object is not in the state that the operation expects, or the disk fails.
    pub async fn write(&self, operation: Operation) -> Result<Record, WriteError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(WriteError::Closed)?;
        queue.send(Request { operation, reply }).await.map_err(|_| WriteError::Closed)?;
        answer.await.map_err(|_| WriteError::Closed)?
    }

    /// The events of a resource after a revision, present and future.
    ///
    /// # Errors
    /// When events after the revision have been dropped already, or the revision has not come yet.
    pub fn subscribe(
        &self,
        resource: &str,
        namespace: Option<&str>,
        after: u64,
    ) -> Result<Subscription, WatchError> {
        Subscription::new(&self.published, resource, namespace, after)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // A panic of the writer was reported when it happened; there is nobody to tell here.
            let _panicked = writer.join();
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Store").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
