//! Rules in the words of `iptables-save`, and changes as the input of `iptables-restore --noflush`.

use std::fmt::{self, Write};
use std::net::IpAddr;

use super::{
    ChainName, Chains, Interfaces, Match, Policy, RecentAction, Rule, Sense, Side, Table, Target, Transaction,
};
use crate::nft::{AddressType, ConnectionState, Family, Reject};

/// A rule as `iptables-save` prints it, without the chain.
pub struct Words<'a>(pub Family, pub &'a Rule);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(family, rule) = self;
        for (index, one) in rule.matches.iter().enumerate() {
            if index > 0 {
                f.write_char(' ')?;
            }
            write_match(f, *family, one)?;
        }
        if rule.target != Target::None && !rule.matches.is_empty() {
            f.write_char(' ')?;
        }
        write_target(f, *family, &rule.target)
    }
}

/// A table as `iptables-save -t` prints it.
pub fn save(family: Family, table: Table, chains: &Chains) -> String {
    let mut text = format!("*{table}\n");
    let built_in = table.built_in().iter().filter_map(|name| chains.0.get_key_value(name));
    let others = || chains.0.iter().filter(|(name, _)| !table.built_in().contains(name));
    for (name, chain) in built_in.clone().chain(others()) {
        let policy = match chain.policy {
            Some(Policy::Accept) => "ACCEPT",
            Some(Policy::Drop) => "DROP",
            None => "-",
        };
        line(&mut text, format_args!(":{name} {policy} [0:0]"));
    }
    for (name, chain) in built_in.chain(others()) {
        for rule in &chain.rules {
            rule_line(&mut text, "-A", *name, family, rule);
        }
    }
    text.push_str("COMMIT\n");
    text
}

/// Transactions as one input of `iptables-restore --noflush`; empty ones are left out.
pub fn restore_input(family: Family, transactions: &[Transaction]) -> String {
    let mut text = String::new();
    for transaction in transactions.iter().filter(|transaction| !transaction.is_empty()) {
        line(&mut text, format_args!("*{}", transaction.table));
        for name in transaction.declarations() {
            line(&mut text, format_args!(":{name} - [0:0]"));
        }
        for (name, rules) in transaction.replace.iter() {
            for rule in rules {
                rule_line(&mut text, "-A", *name, family, rule);
            }
        }
        for (name, rule) in &transaction.delete {
            rule_line(&mut text, "-D", *name, family, rule);
        }
        // Each goes in front of what is there.
        for (name, rule) in transaction.insert.iter().rev() {
            rule_line(&mut text, "-I", *name, family, rule);
        }
        for command in ["-F", "-X"] {
            for name in &transaction.delete_chains {
                line(&mut text, format_args!("{command} {name}"));
            }
        }
        text.push_str("COMMIT\n");
    }
    text
}

fn line(text: &mut String, words: fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ = writeln!(text, "{words}");
}

fn rule_line(text: &mut String, command: &str, chain: ChainName, family: Family, rule: &Rule) {
    let space = if rule.matches.is_empty() && rule.target == Target::None { "" } else { " " };
    line(text, format_args!("{command} {chain}{space}{}", Words(family, rule)));
}

fn not(sense: Sense) -> &'static str {
    match sense {
        Sense::Is => "",
        Sense::IsNot => "! ",
    }
}

fn write_match(f: &mut fmt::Formatter<'_>, family: Family, one: &Match) -> fmt::Result {
    match one {
        Match::Source(sense, net) => write!(f, "{}-s {net}", not(*sense)),
        Match::Destination(sense, net) => write!(f, "{}-d {net}", not(*sense)),
        Match::Input(sense, interfaces) => write!(f, "{}-i {interfaces}", not(*sense)),
        Match::Output(sense, interfaces) => write!(f, "{}-o {interfaces}", not(*sense)),
        Match::Protocol(protocol) => write!(f, "-p {protocol}"),
        Match::Comment(text) => write!(f, "-m comment --comment {}", Quoted(text)),
        Match::Transport { protocol, destination_port } => {
            write!(f, "-m {protocol}")?;
            destination_port.map_or(Ok(()), |port| write!(f, " --dport {port}"))
        }
        Match::Mark { sense, value, mask } => {
            write!(f, "-m mark {}--mark {value:#x}", not(*sense))?;
            if *mask == u32::MAX { Ok(()) } else { write!(f, "/{mask:#x}") }
        }
        Match::SourceType(sense, kind) => {
            write!(f, "-m addrtype {}--src-type {}", not(*sense), address_type(*kind))
        }
        Match::DestinationType(sense, kind) => {
            write!(f, "-m addrtype {}--dst-type {}", not(*sense), address_type(*kind))
        }
        Match::State(states) => {
            let words: Vec<&str> = states.iter().map(|one| state(*one)).collect();
            write!(f, "-m conntrack --ctstate {}", words.join(","))
        }
        Match::Chance(chance) => {
            let share = f64::from(chance.parts()) / f64::from(super::Chance::WHOLE);
            write!(f, "-m statistic --mode random --probability {share:.11}")
        }
        Match::Recent(recent) => {
            f.write_str("-m recent ")?;
            match recent.action {
                RecentAction::Set => f.write_str("--set")?,
                RecentAction::Check { seconds } => write!(f, "--rcheck --seconds {seconds} --reap")?,
            }
            let whole = match family {
                Family::Ip => "255.255.255.255",
                Family::Ip6 => "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            };
            write!(f, " --name {} --mask {whole} --rsource", recent.list)
        }
        Match::Set(sense, set, sides) => {
            let words: Vec<&str> = sides.iter().map(|one| side(*one)).collect();
            write!(f, "-m set {}--match-set {set} {}", not(*sense), words.join(","))
        }
        Match::Other(text) => f.write_str(text),
    }
}

fn write_target(f: &mut fmt::Formatter<'_>, family: Family, target: &Target) -> fmt::Result {
    match target {
        Target::None => Ok(()),
        Target::Jump(chain) => write!(f, "-j {chain}"),
        Target::Goto(chain) => write!(f, "-g {chain}"),
        Target::Accept => f.write_str("-j ACCEPT"),
        Target::Drop => f.write_str("-j DROP"),
        Target::Return => f.write_str("-j RETURN"),
        Target::Reject(how) => write!(f, "-j REJECT --reject-with {}", reject(family, *how)),
        Target::DestinationNat(to) => write!(f, "-j DNAT --to-destination {to}"),
        Target::Masquerade { fully_random } => {
            f.write_str("-j MASQUERADE")?;
            if *fully_random { f.write_str(" --random-fully") } else { Ok(()) }
        }
        Target::SetMark { value, mask } => write!(f, "-j MARK --set-xmark {value:#x}/{mask:#x}"),
        Target::MapMark(set) => write!(f, "-j SET --map-set {set} dst,dst --map-mark"),
        Target::Redirect { port } => write!(f, "-j REDIRECT --to-ports {port}"),
        Target::Other(text) => f.write_str(text),
    }
}

pub(super) fn address_type(kind: AddressType) -> &'static str {
    match kind {
        AddressType::Unicast => "UNICAST",
        AddressType::Local => "LOCAL",
        AddressType::Broadcast => "BROADCAST",
        AddressType::Multicast => "MULTICAST",
    }
}

pub(super) fn state(state: ConnectionState) -> &'static str {
    match state {
        ConnectionState::Invalid => "INVALID",
        ConnectionState::Established => "ESTABLISHED",
        ConnectionState::Related => "RELATED",
        ConnectionState::New => "NEW",
        ConnectionState::Untracked => "UNTRACKED",
    }
}

pub(super) fn side(side: Side) -> &'static str {
    match side {
        Side::Source => "src",
        Side::Destination => "dst",
    }
}

pub(super) fn reject(family: Family, how: Reject) -> &'static str {
    match (how, family) {
        (Reject::TcpReset, _) => "tcp-reset",
        (Reject::PortUnreachable, Family::Ip) => "icmp-port-unreachable",
        (Reject::PortUnreachable, Family::Ip6) => "icmp6-port-unreachable",
        (Reject::AdminProhibited, Family::Ip) => "icmp-admin-prohibited",
        (Reject::AdminProhibited, Family::Ip6) => "icmp6-adm-prohibited",
    }
}

/// The range that holds one address alone.
pub(super) fn alone(address: IpAddr) -> ipnet::IpNet {
    address.into()
}

impl fmt::Display for Interfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => write!(f, "{name}"),
            Self::Beginning(prefix) => write!(f, "{prefix}+"),
        }
    }
}

/// A text as libxtables prints it: in quotes unless it is of letters, digits, `_` and `-` alone.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !self.0.is_empty() && self.0.bytes().all(plain) {
            return f.write_str(self.0);
        }
        f.write_char('"')?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\\' | '\'') {
                f.write_char('\\')?;
            }
            f.write_char(c)?;
        }
        f.write_char('"')
    }
}
