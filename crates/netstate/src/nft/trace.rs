//! What becomes of a packet: a walk through the rules, without a kernel.
//!
//! ```text
//! arrives ─► prerouting ─► routing ─┬─► forward ─► postrouting ─► sent
//!                                   └─► input ─► delivered
//! made here ─► output ─► routing ─► postrouting ─► sent, or delivered here
//! ```
//!
//! Chance comes in as an argument. Packets are the first of their connection unless they say otherwise, and only first
//! packets see `nat` chains. Deliberately absent: time, replies, fragments, ICMP errors.

mod walk;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{
    BaseChain, ChainKind, ConnectionState, Family, Hook, InterfaceName, L4Protocol, Name, Policy, Reject,
    Ruleset, Table, Verdict,
};
use walk::Walk;

/// A packet, or what the rules made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// TCP, UDP, …
    pub protocol: L4Protocol,
    /// Who sends, with the port (0 for protocols without).
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// The mark, 0 for a fresh packet.
    pub mark: u32,
    /// What connection tracking says about it.
    pub state: ConnectionState,
}

impl Packet {
    /// The first packet of a connection.
    pub const fn first(protocol: L4Protocol, source: SocketAddr, destination: SocketAddr) -> Self {
        Self { protocol, source, destination, mark: 0, state: ConnectionState::New }
    }
}

/// Where a packet comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A process on this host.
    Local,
    /// It arrives on this interface.
    Interface(InterfaceName),
}

/// What routing knows of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// Its own addresses and the interfaces that have them. 127.0.0.0/8 and ::1 need not be listed.
    pub addresses: BTreeMap<IpAddr, InterfaceName>,
    /// Which way packets go; the longest prefix wins.
    pub routes: BTreeMap<IpNet, InterfaceName>,
}

impl Host {
    fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.addresses.contains_key(&address)
    }

    fn route(&self, address: IpAddr) -> Option<InterfaceName> {
        let fitting = self.routes.iter().filter(|(net, _)| net.contains(&address));
        fitting.max_by_key(|(net, _)| net.prefix_len()).map(|(_, interface)| *interface)
    }

    /// The address that masquerading gives a packet which leaves by this interface.
    fn address_of(&self, interface: InterfaceName, like: IpAddr) -> Option<IpAddr> {
        let mut own = self.addresses.iter().filter(|(address, _)| address.is_ipv4() == like.is_ipv4());
        own.find(|(_, candidate)| **candidate == interface).map(|(address, _)| *address)
    }
}

/// How a walk ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// A process on this host gets it.
    Delivered,
    /// It leaves by this interface.
    Sent(InterfaceName),
    /// Thrown away.
    Dropped,
    /// Refused, and the sender is told.
    Rejected(Reject),
    /// No route leads there.
    Unroutable,
}

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub fate: Fate,
    /// The packet at the end: where it goes, and the source address that is seen there.
    pub packet: Packet,
    /// Where its destination was translated to.
    pub destination_nat: Option<SocketAddr>,
    /// The address that its source was translated to.
    pub masqueraded: Option<IpAddr>,
    /// What happened on the way, in order.
    pub trail: Vec<Step>,
}

/// One thing that happened on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Where the walk was.
    pub hook: Hook,
    /// In which table.
    pub table: Table,
    /// In which chain.
    pub chain: Name,
    /// Which rule did it, counted from 0; `None`: the chain's policy.
    pub rule: Option<usize>,
    /// What it did.
    pub effect: Effect,
}

/// What a rule did to a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A verdict, from the rule or from a verdict map.
    Verdict(Verdict),
    /// The destination became this.
    DestinationNat(SocketAddr),
    /// The source became this.
    Masquerade(IpAddr),
    /// The packet belongs to no connection from here on.
    NoTrack,
    /// The mark became this.
    Mark(u32),
    /// An element was written into a dynamic set, or given new life.
    Update(Name),
    /// It was refused.
    Reject(Reject),
}

/// Walks a packet through these tables. Rules may write into dynamic sets. `random` is asked for a number below its
/// argument, as `numgen random` is.
pub fn trace(
    tables: &mut [&mut Ruleset],
    host: &Host,
    origin: &Origin,
    packet: Packet,
    random: &mut dyn FnMut(u32) -> u32,
) -> Outcome {
    let input = match origin {
        Origin::Local => None,
        Origin::Interface(interface) => Some(*interface),
    };
    let mut walk = Walk::new(host, packet, input, random);
    let fate = path(tables, host, origin, &mut walk);
    walk.outcome(fate)
}

fn path(tables: &mut [&mut Ruleset], host: &Host, origin: &Origin, walk: &mut Walk<'_>) -> Fate {
    let made_here = *origin == Origin::Local;
    if made_here {
        // Routing comes first for packets made here, on what the process asked for; translated ones are routed again.
        walk.output = host.route(walk.packet.destination.ip());
    }
    if let Err(fate) = hook(tables, if made_here { Hook::Output } else { Hook::Prerouting }, walk) {
        return fate;
    }
    let destination = walk.packet.destination.ip();
    if host.is_local(destination) {
        if made_here {
            walk.output = InterfaceName::new("lo").ok();
            if let Err(fate) = hook(tables, Hook::Postrouting, walk) {
                return fate;
            }
            // It comes in again on lo, with its translations done.
            walk.input = walk.output.take();
            walk.translated();
            if let Err(fate) = hook(tables, Hook::Prerouting, walk) {
                return fate;
            }
        }
        return hook(tables, Hook::Input, walk).err().unwrap_or(Fate::Delivered);
    }
    let Some(output) = host.route(destination) else {
        return Fate::Unroutable;
    };
    walk.output = Some(output);
    let forwarded = if made_here { Ok(()) } else { hook(tables, Hook::Forward, walk) };
    match forwarded.and_then(|()| hook(tables, Hook::Postrouting, walk)) {
        Ok(()) => Fate::Sent(output),
        Err(fate) => fate,
    }
}

/// Walks the base chains of a hook in the order of their priorities.
fn hook(tables: &mut [&mut Ruleset], hook: Hook, walk: &mut Walk<'_>) -> Result<(), Fate> {
    let family = if walk.packet.source.is_ipv4() { Family::Ip } else { Family::Ip6 };
    let mut found: Vec<(BaseChain, usize, Name)> = Vec::new();
    for (index, ruleset) in tables.iter().enumerate().filter(|(_, ruleset)| ruleset.table.family == family) {
        let hooked =
            ruleset.chains.iter().filter_map(|(name, chain)| Some((chain.base?, index, name.clone())));
        found.extend(hooked.filter(|(base, ..)| base.hook == hook));
    }
    found.sort_by_key(|(base, index, _)| (base.priority, *index));
    for (base, index, name) in found {
        if base.kind == ChainKind::Nat && !walk.may_translate(hook) {
            continue;
        }
        if let Some(table) = tables.get_mut(index) {
            walk.base_chain(table, hook, &name, base.policy == Policy::Accept)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
