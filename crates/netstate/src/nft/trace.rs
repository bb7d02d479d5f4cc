//! What becomes of a packet: a walk through the rules, without a kernel.
//!
//! The way through the host is [`crate::trace`]'s. Chance comes in as an argument. Only first packets of connections see
//! `nat` chains.

mod walk;

use std::net::{IpAddr, SocketAddr};

use super::{BaseChain, ChainKind, Family, Hook, Name, Policy, Reject, Ruleset, Table, Verdict};
use crate::trace::Passage;
pub(super) use walk::DEEPEST;
use walk::Walk;

pub use crate::trace::{Fate, Host, Origin, Packet};

/// What became of a packet.
pub type Outcome = crate::trace::Outcome<Step>;

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
    /// The priority became this.
    Priority(u32),
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
    let mut passage = Passage::new(host, origin, packet);
    let mut trail = Vec::new();
    let fate = passage
        .through(&mut |at, passage| hook(tables, at, &mut Walk { passage, random, trail: &mut trail }));
    passage.outcome(fate, trail)
}

/// Walks the base chains of a hook in the order of their priorities.
fn hook(tables: &mut [&mut Ruleset], hook: Hook, walk: &mut Walk<'_, '_>) -> Result<(), Fate> {
    let family = if walk.passage.packet.source.is_ipv4() { Family::Ip } else { Family::Ip6 };
    let mut found: Vec<(BaseChain, usize, Name)> = Vec::new();
    for (index, ruleset) in tables.iter().enumerate().filter(|(_, ruleset)| ruleset.table.family == family) {
        let hooked =
            ruleset.chains.iter().filter_map(|(name, chain)| Some((chain.base?, index, name.clone())));
        found.extend(hooked.filter(|(base, ..)| base.hook == hook));
    }
    found.sort_by_key(|(base, index, _)| (base.priority, *index));
    for (base, index, name) in found {
        if base.kind == ChainKind::Nat && !walk.passage.may_translate(hook) {
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
