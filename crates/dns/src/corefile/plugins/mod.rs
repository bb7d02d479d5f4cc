//! Directives as values, one file per family of plugins.

mod cache;
mod forward;
mod hosts;
mod kubernetes;
mod rewrite;
mod server;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::config::{Corefile, Health, ServerBlock};
use super::error::{CorefileError, Place};
use super::reader::{Arguments, duration, listener};
use super::tree::{Block, Directive};
use super::{QueryLog, Sources};

/// CoreDNS's default of `reload`, and the least it takes.
const RELOAD: Duration = Duration::from_secs(30);
const SHORTEST_RELOAD: Duration = Duration::from_secs(2);

/// What concerns the process and not a zone; each block may say it, and all must say the same.
#[derive(Default)]
struct Process {
    health: Option<Health>,
    ready: Option<SocketAddr>,
    prometheus: Option<SocketAddr>,
    reload: Option<Duration>,
}

pub(super) fn corefile(
    path: &Path,
    blocks: Vec<Block>,
    sources: &dyn Sources,
) -> Result<Corefile, CorefileError> {
    let mut process = Process::default();
    let mut servers: Vec<ServerBlock> = Vec::new();
    for block in &blocks {
        let server = server_block(block, &mut process, sources)?;
        let taken = servers.iter().find_map(|other| {
            let same = other.bind == server.bind;
            other.zones.iter().find(|zone| same && server.zones.contains(zone))
        });
        if let Some(zone) = taken {
            let (name, port) = (&zone.name, zone.port);
            return Err(block.keys[0]
                .error(format!("another server block has the zone {name} at port {port} already")));
        }
        servers.push(server);
    }
    if servers.is_empty() {
        return Err(Place { file: path.into(), line: 1 }.error("there is no server block"));
    }
    let Process { health, ready, prometheus, reload } = process;
    Ok(Corefile { servers, health, ready, prometheus, reload })
}

fn server_block(
    block: &Block,
    process: &mut Process,
    sources: &dyn Sources,
) -> Result<ServerBlock, CorefileError> {
    let zones = server::zones(&block.keys)?;
    let names: Vec<_> = zones.iter().map(|zone| zone.name.clone()).collect();
    let mut server = ServerBlock {
        zones,
        bind: Vec::new(),
        errors: false,
        log: None,
        loop_detection: false,
        rewrites: Vec::new(),
        hosts: None,
        kubernetes: None,
        forwards: Vec::new(),
    };
    let mut cached = None;
    for directive in &block.directives {
        let mut arguments = Arguments::new(&directive.name, &directive.arguments);
        match directive.name.text.as_str() {
            "errors" => {
                no_body(directive, "'consolidate' and 'stacktrace' are not understood here")?;
                arguments.end()?;
                server.errors = true;
            }
            "log" => {
                let log = server::log(directive)?;
                match &mut server.log {
                    Some(QueryLog { zones, classes }) => {
                        zones.extend(log.zones);
                        classes.extend(log.classes);
                    }
                    none => *none = Some(log),
                }
            }
            "loop" => {
                no_body(directive, "it has no options")?;
                arguments.end()?;
                server.loop_detection = true;
            }
            "loadbalance" => {
                no_body(directive, "it has no options")?;
                match arguments.next() {
                    None => {}
                    Some(policy) if policy.text == "round_robin" => {}
                    Some(other) => {
                        return Err(other.error(format!(
                            "'{}' is not understood: addresses take turns, which is 'round_robin'",
                            other.text
                        )));
                    }
                }
                arguments.end()?;
            }
            "bind" => server.bind.extend(server::bind(directive)?),
            "health" => once(&mut process.health, server::health(directive)?, directive)?,
            "ready" => once(&mut process.ready, page(directive, 8181)?, directive)?,
            "prometheus" => once(&mut process.prometheus, metrics_page(directive)?, directive)?,
            "reload" => once(&mut process.reload, reload(directive)?, directive)?,
            "rewrite" => server.rewrites.push(rewrite::rule(directive)?),
            "cache" => once(&mut cached, cache::config(directive)?, directive)?,
            "hosts" => once(&mut server.hosts, hosts::config(directive, &names, sources)?, directive)?,
            "kubernetes" => {
                once(&mut server.kubernetes, kubernetes::config(directive, &names)?, directive)?;
            }
            "forward" => server.forwards.push(forward::config(directive, sources)?),
            other => {
                return Err(directive.name.error(format!(
                    "the plugin '{other}' is not understood: known are bind, cache, errors, forward, health, hosts, \
                     kubernetes, loadbalance, log, loop, prometheus, ready, reload and rewrite"
                )));
            }
        }
    }
    for forward in &mut server.forwards {
        forward.resolver.cache = cached.clone().unwrap_or_else(crate::CacheConfig::nothing);
    }
    Ok(server)
}

/// Said once, or said again in the same words.
fn once<T: PartialEq>(slot: &mut Option<T>, value: T, directive: &Directive) -> Result<(), CorefileError> {
    match slot {
        Some(before) if *before != value => Err(directive
            .name
            .error(format!("'{}' was set up in another way further up: say it once", directive.name.text))),
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

fn no_body(directive: &Directive, reason: &str) -> Result<(), CorefileError> {
    match directive.body.first().and_then(|line| line.first()) {
        Some(word) => Err(word.error(format!("'{}' inside '{}': {reason}", word.text, directive.name.text))),
        None => Ok(()),
    }
}

fn page(directive: &Directive, port: u16) -> Result<SocketAddr, CorefileError> {
    no_body(directive, "it has no options")?;
    let mut arguments = Arguments::new(&directive.name, &directive.arguments);
    let address = match arguments.next() {
        Some(address) => listener(address)?,
        None => SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), port),
    };
    arguments.end()?;
    Ok(address)
}

fn metrics_page(directive: &Directive) -> Result<SocketAddr, CorefileError> {
    if directive.arguments.is_empty() {
        no_body(directive, "it has no options")?;
        return Ok(SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), 9153));
    }
    page(directive, 9153)
}

fn reload(directive: &Directive) -> Result<Duration, CorefileError> {
    no_body(directive, "it has no options")?;
    let mut arguments = Arguments::new(&directive.name, &directive.arguments);
    let interval = match arguments.next() {
        Some(token) => {
            let interval = duration(token)?;
            if interval < SHORTEST_RELOAD {
                return Err(token.error("the file is looked at every two seconds at most: say 2s or more"));
            }
            interval
        }
        None => RELOAD,
    };
    // The jitter keeps many servers from stopping at once; reloading stops nothing here.
    if let Some(jitter) = arguments.next() {
        duration(jitter)?;
    }
    arguments.end()?;
    Ok(interval)
}
