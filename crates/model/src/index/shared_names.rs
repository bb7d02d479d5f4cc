//! Texts that many objects say, kept once.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Names of nodes, zones, namespaces and ports: a cluster says each of them thousands of times.
#[derive(Debug, Default)]
pub(super) struct SharedNames {
    names: BTreeSet<Arc<str>>,
    /// How many there may be before those are dropped that nobody says any more.
    room: usize,
}

impl SharedNames {
    /// Fewer are not worth looking through.
    const LEAST: usize = 1024;

    /// Puts the text that is kept in the place of an equal one.
    pub(super) fn share(&mut self, name: &mut Arc<str>) {
        if let Some(kept) = self.names.get(name) {
            name.clone_from(kept);
            return;
        }
        if self.names.len() >= self.room.max(Self::LEAST) {
            self.names.retain(|name| Arc::strong_count(name) > 1);
            // So often that each name pays for one look at it.
            self.room = self.names.len() * 2;
        }
        self.names.insert(name.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_become_one_and_those_that_nobody_says_go() {
        let mut shared = SharedNames::default();
        let mut first: Arc<str> = "node1".into();
        let mut second: Arc<str> = "node1".into();
        shared.share(&mut first);
        shared.share(&mut second);
        assert!(Arc::ptr_eq(&first, &second));
        for number in 0..10 * SharedNames::LEAST {
            shared.share(&mut format!("gone{number}").into());
        }
        assert!(shared.names.len() <= SharedNames::LEAST && shared.names.contains(&first));
    }
}
