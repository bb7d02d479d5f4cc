//! The laws of the service proxy (ARCHITECTURE.md, "The way of the data"), which every mode keeps in whatever history.
//!
//! ```text
//! any_history ─► steps ─► World: the cluster, what is told of it, an index, a Node ─► hold: the laws
//!                                                            └─ a mode beside its fakes
//! ```
//!
//! There is one generator of histories. A mode says what its kernel holds, and what of that carries a meaning.

mod histories;
mod world;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};

use model::Protocol;
use netstate::nft::{InterfaceName, L4Protocol};
use netstate::trace::{Fate, Host, Origin, Outcome, Packet};

pub(crate) use histories::any_history;
pub(crate) use world::hold;

use crate::{Dataplane, NodeContext};

/// A node with a proxy of one mode beside the kernel that it writes to, which also holds what is others'.
pub(crate) trait Node: Sized {
    /// What the kernel holds, as far as it differs for a packet. Without services of a family, no rules are as good as
    /// those that are always there.
    type Meaning: PartialEq + Debug;
    /// All that the kernel holds.
    type Kernel: PartialEq + Debug;
    /// Whether another process finds everything as it should be.
    const KEEPS_OVER_RESTART: bool = true;

    /// A kernel that holds what is others', and a proxy that has not looked at it.
    fn new() -> Self;
    fn proxy(&mut self) -> &mut dyn Dataplane;
    /// Another process with the same kernel.
    fn restart(&mut self);
    /// Leaves something of ours in the kernel that no cluster asks for.
    fn litter(&mut self);
    /// The next write is refused.
    fn fail_next(&mut self);
    /// How often the kernel was written to.
    fn writes(&self) -> usize;
    fn meaning(&self) -> Self::Meaning;
    fn kernel(&self) -> Self::Kernel;
    /// What becomes of a connection, in words.
    fn lead(&self, knock: &Knock) -> String;
}

/// The first packet of a connection to a door.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Knock {
    pub(crate) origin: Origin,
    pub(crate) packet: Packet,
    /// What chance says, whoever asks.
    pub(crate) chance: u32,
}

impl Knock {
    /// From a pod of the node, from outside, and from the node itself.
    fn all(protocol: Protocol, door: SocketAddr) -> Vec<Self> {
        let clients = [(Some("cbr0"), "10.244.1.77"), (Some("eth0"), "192.0.2.200"), (None, "10.100.0.2")];
        let knock = |(interface, client): (Option<&str>, &str), chance| {
            let origin = interface.map_or(Origin::Local, |name| Origin::Interface(self::interface(name)));
            let client = SocketAddr::new(client.parse().unwrap(), 40_000);
            Self { origin, packet: Packet::first(l4(protocol), client, door), chance }
        };
        clients.into_iter().flat_map(|client| [0, 2].map(|chance| knock(client, chance))).collect()
    }
}

/// In words.
pub(crate) fn told<S>(outcome: &Outcome<S>) -> String {
    let Outcome { fate, packet, .. } = outcome;
    match fate {
        // nftables mode leads packets by their priority.
        Fate::Delivered | Fate::Sent(_) if packet.priority != 0 => {
            format!("with priority {}", packet.priority)
        }
        Fate::Delivered | Fate::Sent(_) => format!("{} as {}", packet.destination, packet.source.ip()),
        Fate::Dropped | Fate::Rejected(_) | Fate::Unroutable => format!("{fate:?}"),
    }
}

/// node1 of the reference cluster.
pub(crate) fn host() -> Host {
    let addresses: [(&str, &str); 2] = [("10.100.0.2", "eth0"), ("10.244.1.1", "cbr0")];
    let routes = [("10.100.0.0/24", "eth0"), ("10.244.1.0/24", "cbr0"), ("0.0.0.0/0", "eth0")];
    let addresses: BTreeMap<IpAddr, InterfaceName> =
        addresses.map(|(address, name)| (address.parse().unwrap(), interface(name))).into();
    Host { addresses, routes: routes.map(|(range, name)| (range.parse().unwrap(), interface(name))).into() }
}

pub(crate) fn context() -> NodeContext {
    let ranges = ["10.244.0.0/16", "fd10:244::/32"];
    NodeContext::new("node1".into(), ranges.map(|range| range.parse().unwrap()).into())
}

fn interface(name: &str) -> InterfaceName {
    InterfaceName::new(name).unwrap()
}

const fn l4(protocol: Protocol) -> L4Protocol {
    match protocol {
        Protocol::Tcp => L4Protocol::TCP,
        Protocol::Udp => L4Protocol::UDP,
        Protocol::Sctp => L4Protocol::SCTP,
    }
}
