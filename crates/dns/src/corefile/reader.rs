//! Arguments as values. Each refusal names the line and what would be understood.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::error::{CorefileError, Place};
use super::lexer::Token;
use crate::Name;

/// The arguments of a line, taken one after the other.
pub(super) struct Arguments<'a> {
    of: &'a Token,
    rest: &'a [Token],
}

impl<'a> Arguments<'a> {
    pub(super) fn new(of: &'a Token, rest: &'a [Token]) -> Self {
        Self { of, rest }
    }

    /// A line of a body: its first word and the others.
    pub(super) fn of_line(line: &'a [Token]) -> Option<(&'a Token, Self)> {
        let (first, rest) = line.split_first()?;
        Some((first, Self::new(first, rest)))
    }

    pub(super) fn place(&self) -> &Place {
        &self.of.place
    }

    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.rest.first()
    }

    pub(super) fn next(&mut self) -> Option<&'a Token> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    pub(super) fn rest(&mut self) -> &'a [Token] {
        std::mem::take(&mut self.rest)
    }

    pub(super) fn required(&mut self, what: &str) -> Result<&'a Token, CorefileError> {
        let of = self.of;
        self.next().ok_or_else(|| of.error(format!("'{}' lacks {what}", of.text)))
    }

    pub(super) fn some(&mut self, what: &str) -> Result<&'a [Token], CorefileError> {
        match self.rest() {
            [] => Err(self.of.error(format!("'{}' lacks {what}", self.of.text))),
            rest => Ok(rest),
        }
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), CorefileError> {
        match self.rest {
            [] => Ok(()),
            [extra, ..] => {
                Err(extra.error(format!("'{}' does not take '{}' as well", self.of.text, extra.text)))
            }
        }
    }

    pub(super) fn unknown(&self, inside: &str) -> CorefileError {
        self.of.error(format!("'{}' is no option of '{inside}' that is known here", self.of.text))
    }
}

pub(super) fn number<T: std::str::FromStr + PartialOrd + std::fmt::Display>(
    token: &Token,
    least: T,
    most: T,
) -> Result<T, CorefileError> {
    match token.text.parse::<T>() {
        Ok(number) if number >= least && number <= most => Ok(number),
        Ok(_) | Err(_) => {
            Err(token.error(format!("'{}' is not a number from {least} to {most}", token.text)))
        }
    }
}

/// `300ms`, `1.5h`, `2h45m`: as Go writes it.
pub(super) fn duration(token: &Token) -> Result<Duration, CorefileError> {
    parse_duration(&token.text)
        .ok_or_else(|| token.error(format!("'{}' is not a time such as 5s, 300ms or 1m30s", token.text)))
}

/// The longest time that makes sense anywhere here.
const LONGEST: f64 = 366.0 * 86_400.0;

fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(digits);
        let length = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(length);
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit;
        rest = behind;
    }
    (!text.is_empty() && seconds <= LONGEST).then(|| Duration::from_secs_f64(seconds))
}

pub(super) fn name(token: &Token) -> Result<Name, CorefileError> {
    Name::parse(&token.text)
        .map_err(|error| token.error(format!("'{}' is not a domain name: {error}", token.text)))
}

/// A zone: a name, or a range of addresses, which means the names below `in-addr.arpa` or `ip6.arpa` for it.
pub(super) fn zones(token: &Token) -> Result<Vec<Name>, CorefileError> {
    let Ok(range) = token.text.parse::<IpNet>() else {
        return Ok(vec![name(token)?]);
    };
    let unit = if range.addr().is_ipv4() { 8 } else { 4 };
    // Names end at whole bytes (IPv4) or half bytes (IPv6); a range in between is several zones.
    let length = range.prefix_len().next_multiple_of(unit);
    let parts = range
        .subnets(length)
        .map_err(|_| token.error(format!("'{}' is not a range of addresses", token.text)))?;
    parts.map(|part| reverse_name(part).map_err(|error| token.error(error.to_string()))).collect()
}

/// The zone of a range whose prefix ends at a whole label.
fn reverse_name(range: IpNet) -> Result<Name, crate::NameError> {
    let mut labels: Vec<String> = match range.network() {
        IpAddr::V4(address) => {
            address.octets()[..usize::from(range.prefix_len() / 8)].iter().map(u8::to_string).collect()
        }
        IpAddr::V6(address) => (0..usize::from(range.prefix_len() / 4))
            .map(|at| {
                let byte = address.octets()[at / 2];
                format!("{:x}", if at % 2 == 0 { byte >> 4 } else { byte & 15 })
            })
            .collect(),
    };
    labels.reverse();
    labels.push(if range.addr().is_ipv4() { "in-addr.arpa".to_owned() } else { "ip6.arpa".to_owned() });
    Name::parse(&labels.join("."))
}

/// The range of addresses that a zone below `in-addr.arpa` or `ip6.arpa` holds the names of.
pub(super) fn reverse_range(name: &Name) -> Option<IpNet> {
    let below = |zone: &str| {
        let zone = Name::parse(zone).ok()?;
        let labels = name.labels_below(&zone)?;
        let mut labels = labels
            .map(|label| std::str::from_utf8(label).map(str::to_owned))
            .collect::<Result<Vec<_>, _>>()
            .ok()?;
        labels.reverse();
        Some(labels)
    };
    if let Some(labels) = below("in-addr.arpa") {
        let mut octets = [0; 4];
        for (at, label) in labels.iter().enumerate() {
            *octets.get_mut(at)? = label.parse().ok()?;
        }
        let length = u8::try_from(labels.len() * 8).ok()?;
        return IpNet::new(octets.into(), length).ok();
    }
    let labels = below("ip6.arpa")?;
    let mut number = 0_u128;
    for at in 0..32 {
        let digit = labels.get(at).map_or(Ok(0), |label| u128::from_str_radix(label, 16)).ok()?;
        number = number << 4 | digit & 15;
    }
    let length = u8::try_from(labels.len() * 4).ok()?;
    IpNet::new(std::net::Ipv6Addr::from(number).into(), length).ok()
}

/// `:8080`, `127.0.0.1:8080`, `localhost:9153`: where a page is served.
pub(super) fn listener(token: &Token) -> Result<SocketAddr, CorefileError> {
    let text = match token.text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None if token.text.starts_with(':') => format!("[::]{}", token.text),
        None => token.text.clone(),
    };
    text.parse().map_err(|_| token.error(format!("'{}' is not an address such as :8080", token.text)))
}
