//! The ways to serve, and what one of them cannot do.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use ipnet::IpNet;
use netstate::conntrack::FakeConntrack;
use netstate::iptables::{self, ChainName, FakeIptables, Match, Sense, Target};
use netstate::nft::{FakeNft, Family};
use netstate::relay::FakeRelays;
use netstate::trace::{Fate, Host, Origin, Packet};
use proxy::iptables::IptablesProxy;
use proxy::nftables::NftablesProxy;
use proxy::userspace::UserspaceProxy;
use proxy::{Dataplane, NodeContext};

use crate::cases::node_towards;
use crate::world::pod_config;

/// A way to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    Nftables,
    Iptables,
    Userspace,
}

impl Mode {
    pub const ALL: [Self; 3] = [Self::Nftables, Self::Iptables, Self::Userspace];

    /// Why endpoints never see the addresses of clients, if they do not.
    pub fn hides_clients(self) -> Option<&'static str> {
        match self {
            Self::Nftables | Self::Iptables => None,
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
            Self::Iptables => {
                let families = [Family::Ip, Family::Ip6].map(FakeIptables::new);
                families[0].change(iptables::Table::Nat, add_pod_masquerade);
                InMemory {
                    proxy: Box::new(IptablesProxy::new(context, families.clone(), FakeConntrack::new())),
                    trace: Box::new(move |host, origin, packet, chance| {
                        let mut state = u64::from(chance(u32::MAX));
                        let mut next = |below| splitmix(&mut state) % below;
                        let family = &families[usize::from(packet.destination.is_ipv6())];
                        let outcome = family.trace(host, origin, packet, &mut next);
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
            Self::Iptables => "iptables",
            Self::Userspace => "userspace",
        })
    }
}

/// What podnet writes, in the words of iptables: behind the proxy's, as it is in the kernel.
fn add_pod_masquerade(chains: &mut iptables::Chains) {
    let config = pod_config();
    let to = config.non_masquerade.iter().map(|range| IpNet::V4(*range));
    let matches: Vec<Match> = [Match::source(config.range)]
        .into_iter()
        .chain(to.map(|range| Match::Destination(Sense::IsNot, range)))
        .collect();
    let rule = iptables::Rule::new(matches, Target::Masquerade { fully_random: true });
    chains.0.entry(ChainName::constant("POSTROUTING")).or_default().rules.push(rule);
}

/// One after the other, rules ask for numbers that have nothing to do with each other.
fn splitmix(state: &mut u64) -> u32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed >> 32) as u32
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
