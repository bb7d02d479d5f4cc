use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::super::Sources;
use super::super::config::ForwardConfig;
use super::super::error::CorefileError;
use super::super::lexer::Token;
use super::super::reader::{Arguments, duration, name, number, zones};
use super::super::tree::Directive;
use crate::{Name, Policy, ResolverConfig, ResponseCode, resolv_conf};

/// CoreDNS's limit.
const MOST_UPSTREAMS: usize = 15;

pub(super) fn config(directive: &Directive, sources: &dyn Sources) -> Result<ForwardConfig, CorefileError> {
    let mut arguments = Arguments::new(&directive.name, &directive.arguments);
    let token = arguments.required("the zone to forward, such as `.`")?;
    let from = zones(token)?.into_iter().next().unwrap_or_else(Name::root);
    let mut upstreams = Vec::new();
    for token in arguments.some("the servers to ask")? {
        upstreams.extend(servers(token, sources)?);
    }
    if upstreams.len() > MOST_UPSTREAMS {
        return Err(directive.name.error(format!("more than {MOST_UPSTREAMS} servers to ask")));
    }
    let mut forward = ForwardConfig {
        from,
        except: Vec::new(),
        resolver: ResolverConfig { policy: Policy::Random, ..ResolverConfig::new(upstreams) },
    };
    for line in &directive.body {
        option(line, &mut forward)?;
    }
    Ok(forward)
}

fn option(line: &[Token], forward: &mut ForwardConfig) -> Result<(), CorefileError> {
    let Some((word, mut arguments)) = Arguments::of_line(line) else { return Ok(()) };
    let resolver = &mut forward.resolver;
    match word.text.as_str() {
        "except" => {
            for token in arguments.some("the zones not to forward")? {
                forward.except.extend(zones(token)?);
            }
        }
        "force_tcp" => resolver.force_tcp = true,
        // What is done in any case.
        "prefer_udp" => {}
        // No connection to a server is kept, so none grows old and none is too many.
        "expire" => drop(duration(arguments.required("a time")?)?),
        "max_idle_conns" => drop(number(arguments.required("a number")?, 0, u32::MAX)?),
        "max_fails" => resolver.max_fails = number(arguments.required("a number")?, 0, 1000)?,
        "max_concurrent" => {
            let most = number(arguments.required("a number")?, 0_usize, 1_000_000)?;
            resolver.max_concurrent = (most > 0).then_some(most);
        }
        "policy" => {
            let token = arguments.required("'random', 'round_robin' or 'sequential'")?;
            resolver.policy = match token.text.as_str() {
                "random" => Policy::Random,
                "round_robin" => Policy::RoundRobin,
                "sequential" => Policy::Sequential,
                other => {
                    return Err(token.error(format!(
                        "'{other}' is no policy: known are random, round_robin and sequential"
                    )));
                }
            };
        }
        "health_check" => health_check(&mut arguments, resolver)?,
        "failfast_all_unhealthy_upstreams" => resolver.fail_fast = true,
        "failover" => {
            for token in arguments.some("a response code such as SERVFAIL")? {
                resolver.failover.push(code(token)?);
            }
        }
        "tls" | "tls_servername" => {
            return Err(word.error("DNS over TLS is not spoken: name servers that speak plain DNS"));
        }
        "next" | "next_on_nodata" => {
            return Err(word.error(format!(
                "'{}' is not understood: the first forward whose zone fits has the last word",
                word.text
            )));
        }
        _ => return Err(arguments.unknown("forward")),
    }
    arguments.end()
}

fn health_check(arguments: &mut Arguments<'_>, resolver: &mut ResolverConfig) -> Result<(), CorefileError> {
    let token = arguments.required("a time")?;
    resolver.probe.interval = duration(token)?;
    if resolver.probe.interval.is_zero() {
        return Err(token.error("servers cannot be looked at without any pause"));
    }
    while let Some(token) = arguments.next() {
        match token.text.as_str() {
            "no_rec" => resolver.probe.recursion = false,
            "domain" => resolver.probe.name = name(arguments.required("the domain to ask for")?)?,
            other => return Err(token.error(format!("'{other}' is neither 'no_rec' nor 'domain'"))),
        }
    }
    Ok(())
}

fn code(token: &Token) -> Result<ResponseCode, CorefileError> {
    match token.text.to_ascii_uppercase().as_str() {
        "FORMERR" => Ok(ResponseCode::FORM_ERR),
        "SERVFAIL" => Ok(ResponseCode::SERV_FAIL),
        "NXDOMAIN" => Ok(ResponseCode::NX_DOMAIN),
        "NOTIMP" => Ok(ResponseCode::NOT_IMP),
        "REFUSED" => Ok(ResponseCode::REFUSED),
        other => Err(token.error(format!(
            "'{other}' is no code to ask the next server for: known are FORMERR, SERVFAIL, NXDOMAIN, NOTIMP and REFUSED"
        ))),
    }
}

/// An address with or without a port, or a file in the form of `resolv.conf`.
fn servers(token: &Token, sources: &dyn Sources) -> Result<Vec<SocketAddr>, CorefileError> {
    let text = token.text.strip_prefix("dns://").unwrap_or(&token.text);
    for scheme in ["tls://", "https://", "grpc://", "quic://"] {
        if text.starts_with(scheme) {
            return Err(token.error(format!(
                "'{text}': servers are asked by plain DNS only, not by {scheme}; leave the scheme out"
            )));
        }
    }
    let plain = || text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
    if let Ok(server) = text.parse().or_else(|_| plain()) {
        return Ok(vec![server]);
    }
    if !text.contains('/') {
        return Err(token.error(format!("'{text}' is neither an address nor the path of a resolv.conf")));
    }
    // As everywhere in the file, a path begins where the file is.
    let path = token.place.file.parent().unwrap_or(Path::new(".")).join(text);
    let content = sources
        .read(&path)
        .map_err(|error| token.error(format!("cannot read {}: {error}", path.display())))?;
    let found: Vec<_> =
        resolv_conf(&content).into_iter().map(|address| SocketAddr::new(address, 53)).collect();
    if found.is_empty() {
        return Err(token.error(format!("{} names no server", path.display())));
    }
    Ok(found)
}
