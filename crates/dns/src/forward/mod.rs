//! Names that are not ours: from the cache, or from upstream servers, each question on its way only once.

mod cache;
mod config;
mod loops;
mod resolver;
mod response;
mod upstream;

pub use self::config::{CacheConfig, CacheLimit, Policy, Prefetch, Probe, ResolverConfig, Stale, StaleMode};
pub use self::resolver::Resolver;
pub(crate) use self::response::{Found, Outcome, Response};

use std::net::IpAddr;

/// The name servers that a `resolv.conf` names, in order.
pub fn resolv_conf(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok()).flatten()
        })
        .collect()
}
