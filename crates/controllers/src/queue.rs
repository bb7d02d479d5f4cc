//! The work queue of every controller: keys that wait to be looked at.
//!
//! - A key that is added several times before its turn is looked at once (coalescing).
//! - A key is never looked at twice at the same time; added meanwhile, it comes again afterwards.
//! - A key that failed comes again after a pause that doubles with each failure in a row. A new event does not wait for it.
//! - Nothing polls: an idle queue sleeps until the next deadline or event.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::Display;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;

use crate::error::Error;

/// The pause after the first failure, as in client-go.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// The longest pause: short enough that a healed fault shows within seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// When a key wants to be looked at again without any event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// Only on the next event.
    OnEvent,
    /// After this time at the latest: a deadline (ready for long enough, progress overdue) has to be judged then.
    After(Duration),
}

/// Keys waiting for their turn.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Notify,
}

impl<T: Clone + Eq + Hash + Ord + Display> Queue<T> {
    /// An empty queue.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::new()), wake: Notify::new() })
    }

    /// Wants `key` to be looked at as soon as possible.
    pub(crate) fn add(&self, key: T) {
        self.lock().add(key);
        self.wake.notify_one();
    }

    /// Looks at keys for ever, up to `workers` of them at the same time.
    pub(crate) async fn run<F, W>(&self, controller: &'static str, workers: usize, reconcile: F)
    where
        F: Fn(T) -> W,
        W: Future<Output = Result<Again, Error>>,
    {
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < workers
                && let Some(key) = self.lock().take(Instant::now())
            {
                let work = reconcile(key.clone());
                running.push(async move { (key, work.await) });
            }
            let deadline = self.lock().next_deadline().filter(|_| running.len() < workers);
            let timer = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((key, outcome)) = running.next(), if !running.is_empty() => {
                    self.finished(controller, key, outcome);
                }
                () = self.wake.notified() => {}
                () = timer => {}
            }
        }
    }

    fn finished(&self, controller: &'static str, key: T, outcome: Result<Again, Error>) {
        match &outcome {
            Ok(_) => {}
            Err(error) if error.is_transient() => {
                tracing::debug!(controller, %key, %error, "comes again");
            }
            Err(error) => tracing::warn!(controller, %key, %error, "failed, comes again"),
        }
        self.lock().done(key, outcome.ok(), Instant::now());
    }

    // Every method of `State` leaves it whole, so a panic elsewhere in the process cannot have broken it.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue without clock and sleep: time comes in as an argument.
#[derive(Debug)]
struct State<T> {
    ready: VecDeque<T>,
    /// The keys of `ready`, and keys in work that must come again.
    wanted: HashSet<T>,
    in_work: HashSet<T>,
    later: BTreeSet<(Instant, T)>,
    deadlines: HashMap<T, Instant>,
    failures: HashMap<T, u32>,
}

impl<T: Clone + Eq + Hash + Ord> State<T> {
    fn new() -> Self {
        Self {
            ready: VecDeque::new(),
            wanted: HashSet::new(),
            in_work: HashSet::new(),
            later: BTreeSet::new(),
            deadlines: HashMap::new(),
            failures: HashMap::new(),
        }
    }

    fn add(&mut self, key: T) {
        if self.wanted.insert(key.clone()) && !self.in_work.contains(&key) {
            self.ready.push_back(key);
        }
    }

    /// The earlier of two deadlines of one key wins: coming too early does no harm.
    fn add_at(&mut self, key: T, at: Instant) {
        if let Some(earlier) = self.deadlines.get(&key).copied() {
            if earlier <= at {
                return;
            }
            self.later.remove(&(earlier, key.clone()));
        }
        self.deadlines.insert(key.clone(), at);
        self.later.insert((at, key));
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }

    fn take(&mut self, now: Instant) -> Option<T> {
        while self.next_deadline().is_some_and(|at| at <= now) {
            if let Some((_, key)) = self.later.pop_first() {
                self.deadlines.remove(&key);
                self.add(key);
            }
        }
        let key = self.ready.pop_front()?;
        self.wanted.remove(&key);
        self.in_work.insert(key.clone());
        Some(key)
    }

    /// `outcome` is `None` for a failure.
    fn done(&mut self, key: T, outcome: Option<Again>, now: Instant) {
        self.in_work.remove(&key);
        if self.wanted.contains(&key) {
            self.ready.push_back(key.clone());
        }
        match outcome {
            Some(again) => {
                self.failures.remove(&key);
                if let Again::After(pause) = again {
                    self.add_at(key, now + pause);
                }
            }
            None => {
                let failures = self.failures.entry(key.clone()).or_default();
                let pause = FIRST_PAUSE.saturating_mul(1 << (*failures).min(20)).min(LONGEST_PAUSE);
                *failures += 1;
                self.add_at(key, now + pause);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_added_twice_is_taken_once() {
        let now = Instant::now();
        let mut state = State::new();
        state.add("a");
        state.add("b");
        state.add("a");
        assert_eq!(state.take(now), Some("a"));
        assert_eq!(state.take(now), Some("b"));
        assert_eq!(state.take(now), None);
    }

    #[test]
    fn a_key_in_work_waits_for_its_end_and_comes_again() {
        let now = Instant::now();
        let mut state = State::new();
        state.add("a");
        assert_eq!(state.take(now), Some("a"));
        state.add("a");
        assert_eq!(state.take(now), None);
        state.done("a", Some(Again::OnEvent), now);
        assert_eq!(state.take(now), Some("a"));
        state.done("a", Some(Again::OnEvent), now);
        assert_eq!(state.take(now), None);
        assert_eq!(state.next_deadline(), None);
    }

    #[test]
    fn failures_pause_twice_as_long_each_time_and_success_forgets_them() {
        let now = Instant::now();
        let mut state = State::new();
        let mut at = now;
        for pause in [5, 10, 20, 40] {
            state.add("a");
            assert_eq!(state.take(at), Some("a"));
            state.done("a", None, at);
            assert_eq!(state.next_deadline(), Some(at + Duration::from_millis(pause)));
            assert_eq!(state.take(at), None);
            at += Duration::from_millis(pause);
        }
        assert_eq!(state.take(at), Some("a"));
        state.done("a", Some(Again::OnEvent), at);
        state.add("a");
        assert_eq!(state.take(at), Some("a"));
        state.done("a", None, at);
        assert_eq!(state.next_deadline(), Some(at + FIRST_PAUSE));
    }

    #[test]
    fn many_failures_stop_at_the_longest_pause() {
        let now = Instant::now();
        let mut state = State::new();
        for _ in 0..100 {
            state.add("a");
            assert_eq!(state.take(now), Some("a"));
            state.done("a", None, now);
        }
        state.add("a");
        // The earliest deadline was kept; after it has passed, the next failure waits for the longest pause.
        let later = now + FIRST_PAUSE;
        assert_eq!(state.take(later), Some("a"));
        state.done("a", None, later);
        assert_eq!(state.next_deadline(), Some(later + LONGEST_PAUSE));
    }

    #[test]
    fn the_earlier_deadline_wins() {
        let now = Instant::now();
        let mut state = State::new();
        state.add_at("a", now + Duration::from_secs(2));
        state.add_at("a", now + Duration::from_secs(1));
        state.add_at("a", now + Duration::from_secs(3));
        assert_eq!(state.take(now), None);
        assert_eq!(state.take(now + Duration::from_secs(1)), Some("a"));
        assert_eq!(state.next_deadline(), None);
    }
}
