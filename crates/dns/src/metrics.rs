//! What the server counts, under CoreDNS's names where it has the same thing.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{RecordType, ResponseCode};

const TYPES: [(RecordType, &str); 6] = [
    (RecordType::A, "A"),
    (RecordType::AAAA, "AAAA"),
    (RecordType::SRV, "SRV"),
    (RecordType::PTR, "PTR"),
    (RecordType::CNAME, "CNAME"),
    (RecordType::TXT, "TXT"),
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

/// Counters of one server.
#[derive(Debug, Default)]
pub struct Metrics {
    udp: AtomicU64,
    tcp: AtomicU64,
    types: [AtomicU64; TYPES.len() + 1],
    codes: [AtomicU64; CODES.len() + 1],
    hits: AtomicU64,
    misses: AtomicU64,
    stale: AtomicU64,
    forwarded: AtomicU64,
    forward_failures: AtomicU64,
    silent: AtomicU64,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Metrics {
    /// Replies sent so far.
    pub fn replies(&self) -> u64 {
        self.codes.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn asked(&self, udp: bool, kind: Option<RecordType>) {
        add(if udp { &self.udp } else { &self.tcp });
        let known = kind.and_then(|kind| TYPES.iter().position(|(known, _)| *known == kind));
        add(&self.types[known.unwrap_or(TYPES.len())]);
    }

    /// A reply as it goes out; the code of the header says enough.
    pub(crate) fn replied(&self, reply: &[u8]) {
        let code = reply.get(3).map_or(0, |byte| u16::from(byte & 15));
        let known = CODES.iter().position(|known| known.0 == code);
        add(&self.codes[known.unwrap_or(CODES.len())]);
    }

    pub(crate) fn silent(&self) {
        add(&self.silent);
    }

    pub(crate) fn cache_hit(&self) {
        add(&self.hits);
    }

    pub(crate) fn cache_miss(&self) {
        add(&self.misses);
    }

    pub(crate) fn served_stale(&self, served: bool) {
        if served {
            add(&self.stale);
        }
    }

    pub(crate) fn forwarded(&self) {
        add(&self.forwarded);
    }

    pub(crate) fn forward_failed(&self) {
        add(&self.forward_failures);
    }

    /// All counters in the text format of Prometheus.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut family = |name: &str, rows: &[(String, &AtomicU64)]| {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "# TYPE {name} counter");
            for (labels, count) in rows {
                let _ = writeln!(text, "{name}{labels} {}", count.load(Ordering::Relaxed));
            }
        };
        let plain = |count| [(String::new(), count)];
        let protocols = [("udp", &self.udp), ("tcp", &self.tcp)];
        family(
            "coredns_dns_requests_total",
            &protocols.map(|(name, count)| (format!("{{proto=\"{name}\"}}"), count)),
        );
        let types = TYPES.iter().map(|(_, name)| *name).chain(["other"]).zip(&self.types);
        let types: Vec<_> = types.map(|(name, count)| (format!("{{type=\"{name}\"}}"), count)).collect();
        family("portolan_dns_request_types_total", &types);
        let codes = CODES.iter().map(|code| code.as_str()).chain(["OTHER"]).zip(&self.codes);
        let codes: Vec<_> = codes.map(|(name, count)| (format!("{{rcode=\"{name}\"}}"), count)).collect();
        family("coredns_dns_responses_total", &codes);
        family("coredns_cache_hits_total", &plain(&self.hits));
        family("coredns_cache_misses_total", &plain(&self.misses));
        family("coredns_cache_served_stale_total", &plain(&self.stale));
        family("coredns_forward_requests_total", &plain(&self.forwarded));
        family("portolan_dns_forward_failures_total", &plain(&self.forward_failures));
        family("portolan_dns_ignored_messages_total", &plain(&self.silent));
        text
    }
}
