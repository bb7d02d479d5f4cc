//! What becomes of one message.

use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::log::Note;
use super::{Client, Server};
use crate::forward::Found;
use crate::message::{Data, Owner, Section};
use crate::rewrite::{self, AnswerRule};
use crate::site::{Block, Site};
use crate::{Name, Query, Refusal, Reply, Resolver, ResponseCode, Verdict, answer};

/// The longest message.
const LONGEST: usize = u16::MAX as usize;

/// What to do with a message.
pub(super) enum Step {
    Nothing,
    Send(Vec<u8>),
    /// Somebody else has to be asked first.
    Ask(Box<Ask>),
}

/// What somebody else is asked.
pub(super) struct Ask {
    query: Query,
    limit: usize,
    resolver: Arc<Resolver>,
    /// The reply so far and the alias that it ends with; without one, the name itself is asked for.
    alias: Option<(Reply, Name)>,
    closing: Closing,
}

/// What happens to every reply before it goes.
struct Closing {
    begin: Instant,
    note: Option<Note>,
    /// The query as it came, when another name is asked for in its place.
    turn: Option<Turn>,
}

struct Turn {
    query: Query,
    rules: Vec<AnswerRule>,
    limit: usize,
}

/// What a block makes of a query.
enum Outcome {
    Done(Vec<u8>),
    Ask(Arc<Resolver>, Option<(Reply, Name)>),
}

impl Server {
    pub(super) fn step(&self, message: &[u8], client: Client) -> Step {
        let begin = Instant::now();
        let four = client.address.ip().to_canonical().is_ipv4();
        let mut query = match Query::parse(message) {
            Ok(query) => query,
            Err(Refusal::Silence) => {
                self.metrics.silent();
                return Step::Nothing;
            }
            Err(Refusal::Reply(_, reply)) => {
                self.metrics.asked(client.datagram, four, None);
                self.metrics.replied(&reply, begin.elapsed());
                return Step::Send(reply);
            }
        };
        self.metrics.asked(client.datagram, four, Some(query.kind));
        self.settle_cookie(&mut query, client);
        let limit = if client.datagram { query.datagram_limit() } else { LONGEST };
        let site = self.site.now();
        let Some(block) = site.block(&query.name) else {
            let reply = Reply::to(&query, None).failed(ResponseCode::REFUSED);
            self.metrics.replied(&reply, begin.elapsed());
            return Step::Send(reply);
        };
        let note = Note::of(block, &query, client);
        let closing = |turn| Closing { begin, note, turn };
        let (query, limit, closing) = match rewrite::forth(&block.rewrites, &query.name) {
            Ok(None) => (query, limit, closing(None)),
            Ok(Some((name, rules))) => {
                let inner = query.renamed(name);
                let turn = Turn { query, rules: rules.into_iter().cloned().collect(), limit };
                (inner, LONGEST, closing(Some(turn)))
            }
            Err(_) => {
                let reply = Reply::to(&query, None).failed(ResponseCode::SERV_FAIL);
                return Step::Send(self.close(reply, &closing(None)));
            }
        };
        match outcome(&site, block, &query, limit) {
            Outcome::Done(reply) => Step::Send(self.close(reply, &closing)),
            Outcome::Ask(resolver, alias) => {
                Step::Ask(Box::new(Ask { query, limit, resolver, alias, closing }))
            }
        }
    }

    /// Whoever has shown a cookie of ours is where it says it is.
    fn settle_cookie(&self, query: &mut Query, client: Client) {
        let Some(cookie) = query.edns.and_then(|edns| edns.cookie) else { return };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Seconds wrap in 2106, and are compared as such.
        #[expect(clippy::cast_possible_truncation, reason = "RFC 9018, 4.3: serial number arithmetic")]
        let now = since.as_secs() as u32;
        let address = client.address.ip();
        let known = self.cookies.knows(cookie, address, now);
        query.grant(self.cookies.make(cookie.client, address, now), known);
    }

    pub(super) async fn ask(&self, ask: Ask) -> Vec<u8> {
        let Ask { query, limit, resolver, alias, closing } = ask;
        let reply = match alias {
            None => resolver.reply(&query, limit).await,
            Some((mut reply, target)) => {
                let (code, found) = resolver.addresses(target, query.kind).await;
                reply.set_code(code);
                for (owner, ttl, what) in &found {
                    let data = match what {
                        Found::Address(address) => Data::Address(*address),
                        Found::Alias(name) => Data::Alias(name),
                    };
                    reply.push(Section::Answer, Owner::Name(owner), *ttl, data);
                }
                reply.finish()
            }
        };
        self.close(reply, &closing)
    }

    fn close(&self, reply: Vec<u8>, closing: &Closing) -> Vec<u8> {
        let reply = match &closing.turn {
            None => reply,
            Some(turn) => {
                let rules: Vec<&AnswerRule> = turn.rules.iter().collect();
                rewrite::back(&reply, &turn.query, &rules, turn.limit)
            }
        };
        let took = closing.begin.elapsed();
        self.metrics.replied(&reply, took);
        if let Some(note) = &closing.note {
            note.say(&reply, took, &self.failures);
        }
        reply
    }
}

/// Hosts, then clusters, then whoever else is to be asked: the order of CoreDNS.
fn outcome(site: &Site, block: &Block, query: &Query, limit: usize) -> Outcome {
    let refused = |code| Outcome::Done(Reply::to(query, None).failed(code));
    if let Some(hosts) = &block.hosts {
        let mut reply = Reply::to(query, Some(limit));
        // A table is replaced by assignment, and so whole at every moment.
        if hosts.read().unwrap_or_else(PoisonError::into_inner).answer(query, &mut reply) {
            return Outcome::Done(reply.finish());
        }
    }
    for cluster in &block.clusters {
        let mut reply = Reply::to(query, Some(limit));
        let verdict = answer(&cluster.read(), query, &mut reply);
        match verdict {
            Verdict::Done => return Outcome::Done(reply.finish()),
            Verdict::Elsewhere => {}
            Verdict::Alias(target) => {
                let resolver = site.block(&target).and_then(|block| block.resolver(&target));
                return match resolver {
                    Some(resolver) => Outcome::Ask(resolver.clone(), Some((reply, target))),
                    None => Outcome::Done(reply.failed(ResponseCode::SERV_FAIL)),
                };
            }
        }
    }
    let Some(resolver) = block.resolver(&query.name) else { return refused(ResponseCode::REFUSED) };
    if site.is_own_probe(&query.name, query.kind) {
        return refused(ResponseCode::REFUSED);
    }
    match resolver.at_hand(query, limit) {
        Some(reply) => Outcome::Done(reply),
        None => Outcome::Ask(resolver.clone(), None),
    }
}
