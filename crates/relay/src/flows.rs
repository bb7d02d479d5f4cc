//! Flows by path, and which of them has been silent longest.
//!
//! A flow that is heard does not move in any queue, which would cost at every datagram: the queue holds when it was
//! heard at some time, and when its turn comes it is asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Something that is heard from time to time.
pub(crate) trait Heard {
    /// When anybody sent something last.
    fn last_heard(&self) -> Instant;
}

/// Flows by path.
#[derive(Debug)]
pub(crate) struct Flows<P, F> {
    flows: BTreeMap<P, (Instant, F)>,
    /// Each flow once, with the instant beside it.
    queue: BTreeSet<(Instant, P)>,
}

impl<P: Ord + Copy, F: Heard> Flows<P, F> {
    pub(crate) const fn new() -> Self {
        Self { flows: BTreeMap::new(), queue: BTreeSet::new() }
    }

    pub(crate) fn at(&self, path: &P) -> Option<&F> {
        self.flows.get(path).map(|(_, flow)| flow)
    }

    pub(crate) fn insert(&mut self, path: P, flow: F) {
        self.remove(&path);
        let heard = flow.last_heard();
        self.queue.insert((heard, path));
        self.flows.insert(path, (heard, flow));
    }

    pub(crate) fn remove(&mut self, path: &P) {
        if let Some((queued, _)) = self.flows.remove(path) {
            self.queue.remove(&(queued, *path));
        }
    }

    /// Before this nobody can have been silent for `timeout`; `None` when there is no flow.
    pub(crate) fn look_at(&self, timeout: Duration) -> Option<Instant> {
        self.queue.first().map(|(queued, _)| *queued + timeout)
    }

    /// Removes those that have been silent for `timeout`.
    pub(crate) fn expire(&mut self, now: Instant, timeout: Duration) {
        while let Some(heard) = self.settle_first()
            && now.saturating_duration_since(heard) >= timeout
        {
            self.remove_first();
        }
    }

    /// Removes the one that has been silent longest; `None` when there is none.
    pub(crate) fn evict(&mut self) -> Option<F> {
        self.settle_first()?;
        self.remove_first()
    }

    /// Removes the longest silent ones as long as they are over.
    pub(crate) fn shed(&mut self, is_over: impl Fn(&F) -> bool) {
        while self.settle_first().is_some()
            && let Some((_, path)) = self.queue.first()
            && self.at(path).is_some_and(&is_over)
        {
            self.remove_first();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.flows.len()
    }

    /// Puts the first in the queue where it belongs, until the first is; says when that one was heard.
    fn settle_first(&mut self) -> Option<Instant> {
        loop {
            let (queued, path) = self.queue.first().copied()?;
            // Every entry of the queue has its flow.
            let (at, flow) = self.flows.get_mut(&path)?;
            let heard = flow.last_heard();
            if heard <= queued {
                return Some(queued);
            }
            *at = heard;
            self.queue.pop_first();
            self.queue.insert((heard, path));
        }
    }

    fn remove_first(&mut self) -> Option<F> {
        let (_, path) = self.queue.pop_first()?;
        self.flows.remove(&path).map(|(_, flow)| flow)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[derive(Debug)]
    struct Fake(Rc<Cell<Instant>>);

    impl Heard for Fake {
        fn last_heard(&self) -> Instant {
            self.0.get()
        }
    }

    fn paths(flows: &Flows<u8, Fake>) -> Vec<u8> {
        assert_eq!(flows.queue.len(), flows.flows.len());
        flows.flows.keys().copied().collect()
    }

    #[test]
    fn the_silent_go_first() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let heard: Vec<_> = (0..4).map(|number| Rc::new(Cell::new(at(number)))).collect();
        let mut flows = Flows::new();
        for (path, heard) in (0..).zip(&heard) {
            flows.insert(path, Fake(heard.clone()));
        }
        let timeout = Duration::from_secs(10);
        assert_eq!(flows.look_at(timeout), Some(at(10)));
        heard[0].set(at(9));
        flows.expire(at(10), timeout);
        assert_eq!(paths(&flows), [0, 1, 2, 3], "0 was heard a second ago");
        assert_eq!(flows.look_at(timeout), Some(at(11)));
        flows.expire(at(11), timeout);
        assert_eq!(paths(&flows), [0, 2, 3]);
        heard[2].set(at(20));
        assert!(flows.evict().is_some());
        assert_eq!(paths(&flows), [0, 2], "3 was silent longest");
        flows.shed(|flow| flow.0.get() == at(9));
        assert_eq!(paths(&flows), [2]);
        flows.remove(&2);
        assert!(flows.evict().is_none());
        assert_eq!(flows.look_at(timeout), None);
    }
}
