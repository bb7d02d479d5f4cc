//! The ways to serve, and what one of them cannot do.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use netstate::conntrack::FakeConntrack;
use netstate::nft::FakeNft;
use netstate::relay::FakeRelays;
use netstate::trace::{Fate, Host, Origin, Packet};
use proxy::nftables::NftablesProxy;
use proxy::userspace::UserspaceProxy;
use proxy::{Dataplane, NodeContext};

use crate::cases::node_towards;
use crate::world::pod_config;

/// A way to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    Nftables,
    Userspace,
}

impl Mode {
    pub const ALL: [Self; 2] = [Self::Nftables, Self::Userspace];

    /// Why endpoints never see the addresses of clients, if they do not.
    pub fn hides_clients(self) -> Option<&'static str> {
        match self {
            Self::Nftables => None,
            Self::Userspace => Some(
                "Endpoints see the node as their client, at every door: it is the proxy's own process that connects. \
                 Whatever else the table says holds.",
            ),
        }
    }

    /// The mode in memory, and what becomes of a packet there.
    pub fn in_memory(self, context: NodeContext) -> InMemory {
        match self {
            Self::Nftables => {
                let nft = FakeNft::new();
                nft.put(podnet::plan::masquerade(&pod_config()));
                InMemory {
                    proxy: Box::new(NftablesProxy::new(context, nft.clone(), FakeConntrack::new())),
                    trace: Box::new(move |host, origin, packet, chance| {
                        let outcome = nft.trace(host, origin, packet, chance);
                        (outcome.fate, outcome.packet)
                    }),
                }
            }
            Self::Userspace => {
                let (nft, relays) = (FakeNft::new(), FakeRelays::new());
                nft.put(podnet::plan::masquerade(&pod_config()));
                let (fakes, conntrack) = ((nft.clone(), relays.clone()), FakeConntrack::new());
                let now = Instant::now();
                InMemory {
                    proxy: Box::new(UserspaceProxy::new(context, fakes.0, fakes.1, conntrack)),
                    trace: Box::new(move |host, origin, packet, chance| {
                        let outcome = nft.trace(host, origin, packet, chance);
                        let at = outcome.packet.destination;
                        let led = relays.lead(packet.protocol, at.port(), packet.source.ip(), now);
                        match led.filter(|_| outcome.fate == Fate::Delivered && at != packet.destination) {
                            None => (outcome.fate, outcome.packet),
                            // From the relay on it is the node's own connection.
                            Some(destination) => {
                                let source = SocketAddr::new(node_towards(destination.ip()), 40_001);
                                (Fate::Delivered, Packet { source, destination, ..outcome.packet })
                            }
                        }
                    }),
                }
            }
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nftables => "nftables",
            Self::Userspace => "userspace",
        })
    }
}

/// A proxy that writes into fakes.
pub struct InMemory {
    pub proxy: Box<dyn Dataplane>,
    /// Walks a packet through them.
    pub trace: Trace,
}

/// How a packet ends, and as what. The last argument answers every question for a number below another.
pub type Trace = Box<dyn Fn(&Host, &Origin, Packet, &mut dyn FnMut(u32) -> u32) -> (Fate, Packet)>;

/// What a mode does not do as the table says.
pub struct Exception {
    pub mode: Mode,
    /// The section's.
    pub feature: &'static str,
    /// The reason, for the page.
    pub why: &'static str,
}

/// All of them.
pub const EXCEPTIONS: &[Exception] = &[Exception {
    mode: Mode::Userspace,
    feature: "SCTP",
    why: "SCTP is refused: its streams and several addresses a side cannot be handed on by a pair of sockets.",
}];

/// Whether a mode does what a section says.
pub fn exception(mode: Mode, feature: &str) -> Option<&'static Exception> {
    EXCEPTIONS.iter().find(|exception| exception.mode == mode && exception.feature == feature)
}
