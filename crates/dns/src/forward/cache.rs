//! What upstream servers said, until it is over and a while longer. Time comes in as an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::response::Response;
use crate::{Name, RecordType};

/// How long an answer is kept after it is over, in case no server answers (RFC 8767 allows days).
const STALE: Duration = Duration::from_secs(3600);
/// Uses that make a name popular: it is asked for again before its answer is over.
const POPULAR: u32 = 3;

/// What is asked, as far as answers differ by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Question {
    pub(crate) name: Name,
    pub(crate) kind: RecordType,
    pub(crate) dnssec: bool,
    pub(crate) checking_disabled: bool,
}

#[derive(Debug)]
struct Entry {
    response: Arc<Response>,
    came: Instant,
    uses: u32,
}

/// An answer found.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub(crate) response: Arc<Response>,
    /// Seconds since it came.
    pub(crate) age: u32,
    /// It is over, and good only if nobody answers.
    pub(crate) stale: bool,
    /// It will soon be over, and the name is asked for often.
    pub(crate) refresh: bool,
}

/// Answers by question.
#[derive(Debug)]
pub(crate) struct Cache {
    capacity: usize,
    entries: BTreeMap<Question, Entry>,
    /// When each is over.
    ends: BTreeSet<(Instant, Question)>,
}

impl Cache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, entries: BTreeMap::new(), ends: BTreeSet::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn find(&mut self, question: &Question, now: Instant) -> Option<Hit> {
        let entry = self.entries.get_mut(question)?;
        let age = now.saturating_duration_since(entry.came);
        let lifetime = entry.lifetime();
        if age >= lifetime + STALE {
            return None;
        }
        entry.uses += 1;
        let refresh = entry.uses >= POPULAR && age * 10 >= lifetime * 9 && age < lifetime;
        let age_seconds = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        Some(Hit { response: entry.response.clone(), age: age_seconds, stale: age >= lifetime, refresh })
    }

    /// Keeps an answer. A failure does not take the place of an answer that it could still stand in for.
    pub(crate) fn keep(&mut self, question: Question, response: Arc<Response>, now: Instant) {
        if response.lifetime == 0 || response.truncated || self.capacity == 0 {
            return;
        }
        if !response.is_conclusive()
            && self.entries.get(&question).is_some_and(|e| e.response.is_conclusive())
        {
            return;
        }
        self.forget(&question);
        while self.entries.len() >= self.capacity {
            let Some((_, first)) = self.ends.first().cloned() else { break };
            self.forget(&first);
        }
        let entry = Entry { response, came: now, uses: 0 };
        self.ends.insert((now + entry.lifetime(), question.clone()));
        self.entries.insert(question, entry);
    }

    fn forget(&mut self, question: &Question) {
        if let Some(entry) = self.entries.remove(question) {
            self.ends.remove(&(entry.came + entry.lifetime(), question.clone()));
        }
    }
}

impl Entry {
    fn lifetime(&self) -> Duration {
        Duration::from_secs(self.response.lifetime.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::response::question;
    use super::*;

    fn asked(name: &str) -> Question {
        let name = Name::parse(name).unwrap();
        Question { name, kind: RecordType::A, dnssec: false, checking_disabled: false }
    }

    fn response(name: &str, ttl: u32) -> Arc<Response> {
        let name = Name::parse(name).unwrap();
        let mut bytes = question(0, &name, RecordType::A, false, false);
        bytes.truncate(bytes.len() - 11);
        bytes[2] |= 0x80;
        bytes[7] = 1;
        bytes[11] = 0;
        bytes.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
        bytes.extend_from_slice(&ttl.to_be_bytes());
        bytes.extend_from_slice(&[0, 4, 192, 0, 2, 7]);
        Arc::new(Response::parse(bytes, 0, &name, RecordType::A).unwrap())
    }

    #[test]
    fn an_answer_ages_goes_stale_and_goes() {
        let begin = Instant::now();
        let mut cache = Cache::new(10);
        cache.keep(asked("a"), response("a", 100), begin);
        let at = |cache: &mut Cache, seconds| cache.find(&asked("a"), begin + Duration::from_secs(seconds));
        assert_eq!(at(&mut cache, 7).map(|hit| (hit.age, hit.stale, hit.refresh)), Some((7, false, false)));
        at(&mut cache, 50);
        assert!(at(&mut cache, 95).unwrap().refresh, "popular and nearly over");
        assert!(at(&mut cache, 100).unwrap().stale);
        assert!(at(&mut cache, 100 + 3600).is_none());
    }

    #[test]
    fn the_cache_does_not_outgrow_its_capacity() {
        let now = Instant::now();
        let mut cache = Cache::new(3);
        for (name, ttl) in [("a", 10), ("b", 5), ("c", 20), ("d", 30), ("e", 0)] {
            cache.keep(asked(name), response(name, ttl), now);
        }
        assert_eq!((cache.len(), cache.ends.len()), (3, 3));
        assert!(cache.find(&asked("b"), now).is_none(), "the first to be over went");
    }
}
