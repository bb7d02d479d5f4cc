use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::Backends;

/// Most clients that one relay remembers at a time. Further ones are balanced without a memory.
const MOST_CLIENTS: usize = 1 << 18;

/// Who is next: endpoints take turns, and clients that are remembered stay with theirs.
///
/// Time comes in as an argument, and never goes back.
#[derive(Debug, Clone, Default)]
pub struct Balancer {
    backends: Backends,
    /// Whose turn it is; below the number of endpoints, or 0.
    next: usize,
    clients: BTreeMap<IpAddr, Stay>,
    /// The same clients, the longest silent first.
    by_silence: BTreeSet<(Instant, IpAddr)>,
}

/// Where a client stays.
#[derive(Debug, Clone, Copy)]
struct Stay {
    endpoint: SocketAddr,
    last: Instant,
}

impl Balancer {
    /// A balancer that has not led anybody yet.
    pub fn new(backends: Backends) -> Self {
        Self { backends, ..Self::default() }
    }

    /// Whom it leads to.
    pub const fn backends(&self) -> &Backends {
        &self.backends
    }

    /// Leads to these from now on. Clients stay where they are, unless their endpoint is gone or nobody is to be
    /// remembered any more.
    pub fn replace(&mut self, backends: Backends) {
        self.backends = backends;
        self.next = self.next.checked_rem(self.backends.endpoints.len()).unwrap_or(0);
        let Self { backends, clients, by_silence, .. } = self;
        if backends.affinity.is_none() {
            clients.clear();
        } else if !clients.is_empty() {
            let there: BTreeSet<&SocketAddr> = backends.endpoints.iter().collect();
            clients.retain(|_, stay| there.contains(&stay.endpoint));
        }
        by_silence.retain(|(_, client)| clients.contains_key(client));
    }

    /// The endpoint for a new connection of a client; `None` when there is none.
    pub fn choose(&mut self, client: IpAddr, now: Instant) -> Option<SocketAddr> {
        let Some(affinity) = self.backends.affinity else {
            return self.take_turn();
        };
        self.forget_silent(affinity, now);
        let endpoint = match self.clients.get(&client) {
            Some(stay) => stay.endpoint,
            None => self.take_turn()?,
        };
        self.remember(client, Stay { endpoint, last: now });
        Some(endpoint)
    }

    /// Another endpoint for a client whose endpoint did not answer: the next one, where it stays from now on. With one
    /// endpoint it is the same again.
    pub fn choose_another(&mut self, client: IpAddr, now: Instant) -> Option<SocketAddr> {
        self.forget(client);
        self.choose(client, now)
    }

    fn take_turn(&mut self) -> Option<SocketAddr> {
        let endpoint = *self.backends.endpoints.get(self.next)?;
        self.next = (self.next + 1) % self.backends.endpoints.len();
        Some(endpoint)
    }

    fn remember(&mut self, client: IpAddr, stay: Stay) {
        self.forget(client);
        if self.clients.len() < MOST_CLIENTS {
            self.clients.insert(client, stay);
            self.by_silence.insert((stay.last, client));
        }
    }

    fn forget(&mut self, client: IpAddr) {
        if let Some(stay) = self.clients.remove(&client) {
            self.by_silence.remove(&(stay.last, client));
        }
    }

    fn forget_silent(&mut self, affinity: Duration, now: Instant) {
        while let Some((last, client)) = self.by_silence.first().copied()
            && now.saturating_duration_since(last) >= affinity
        {
            self.forget(client);
        }
    }
}

#[cfg(test)]
mod tests;
