//! What is counted of each upstream server: CoreDNS's families with the label `to`.

use std::net::SocketAddr;
use std::time::Duration;

use super::{CODES, Counter, Times, add, code_place, codes, count, family, histogram};
use crate::ResponseCode;

/// Counters of one upstream server.
#[derive(Debug, Default)]
pub(crate) struct UpstreamMetrics {
    asked: Counter,
    failures: Counter,
    probe_failures: Counter,
    /// Its answers by code.
    answers: [Times; CODES.len() + 1],
}

impl UpstreamMetrics {
    /// It is sent a question.
    pub(crate) fn asked(&self) {
        add(&self.asked);
    }

    /// It answered.
    pub(crate) fn answered(&self, code: ResponseCode, took: Duration) {
        self.answers[code_place(code.0)].add(took);
    }

    /// It did not answer.
    pub(crate) fn failed(&self) {
        add(&self.failures);
    }

    /// It did not answer a probe.
    pub(crate) fn probe_failed(&self) {
        add(&self.probe_failures);
    }
}

/// Writes the families of all upstream servers.
pub(super) fn write<'a>(
    text: &mut String,
    servers: impl Iterator<Item = (&'a SocketAddr, &'a UpstreamMetrics)> + Clone,
) {
    let each = |of: fn(&UpstreamMetrics) -> &Counter, labels: &'static str| {
        let servers = servers.clone();
        servers.map(move |(to, server)| (format!("{{{labels}to=\"{to}\"}}"), count(of(server))))
    };
    let (requests, proxy) = ("coredns_forward_requests_total", "proxy_name=\"forward\",");
    family(text, requests, "counter", each(|server| &server.asked, ""));
    let failures = "portolan_dns_forward_failures_total";
    family(text, failures, "counter", each(|server| &server.failures, ""));
    let probes = "coredns_proxy_healthcheck_failures_total";
    family(text, probes, "counter", each(|server| &server.probe_failures, proxy));
    let series = servers.flat_map(|(to, server)| {
        let by_code = codes().zip(&server.answers).filter(|(_, times)| times.count() > 0);
        by_code.map(move |(code, times)| (format!("{proxy}to=\"{to}\",rcode=\"{code}\""), times))
    });
    histogram(text, "coredns_proxy_request_duration_seconds", series);
}
