//! Connection tracking: the connections that the kernel remembers, and forgetting those that lead nowhere.
//!
//! A UDP "connection" whose endpoint is gone lives on as long as the client keeps sending, and its packets go to the
//! vanished endpoint: whoever takes an endpoint out of a service must delete the entries that lead to it.
//!
//! ```text
//! Filter: original destination (service) + reply source (endpoint) ─► ConntrackPort::delete
//! ```
//!
//! Only entries of zone 0 are seen: other zones belong to somebody else's bridges and virtual switches.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::nft::{Family, L4Protocol};

/// One direction of a connection. For protocols without ports both ports are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Who sends.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
}

/// A connection that the kernel remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection {
    /// TCP, UDP, …
    pub protocol: L4Protocol,
    /// As the client sent it: to a service, if it did.
    pub original: Flow,
    /// As the answer comes: from the endpoint that was chosen.
    pub reply: Flow,
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, original, reply } = self;
        write!(
            f,
            "{protocol} {} > {}, answered {} > {}",
            original.source, original.destination, reply.source, reply.destination
        )
    }
}

/// Which connections are meant: those where everything that is given is equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter {
    /// TCP, UDP, …
    pub protocol: L4Protocol,
    /// Where the client wanted to go: the service's address.
    pub original_destination: Option<IpAddr>,
    /// The port that the client wanted: the service's or the node port.
    pub original_port: Option<u16>,
    /// Who answers: the endpoint's address.
    pub reply_source: Option<IpAddr>,
    /// From which port: the endpoint's.
    pub reply_port: Option<u16>,
}

impl Filter {
    /// Every connection of this protocol.
    pub const fn protocol(protocol: L4Protocol) -> Self {
        Self {
            protocol,
            original_destination: None,
            original_port: None,
            reply_source: None,
            reply_port: None,
        }
    }

    /// Only those to this service address and port.
    #[must_use]
    pub const fn to(mut self, address: IpAddr, port: u16) -> Self {
        self.original_destination = Some(address);
        self.original_port = Some(port);
        self
    }

    /// Only those to this port, whatever the address: a node port.
    #[must_use]
    pub const fn to_port(mut self, port: u16) -> Self {
        self.original_port = Some(port);
        self
    }

    /// Only those that this endpoint answers.
    #[must_use]
    pub const fn answered_by(mut self, address: IpAddr, port: u16) -> Self {
        self.reply_source = Some(address);
        self.reply_port = Some(port);
        self
    }

    /// Whether connections of a family can be meant.
    pub fn may_be_of(&self, family: Family) -> bool {
        let addresses = [self.original_destination, self.reply_source];
        addresses.into_iter().flatten().all(|address| address.is_ipv4() == (family == Family::Ip))
    }

    /// Whether a connection is meant.
    pub fn matches(&self, connection: &Connection) -> bool {
        let same = |wanted: Option<IpAddr>, address: IpAddr| wanted.is_none_or(|wanted| wanted == address);
        let same_port = |wanted: Option<u16>, port: u16| wanted.is_none_or(|wanted| wanted == port);
        self.protocol == connection.protocol
            && same(self.original_destination, connection.original.destination.ip())
            && same_port(self.original_port, connection.original.destination.port())
            && same(self.reply_source, connection.reply.source.ip())
            && same_port(self.reply_port, connection.reply.source.port())
    }
}

/// Connection tracking of one network namespace, real or fake. Calls block.
pub trait ConntrackPort {
    /// The connections that any of the filters means.
    ///
    /// # Errors
    /// [`ConntrackError`].
    fn list(&mut self, filters: &[Filter]) -> Result<Vec<Connection>, ConntrackError>;

    /// Forgets the connections that any of the filters means and says how many. Reads the table once, however many
    /// filters there are. A connection that ends meanwhile is no error.
    ///
    /// # Errors
    /// [`ConntrackError`]; some connections may be forgotten already, and it is safe to try again.
    fn delete(&mut self, filters: &[Filter]) -> Result<usize, ConntrackError>;
}

/// Why connection tracking could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// The kernel refused.
    #[error("connection tracking, {doing}: {source}")]
    Kernel {
        /// What was tried.
        doing: &'static str,
        /// The kernel's error number.
        #[source]
        source: io::Error,
    },
    /// The kernel sent something that we cannot read.
    #[error("connection tracking, {doing}: cannot read the kernel's answer: {reason}")]
    Malformed {
        /// What was tried.
        doing: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl ConntrackError {
    /// The same call may succeed later without any change of ours.
    pub fn is_transient(&self) -> bool {
        const TRANSIENT: [i32; 5] = [4, 11, 12, 16, 105];
        match self {
            Self::Kernel { source, .. } => {
                source.raw_os_error().is_some_and(|number| TRANSIENT.contains(&number))
            }
            Self::Malformed { .. } => false,
        }
    }
}

/// A connection table in memory. Clones share it, so a test keeps one while a driver owns the other.
#[derive(Debug, Clone, Default)]
pub struct FakeConntrack {
    connections: Arc<Mutex<BTreeSet<Connection>>>,
}

impl FakeConntrack {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers a connection, as traffic would make the kernel do.
    pub fn remember(&self, connection: Connection) {
        self.lock().insert(connection);
    }

    /// All connections.
    pub fn connections(&self) -> Vec<Connection> {
        self.lock().iter().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConntrackPort for FakeConntrack {
    fn list(&mut self, filters: &[Filter]) -> Result<Vec<Connection>, ConntrackError> {
        Ok(self.lock().iter().filter(|connection| meant(filters, connection)).copied().collect())
    }

    fn delete(&mut self, filters: &[Filter]) -> Result<usize, ConntrackError> {
        let mut connections = self.lock();
        let before = connections.len();
        connections.retain(|connection| !meant(filters, connection));
        Ok(before - connections.len())
    }
}

/// Whether any of the filters means this connection.
pub fn meant(filters: &[Filter], connection: &Connection) -> bool {
    filters.iter().any(|filter| filter.matches(connection))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(protocol: L4Protocol, service: &str, endpoint: &str) -> Connection {
        let client = "10.244.1.9:40000".parse().unwrap();
        Connection {
            protocol,
            original: Flow { source: client, destination: service.parse().unwrap() },
            reply: Flow { source: endpoint.parse().unwrap(), destination: client },
        }
    }

    #[test]
    fn only_what_is_meant_is_deleted() {
        let mut fake = FakeConntrack::new();
        let dns = connection(L4Protocol::UDP, "10.96.0.10:53", "10.244.1.2:53");
        let other_endpoint = connection(L4Protocol::UDP, "10.96.0.10:53", "10.244.1.3:53");
        let over_tcp = connection(L4Protocol::TCP, "10.96.0.10:53", "10.244.1.2:53");
        let node_port = connection(L4Protocol::UDP, "10.100.0.2:30053", "10.244.1.2:53");
        for connection in [dns, other_endpoint, over_tcp, node_port] {
            fake.remember(connection);
        }
        let service = Filter::protocol(L4Protocol::UDP).to("10.96.0.10".parse().unwrap(), 53);
        let endpoint = service.answered_by("10.244.1.2".parse().unwrap(), 53);
        assert_eq!(fake.list(&[service]).unwrap(), [dns, other_endpoint]);
        assert_eq!(fake.delete(&[endpoint]).unwrap(), 1);
        assert_eq!(fake.delete(&[endpoint]).unwrap(), 0);
        assert_eq!(fake.delete(&[service, Filter::protocol(L4Protocol::UDP).to_port(30053)]).unwrap(), 2);
        assert_eq!(fake.connections(), [over_tcp]);
    }
}
