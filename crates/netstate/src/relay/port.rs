use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::nft::{Family, L4Protocol};

/// What a relay is known by: any text, unique on the node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayName(Arc<str>);

impl RelayName {
    /// A relay's name.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RelayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a relay can carry. SCTP is not among it: a socket of it would have to carry over its streams and several
/// addresses a side, and kernels without the module have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Flows of datagrams: those of one client port.
    Udp,
}

impl Transport {
    /// Its IP protocol number.
    pub const fn protocol(self) -> L4Protocol {
        match self {
            Self::Tcp => L4Protocol::TCP,
            Self::Udp => L4Protocol::UDP,
        }
    }
}

/// What is relayed, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// At addresses of which family it listens.
    pub family: Family,
    /// What it carries.
    pub transport: Transport,
    /// To whom.
    pub backends: Backends,
}

/// To whom a relay leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backends {
    /// The endpoints, in the order in which they take turns.
    pub endpoints: Vec<SocketAddr>,
    /// How long a silent client is remembered, if at all.
    pub affinity: Option<Duration>,
}

/// The relays of one node, real or fake. Calls block, but not for long: no network is waited for.
pub trait RelayPort {
    /// Makes the relay of this name be as given, and says at which port it listens, at every address of the node.
    ///
    /// One that is there keeps its port, its connections and the clients that it remembers, unless their endpoint is
    /// gone: then the next datagram of a flow goes to another one, and a connection lives on for as long as the endpoint has
    /// it. Only another family or transport makes a new one of it.
    ///
    /// # Errors
    /// [`RelayError`] when there is no port to listen at; the relay is not there then.
    fn set(&mut self, name: &RelayName, relay: &Relay) -> Result<u16, RelayError>;

    /// Ends the relay of this name, if there is one. What it carries lives on, but nothing new comes in: datagrams of a
    /// flow, too, arrive nowhere.
    fn remove(&mut self, name: &RelayName);
}

/// Why there is no relay.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// A socket could not be opened.
    #[error("no port for {relay}: {source}")]
    Socket {
        /// Which one.
        relay: RelayName,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Every port that may be used is taken.
    #[error("no port for {relay}: all ports from {first} to {last} are taken, give the proxy a wider range")]
    NoPort {
        /// Which one.
        relay: RelayName,
        /// The first port that may be used.
        first: u16,
        /// The last one.
        last: u16,
    },
}

impl RelayError {
    /// The same call may succeed later. Always so: ports and descriptors get free.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Socket { .. } | Self::NoPort { .. } => true,
        }
    }
}
