//! What becomes of a packet: a walk through the tables, without a kernel.
//!
//! The way through the host is [`crate::trace`]'s. Chance comes in as an argument. Only first packets of connections see
//! the table `nat`. Deliberately absent: time (addresses seen lately are never forgotten).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::{ChainName, Chains, Chance, Match, Policy, RecentAction, Rule, Sense, Side, Table, Target};
use crate::ipset::{IpPort, Member, SetName, Sets};
use crate::nft::{Family, Hook, Reject};
use crate::trace::{Fate, Host, Origin, Packet, Passage};

/// How deep chains may call each other; the kernel counts the chains of a table.
const DEEPEST: usize = 64;

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
    pub chain: ChainName,
    /// Which rule did it, counted from 0; `None`: the chain's policy.
    pub rule: Option<usize>,
    /// What it did.
    pub effect: Effect,
}

/// What a rule did to a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It went to another chain.
    To(ChainName),
    /// It went back.
    Return,
    /// It passed the table.
    Accept,
    /// It was thrown away.
    Drop,
    /// It was refused.
    Reject(Reject),
    /// The destination became this.
    DestinationNat(SocketAddr),
    /// The source became this.
    Masquerade(IpAddr),
    /// The mark became this.
    Mark(u32),
}

/// Lists of addresses seen lately, by their names.
pub type RecentLists = BTreeMap<Box<str>, BTreeSet<IpAddr>>;

/// What a packet meets besides the host's addresses and routes.
pub struct Rules<'a> {
    /// Which packets they are for.
    pub family: Family,
    /// The tables; one that is not there lets everything pass.
    pub tables: &'a BTreeMap<Table, Chains>,
    /// The sets that rules match on.
    pub sets: &'a Sets,
    /// The addresses seen lately; rules write into them.
    pub recent: &'a mut RecentLists,
    /// Is asked for a number below its argument; rules with a chance ask for one below [`Chance::WHOLE`].
    pub random: &'a mut dyn FnMut(u32) -> u32,
}

/// Walks a packet through the tables.
pub fn trace(rules: &mut Rules<'_>, host: &Host, origin: &Origin, packet: Packet) -> Outcome {
    let mut passage = Passage::new(host, origin, packet);
    let mut trail = Vec::new();
    let fate = passage.through(&mut |at, passage| hook(rules, at, passage, &mut trail));
    passage.outcome(fate, trail)
}

/// Walks a packet through all tables at one hook: for tracers of what is not iptables alone.
///
/// # Errors
/// How the packet's way ended there.
pub fn hook(
    rules: &mut Rules<'_>,
    hook: Hook,
    passage: &mut Passage<'_>,
    trail: &mut Vec<Step>,
) -> Result<(), Fate> {
    let family = if passage.packet.source.is_ipv4() { Family::Ip } else { Family::Ip6 };
    if family == rules.family { Walk { hook, passage, rules, trail }.tables() } else { Ok(()) }
}

/// What a chain, or a rule, came to.
enum Flow {
    Next,
    Return,
    Accept,
    End(Fate),
}

/// A packet on its way through one hook.
struct Walk<'w, 'h, 'r> {
    hook: Hook,
    passage: &'w mut Passage<'h>,
    rules: &'w mut Rules<'r>,
    trail: &'w mut Vec<Step>,
}

/// Where in the rules the walk is, for the trail.
#[derive(Clone, Copy)]
struct Place {
    table: Table,
    chain: ChainName,
    rule: Option<usize>,
}

impl Walk<'_, '_, '_> {
    /// The tables of the hook in the order of their priorities.
    fn tables(&mut self) -> Result<(), Fate> {
        let (chain, tables): (ChainName, &[Table]) = match self.hook {
            Hook::Prerouting => (ChainName::constant("PREROUTING"), &[Table::Mangle, Table::Nat]),
            Hook::Input => (ChainName::constant("INPUT"), &[Table::Mangle, Table::Filter, Table::Nat]),
            Hook::Forward => (ChainName::constant("FORWARD"), &[Table::Mangle, Table::Filter]),
            Hook::Output => (ChainName::constant("OUTPUT"), &[Table::Mangle, Table::Nat, Table::Filter]),
            Hook::Postrouting => (ChainName::constant("POSTROUTING"), &[Table::Mangle, Table::Nat]),
        };
        for table in tables {
            if *table == Table::Nat && !self.passage.may_translate(self.hook) {
                continue;
            }
            self.built_in(*table, chain)?;
        }
        Ok(())
    }

    fn built_in(&mut self, table: Table, chain: ChainName) -> Result<(), Fate> {
        let tables = self.rules.tables;
        let Some(chains) = tables.get(&table) else {
            return Ok(());
        };
        match self.chain(table, chains, chain, 0) {
            Flow::End(fate) => Err(fate),
            Flow::Accept => Ok(()),
            Flow::Next | Flow::Return => match chains.0.get(&chain).and_then(|chain| chain.policy) {
                Some(Policy::Drop) => {
                    self.step(Place { table, chain, rule: None }, Effect::Drop);
                    Err(Fate::Dropped)
                }
                Some(Policy::Accept) | None => Ok(()),
            },
        }
    }

    fn chain(&mut self, table: Table, chains: &Chains, chain: ChainName, depth: usize) -> Flow {
        if depth > DEEPEST {
            return Flow::End(Fate::Dropped);
        }
        for (number, rule) in chains.rules(chain).iter().enumerate() {
            let place = Place { table, chain, rule: Some(number) };
            if !self.matches(rule) {
                continue;
            }
            match rule.target {
                Target::Jump(target) => {
                    self.step(place, Effect::To(target));
                    match self.chain(table, chains, target, depth + 1) {
                        Flow::Next | Flow::Return => {}
                        end @ (Flow::Accept | Flow::End(_)) => return end,
                    }
                }
                Target::Goto(target) => {
                    self.step(place, Effect::To(target));
                    return self.chain(table, chains, target, depth + 1);
                }
                _ => match self.target(place, &rule.target) {
                    Flow::Next => {}
                    end => return end,
                },
            }
        }
        Flow::Next
    }

    fn target(&mut self, place: Place, target: &Target) -> Flow {
        let (effect, flow) = match target {
            Target::None | Target::Other(_) | Target::Jump(_) | Target::Goto(_) => return Flow::Next,
            Target::Accept => (Effect::Accept, Flow::Accept),
            Target::Drop => (Effect::Drop, Flow::End(Fate::Dropped)),
            Target::Return => (Effect::Return, Flow::Return),
            Target::Reject(how) => (Effect::Reject(*how), Flow::End(Fate::Rejected(*how))),
            Target::DestinationNat(to) => {
                self.passage.translate_destination(*to);
                (Effect::DestinationNat(*to), Flow::Accept)
            }
            Target::Redirect { port } => return self.redirect(place, *port),
            Target::Masquerade { .. } => match self.passage.masquerade() {
                Some(address) => (Effect::Masquerade(address), Flow::Accept),
                None => return Flow::End(Fate::Dropped),
            },
            Target::MapMark(set) => match self.mapped_mark(set) {
                None => return Flow::Next,
                Some(mark) => {
                    self.passage.packet.mark = mark;
                    (Effect::Mark(mark), Flow::Next)
                }
            },
            Target::SetMark { value, mask } => {
                let mark = self.passage.packet.mark & !mask ^ value;
                self.passage.packet.mark = mark;
                (Effect::Mark(mark), Flow::Next)
            }
        };
        self.step(place, effect);
        flow
    }

    /// To loopback for packets made here, else to the first address of the interface they came in by.
    fn redirect(&mut self, place: Place, port: u16) -> Flow {
        let is_ipv4 = self.passage.packet.destination.is_ipv4();
        let address = match self.passage.input {
            None if is_ipv4 => Some(std::net::Ipv4Addr::LOCALHOST.into()),
            None => Some(std::net::Ipv6Addr::LOCALHOST.into()),
            Some(input) => {
                let mut own = self.passage.host.addresses.iter();
                own.find(|(address, name)| address.is_ipv4() == is_ipv4 && **name == input)
                    .map(|(address, _)| *address)
            }
        };
        let Some(address) = address else {
            return Flow::End(Fate::Dropped);
        };
        let to = SocketAddr::new(address, port);
        self.passage.translate_destination(to);
        self.step(place, Effect::DestinationNat(to));
        Flow::Accept
    }

    fn step(&mut self, place: Place, effect: Effect) {
        let Place { table, chain, rule } = place;
        self.trail.push(Step { hook: self.hook, table, chain, rule, effect });
    }

    fn matches(&mut self, rule: &Rule) -> bool {
        // In order, as a later match may write.
        rule.matches.iter().all(|one| self.holds(one))
    }

    fn holds(&mut self, one: &Match) -> bool {
        let packet = &self.passage.packet;
        let is = |sense: &Sense, fact: bool| fact == (*sense == Sense::Is);
        match one {
            Match::Source(sense, net) => is(sense, net.contains(&packet.source.ip())),
            Match::Destination(sense, net) => is(sense, net.contains(&packet.destination.ip())),
            Match::Input(sense, of) => is(sense, self.passage.input.is_some_and(|name| of.contains(name))),
            Match::Output(sense, of) => is(sense, self.passage.output.is_some_and(|name| of.contains(name))),
            Match::Protocol(protocol) => packet.protocol == *protocol,
            Match::Comment(_) => true,
            Match::Transport { protocol, destination_port } => {
                packet.protocol == *protocol
                    && destination_port.is_none_or(|port| packet.destination.port() == port)
            }
            Match::Mark { sense, value, mask } => is(sense, packet.mark & mask == *value),
            Match::SourceType(sense, kind) => {
                is(sense, self.passage.host.address_type(packet.source.ip()) == *kind)
            }
            Match::DestinationType(sense, kind) => {
                is(sense, self.passage.host.address_type(packet.destination.ip()) == *kind)
            }
            Match::State(states) => states.contains(&packet.state),
            Match::Chance(chance) => (self.rules.random)(Chance::WHOLE) < chance.parts(),
            Match::Recent(recent) => {
                let source = packet.source.ip();
                let list = self.rules.recent.entry(recent.list.clone()).or_default();
                match recent.action {
                    RecentAction::Set => {
                        list.insert(source);
                        true
                    }
                    RecentAction::Check { .. } => list.contains(&source),
                }
            }
            Match::Set(sense, set, sides) => is(sense, self.is_member(set, sides)),
            Match::Other(_) => false,
        }
    }

    /// The mark that a set holds for the destination's address and port.
    fn mapped_mark(&self, set: &SetName) -> Option<u32> {
        let Packet { protocol, destination, .. } = self.passage.packet;
        let here = IpPort { address: destination.ip(), protocol, port: destination.port() };
        self.rules.sets.get(set)?.members.iter().find_map(|member| match member {
            Member::IpPortMark(at, mark) if *at == here => Some(*mark),
            _ => None,
        })
    }

    fn is_member(&self, set: &SetName, sides: &[Side]) -> bool {
        let packet = &self.passage.packet;
        let end = |side: Option<&Side>| match side {
            Some(Side::Source) => packet.source,
            Some(Side::Destination) | None => packet.destination,
        };
        let (first, second, third) = (end(sides.first()), end(sides.get(1)), end(sides.get(2)));
        let at_port =
            |at: &IpPort| (at.address, at.protocol, at.port) == (first.ip(), packet.protocol, second.port());
        self.rules.sets.get(set).is_some_and(|set| {
            set.members.iter().any(|member| match member {
                Member::Ip(address) => *address == first.ip(),
                Member::IpPort(at) | Member::IpPortMark(at, _) => at_port(at),
                Member::IpPortIp(at, other) => at_port(at) && *other == third.ip(),
                Member::IpPortNet(at, net) => at_port(at) && net.contains(&third.ip()),
                Member::Port(port) => *port == first.port(),
            })
        })
    }
}

#[cfg(test)]
mod tests;
