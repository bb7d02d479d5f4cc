use std::net::SocketAddr;

use ipnet::IpNet;

use super::ChainName;
use crate::ipset::SetName;
use crate::nft::{AddressType, ConnectionState, InterfaceName, L4Protocol, Reject};

/// One rule of a chain: when everything matches, the packet goes to the target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// What a packet must be, in the order in which `iptables-save` prints it: addresses, interfaces and the protocol
    /// first.
    pub matches: Box<[Match]>,
    /// What happens to it.
    pub target: Target,
}

impl Rule {
    /// A rule of these matches and this target.
    pub fn new(matches: impl Into<Box<[Match]>>, target: Target) -> Self {
        Self { matches: matches.into(), target }
    }

    /// The chain that the rule leads to, if it does.
    pub fn chain(&self) -> Option<ChainName> {
        match self.target {
            Target::Jump(chain) | Target::Goto(chain) => Some(chain),
            _ => None,
        }
    }
}

/// Whether a match is meant as it stands or the other way round (`!`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sense {
    /// As it stands.
    Is,
    /// The other way round.
    IsNot,
}

/// What a packet must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Match {
    /// `-s`: its source is within. Make it with [`Match::source`], which clears the host bits.
    Source(Sense, IpNet),
    /// `-d`: its destination is within. Make it with [`Match::destination`].
    Destination(Sense, IpNet),
    /// `-i`: it came in there; not known of packets made here.
    Input(Sense, Interfaces),
    /// `-o`: it leaves there.
    Output(Sense, Interfaces),
    /// `-p`.
    Protocol(L4Protocol),
    /// `-m comment`: matches everything.
    Comment(Box<str>),
    /// `-m tcp`, `-m udp`, `-m sctp`: it is of that protocol, and for that port if there is one.
    Transport {
        /// TCP, UDP or SCTP; [`Match::Protocol`] has to say the same before.
        protocol: L4Protocol,
        /// `--dport`.
        destination_port: Option<u16>,
    },
    /// `-m mark`: these bits of its mark are that value.
    Mark {
        /// Or are not.
        sense: Sense,
        /// The value.
        value: u32,
        /// The bits.
        mask: u32,
    },
    /// `-m addrtype --src-type`.
    SourceType(Sense, AddressType),
    /// `-m addrtype --dst-type`.
    DestinationType(Sense, AddressType),
    /// `-m conntrack --ctstate`: any of these, in ascending order.
    State(Box<[ConnectionState]>),
    /// `-m statistic --mode random`.
    Chance(Chance),
    /// `-m recent`.
    Recent(Box<Recent>),
    /// `-m set --match-set`.
    Set(Sense, SetName, Box<[Side]>),
    /// Something of somebody else, as it is printed. It matches nothing in the tracer.
    Other(Box<str>),
}

impl Match {
    /// The source is within.
    pub fn source(net: impl Into<IpNet>) -> Self {
        Self::Source(Sense::Is, net.into().trunc())
    }

    /// The destination is within.
    pub fn destination(net: impl Into<IpNet>) -> Self {
        Self::Destination(Sense::Is, net.into().trunc())
    }

    /// A comment. Longer ones than the kernel keeps (255 bytes) are cut off.
    pub fn comment(text: &str) -> Self {
        let end = (0..=text.len().min(255)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        // A line of a restore file cannot hold these.
        let text = &text[..end];
        Self::Comment(text.replace(char::is_control, " ").into())
    }

    /// The protocol and the port.
    pub fn port(protocol: L4Protocol, port: u16) -> [Self; 2] {
        [Self::Protocol(protocol), Self::Transport { protocol, destination_port: Some(port) }]
    }
}

/// Interfaces by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interfaces {
    /// The one of this name.
    Named(InterfaceName),
    /// All whose names begin so (`cali+`).
    Beginning(InterfaceName),
}

impl Interfaces {
    /// Whether it is one of them.
    pub fn contains(&self, interface: InterfaceName) -> bool {
        match self {
            Self::Named(name) => *name == interface,
            Self::Beginning(prefix) => interface.as_str().starts_with(prefix.as_str()),
        }
    }
}

/// A probability, as the kernel keeps it: in parts of 2^31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chance(u32);

impl Chance {
    /// What a chance of 1 is.
    pub const WHOLE: u32 = 1 << 31;

    /// One in so many, at least one.
    pub const fn one_in(count: u32) -> Self {
        let count = if count == 0 { 1 } else { count };
        Self(((Self::WHOLE as u64 + count as u64 / 2) / count as u64) as u32)
    }

    /// From parts of 2^31; more than that is a chance of 1.
    pub const fn of_parts(parts: u32) -> Self {
        Self(if parts > Self::WHOLE { Self::WHOLE } else { parts })
    }

    /// In parts of 2^31.
    pub const fn parts(self) -> u32 {
        self.0
    }
}

/// A list of the addresses that were seen lately (`/proc/net/xt_recent`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recent {
    /// The list's name; all rules with it share one list.
    pub list: Box<str>,
    /// What is done with the packet's source.
    pub action: RecentAction,
}

/// What a rule does with a list of addresses seen lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecentAction {
    /// `--set`: the source is put in, or its time renewed. Always matches.
    Set,
    /// `--rcheck --seconds … --reap`: matches when the source was put in no longer ago than that; older ones go.
    Check {
        /// How long ago at most, in seconds.
        seconds: u32,
    },
}

/// Which end of a packet is looked up in a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// `src`.
    Source,
    /// `dst`.
    Destination,
}

/// What happens to a packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Nothing: the next rule.
    None,
    /// It goes through that chain, and comes back if nothing there ends its way.
    Jump(ChainName),
    /// It goes through that chain, and not back here.
    Goto(ChainName),
    /// It passes this table.
    Accept,
    /// It is thrown away.
    Drop,
    /// Back to the chain before; in a built-in chain its policy.
    Return,
    /// It is refused.
    Reject(Reject),
    /// Its destination becomes this.
    DestinationNat(SocketAddr),
    /// Its source becomes the address of the interface it leaves by.
    Masquerade {
        /// By chance among all free source ports.
        fully_random: bool,
    },
    /// `--set-xmark`: these bits of the mark are cleared, then those of `value` turned over.
    SetMark {
        /// Turned over.
        value: u32,
        /// Cleared before.
        mask: u32,
    },
    /// `SET --map-set … --map-mark`: its mark becomes that which a set holds for its destination's address and port. In
    /// the table `mangle` alone.
    MapMark(SetName),
    /// Its destination becomes this host, at that port.
    Redirect {
        /// The port.
        port: u16,
    },
    /// Something of somebody else, as it is printed.
    Other(Box<str>),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What iptables 1.8.9 prints for `--probability` with ten digits.
    #[test]
    fn chances_are_the_kernels() {
        for (count, parts) in
            [(1, 1 << 31), (2, 1 << 30), (3, 715_827_883), (7, 306_783_378), (10, 214_748_365)]
        {
            assert_eq!(Chance::one_in(count).parts(), parts, "1/{count}");
        }
        assert_eq!(Chance::one_in(0), Chance::one_in(1));
    }

    #[test]
    fn comments_fit_into_the_kernel_and_into_one_line() {
        let Match::Comment(text) = Match::comment(&format!("a\nb{}", "ä".repeat(200))) else {
            panic!("a comment");
        };
        assert!(text.len() == 255 && text.starts_with("a bä"), "{text}");
    }
}
