use std::net::SocketAddr;
use std::time::Duration;

use super::response::{Outcome, Response};
use crate::{Name, ResponseCode};

/// Who is asked for names that are not ours, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolverConfig {
    /// None: every such name is refused.
    pub upstreams: Vec<SocketAddr>,
    /// Who is asked first, among those that answer.
    pub policy: Policy,
    /// Ask over TCP at once.
    pub force_tcp: bool,
    /// Failures in a row after which a server is left alone until it answers a probe; 0: never.
    pub max_fails: u32,
    /// How a server that was left alone is looked after.
    pub probe: Probe,
    /// Questions on their way at once, at most; more are refused. `None`: as many as we can keep track of.
    pub max_concurrent: Option<usize>,
    /// When every server is left alone: SERVFAIL at once.
    pub fail_fast: bool,
    /// Codes on which the next server is asked.
    pub failover: Vec<ResponseCode>,
    /// What is remembered.
    pub cache: CacheConfig,
}

impl ResolverConfig {
    /// These servers, in this order as long as they answer, with our own defaults.
    pub fn new(upstreams: Vec<SocketAddr>) -> Self {
        Self {
            upstreams,
            policy: Policy::Sequential,
            force_tcp: false,
            max_fails: 2,
            probe: Probe { interval: Duration::from_millis(500), recursion: true, name: Name::root() },
            max_concurrent: None,
            fail_fast: false,
            failover: vec![ResponseCode::SERV_FAIL, ResponseCode::REFUSED, ResponseCode::NOT_IMP],
            cache: CacheConfig::default(),
        }
    }
}

/// Which server is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Any.
    Random,
    /// Each in turn.
    RoundRobin,
    /// The first, as long as it answers.
    Sequential,
}

/// The question whose answer, whatever it is, shows that a server lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Time between two of them.
    pub interval: Duration,
    /// Whether recursion is desired.
    pub recursion: bool,
    /// Whose name servers are asked for.
    pub name: Name,
}

/// What is remembered of what servers said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheConfig {
    /// Records.
    pub success: CacheLimit,
    /// That there is no such name, or nothing of that type.
    pub denial: CacheLimit,
    /// How long a server's failure is remembered, so that a client's retries do not multiply it (RFC 9520).
    pub failure: Duration,
    /// Popular names are asked for again before their answers are over.
    pub prefetch: Option<Prefetch>,
    /// Answers that are over still serve.
    pub stale: Option<Stale>,
    /// Only names below these; none means all.
    pub zones: Vec<Name>,
    /// Records below these are not kept,
    pub uncached_success: Vec<Name>,
    /// nor that there are none.
    pub uncached_denial: Vec<Name>,
    /// Clients get the TTL as it came and not what is left of it.
    pub keep_ttl: bool,
}

/// How much is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimit {
    /// Answers, at most; 0: none.
    pub capacity: usize,
    /// The longest time, in seconds, whatever the TTL says.
    pub longest: u32,
    /// The shortest.
    pub shortest: u32,
}

/// When a name is popular.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefetch {
    /// After so many queries for it,
    pub uses: u32,
    /// with less than so much time between two of them.
    pub gap: Duration,
    /// It is asked for again in this last part of its time, from 10 to 90 percent.
    pub percent: u32,
}

impl Prefetch {
    /// CoreDNS's defaults, with three queries.
    pub const DEFAULT: Self = Self { uses: 3, gap: Duration::from_secs(60), percent: 10 };
}

/// How answers that are over serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale {
    /// For how long.
    pub keep: Duration,
    /// Before or after a server was asked.
    pub mode: StaleMode,
}

/// When an answer that is over is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaleMode {
    /// At once, while a server is asked for a new one.
    Immediate,
    /// When no server says anything in time (RFC 8767, 5).
    Verified,
}

impl Default for CacheConfig {
    /// CoreDNS's capacities and times, with prefetch and with stale answers when servers are down.
    fn default() -> Self {
        Self {
            success: CacheLimit { capacity: 9984, longest: 3600, shortest: 0 },
            denial: CacheLimit { capacity: 9984, longest: 1800, shortest: 0 },
            failure: Duration::from_secs(5),
            prefetch: Some(Prefetch::DEFAULT),
            stale: Some(Stale { keep: Duration::from_secs(3600), mode: StaleMode::Verified }),
            zones: Vec::new(),
            uncached_success: Vec::new(),
            uncached_denial: Vec::new(),
            keep_ttl: false,
        }
    }
}

impl CacheConfig {
    /// Nothing is remembered.
    pub fn nothing() -> Self {
        let none = CacheLimit { capacity: 0, longest: 0, shortest: 0 };
        Self {
            success: none,
            denial: none,
            failure: Duration::ZERO,
            prefetch: None,
            stale: None,
            ..Self::default()
        }
    }

    /// How long an answer is kept; nothing for one that is not.
    pub(super) fn lifetime(&self, name: &Name, response: &Response) -> Option<Duration> {
        let (limit, except) = match response.outcome {
            Outcome::Success => (self.success, &self.uncached_success),
            Outcome::Denial => (self.denial, &self.uncached_denial),
            Outcome::Failure if self.denial.capacity == 0 || self.failure.is_zero() => return None,
            Outcome::Failure => return Some(self.failure),
        };
        let within = |zones: &[Name]| zones.iter().any(|zone| name.is_within(zone));
        let wanted = self.zones.is_empty() || within(&self.zones);
        if !wanted || within(except) || limit.capacity == 0 || response.truncated {
            return None;
        }
        let seconds = response.ttl.max(limit.shortest).min(limit.longest);
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// The longest TTL that clients are told.
    pub(super) fn longest_ttl(&self, outcome: Outcome) -> u32 {
        match outcome {
            Outcome::Success => self.success.longest,
            Outcome::Denial | Outcome::Failure => self.denial.longest,
        }
    }
}
