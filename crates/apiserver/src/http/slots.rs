//! Slots that are taken and given back: how many of something there may be at once, and how many of one owner.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A number of slots, of which one owner gets at most three quarters: the rest is there for all others, whatever one of
/// them does. Clones share them.
#[derive(Debug, Clone)]
pub struct Slots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    /// Owners with slots, and how many each has.
    taken: Mutex<BTreeMap<String, usize>>,
}

/// A slot; given back when dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Slots,
    owner: String,
}

impl Slots {
    /// That many, at least 1.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Inner { limit: limit.max(1), taken: Mutex::default() }))
    }

    /// Takes one; `None` when there is none for this owner. Never waits.
    pub fn take(&self, owner: &str) -> Option<Slot> {
        let mut taken = self.lock();
        let all: usize = taken.values().sum();
        let own = taken.get(owner).copied().unwrap_or_default();
        if all >= self.0.limit || own >= self.share() {
            return None;
        }
        taken.insert(owner.to_owned(), own + 1);
        Some(Slot { slots: self.clone(), owner: owner.to_owned() })
    }

    fn share(&self) -> usize {
        (self.0.limit - self.0.limit / 4).max(1)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        // Every change is a single insertion or removal: nothing is ever half done.
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.lock();
        match taken.get_mut(&self.owner) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = taken.remove(&self.owner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_owner_leaves_a_quarter_to_the_others() {
        let slots = Slots::new(8);
        let mut held: Vec<Slot> = std::iter::from_fn(|| slots.take("greedy")).collect();
        assert_eq!(held.len(), 6);
        held.extend([slots.take("a").unwrap(), slots.take("b").unwrap()]);
        assert!(slots.take("c").is_none(), "all are taken");
        held.truncate(3);
        assert!(slots.take("c").is_some() && slots.take("greedy").is_some());
        drop(held);
        assert!(slots.lock().is_empty(), "nothing is kept of owners that are gone");
    }

    #[test]
    fn there_is_always_one() {
        let slots = Slots::new(0);
        let slot = slots.take("a").unwrap();
        assert!(slots.take("a").is_none());
        drop(slot);
        slots.take("a").unwrap();
    }
}
