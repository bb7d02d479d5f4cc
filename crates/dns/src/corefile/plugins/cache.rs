use std::time::Duration;

use super::super::error::CorefileError;
use super::super::reader::{Arguments, duration, name, number};
use super::super::tree::Directive;
use crate::{CacheConfig, CacheLimit, Prefetch, Stale, StaleMode};

/// CoreDNS's defaults: an answer is kept for five seconds at least.
const SHORTEST: u32 = 5;
/// The longest that a failure may be kept.
const LONGEST_FAILURE: Duration = Duration::from_secs(300);

pub(super) fn config(directive: &Directive) -> Result<CacheConfig, CorefileError> {
    let mut config = CacheConfig {
        success: CacheLimit { shortest: SHORTEST, ..CacheConfig::default().success },
        denial: CacheLimit { shortest: SHORTEST, ..CacheConfig::default().denial },
        prefetch: None,
        stale: None,
        ..CacheConfig::default()
    };
    let mut arguments = Arguments::new(&directive.name, &directive.arguments);
    if let Some(token) = arguments.peek().filter(|token| token.text.parse::<u64>().is_ok()) {
        let longest = number(token, 1, 86_400)?;
        arguments.next();
        config.success.longest = longest;
        config.denial.longest = longest;
    }
    for token in arguments.rest() {
        config.zones.push(name(token)?);
    }
    for line in &directive.body {
        let Some((word, mut arguments)) = Arguments::of_line(line) else { continue };
        match word.text.as_str() {
            "success" => limit(&mut config.success, &mut arguments)?,
            "denial" => limit(&mut config.denial, &mut arguments)?,
            "prefetch" => config.prefetch = Some(prefetch(&mut arguments)?),
            "serve_stale" => config.stale = Some(stale(&mut arguments)?),
            "servfail" => {
                let token = arguments.required("a time")?;
                config.failure = duration(token)?;
                if config.failure > LONGEST_FAILURE {
                    return Err(token.error("failures may be kept for five minutes at most"));
                }
            }
            "disable" => {
                let kind = arguments.required("'success' or 'denial'")?;
                let zones = arguments.rest().iter().map(name).collect::<Result<Vec<_>, _>>()?;
                let zones = if zones.is_empty() { vec![crate::Name::root()] } else { zones };
                match kind.text.as_str() {
                    "success" => config.uncached_success.extend(zones),
                    "denial" => config.uncached_denial.extend(zones),
                    other => {
                        return Err(kind.error(format!("'{other}' is neither 'success' nor 'denial'")));
                    }
                }
            }
            "keepttl" => config.keep_ttl = true,
            _ => return Err(arguments.unknown("cache")),
        }
        arguments.end()?;
    }
    Ok(config)
}

fn limit(limit: &mut CacheLimit, arguments: &mut Arguments<'_>) -> Result<(), CorefileError> {
    limit.capacity = number(arguments.required("a capacity")?, 1, 10_000_000)?;
    if let Some(token) = arguments.next() {
        limit.longest = number(token, 1, 86_400)?;
    }
    if let Some(token) = arguments.next() {
        limit.shortest = number(token, 0, 86_400)?;
    }
    Ok(())
}

fn prefetch(arguments: &mut Arguments<'_>) -> Result<Prefetch, CorefileError> {
    let mut prefetch = Prefetch {
        uses: number(arguments.required("a number of queries")?, 0, u32::MAX)?,
        ..Prefetch::DEFAULT
    };
    if let Some(token) = arguments.next() {
        prefetch.gap = duration(token)?;
    }
    if let Some(token) = arguments.next() {
        let percent = token.text.strip_suffix('%').and_then(|text| text.parse().ok());
        prefetch.percent = percent
            .filter(|percent| (10..=90).contains(percent))
            .ok_or_else(|| token.error(format!("'{}' is not a share from 10% to 90%", token.text)))?;
    }
    Ok(prefetch)
}

fn stale(arguments: &mut Arguments<'_>) -> Result<Stale, CorefileError> {
    let mut stale = Stale { keep: Duration::from_secs(3600), mode: StaleMode::Immediate };
    if let Some(token) = arguments.next() {
        stale.keep = duration(token)?;
    }
    if let Some(token) = arguments.next() {
        stale.mode = match token.text.as_str() {
            "immediate" => StaleMode::Immediate,
            "verify" | "verified" => StaleMode::Verified,
            other => return Err(token.error(format!("'{other}' is neither 'verify' nor 'immediate'"))),
        };
    }
    Ok(stale)
}
