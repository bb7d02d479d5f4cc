use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use rand::seq::SliceRandom;
use tokio::time::timeout;

use super::cache::{Cache, Hit, Question};
use super::config::{Policy, ResolverConfig, StaleMode};
use super::loops::Probes;
use super::response::{Found, Response};
use super::upstream::Upstream;
use crate::metrics::Metrics;
use crate::{Name, Query, RecordType, Reply, ResponseCode};

/// Clients wait for a server no longer than so when an answer that is over is at hand (RFC 8767, 5).
const STALE_AFTER: Duration = Duration::from_millis(400);
/// What such an answer's TTL says.
const STALE_TTL: u32 = 30;
/// Questions on their way at once when nothing else is said; more are refused.
const IN_FLIGHT: usize = 4096;

type Way = Shared<BoxFuture<'static, Option<Arc<Response>>>>;

/// Asks upstream servers and remembers what they said.
///
/// A question that comes back to us joins the one on its way, and both end when its time is over.
#[derive(Debug)]
pub struct Resolver {
    config: ResolverConfig,
    pub(super) upstreams: Vec<Arc<Upstream>>,
    cache: Mutex<Cache>,
    in_flight: Mutex<HashMap<Question, Way>>,
    turn: AtomicUsize,
    pub(super) probes: Probes,
    metrics: Arc<Metrics>,
}

/// Where an answer to a question is.
enum Place {
    Here(Hit),
    OnItsWay(Way, Option<Hit>),
    /// Too many are on their way.
    Nowhere(Option<Hit>),
}

impl Resolver {
    /// A resolver with an empty cache.
    pub fn new(config: ResolverConfig, metrics: Arc<Metrics>) -> Arc<Self> {
        let server = |address: &_| Upstream::new(*address, &config, &metrics);
        Arc::new(Self {
            upstreams: config.upstreams.iter().map(server).collect(),
            cache: Mutex::new(Cache::new(config.cache.clone())),
            in_flight: Mutex::default(),
            turn: AtomicUsize::new(0),
            probes: Probes::default(),
            config,
            metrics,
        })
    }

    /// What it was made with.
    pub fn config(&self) -> &ResolverConfig {
        &self.config
    }

    /// Answers held: records, and denials with failures.
    pub fn cached(&self) -> [usize; 2] {
        self.cache().len()
    }

    /// The reply to a query for a name that is not ours, if it is at hand.
    pub(crate) fn at_hand(self: &Arc<Self>, query: &Query, limit: usize) -> Option<Vec<u8>> {
        if self.upstreams.is_empty() || !query.recursion_desired {
            return Some(Reply::to(query, None).failed(ResponseCode::REFUSED));
        }
        let question = Question::of(query);
        let hit = self.find(&question)?;
        if !hit.stale {
            return Some(hit.response.reply(query, hit.age, None, limit));
        }
        let at_once = self.config.cache.stale.is_some_and(|stale| stale.mode == StaleMode::Immediate);
        at_once.then(|| {
            drop(self.begin(question));
            self.metrics.served_stale();
            hit.response.reply(query, hit.age, Some(STALE_TTL), limit)
        })
    }

    /// The reply, asked for if it must be.
    pub(crate) async fn reply(self: &Arc<Self>, query: &Query, limit: usize) -> Vec<u8> {
        match self.resolve(Question::of(query)).await {
            Ok(hit) => hit.response.reply(query, hit.age, hit.stale.then_some(STALE_TTL), limit),
            Err(code) => Reply::to(query, None).failed(code),
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
            Ok(hit) => (hit.response.code, hit.response.addresses(hit.age)),
            Err(_) => (ResponseCode::SERV_FAIL, Vec::new()),
        }
    }

    /// What the cache has, counted; a name that many ask for is asked for again in time.
    fn find(self: &Arc<Self>, question: &Question) -> Option<Hit> {
        let hit = self.cache().find(question, Instant::now());
        match &hit {
            Some(hit) if !hit.stale => self.metrics.cache_hit(hit.response.outcome),
            _ => self.metrics.cache_miss(),
        }
        if hit.as_ref().is_some_and(|hit| hit.refresh) {
            self.metrics.prefetched();
            drop(self.begin(question.clone()));
        }
        hit
    }

    /// # Errors
    /// The code to answer with when nobody says anything.
    async fn resolve(self: &Arc<Self>, question: Question) -> Result<Hit, ResponseCode> {
        let known = self.cache().find(&question, Instant::now());
        let place = match known {
            Some(hit) if !hit.stale => Place::Here(hit),
            known => match self.begin(question) {
                Some(way) => Place::OnItsWay(way, known),
                None => Place::Nowhere(known),
            },
        };
        let (known, otherwise) = match place {
            Place::Here(hit) => return Ok(hit),
            Place::OnItsWay(way, None) => match way.await {
                Some(response) => return Ok(fresh(response)),
                None => (None, ResponseCode::SERV_FAIL),
            },
            Place::OnItsWay(way, known) => match timeout(STALE_AFTER, way).await.ok().flatten() {
                Some(response) if response.is_conclusive() => return Ok(fresh(response)),
                _ => (known, ResponseCode::SERV_FAIL),
            },
            Place::Nowhere(known) => (known, ResponseCode::REFUSED),
        };
        if known.is_some() {
            self.metrics.served_stale();
        }
        known.ok_or(otherwise)
    }

    /// Sends a question on its way, or joins it there; `None` when too many are.
    fn begin(self: &Arc<Self>, question: Question) -> Option<Way> {
        let mut in_flight = self.in_flight();
        if let Some(way) = in_flight.get(&question) {
            return Some(way.clone());
        }
        if in_flight.len() >= self.config.max_concurrent.unwrap_or(IN_FLIGHT).min(IN_FLIGHT) {
            self.metrics.rejected();
            return None;
        }
        let (this, asked) = (self.clone(), question.clone());
        let task = tokio::spawn(async move {
            let response = this.ask(&asked).await.map(|mut response| {
                if this.config.cache.lifetime(&asked.name, &response).is_some() {
                    response.limit_ttls(this.config.cache.longest_ttl(response.outcome));
                }
                Arc::new(response)
            });
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

    /// Asks one server after the other until one can say something; two at the most, so that nobody waits longer
    /// than a second.
    async fn ask(&self, question: &Question) -> Option<Response> {
        let mut last = None;
        for server in self.order().into_iter().take(2) {
            match server.ask(question, &self.config.probe).await {
                Ok(response) if self.config.failover.contains(&response.code) => last = Some(response),
                Ok(response) => return Some(response),
                Err(error) => {
                    tracing::debug!(server = %server.address, name = %question.name, %error, "no answer");
                }
            }
        }
        last
    }

    /// The servers in the order of the policy, those that are left alone last; with one only, twice: the second
    /// attempt is for a lost datagram.
    fn order(&self) -> Vec<&Arc<Upstream>> {
        let mut servers: Vec<_> = self.upstreams.iter().filter(|server| !server.is_looping()).collect();
        if servers.is_empty() {
            return servers;
        }
        match self.config.policy {
            Policy::Sequential => {}
            Policy::Random => servers.shuffle(&mut rand::rng()),
            Policy::RoundRobin => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed) % servers.len();
                servers.rotate_left(turn);
            }
        }
        let (rested, resting): (Vec<_>, Vec<_>) =
            servers.into_iter().partition(|server| !server.is_resting());
        if rested.is_empty() {
            if self.config.fail_fast {
                return Vec::new();
            }
            self.metrics.all_resting();
        }
        [rested.clone(), resting, rested].concat()
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // No operation leaves it half changed.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_flight(&self) -> MutexGuard<'_, HashMap<Question, Way>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fresh(response: Arc<Response>) -> Hit {
    Hit { response, age: 0, stale: false, refresh: false }
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
