//! Watches: the events of a resource after a revision.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use super::record::Event;
use super::window::{self, Published};

/// Most events handed out at once, and their bytes but for the last one's: bounds what one watcher holds beside the window.
const MAX_BATCH: usize = 500;
const MAX_BATCH_BYTES: usize = 128 << 10;

/// The events of one resource, read at the reader's own pace from the window that all share. A reader that is so slow
/// that the window moves past it is told so; nothing is ever skipped.
pub struct Subscription {
    published: Arc<RwLock<Published>>,
    resource: String,
    namespace: Option<String>,
    /// All events up to here were handed out.
    cursor: u64,
    wake: watch::Receiver<u64>,
}

/// Why a watch cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// Events after the revision were dropped already.
    #[error("too old resource version: {revision} ({oldest})")]
    Expired {
        /// The revision asked for, or reached.
        revision: u64,
        /// Newest revision whose event was dropped.
        oldest: u64,
    },
    /// The revision is in the future.
    #[error("revision {revision} is newer than the newest, {newest}")]
    TooNew {
        /// The revision asked for.
        revision: u64,
        /// The newest revision.
        newest: u64,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl Subscription {
    pub(super) fn new(
        published: &Arc<RwLock<Published>>,
        resource: &str,
        namespace: Option<&str>,
        after: u64,
    ) -> Result<Self, WatchError> {
        let wake = {
            let mut guard = published.write().unwrap_or_else(PoisonError::into_inner);
            let newest = guard.revision();
            if after > newest {
                return Err(WatchError::TooNew { revision: after, newest });
            }
            let channel = guard.window.channel_mut(resource);
            if after < channel.compacted {
                return Err(WatchError::Expired { revision: after, oldest: channel.compacted });
            }
            let mut wake = channel.wake.subscribe();
            // What is in the window already has to be read first.
            wake.mark_changed();
            wake
        };
        Ok(Self {
            published: Arc::clone(published),
            resource: resource.to_owned(),
            namespace: namespace.map(str::to_owned),
            cursor: after,
            wake,
        })
    }

    /// Waits for the next events. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When this reader was too slow, or the store is closed.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, WatchError> {
        loop {
            self.wake.changed().await.map_err(|_| WatchError::Closed)?;
            let events = self.take()?;
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    /// The newest revision of the store, when everything up to it was handed out; this reader has nothing to wait for
    /// before that revision.
    pub fn caught_up(&self) -> Option<u64> {
        let guard = window::read(&self.published);
        let last = guard.window.channel(&self.resource).and_then(|channel| channel.events.back());
        last.is_none_or(|event| event.revision <= self.cursor).then(|| guard.revision())
    }

    fn take(&mut self) -> Result<Vec<Arc<Event>>, WatchError> {
        let guard = window::read(&self.published);
        let Some(channel) = guard.window.channel(&self.resource) else { return Ok(Vec::new()) };
        if self.cursor < channel.compacted {
            return Err(WatchError::Expired { revision: self.cursor, oldest: channel.compacted });
        }
        let from = channel.events.partition_point(|event| event.revision <= self.cursor);
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for event in channel.events.range(from..) {
            if taken.len() == MAX_BATCH || bytes >= MAX_BATCH_BYTES {
                self.wake.mark_changed();
                break;
            }
            self.cursor = event.revision;
            if self.namespace.as_ref().is_none_or(|namespace| namespace == event.key.namespace()) {
                bytes += event.object.len();
                taken.push(Arc::clone(event));
            }
        }
        Ok(taken)
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Subscription")
            .field("resource", &self.resource)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}
