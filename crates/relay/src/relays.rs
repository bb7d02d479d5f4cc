use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use netstate::nft::Family;
use netstate::relay::{Balancer, Relay, RelayError, RelayName, RelayPort, Transport};
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::bounds::Bounds;
use crate::{Config, Meter, listen, tcp, udp};

/// The relays of one node. They listen for as long as this lives; connections live for as long as the runtime.
#[derive(Debug)]
pub struct Relays {
    runtime: Handle,
    config: Config,
    bounds: Arc<Bounds>,
    open: BTreeMap<RelayName, Open>,
    /// Where the search for a free port goes on.
    next_port: u16,
}

/// A relay that listens.
#[derive(Debug)]
struct Open {
    family: Family,
    transport: Transport,
    port: u16,
    served: Arc<Served>,
    listening: AbortHandle,
}

/// What one relay's tasks share with whoever changes it.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) name: RelayName,
    pub(crate) bounds: Arc<Bounds>,
    balancer: Mutex<Balancer>,
    /// Counts the changes of endpoints.
    changes: AtomicU64,
}

impl Served {
    pub(crate) fn balancer(&self) -> MutexGuard<'_, Balancer> {
        self.balancer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the endpoints have changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }
}

impl Relays {
    /// No relay yet. `runtime` must do I/O and time, and its threads be in the node's network namespace, as must be
    /// whoever calls [`set`](RelayPort::set).
    pub fn new(runtime: Handle, config: Config) -> Self {
        let bounds = Arc::new(Bounds::new(&config));
        Self { runtime, config, bounds, open: BTreeMap::new(), next_port: 0 }
    }

    /// Tells what was carried so far, wherever the relays are.
    pub fn meter(&self) -> Meter {
        Meter(self.bounds.clone())
    }

    fn begin(&mut self, name: &RelayName, relay: &Relay) -> Result<Open, RelayError> {
        let Relay { family, transport, backends } = relay;
        let (socket, port) = listen::open(name, *family, *transport, self.config.ports, self.next_port)?;
        self.next_port = port.saturating_add(1);
        let served = Arc::new(Served {
            name: name.clone(),
            bounds: self.bounds.clone(),
            balancer: Mutex::new(Balancer::new(backends.clone())),
            changes: AtomicU64::new(0),
        });
        let failed = |source| RelayError::Socket { relay: name.clone(), source };
        let _here = self.runtime.enter();
        let listening = match transport {
            Transport::Tcp => {
                let listener = TcpListener::from_std(socket.into()).map_err(failed)?;
                self.runtime.spawn(tcp::serve(listener, served.clone())).abort_handle()
            }
            Transport::Udp => {
                udp::prepare(&socket, *family).map_err(failed)?;
                let socket = UdpSocket::from_std(socket.into()).map_err(failed)?;
                self.runtime.spawn(udp::serve(socket, served.clone())).abort_handle()
            }
        };
        tracing::debug!(relay = %name, port, "relay listens");
        Ok(Open { family: *family, transport: *transport, port, served, listening })
    }
}

impl RelayPort for Relays {
    fn set(&mut self, name: &RelayName, relay: &Relay) -> Result<u16, RelayError> {
        if let Some(open) = self.open.get(name)
            && (open.family, open.transport) == (relay.family, relay.transport)
        {
            let mut balancer = open.served.balancer();
            if *balancer.backends() != relay.backends {
                balancer.replace(relay.backends.clone());
                // Under the lock: whoever sees the count finds the endpoints, too.
                open.served.changes.fetch_add(1, Ordering::Release);
            }
            return Ok(open.port);
        }
        self.open.remove(name);
        let open = self.begin(name, relay)?;
        let port = open.port;
        self.open.insert(name.clone(), open);
        Ok(port)
    }

    fn remove(&mut self, name: &RelayName) {
        if self.open.remove(name).is_some() {
            tracing::debug!(relay = %name, "relay ends");
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

#[cfg(test)]
mod tests;
