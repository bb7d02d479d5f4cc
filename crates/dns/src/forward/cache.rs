//! What upstream servers said, until it is over and a while longer. Time comes in as an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::CacheConfig;
use super::response::{Outcome, Response};
use crate::{Name, RecordType};

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
    lifetime: Duration,
    /// Queries in a row without a long gap, and when the last one came.
    uses: u32,
    used: Instant,
}

/// An answer found.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub(crate) response: Arc<Response>,
    /// Seconds to take off its TTLs.
    pub(crate) age: u32,
    /// It is over, and good only if nobody answers.
    pub(crate) stale: bool,
    /// It will soon be over, and the name is asked for often.
    pub(crate) refresh: bool,
}

/// Answers by question.
#[derive(Debug)]
pub(crate) struct Cache {
    config: CacheConfig,
    entries: BTreeMap<Question, Entry>,
    /// When each is over: records, and everything else.
    ends: [BTreeSet<(Instant, Question)>; 2],
}

impl Cache {
    pub(crate) fn new(config: CacheConfig) -> Self {
        Self { config, entries: BTreeMap::new(), ends: [BTreeSet::new(), BTreeSet::new()] }
    }

    /// Answers held: records, and everything else.
    pub(crate) fn len(&self) -> [usize; 2] {
        [self.ends[0].len(), self.ends[1].len()]
    }

    pub(crate) fn find(&mut self, question: &Question, now: Instant) -> Option<Hit> {
        let keep = self.config.stale.map_or(Duration::ZERO, |stale| stale.keep);
        let entry = self.entries.get_mut(question)?;
        let age = now.saturating_duration_since(entry.came);
        if age >= entry.lifetime + keep {
            return None;
        }
        let stale = age >= entry.lifetime;
        let refresh = self.config.prefetch.is_some_and(|prefetch| {
            let gap = now.saturating_duration_since(entry.used);
            entry.uses = if gap < prefetch.gap { entry.uses.saturating_add(1) } else { 1 };
            let left = entry.lifetime.saturating_sub(age);
            !stale && entry.uses >= prefetch.uses.max(1) && left * 100 <= entry.lifetime * prefetch.percent
        });
        entry.used = now;
        let seconds = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        let age = if self.config.keep_ttl { 0 } else { seconds };
        Some(Hit { response: entry.response.clone(), age, stale, refresh })
    }

    /// Keeps an answer. A failure does not take the place of an answer that it could still stand in for.
    pub(crate) fn keep(&mut self, question: Question, response: Arc<Response>, now: Instant) {
        let Some(lifetime) = self.config.lifetime(&question.name, &response) else { return };
        let stands_in = self.config.stale.is_some();
        if !response.is_conclusive()
            && self.entries.get(&question).is_some_and(|e| stands_in && e.response.is_conclusive())
        {
            return;
        }
        self.forget(&question);
        let class = class(&response);
        let capacity = [self.config.success.capacity, self.config.denial.capacity][class];
        while self.ends[class].len() >= capacity {
            let Some((_, first)) = self.ends[class].first().cloned() else { break };
            self.forget(&first);
        }
        self.ends[class].insert((now + lifetime, question.clone()));
        self.entries.insert(question, Entry { response, came: now, lifetime, uses: 0, used: now });
    }

    fn forget(&mut self, question: &Question) {
        if let Some(entry) = self.entries.remove(question) {
            self.ends[class(&entry.response)].remove(&(entry.came + entry.lifetime, question.clone()));
        }
    }
}

fn class(response: &Response) -> usize {
    match response.outcome {
        Outcome::Success => 0,
        Outcome::Denial | Outcome::Failure => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::super::response::question;
    use super::*;
    use crate::{CacheLimit, Prefetch};

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
        let mut cache = Cache::new(CacheConfig::default());
        cache.keep(asked("a"), response("a", 100), begin);
        let at = |cache: &mut Cache, seconds| cache.find(&asked("a"), begin + Duration::from_secs(seconds));
        assert_eq!(at(&mut cache, 7).map(|hit| (hit.age, hit.stale, hit.refresh)), Some((7, false, false)));
        at(&mut cache, 50);
        assert!(at(&mut cache, 95).unwrap().refresh, "popular and nearly over");
        assert!(at(&mut cache, 100).unwrap().stale);
        assert!(at(&mut cache, 100 + 3600).is_none());
    }

    #[test]
    fn a_pause_makes_a_name_unpopular() {
        let begin = Instant::now();
        let prefetch = Some(Prefetch { uses: 3, gap: Duration::from_secs(20), percent: 50 });
        let mut cache = Cache::new(CacheConfig { prefetch, ..CacheConfig::default() });
        cache.keep(asked("a"), response("a", 100), begin);
        let mut refresh =
            |seconds| cache.find(&asked("a"), begin + Duration::from_secs(seconds)).unwrap().refresh;
        assert_eq!([1, 2, 60, 61, 62].map(&mut refresh), [false, false, false, false, true]);
    }

    #[test]
    fn without_stale_answers_what_is_over_is_gone() {
        let begin = Instant::now();
        let mut cache = Cache::new(CacheConfig { stale: None, ..CacheConfig::default() });
        cache.keep(asked("a"), response("a", 100), begin);
        assert!(cache.find(&asked("a"), begin + Duration::from_secs(99)).is_some());
        assert!(cache.find(&asked("a"), begin + Duration::from_secs(100)).is_none());
    }

    #[test]
    fn the_cache_does_not_outgrow_its_capacity() {
        let now = Instant::now();
        let success = CacheLimit { capacity: 3, longest: 3600, shortest: 0 };
        let mut cache = Cache::new(CacheConfig { success, ..CacheConfig::default() });
        for (name, ttl) in [("a", 10), ("b", 5), ("c", 20), ("d", 30), ("e", 0)] {
            cache.keep(asked(name), response(name, ttl), now);
        }
        assert_eq!((cache.len(), cache.entries.len()), ([3, 0], 3));
        assert!(cache.find(&asked("b"), now).is_none(), "the first to be over went");
    }

    #[test]
    fn times_are_cut_and_stretched_and_zones_left_out() {
        let now = Instant::now();
        let name = |text| Name::parse(text).unwrap();
        let config = CacheConfig {
            success: CacheLimit { capacity: 9, longest: 30, shortest: 5 },
            uncached_success: vec![name("cluster.local")],
            stale: None,
            ..CacheConfig::default()
        };
        let mut cache = Cache::new(config);
        for (asked_for, ttl, last) in
            [("a", 300, Some(29)), ("b", 0, Some(4)), ("x.cluster.local", 300, None)]
        {
            cache.keep(asked(asked_for), response(asked_for, ttl), now);
            let mut lives =
                |seconds| cache.find(&asked(asked_for), now + Duration::from_secs(seconds)).is_some();
            assert_eq!(lives(0), last.is_some(), "{asked_for}");
            if let Some(last) = last {
                assert!(lives(last) && !lives(last + 1), "{asked_for}");
            }
        }
    }
}
