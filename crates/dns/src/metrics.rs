//! What the server counts, under CoreDNS's names where it has the same thing.

mod upstream;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use upstream::UpstreamMetrics;

use crate::forward::Outcome;
use crate::{RecordType, ResponseCode};

/// Those that metrics tell apart.
const TYPES: [RecordType; 9] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::SRV,
    RecordType::PTR,
    RecordType::CNAME,
    RecordType::NS,
    RecordType::SOA,
    RecordType::TXT,
    RecordType::ANY,
];
const CODES: [ResponseCode; 7] = [
    ResponseCode::NO_ERROR,
    ResponseCode::FORM_ERR,
    ResponseCode::SERV_FAIL,
    ResponseCode::NX_DOMAIN,
    ResponseCode::NOT_IMP,
    ResponseCode::REFUSED,
    ResponseCode::BAD_VERS,
];
/// CoreDNS's buckets: from a quarter of a millisecond to eight seconds, doubling.
const FIRST_BUCKET: Duration = Duration::from_micros(250);
const BUCKETS: usize = 16;

type Counter = AtomicU64;

/// Counters of one server.
#[derive(Debug, Default)]
pub struct Metrics {
    /// By protocol (UDP, TCP), family (IPv4, IPv6) and type.
    requests: [[[Counter; TYPES.len() + 1]; 2]; 2],
    codes: [Counter; CODES.len() + 1],
    /// Replies by how long they took.
    took: Times,
    hits: [Counter; 2],
    misses: Counter,
    prefetched: Counter,
    stale: Counter,
    rejected: Counter,
    all_resting: Counter,
    silent: Counter,
    reload_failures: Counter,
    /// Every upstream server that there was.
    upstreams: Mutex<BTreeMap<SocketAddr, Arc<UpstreamMetrics>>>,
}

/// A histogram of times; the last bucket has no end.
#[derive(Debug, Default)]
struct Times {
    buckets: [Counter; BUCKETS + 1],
    nanoseconds: Counter,
}

impl Times {
    fn add(&self, took: Duration) {
        let bucket = (0..BUCKETS).find(|bucket| took <= FIRST_BUCKET * (1 << bucket));
        add(&self.buckets[bucket.unwrap_or(BUCKETS)]);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.buckets.iter().map(count).sum()
    }
}

/// The place of a code among the counters; the last is for codes that have none of their own.
fn code_place(code: u16) -> usize {
    CODES.iter().position(|known| known.0 == code).unwrap_or(CODES.len())
}

/// The names of the places.
fn codes() -> impl Iterator<Item = &'static str> {
    CODES.iter().map(|code| code.as_str()).chain(["OTHER"])
}

fn add(counter: &Counter) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn count(counter: &Counter) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Metrics {
    /// Replies sent so far.
    pub fn replies(&self) -> u64 {
        self.codes.iter().map(count).sum()
    }

    /// A configuration that was changed could not be used.
    pub fn reload_failed(&self) {
        add(&self.reload_failures);
    }

    pub(crate) fn asked(&self, udp: bool, four: bool, kind: Option<RecordType>) {
        let known = kind.and_then(|kind| TYPES.iter().position(|known| *known == kind));
        add(&self.requests[usize::from(!udp)][usize::from(!four)][known.unwrap_or(TYPES.len())]);
    }

    /// A reply as it goes out; the code of the header says enough.
    pub(crate) fn replied(&self, reply: &[u8], took: Duration) {
        let code = reply.get(3).map_or(0, |byte| u16::from(byte & 15));
        add(&self.codes[code_place(code)]);
        self.took.add(took);
    }

    pub(crate) fn silent(&self) {
        add(&self.silent);
    }

    pub(crate) fn cache_hit(&self, outcome: Outcome) {
        add(&self.hits[usize::from(outcome != Outcome::Success)]);
    }

    pub(crate) fn cache_miss(&self) {
        add(&self.misses);
    }

    pub(crate) fn prefetched(&self) {
        add(&self.prefetched);
    }

    pub(crate) fn served_stale(&self) {
        add(&self.stale);
    }

    /// The counters of an upstream server; the same as long as we live.
    pub(crate) fn upstream(&self, address: SocketAddr) -> Arc<UpstreamMetrics> {
        Arc::clone(self.upstreams().entry(address).or_default())
    }

    fn upstreams(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Arc<UpstreamMetrics>>> {
        // Every change is a single insertion: nothing is ever half done.
        self.upstreams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn rejected(&self) {
        add(&self.rejected);
    }

    pub(crate) fn all_resting(&self) {
        add(&self.all_resting);
    }

    /// All counters in the text format of Prometheus.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write_requests(&mut text);
        let codes =
            codes().zip(&self.codes).map(|(name, counter)| (format!("{{rcode=\"{name}\"}}"), count(counter)));
        family(&mut text, "coredns_dns_responses_total", "counter", codes);
        let all = [(String::new(), &self.took)];
        histogram(&mut text, "coredns_dns_request_duration_seconds", all.into_iter());
        let hits = ["success", "denial"].iter().zip(&self.hits);
        let hits = hits.map(|(kind, counter)| (format!("{{type=\"{kind}\"}}"), count(counter)));
        family(&mut text, "coredns_cache_hits_total", "counter", hits);
        let looked = count(&self.misses) + self.hits.iter().map(count).sum::<u64>();
        for (name, value) in [
            ("coredns_cache_requests_total", looked),
            ("coredns_cache_misses_total", count(&self.misses)),
            ("coredns_cache_prefetch_total", count(&self.prefetched)),
            ("coredns_cache_served_stale_total", count(&self.stale)),
            ("coredns_forward_max_concurrent_rejects_total", count(&self.rejected)),
            ("coredns_forward_healthcheck_broken_total", count(&self.all_resting)),
            ("coredns_reload_failed_total", count(&self.reload_failures)),
            ("portolan_dns_ignored_messages_total", count(&self.silent)),
        ] {
            family(&mut text, name, "counter", [(String::new(), value)]);
        }
        let upstreams = self.upstreams();
        upstream::write(&mut text, upstreams.iter().map(|(to, server)| (to, &**server)));
        text
    }

    fn write_requests(&self, text: &mut String) {
        let mut rows = Vec::new();
        for (proto, families) in ["udp", "tcp"].iter().zip(&self.requests) {
            for (number, types) in ["1", "2"].iter().zip(families) {
                let names = TYPES.iter().map(ToString::to_string).chain(["other".to_owned()]);
                for (name, counter) in names.zip(types).filter(|(_, counter)| count(counter) > 0) {
                    let labels = format!("{{proto=\"{proto}\",family=\"{number}\",type=\"{name}\"}}");
                    rows.push((labels, count(counter)));
                }
            }
        }
        family(text, "coredns_dns_requests_total", "counter", rows);
    }
}

/// Series of one histogram, by their labels without braces.
fn histogram<'a>(text: &mut String, name: &str, series: impl Iterator<Item = (String, &'a Times)>) {
    // Writing into a String cannot fail.
    let _ = writeln!(text, "# TYPE {name} histogram");
    for (labels, times) in series {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut total = 0;
        for (bucket, counter) in times.buckets.iter().enumerate() {
            total += count(counter);
            let end = match bucket {
                BUCKETS => "+Inf".to_owned(),
                _ => (FIRST_BUCKET * (1 << bucket)).as_secs_f64().to_string(),
            };
            let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{end}\"}} {total}");
        }
        let seconds = Duration::from_nanos(count(&times.nanoseconds)).as_secs_f64();
        let braced = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
        let _ = writeln!(text, "{name}_sum{braced} {seconds}");
        let _ = writeln!(text, "{name}_count{braced} {total}");
    }
}

fn family(text: &mut String, name: &str, kind: &str, rows: impl IntoIterator<Item = (String, u64)>) {
    // Writing into a String cannot fail.
    let _ = writeln!(text, "# TYPE {name} {kind}");
    for (labels, value) in rows {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_servers_are_told_apart_under_the_names_of_coredns() {
        let metrics = Metrics::default();
        let (one, other): (SocketAddr, SocketAddr) =
            ("192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:5353".parse().unwrap());
        for took in [Duration::from_micros(200), Duration::from_millis(3)] {
            metrics.upstream(one).asked();
            metrics.upstream(one).answered(ResponseCode::NX_DOMAIN, took);
        }
        metrics.upstream(other).asked();
        metrics.upstream(other).failed();
        metrics.upstream(other).probe_failed();
        let text = metrics.text();
        for line in [
            "coredns_forward_requests_total{to=\"192.0.2.1:53\"} 2",
            "coredns_forward_requests_total{to=\"[2001:db8::1]:5353\"} 1",
            "coredns_proxy_healthcheck_failures_total{proxy_name=\"forward\",to=\"192.0.2.1:53\"} 0",
            "coredns_proxy_healthcheck_failures_total{proxy_name=\"forward\",to=\"[2001:db8::1]:5353\"} 1",
            "portolan_dns_forward_failures_total{to=\"[2001:db8::1]:5353\"} 1",
            "# TYPE coredns_proxy_request_duration_seconds histogram",
            "coredns_proxy_request_duration_seconds_bucket{proxy_name=\"forward\",to=\"192.0.2.1:53\",rcode=\"NXDOMAIN\",le=\"0.00025\"} 1",
            "coredns_proxy_request_duration_seconds_bucket{proxy_name=\"forward\",to=\"192.0.2.1:53\",rcode=\"NXDOMAIN\",le=\"+Inf\"} 2",
            "coredns_proxy_request_duration_seconds_sum{proxy_name=\"forward\",to=\"192.0.2.1:53\",rcode=\"NXDOMAIN\"} 0.0032",
            "coredns_proxy_request_duration_seconds_count{proxy_name=\"forward\",to=\"192.0.2.1:53\",rcode=\"NXDOMAIN\"} 2",
            "coredns_forward_healthcheck_broken_total 0",
            "coredns_dns_request_duration_seconds_bucket{le=\"+Inf\"} 0",
            "coredns_dns_request_duration_seconds_sum 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(
            !text.contains("duration_seconds_count{proxy_name=\"forward\",to=\"[2001"),
            "it answered nothing"
        );
        let families: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let distinct: std::collections::BTreeSet<_> = families.iter().collect();
        assert_eq!(families.len(), distinct.len(), "{families:?}");
    }
}
