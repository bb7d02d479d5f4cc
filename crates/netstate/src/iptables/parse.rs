//! What `iptables-save` prints, as values.
//!
//! Rules of others may say anything: what is not known here is kept as it is printed.

use std::net::SocketAddr;
use std::ops::Range;

use ipnet::IpNet;

use super::text::{address_type, alone, reject, side, state};
use super::{
    Chain, ChainName, Chains, Chance, Interfaces, Match, Policy, Recent, RecentAction, Rule, Sense, Side,
    Table, Target,
};
use crate::ipset::SetName;
use crate::nft::{AddressType, ConnectionState, Family, InterfaceName, L4Protocol, Reject};

/// Why a text is not what `iptables-save` prints.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Reads the chains of one table from what `iptables-save` printed; other tables in it are passed over.
///
/// # Errors
/// [`ParseError`] for the first line that is not of the format. Rules with words that are not known are no error.
pub fn parse(family: Family, table: Table, text: &str) -> Result<Chains, ParseError> {
    let mut chains = Chains::default();
    let mut wanted = None;
    for (number, line) in text.lines().enumerate() {
        let failed = |reason| ParseError { line: number + 1, reason };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('*') {
            wanted = Some(name == table.word());
            continue;
        }
        if line == "COMMIT" {
            wanted = None;
            continue;
        }
        match wanted {
            None => return Err(failed("it stands outside of any table")),
            Some(false) => continue,
            Some(true) => {}
        }
        match line.strip_prefix(':') {
            Some(chain) => declare(&mut chains, chain).map_err(failed)?,
            None => append(&mut chains, family, line).map_err(failed)?,
        }
    }
    if wanted.is_some() {
        return Err(ParseError { line: text.lines().count(), reason: "the end is missing (COMMIT)" });
    }
    Ok(chains)
}

fn declare(chains: &mut Chains, line: &str) -> Result<(), &'static str> {
    let mut words = line.split(' ');
    let (Some(name), Some(policy)) = (words.next(), words.next()) else {
        return Err("a chain needs a name and a policy");
    };
    let policy = match policy {
        "ACCEPT" => Some(Policy::Accept),
        "DROP" => Some(Policy::Drop),
        "-" => None,
        _ => return Err("a chain's policy is ACCEPT, DROP or -"),
    };
    let name = ChainName::new(name).map_err(|_| "not the name of a chain")?;
    chains.0.entry(name).or_default().policy = policy;
    Ok(())
}

fn append(chains: &mut Chains, family: Family, line: &str) -> Result<(), &'static str> {
    // `iptables-save -c` puts the counters in front.
    let line = match line.strip_prefix('[') {
        Some(rest) => rest.split_once("] ").ok_or("the counters do not end")?.1,
        None => line,
    };
    let line = line.strip_prefix("-A ").ok_or("neither a chain nor a rule")?;
    let (name, words) = line.split_once(' ').unwrap_or((line, ""));
    let name = ChainName::new(name).map_err(|_| "not the name of a chain")?;
    if !chains.0.contains_key(&name) {
        return Err("the rule's chain is not declared");
    }
    let rule = rule(family, words, |chain| chains.0.contains_key(&chain))?;
    if let Some(Chain { rules, .. }) = chains.0.get_mut(&name) {
        rules.push(rule);
    }
    Ok(())
}

/// One word of a line.
struct Token {
    /// Without quotes and backslashes.
    text: String,
    /// Where it stands.
    at: Range<usize>,
}

fn rule(family: Family, line: &str, is_chain: impl Fn(ChainName) -> bool) -> Result<Rule, &'static str> {
    let tokens = tokens(line)?;
    let starts = |token: &Token| matches!(token.text.as_str(), "-m" | "-j" | "-g");
    let mut matches = Vec::new();
    let mut target = Target::None;
    let mut rest = tokens.as_slice();
    while let Some(first) = rest.first() {
        let end = rest.iter().skip(1).position(starts).map_or(rest.len(), |at| at + 1);
        let (group, after) = rest.split_at(end);
        rest = after;
        let words: Vec<&str> = group.iter().map(|token| token.text.as_str()).collect();
        let raw = || -> Box<str> {
            let end = group.last().map_or(first.at.end, |last| last.at.end);
            line.get(first.at.start..end).unwrap_or_default().into()
        };
        match words.as_slice() {
            // Words of a target may look like the beginning of another; only the last one counts as one.
            ["-j" | "-g", ..] if !rest.is_empty() => return Err("something follows the target"),
            ["-j", words @ ..] => {
                target = jump(family, words, &is_chain).unwrap_or_else(|| Target::Other(raw()))
            }
            ["-g", name] => {
                target = ChainName::new(name).map_or_else(|_| Target::Other(raw()), Target::Goto);
            }
            ["-g", ..] => target = Target::Other(raw()),
            ["-m", words @ ..] => {
                matches.push(extension(words).unwrap_or_else(|| Match::Other(raw())));
            }
            words => match head(words) {
                Some(found) => matches.extend(found),
                None => matches.push(Match::Other(raw())),
            },
        }
    }
    Ok(Rule::new(matches, target))
}

fn tokens(line: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut characters = line.char_indices().peekable();
    while let Some((start, c)) = characters.next() {
        if c == ' ' || c == '\t' {
            continue;
        }
        let quoted = c == '"';
        let mut text = String::new();
        let mut end = start + c.len_utf8();
        if !quoted {
            text.push(c);
        }
        let mut closed = !quoted;
        while let Some((at, c)) = characters.peek().copied() {
            if !quoted && (c == ' ' || c == '\t') {
                break;
            }
            characters.next();
            end = at + c.len_utf8();
            match c {
                '"' if quoted => {
                    closed = true;
                    break;
                }
                '\\' if quoted => {
                    let (at, c) = characters.next().ok_or("a quoted text does not end")?;
                    end = at + c.len_utf8();
                    text.push(c);
                }
                c => text.push(c),
            }
        }
        if !closed {
            return Err("a quoted text does not end");
        }
        tokens.push(Token { text, at: start..end });
    }
    Ok(tokens)
}

/// Addresses, interfaces and the protocol, which come before all extensions.
fn head(mut words: &[&str]) -> Option<Vec<Match>> {
    let mut matches = Vec::new();
    while !words.is_empty() {
        let (sense, rest) = sense(words);
        let [option, value, rest @ ..] = rest else {
            return None;
        };
        matches.push(match *option {
            "-s" => Match::Source(sense, net(value)?),
            "-d" => Match::Destination(sense, net(value)?),
            "-i" => Match::Input(sense, interfaces(value)?),
            "-o" => Match::Output(sense, interfaces(value)?),
            "-p" if sense == Sense::Is => Match::Protocol(protocol(value)?),
            _ => return None,
        });
        words = rest;
    }
    Some(matches)
}

fn sense<'w, 's>(words: &'w [&'s str]) -> (Sense, &'w [&'s str]) {
    match words {
        ["!", rest @ ..] => (Sense::IsNot, rest),
        _ => (Sense::Is, words),
    }
}

fn extension(words: &[&str]) -> Option<Match> {
    let (name, options) = words.split_first()?;
    let (sense, positive) = sense(options);
    match (*name, positive) {
        ("comment", ["--comment", text]) if sense == Sense::Is => Some(Match::Comment((*text).into())),
        ("tcp" | "udp" | "sctp", []) if sense == Sense::Is => {
            Some(Match::Transport { protocol: protocol(name)?, destination_port: None })
        }
        ("tcp" | "udp" | "sctp", ["--dport", port]) if sense == Sense::Is => {
            Some(Match::Transport { protocol: protocol(name)?, destination_port: Some(port.parse().ok()?) })
        }
        ("mark", ["--mark", value]) => {
            let (value, mask) = masked(value)?;
            Some(Match::Mark { sense, value, mask })
        }
        ("addrtype", ["--src-type", kind]) => Some(Match::SourceType(sense, kind_of(kind)?)),
        ("addrtype", ["--dst-type", kind]) => Some(Match::DestinationType(sense, kind_of(kind)?)),
        ("conntrack", ["--ctstate", states]) if sense == Sense::Is => states_of(states),
        ("statistic", ["--mode", "random", "--probability", share]) if sense == Sense::Is => chance(share),
        ("recent", options) if sense == Sense::Is => recent(options),
        ("set", ["--match-set", set, sides]) => {
            let sides: Option<Vec<Side>> = sides.split(',').map(side_of).collect();
            Some(Match::Set(sense, SetName::parse(set).ok()?, sides?.into()))
        }
        _ => None,
    }
}

fn recent(options: &[&str]) -> Option<Match> {
    let (action, rest) = match options {
        ["--set", rest @ ..] => (RecentAction::Set, rest),
        ["--rcheck", "--seconds", seconds, "--reap", rest @ ..] => {
            (RecentAction::Check { seconds: seconds.parse().ok()? }, rest)
        }
        _ => return None,
    };
    match rest {
        [
            "--name",
            list,
            "--mask",
            "255.255.255.255" | "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "--rsource",
        ] => Some(Match::Recent(Box::new(Recent { list: (*list).into(), action }))),
        _ => None,
    }
}

fn jump(family: Family, words: &[&str], is_chain: impl Fn(ChainName) -> bool) -> Option<Target> {
    Some(match words {
        ["ACCEPT"] => Target::Accept,
        ["DROP"] => Target::Drop,
        ["RETURN"] => Target::Return,
        ["MASQUERADE"] => Target::Masquerade { fully_random: false },
        ["MASQUERADE", "--random-fully"] => Target::Masquerade { fully_random: true },
        ["REJECT", "--reject-with", how] => {
            let known = [Reject::TcpReset, Reject::PortUnreachable, Reject::AdminProhibited];
            Target::Reject(known.into_iter().find(|one| reject(family, *one) == *how)?)
        }
        ["DNAT", "--to-destination", to] => Target::DestinationNat(to.parse::<SocketAddr>().ok()?),
        ["MARK", "--set-xmark", mark] => {
            let (value, mask) = masked(mark)?;
            Target::SetMark { value, mask }
        }
        ["SET", "--map-set", set, "dst,dst", "--map-mark"] => Target::MapMark(SetName::parse(set).ok()?),
        ["REDIRECT", "--to-ports", port] => Target::Redirect { port: port.parse().ok()? },
        [name] => Target::Jump(ChainName::new(name).ok().filter(|name| is_chain(*name))?),
        _ => return None,
    })
}

fn net(text: &str) -> Option<IpNet> {
    // Masks that are no prefixes are printed whole, and are nobody's here.
    text.parse().ok().or_else(|| text.parse().ok().map(alone))
}

fn interfaces(text: &str) -> Option<Interfaces> {
    match text.strip_suffix('+') {
        Some(prefix) => InterfaceName::new(prefix).ok().map(Interfaces::Beginning),
        None => InterfaceName::new(text).ok().map(Interfaces::Named),
    }
}

fn protocol(text: &str) -> Option<L4Protocol> {
    let known = [L4Protocol::ICMP, L4Protocol::TCP, L4Protocol::UDP, L4Protocol::ICMPV6, L4Protocol::SCTP];
    known.into_iter().find(|known| known.to_string() == text).or_else(|| {
        let number: u8 = text.parse().ok()?;
        // As it would be printed, so that equal rules are equal values.
        Some(L4Protocol(number)).filter(|protocol| protocol.to_string() == text)
    })
}

fn masked(text: &str) -> Option<(u32, u32)> {
    let number = |text: &str| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    match text.split_once('/') {
        Some((value, mask)) => Some((number(value)?, number(mask)?)),
        None => Some((number(text)?, u32::MAX)),
    }
}

fn kind_of(text: &str) -> Option<AddressType> {
    use AddressType::{Broadcast, Local, Multicast, Unicast};
    [Unicast, Local, Broadcast, Multicast].into_iter().find(|kind| address_type(*kind) == text)
}

fn side_of(text: &str) -> Option<Side> {
    [Side::Source, Side::Destination].into_iter().find(|one| side(*one) == text)
}

fn states_of(text: &str) -> Option<Match> {
    use ConnectionState::{Established, Invalid, New, Related, Untracked};
    let known = [Invalid, Established, Related, New, Untracked];
    let found: Option<Vec<ConnectionState>> =
        text.split(',').map(|word| known.into_iter().find(|one| state(*one) == word)).collect();
    let mut found = found?;
    found.sort_unstable();
    found.dedup();
    Some(Match::State(found.into()))
}

fn chance(text: &str) -> Option<Match> {
    let share: f64 = text.parse().ok()?;
    if !(0.0..=1.0).contains(&share) {
        return None;
    }
    // Within 0 and 2^31, as `share` is within 0 and 1.
    let parts = (share * f64::from(Chance::WHOLE)).round() as u32;
    Some(Match::Chance(Chance::of_parts(parts)))
}
