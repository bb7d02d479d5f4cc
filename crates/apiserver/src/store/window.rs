//! What all readers see: the newest events in memory and the objects on disk, of one and the same revision.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::watch;

use super::disk::Objects;
use super::record::Event;

/// The newest committed state. Replaced as a whole under its lock, so that a list and the watch after it agree.
pub(super) struct Published {
    pub(super) window: Window,
    objects: Arc<Objects>,
}

/// The newest events: all in order, and by resource.
pub(super) struct Window {
    revision: u64,
    /// Events up to here were dropped before this process began.
    base: u64,
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    channels: BTreeMap<String, Channel>,
}

/// The events of one resource.
pub(super) struct Channel {
    pub(super) events: VecDeque<Arc<Event>>,
    /// Newest revision of an event of this resource that was dropped.
    pub(super) compacted: u64,
    /// Newest revision of this resource.
    pub(super) wake: watch::Sender<u64>,
}

/// Readers never leave the lock poisoned in a state that is half changed: a panic while publishing would be in
/// allocation only, and the events are committed either way.
pub(super) fn read(published: &RwLock<Published>) -> RwLockReadGuard<'_, Published> {
    published.read().unwrap_or_else(PoisonError::into_inner)
}

impl Published {
    pub(super) fn new(window: Window, objects: Objects) -> Self {
        Self { window, objects: Arc::new(objects) }
    }

    pub(super) fn revision(&self) -> u64 {
        self.window.revision
    }

    pub(super) fn snapshot(&self) -> Arc<Objects> {
        Arc::clone(&self.objects)
    }

    /// Takes the events of one commit and the objects after it; drops the events up to `compact_to`.
    pub(super) fn publish(&mut self, events: Vec<Arc<Event>>, objects: Objects, compact_to: u64) {
        self.objects = Arc::new(objects);
        for event in events {
            self.window.push(event);
        }
        self.window.compact(compact_to);
    }
}

impl Window {
    pub(super) fn new(revision: u64, base: u64, events: VecDeque<Arc<Event>>) -> Self {
        let mut window = Self {
            revision,
            base,
            events: VecDeque::with_capacity(events.len()),
            bytes: 0,
            channels: BTreeMap::new(),
        };
        for event in events {
            window.push(event);
        }
        window
    }

    /// The channel of a resource, made when it is the first time that somebody asks.
    pub(super) fn channel_mut(&mut self, resource: &str) -> &mut Channel {
        if !self.channels.contains_key(resource) {
            let (wake, _) = watch::channel(0);
            let channel = Channel { events: VecDeque::new(), compacted: self.base, wake };
            self.channels.insert(resource.to_owned(), channel);
        }
        self.channels.get_mut(resource).expect("inserted above")
    }

    pub(super) fn channel(&self, resource: &str) -> Option<&Channel> {
        self.channels.get(resource)
    }

    /// Events up to here are gone for a resource that has no channel.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// The revision up to which events have to go, so that at most the given number, bytes and age are left. 0: none.
    ///
    /// Once a limit is passed a tenth more is dropped, so that most commits drop nothing.
    pub(super) fn compaction(&self, max_events: usize, max_bytes: usize, oldest_time: i64) -> u64 {
        let too_old = |event: &Arc<Event>| event.time < oldest_time;
        let over = self.events.len() > max_events || self.bytes > max_bytes;
        if !over && !self.events.front().is_some_and(too_old) {
            return 0;
        }
        let (goal_events, goal_bytes) = if over {
            (max_events - max_events / 10, max_bytes - max_bytes / 10)
        } else {
            (usize::MAX, usize::MAX)
        };
        let (mut count, mut bytes, mut target) = (self.events.len(), self.bytes, 0);
        for event in &self.events {
            if count <= goal_events && bytes <= goal_bytes && !too_old(event) {
                break;
            }
            count -= 1;
            bytes -= event.size();
            target = event.revision;
        }
        target
    }

    /// The revisions of the events up to `target`.
    pub(super) fn revisions_to(&self, target: u64) -> impl Iterator<Item = u64> {
        self.events.iter().map(|event| event.revision).take_while(move |revision| *revision <= target)
    }

    fn push(&mut self, event: Arc<Event>) {
        self.revision = self.revision.max(event.revision);
        self.bytes += event.size();
        let channel = self.channel_mut(event.key.resource());
        channel.events.push_back(Arc::clone(&event));
        // Readers that wait hold the lock's read side only after they wake, when all of the commit is there.
        channel.wake.send_replace(event.revision);
        self.events.push_back(event);
    }

    fn compact(&mut self, target: u64) {
        while self.events.front().is_some_and(|event| event.revision <= target)
            && let Some(event) = self.events.pop_front()
        {
            self.bytes -= event.size();
            let channel = self.channel_mut(event.key.resource());
            channel.events.pop_front();
            channel.compacted = event.revision;
        }
    }
}
