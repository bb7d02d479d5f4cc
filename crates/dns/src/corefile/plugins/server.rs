//! What concerns a block as a whole: zones, addresses, health, log.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::super::config::{Health, LogClass, QueryLog, ServerZone};
use super::super::error::CorefileError;
use super::super::lexer::Token;
use super::super::reader::{self, Arguments, duration, listener, name};
use super::super::tree::Directive;

/// The port of names.
const PORT: u16 = 53;

/// `.:53`, `example.org`, `dns://example.org:5353`, `10.0.0.0/24`.
pub(super) fn zones(keys: &[Token]) -> Result<Vec<ServerZone>, CorefileError> {
    let mut zones = Vec::new();
    for key in keys {
        for word in key.text.split(',').filter(|word| !word.is_empty()) {
            zones.extend(zone(key, word)?);
        }
    }
    zones.sort();
    zones.dedup();
    Ok(zones)
}

fn zone(key: &Token, word: &str) -> Result<Vec<ServerZone>, CorefileError> {
    let rest = match word.split_once("://") {
        None => word,
        Some(("dns", rest)) => rest,
        Some((other, _)) => {
            return Err(key.error(format!("'{other}://' is not understood: only plain DNS is served")));
        }
    };
    // A colon may be part of an IPv6 range, which has a slash behind it.
    let (zone, port) = match rest.rsplit_once(':') {
        Some((zone, port)) if !port.contains('/') => (
            zone,
            port.parse().map_err(|_| key.error(format!("'{port}' is not a port, in the key '{word}'")))?,
        ),
        _ => (rest, PORT),
    };
    if zone.is_empty() {
        return Err(key.error(format!("'{word}' names no zone: `.` stands for all, as in `.:{port}`")));
    }
    let token = Token { text: zone.to_owned(), ..key.clone() };
    Ok(reader::zones(&token)?.into_iter().map(|name| ServerZone { name, port }).collect())
}

pub(super) fn bind(directive: &Directive) -> Result<Vec<IpAddr>, CorefileError> {
    super::no_body(directive, "'except' is not understood here")?;
    let mut arguments = Arguments::new(&directive.name, &directive.arguments);
    arguments
        .some("an address")?
        .iter()
        .map(|token| {
            token.text.parse().map_err(|_| {
                token.error(format!("'{}' is not an address; names of links are not understood", token.text))
            })
        })
        .collect()
}

pub(super) fn health(directive: &Directive) -> Result<Health, CorefileError> {
    let mut arguments = Arguments::new(&directive.name, &directive.arguments);
    let address = match arguments.next() {
        Some(token) => listener(token)?,
        None => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 8080),
    };
    arguments.end()?;
    let mut lameduck = Duration::ZERO;
    for line in &directive.body {
        let Some((word, mut arguments)) = Arguments::of_line(line) else { continue };
        match word.text.as_str() {
            "lameduck" => lameduck = duration(arguments.required("a time")?)?,
            _ => return Err(arguments.unknown("health")),
        }
        arguments.end()?;
    }
    Ok(Health { address, lameduck })
}

/// The format is our own; asking for another one is refused rather than overlooked.
pub(super) fn log(directive: &Directive) -> Result<QueryLog, CorefileError> {
    let mut log = QueryLog { zones: Vec::new(), classes: Vec::new() };
    for token in &directive.arguments {
        if token.quoted || token.text.contains('{') {
            let format = token.text.as_str();
            if !matches!(format, "{common}" | "{combined}") {
                return Err(token.error("formats of the log are not understood: leave it out"));
            }
            continue;
        }
        log.zones.push(name(token)?);
    }
    for line in &directive.body {
        let Some((word, mut arguments)) = Arguments::of_line(line) else { continue };
        match word.text.as_str() {
            "class" => {
                for token in arguments.some("a class: all, success, denial or error")? {
                    log.classes.extend(match token.text.as_str() {
                        "all" => vec![LogClass::Success, LogClass::Denial, LogClass::Error],
                        "success" => vec![LogClass::Success],
                        "denial" => vec![LogClass::Denial],
                        "error" => vec![LogClass::Error],
                        other => {
                            return Err(token.error(format!(
                                "'{other}' is not a class: known are all, success, denial and error"
                            )));
                        }
                    });
                }
            }
            _ => return Err(arguments.unknown("log")),
        }
        arguments.end()?;
    }
    Ok(log)
}
