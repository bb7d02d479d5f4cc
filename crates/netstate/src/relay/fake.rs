//! Relays without sockets.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{Balancer, Relay, RelayError, RelayName, RelayPort};
use crate::nft::{Family, L4Protocol};

/// The first port that is given away.
const FIRST_PORT: u16 = 10_400;

/// The relays of an imaginary node. Clones share them, so a test keeps one while a driver owns the other. Ports are not
/// used twice.
#[derive(Debug, Clone)]
pub struct FakeRelays {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    open: BTreeMap<RelayName, Open>,
    next_port: u16,
    calls: usize,
    failures: Vec<i32>,
}

#[derive(Debug)]
struct Open {
    relay: Relay,
    port: u16,
    balancer: Balancer,
}

impl FakeRelays {
    /// A node without relays.
    pub fn new() -> Self {
        let state = State { open: BTreeMap::new(), next_port: FIRST_PORT, calls: 0, failures: Vec::new() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The relays that are there, with their ports.
    pub fn relays(&self) -> BTreeMap<RelayName, (u16, Relay)> {
        let open = |(name, open): (&RelayName, &Open)| (name.clone(), (open.port, open.relay.clone()));
        self.lock().open.iter().map(open).collect()
    }

    /// How often something was set or removed so far.
    pub fn calls(&self) -> usize {
        self.lock().calls
    }

    /// To whom a connection is led that comes in at a port; `None` when nobody listens there or has an endpoint.
    pub fn lead(&self, protocol: L4Protocol, port: u16, client: IpAddr, now: Instant) -> Option<SocketAddr> {
        let family = if client.is_ipv4() { Family::Ip } else { Family::Ip6 };
        let mut state = self.lock();
        let open = state.open.values_mut().find(|open| {
            open.port == port && open.relay.family == family && open.relay.transport.protocol() == protocol
        })?;
        open.balancer.choose(client, now)
    }

    /// Gives away ports from this one on.
    pub fn give_ports_from(&self, port: u16) {
        self.lock().next_port = port;
    }

    /// Lets the next relay that is to be opened fail with this error number; once for each call.
    pub fn fail_next_open(&self, errno: i32) {
        self.lock().failures.push(errno);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for FakeRelays {
    fn default() -> Self {
        Self::new()
    }
}

impl RelayPort for FakeRelays {
    fn set(&mut self, name: &RelayName, relay: &Relay) -> Result<u16, RelayError> {
        let mut state = self.lock();
        state.calls += 1;
        if let Some(open) = state.open.get_mut(name)
            && (open.relay.family, open.relay.transport) == (relay.family, relay.transport)
        {
            open.balancer.replace(relay.backends.clone());
            open.relay = relay.clone();
            return Ok(open.port);
        }
        state.open.remove(name);
        if !state.failures.is_empty() {
            let source = io::Error::from_raw_os_error(state.failures.remove(0));
            return Err(RelayError::Socket { relay: name.clone(), source });
        }
        let port = state.next_port;
        state.next_port += 1;
        let balancer = Balancer::new(relay.backends.clone());
        state.open.insert(name.clone(), Open { relay: relay.clone(), port, balancer });
        Ok(port)
    }

    fn remove(&mut self, name: &RelayName) {
        let mut state = self.lock();
        state.calls += 1;
        state.open.remove(name);
    }
}
