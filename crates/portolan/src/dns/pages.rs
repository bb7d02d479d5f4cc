//! `/health`, `/ready` and `/metrics` of a name server.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use ::dns::{Metrics, SharedZone};
use runtime::NamesStatus;
use runtime::pages::Page;

/// A cluster's names and how fresh they are.
#[derive(Clone)]
pub struct Source {
    pub zone: Arc<SharedZone>,
    pub names: Arc<NamesStatus>,
}

/// What is true now.
pub struct Facts {
    pub sources: Vec<Source>,
    /// Answers of others: records, and everything else.
    pub cached: [usize; 2],
    pub host_entries: usize,
    /// The process was told to end.
    pub ending: bool,
}

/// All three pages.
pub fn all(
    metrics: Arc<Metrics>,
    facts: impl Fn() -> Facts + Clone + Send + 'static,
) -> impl Fn(&str) -> Option<Page> + Clone + Send + 'static {
    move |path| match path {
        "/health" => Some(Page::ok("OK")),
        "/ready" => Some(ready(&facts())),
        "/metrics" => Some(Page::ok(&text(&metrics, &facts()))),
        _ => None,
    }
}

/// Yes once every kind was listed, and yes it stays when the API server goes: what is known is served.
fn ready(facts: &Facts) -> Page {
    if facts.ending {
        return Page::unavailable("told to end");
    }
    if facts.sources.iter().all(|source| source.zone.read().is_in_sync()) {
        return Page::ok("OK");
    }
    Page::unavailable("not everything is known yet: the API server was not listed in full")
}

fn text(metrics: &Metrics, facts: &Facts) -> String {
    let services: usize = facts.sources.iter().map(|source| source.zone.read().service_count()).sum();
    let lost =
        facts.sources.iter().filter_map(|source| source.names.lost_for()).max().unwrap_or(Duration::ZERO);
    let skipped: u64 = facts.sources.iter().map(|source| source.names.bad_parts()).sum();
    let [records, others] = facts.cached;
    let mut text = metrics.text();
    let mut family = |name: &str, kind: &str, rows: &[(&str, String)]| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "# TYPE {name} {kind}");
        for (labels, value) in rows {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let entries = [("{type=\"success\"}", records.to_string()), ("{type=\"denial\"}", others.to_string())];
    family("coredns_cache_entries", "gauge", &entries);
    family("coredns_hosts_entries", "gauge", &[("", facts.host_entries.to_string())]);
    family("portolan_dns_services", "gauge", &[("", services.to_string())]);
    family("portolan_dns_api_lost_seconds", "gauge", &[("", lost.as_secs_f64().to_string())]);
    family("portolan_dns_skipped_parts_total", "counter", &[("", skipped.to_string())]);
    let build = concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
    family("portolan_build_info", "gauge", &[(build, "1".to_owned())]);
    text
}
