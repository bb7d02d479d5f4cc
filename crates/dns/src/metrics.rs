//! What the server counts, under CoreDNS's names where it has the same thing.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
    /// Replies by how long they took; the last bucket has no end.
    took: [Counter; BUCKETS + 1],
    took_nanoseconds: Counter,
    hits: [Counter; 2],
    misses: Counter,
    prefetched: Counter,
    stale: Counter,
    forwarded: Counter,
    forward_failures: Counter,
    rejected: Counter,
    all_resting: Counter,
    probe_failures: Counter,
    silent: Counter,
    reload_failures: Counter,
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
        let known = CODES.iter().position(|known| known.0 == code);
        add(&self.codes[known.unwrap_or(CODES.len())]);
        let bucket = (0..BUCKETS).find(|bucket| took <= FIRST_BUCKET * (1 << bucket));
        add(&self.took[bucket.unwrap_or(BUCKETS)]);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.took_nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
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

    pub(crate) fn forwarded(&self) {
        add(&self.forwarded);
    }

    pub(crate) fn forward_failed(&self) {
        add(&self.forward_failures);
    }

    pub(crate) fn rejected(&self) {
        add(&self.rejected);
    }

    pub(crate) fn all_resting(&self) {
        add(&self.all_resting);
    }

    pub(crate) fn probe_failed(&self) {
        add(&self.probe_failures);
    }

    /// All counters in the text format of Prometheus.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write_requests(&mut text);
        let codes = CODES.iter().map(|code| code.as_str()).chain(["OTHER"]).zip(&self.codes);
        let codes = codes.map(|(name, counter)| (format!("{{rcode=\"{name}\"}}"), count(counter)));
        family(&mut text, "coredns_dns_responses_total", "counter", codes);
        self.write_times(&mut text);
        let hits = ["success", "denial"].iter().zip(&self.hits);
        let hits = hits.map(|(kind, counter)| (format!("{{type=\"{kind}\"}}"), count(counter)));
        family(&mut text, "coredns_cache_hits_total", "counter", hits);
        let looked = count(&self.misses) + self.hits.iter().map(count).sum::<u64>();
        for (name, value) in [
            ("coredns_cache_requests_total", looked),
            ("coredns_cache_misses_total", count(&self.misses)),
            ("coredns_cache_prefetch_total", count(&self.prefetched)),
            ("coredns_cache_served_stale_total", count(&self.stale)),
            ("coredns_forward_requests_total", count(&self.forwarded)),
            ("coredns_forward_max_concurrent_rejects_total", count(&self.rejected)),
            ("coredns_forward_healthcheck_broken_total", count(&self.all_resting)),
            ("coredns_proxy_healthcheck_failures_total", count(&self.probe_failures)),
            ("coredns_reload_failed_total", count(&self.reload_failures)),
            ("portolan_dns_forward_failures_total", count(&self.forward_failures)),
            ("portolan_dns_ignored_messages_total", count(&self.silent)),
        ] {
            family(&mut text, name, "counter", [(String::new(), value)]);
        }
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

    fn write_times(&self, text: &mut String) {
        let name = "coredns_dns_request_duration_seconds";
        let mut total = 0;
        let mut rows = Vec::new();
        for (bucket, counter) in self.took.iter().enumerate() {
            total += count(counter);
            let end = match bucket {
                BUCKETS => "+Inf".to_owned(),
                _ => (FIRST_BUCKET * (1 << bucket)).as_secs_f64().to_string(),
            };
            rows.push((format!("_bucket{{le=\"{end}\"}}"), total));
        }
        rows.push(("_count".to_owned(), total));
        family(text, name, "histogram", rows);
        let seconds = Duration::from_nanos(count(&self.took_nanoseconds)).as_secs_f64();
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{name}_sum {seconds}");
    }
}

fn family(text: &mut String, name: &str, kind: &str, rows: impl IntoIterator<Item = (String, u64)>) {
    // Writing into a String cannot fail.
    let _ = writeln!(text, "# TYPE {name} {kind}");
    for (labels, value) in rows {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}
