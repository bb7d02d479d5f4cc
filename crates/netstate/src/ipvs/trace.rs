//! What becomes of a packet where IPVS is: a walk through iptables and the virtual services, without a kernel.
//!
//! ```text
//! arrives ─► prerouting ─► own address? ─► input ─► IPVS ─► output ─► postrouting ─► sent
//! made here ─► output ─► IPVS ─► postrouting ─► sent
//! ```
//!
//! The way through the host is [`crate::trace`]'s, the rules are [`crate::iptables::trace`]'s. A packet that a virtual
//! service is for never gets further on its first way.

use std::collections::BTreeMap;

use super::{FakeIpvs, ServiceId};
use crate::ipset::FakeIpset;
use crate::iptables::trace::{Outcome, RecentLists, Rules, Step, hook};
use crate::iptables::{FakeIptables, Table};
use crate::link::{LinkKind, NamespacePath};
use crate::namespace::{FakeLinks, LinkPort as _};
use crate::nft::{Family, Hook, InterfaceName, Reject};
use crate::trace::{Fate, Host, Origin, Packet, Passage};

/// The fakes of everything that a packet meets on a node with IPVS. Clones share them.
#[derive(Debug, Clone)]
pub struct FakeNode {
    /// Virtual services.
    pub ipvs: FakeIpvs,
    /// Sets that rules match on.
    pub sets: FakeIpset,
    /// Rules for IPv4 and for IPv6.
    pub iptables: [FakeIptables; 2],
    /// Links; the addresses of dummies are the host's own.
    pub links: FakeLinks,
}

impl FakeNode {
    /// A node that nobody has written to, with a loopback link alone.
    pub fn new(namespace: NamespacePath) -> Self {
        Self {
            ipvs: FakeIpvs::new(),
            sets: FakeIpset::new(),
            iptables: [Family::Ip, Family::Ip6].map(FakeIptables::new),
            links: FakeLinks::new(namespace),
        }
    }

    /// Walks a packet through the node. `random` is asked for a number below its argument when a virtual service
    /// chooses.
    pub fn trace(
        &self,
        host: &Host,
        origin: &Origin,
        packet: Packet,
        random: &mut dyn FnMut(u32) -> u32,
    ) -> Outcome {
        let family = if packet.source.is_ipv4() { Family::Ip } else { Family::Ip6 };
        let [v4, v6] = &self.iptables;
        let iptables = if family == Family::Ip { v4 } else { v6 };
        let tables: BTreeMap<_, _> =
            Table::ALL.into_iter().map(|table| (table, iptables.table(table))).collect();
        let (sets, mut recent) = (self.sets.sets(), RecentLists::new());
        let mut no_chance = |_| 0;
        let mut rules =
            Rules { family, tables: &tables, sets: &sets, recent: &mut recent, random: &mut no_chance };
        trace(&mut rules, &self.ipvs, &self.with_dummies(host), origin, packet, random)
    }

    fn with_dummies(&self, host: &Host) -> Host {
        let mut host = host.clone();
        let links = self.links.observe().map(|state| state.links).unwrap_or_default();
        for link in links.values().filter(|link| link.kind == LinkKind::Dummy) {
            if let Ok(name) = InterfaceName::new(link.name.as_str()) {
                for address in &link.addresses {
                    host.addresses.entry(address.addr()).or_insert(name);
                }
            }
        }
        host
    }
}

fn trace(
    rules: &mut Rules<'_>,
    ipvs: &FakeIpvs,
    host: &Host,
    origin: &Origin,
    packet: Packet,
    random: &mut dyn FnMut(u32) -> u32,
) -> Outcome {
    let mut passage = Passage::new(host, origin, packet);
    let mut trail = Vec::new();
    let made_here = *origin == Origin::Local;
    let mut scheduled = false;
    let fate = passage.through(&mut |at, passage| {
        hook(rules, at, passage, &mut trail)?;
        if scheduled || !matches!((at, made_here), (Hook::Output, true) | (Hook::Input, false)) {
            return Ok(());
        }
        scheduled = schedule(ipvs, passage, random)?;
        if scheduled && at == Hook::Input { Err(leave(rules, passage, &mut trail)) } else { Ok(()) }
    });
    passage.outcome(fate, trail)
}

/// Lets IPVS choose. Returns whether a virtual service was for the packet.
fn schedule(
    ipvs: &FakeIpvs,
    passage: &mut Passage<'_>,
    random: &mut dyn FnMut(u32) -> u32,
) -> Result<bool, Fate> {
    let Packet { protocol, source, destination, mark, .. } = passage.packet;
    let family = if destination.is_ipv4() { Family::Ip } else { Family::Ip6 };
    // A mark that a service is for comes first, as in the kernel.
    let ids = [ServiceId::Mark { mark, family }, ServiceId::Address { protocol, at: destination }];
    let chosen = ids.iter().find_map(|id| ipvs.schedule(id, source.ip(), random));
    match chosen {
        None => Ok(false),
        Some(None) => Err(Fate::Rejected(Reject::PortUnreachable)),
        Some(Some(to)) => {
            passage.translate_destination(to);
            Ok(true)
        }
    }
}

/// The way out of a packet that came in.
fn leave(rules: &mut Rules<'_>, passage: &mut Passage<'_>, trail: &mut Vec<Step>) -> Fate {
    let destination = passage.packet.destination.ip();
    let here = passage.host.is_local(destination);
    let output = if here { InterfaceName::new("lo").ok() } else { passage.host.route(destination) };
    let Some(output) = output else {
        return Fate::Unroutable;
    };
    passage.output = Some(output);
    let out = hook(rules, Hook::Output, passage, trail)
        .and_then(|()| hook(rules, Hook::Postrouting, passage, trail));
    match out {
        Err(fate) => fate,
        Ok(()) if here => Fate::Delivered,
        Ok(()) => Fate::Sent(output),
    }
}
