//! Names that are not ours: from the cache, or from upstream servers, each question on its way only once.

mod cache;
mod response;
mod upstream;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::time::timeout;

use self::cache::{Cache, Hit, Question};
pub(crate) use self::response::Found;
use self::response::Response;
use self::upstream::Upstream;
use crate::metrics::Metrics;
use crate::{Name, Query, RecordType, Reply, ResponseCode};

/// Clients wait for a server no longer than so when an answer that is over is at hand (RFC 8767, 5).
const STALE_AFTER: Duration = Duration::from_millis(400);
/// What such an answer's TTL says.
const STALE_TTL: u32 = 30;
/// Questions on their way at once; more are refused.
const IN_FLIGHT: usize = 4096;

/// Who is asked for names that are not ours.
#[derive(Debug, Clone)]
pub struct ResolverConfig {
    /// Asked in this order, as long as they answer. None: every such name is refused.
    pub upstreams: Vec<SocketAddr>,
    /// Answers kept, at most.
    pub cache: usize,
}

impl ResolverConfig {
    /// CoreDNS's default capacity.
    pub const CACHE: usize = 9984;
}

type Way = Shared<BoxFuture<'static, Option<Arc<Response>>>>;

/// Asks upstream servers and remembers what they said.
///
/// A server that is ourselves makes no loop: the question that comes back joins the one on its way, and both end
/// when its time is over.
#[derive(Debug)]
pub struct Resolver {
    upstreams: Vec<Upstream>,
    cache: Mutex<Cache>,
    in_flight: Mutex<HashMap<Question, Way>>,
    metrics: Arc<Metrics>,
}

impl Resolver {
    /// A resolver with an empty cache.
    pub fn new(config: ResolverConfig, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            upstreams: config.upstreams.into_iter().map(Upstream::new).collect(),
            cache: Mutex::new(Cache::new(config.cache)),
            in_flight: Mutex::default(),
            metrics,
        })
    }

    /// Answers held.
    pub fn cached(&self) -> usize {
        self.cache().len()
    }

    /// The reply to a query for a name that is not ours, if it is at hand.
    pub(crate) fn at_hand(self: &Arc<Self>, query: &Query, limit: usize) -> Option<Vec<u8>> {
        if self.upstreams.is_empty() || !query.recursion_desired {
            return Some(Reply::to(query, None).failed(ResponseCode::REFUSED));
        }
        let question = Question::of(query);
        let hit = self.find(&question)?;
        (!hit.stale).then(|| hit.response.reply(query, hit.age, None, limit))
    }

    /// The reply, asked for if it must be.
    pub(crate) async fn reply(self: &Arc<Self>, query: &Query, limit: usize) -> Vec<u8> {
        match self.resolve(Question::of(query)).await {
            Some(hit) => hit.response.reply(query, hit.age, hit.stale.then_some(STALE_TTL), limit),
            None => Reply::to(query, None).failed(ResponseCode::SERV_FAIL),
        }
    }

    /// Aliases and addresses at a name, for an alias that leads there; and the code of the answer.
    pub(crate) async fn addresses(
        self: &Arc<Self>,
        name: Name,
        kind: RecordType,
    ) -> (ResponseCode, Vec<(Name, u32, Found)>) {
        if self.upstreams.is_empty() {
            return (ResponseCode::SERV_FAIL, Vec::new());
        }
        match self.resolve(Question { name, kind, dnssec: false, checking_disabled: false }).await {
            Some(hit) => (hit.response.code, hit.response.addresses(hit.age)),
            None => (ResponseCode::SERV_FAIL, Vec::new()),
        }
    }

    /// What the cache has, counted; a name that many ask for is asked for again in time.
    fn find(self: &Arc<Self>, question: &Question) -> Option<Hit> {
        let hit = self.cache().find(question, Instant::now());
        match &hit {
            Some(hit) if !hit.stale => self.metrics.cache_hit(),
            _ => self.metrics.cache_miss(),
        }
        if hit.as_ref().is_some_and(|hit| hit.refresh) {
            drop(self.begin(question.clone()));
        }
        hit
    }

    async fn resolve(self: &Arc<Self>, question: Question) -> Option<Hit> {
        let known = self.cache().find(&question, Instant::now());
        if let Some(hit) = known.clone().filter(|hit| !hit.stale) {
            return Some(hit);
        }
        let way = self.begin(question)?;
        let fresh = match &known {
            Some(_) => timeout(STALE_AFTER, way).await.ok().flatten(),
            None => way.await,
        };
        let useful = fresh.filter(|response| response.is_conclusive() || known.is_none());
        useful.map(|response| Hit { response, age: 0, stale: false, refresh: false }).or_else(|| {
            self.metrics.served_stale(known.is_some());
            known
        })
    }

    /// Sends a question on its way, or joins it there; `None` when too many are.
    fn begin(self: &Arc<Self>, question: Question) -> Option<Way> {
        let mut in_flight = self.in_flight();
        if let Some(way) = in_flight.get(&question) {
            return Some(way.clone());
        }
        if in_flight.len() >= IN_FLIGHT {
            return None;
        }
        let (this, asked) = (self.clone(), question.clone());
        let task = tokio::spawn(async move {
            let response = this.ask(&asked).await.map(Arc::new);
            if let Some(response) = &response {
                this.cache().keep(asked.clone(), response.clone(), Instant::now());
            }
            this.in_flight().remove(&asked);
            response
        });
        let way = task.map(|ended| ended.ok().flatten()).boxed().shared();
        in_flight.insert(question, way.clone());
        Some(way)
    }

    /// Asks one server after the other, those that rest last, until one can say something; two at the most, so
    /// that nobody waits longer than a second.
    async fn ask(&self, question: &Question) -> Option<Response> {
        let now = Instant::now();
        let (rested, resting): (Vec<_>, Vec<_>) =
            self.upstreams.iter().partition(|server| !server.is_resting(now));
        // With one server only, the second attempt is for a lost datagram.
        let order = rested.iter().chain(&resting).chain(&rested);
        let mut last = None;
        for server in order.take(2) {
            self.metrics.forwarded();
            match server.ask(question).await {
                Ok(response) if response.is_conclusive() => return Some(response),
                Ok(response) => last = Some(response),
                Err(error) => {
                    self.metrics.forward_failed();
                    tracing::debug!(server = %server.address, name = %question.name, %error, "no answer");
                }
            }
        }
        last
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // No operation leaves it half changed.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_flight(&self) -> MutexGuard<'_, HashMap<Question, Way>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Question {
    fn of(query: &Query) -> Self {
        Self {
            name: query.name.clone(),
            kind: query.kind,
            dnssec: query.edns.is_some_and(|edns| edns.dnssec),
            checking_disabled: query.checking_disabled,
        }
    }
}

/// The name servers that a `resolv.conf` names, in order.
pub fn resolv_conf(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok()).flatten()
        })
        .collect()
}
