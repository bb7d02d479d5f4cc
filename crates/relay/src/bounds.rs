//! What all relays share: how much there may be at a time, and how much there was.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::Config;
use crate::flows::Flows;
use crate::udp::Line;

/// A message about the same trouble comes at most once in this time.
const SELDOM: Duration = Duration::from_secs(10);

/// What was carried so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections accepted.
    pub connections: u64,
    /// Of these, connections that no endpoint answered.
    pub refused: u64,
    /// Flows of datagrams begun.
    pub flows: u64,
    /// Datagrams dropped: no endpoint, no room for the flow, or a socket whose buffer is full.
    pub dropped: u64,
}

/// Tells what all relays of one node have carried.
#[derive(Debug, Clone)]
pub struct Meter(pub(crate) Arc<Bounds>);

impl Meter {
    /// What was carried so far.
    pub fn counts(&self) -> Counts {
        self.0.counts()
    }
}

/// Bounds and counters of all relays.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) connections: Arc<Semaphore>,
    lines: Mutex<Flows<u64, Arc<Line>>>,
    most_flows: usize,
    pub(crate) flow_timeout: Duration,
    accepted: AtomicU64,
    refused: AtomicU64,
    begun: AtomicU64,
    dropped: AtomicU64,
    warned: Mutex<Option<Instant>>,
}

impl Bounds {
    pub(crate) fn new(config: &Config) -> Self {
        let semaphore = |bound: usize| Arc::new(Semaphore::new(bound.clamp(1, Semaphore::MAX_PERMITS)));
        Self {
            connections: semaphore(config.connections),
            lines: Mutex::new(Flows::new()),
            most_flows: config.flows.max(1),
            flow_timeout: config.flow_timeout,
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            warned: Mutex::new(None),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            connections: read(&self.accepted),
            refused: read(&self.refused),
            flows: read(&self.begun),
            dropped: read(&self.dropped),
        }
    }

    pub(crate) fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Another flow has begun. Whoever has been silent longest makes way, of whatever relay, if there are too many now;
    /// whether somebody had to. The number is for [`Bounds::ended`].
    pub(crate) fn begun(&self, line: Arc<Line>) -> (u64, bool) {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let mut lines = self.lines();
        lines.insert(number, line);
        let crowded = lines.len() > self.most_flows;
        let silent = if crowded { lines.evict() } else { None };
        drop(lines);
        if let Some(silent) = silent {
            silent.close();
        }
        (number, crowded)
    }

    pub(crate) fn ended(&self, number: u64) {
        self.lines().remove(&number);
    }

    /// Flows that there are.
    #[cfg(test)]
    pub(crate) fn flows(&self) -> usize {
        self.lines().len()
    }

    fn lines(&self) -> MutexGuard<'_, Flows<u64, Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it is time to complain again.
    pub(crate) fn may_warn(&self, now: Instant) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let due = warned.is_none_or(|last| now.saturating_duration_since(last) >= SELDOM);
        if due {
            *warned = Some(now);
        }
        due
    }
}
