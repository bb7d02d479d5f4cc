//! kube-proxy's pages: health on one port, metrics on another.

use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use kernel::SentBytes;
use proxy::Mode;
use relay::{Counts, Meter};
use runtime::pages::Page;
use runtime::{Condition, ProxyStatus};
use serde_json::json;

/// `/healthz`, also unwell when the node is about to go, and `/livez`.
pub fn health(status: Arc<ProxyStatus>) -> impl Fn(&str) -> Option<Page> + Clone + Send + 'static {
    move |path| {
        let condition = status.condition();
        let (name, well) = match path {
            "/healthz" => ("healthz", condition.keeps_up && condition.node_eligible),
            "/livez" => ("livez", condition.keeps_up),
            _ => return None,
        };
        status.answered(name, if well { 200 } else { 503 });
        let text = text(name, condition, well, SystemTime::now());
        Some(if well { Page::ok(&text) } else { Page::unavailable(&text) }.json())
    }
}

/// When all is well the last update counts as just now, as in kube-proxy: nothing was to be written since.
fn text(page: &str, condition: Condition, well: bool, now: SystemTime) -> String {
    let last = if well { Some(now) } else { condition.last_updated };
    let mut text = json!({"lastUpdated": time(last), "currentTime": time(Some(now))});
    if page == "healthz" {
        text["nodeEligible"] = condition.node_eligible.into();
    }
    text.to_string()
}

/// As Go prints a time.
fn time(at: Option<SystemTime>) -> String {
    match at.and_then(|at| Timestamp::try_from(at).ok()) {
        Some(at) => at.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string(),
        None => "0001-01-01 00:00:00 +0000 UTC".to_owned(),
    }
}

/// `/metrics`, `/proxyMode`, and `/healthz` of the server itself.
pub fn metrics(
    status: Arc<ProxyStatus>,
    mode: Mode,
    relays: Option<Meter>,
    sent: Vec<SentBytes>,
) -> impl Fn(&str) -> Option<Page> + Clone + Send + 'static {
    move |path| match path {
        "/metrics" => {
            let relayed = relays.as_ref().map(|relays| relayed(relays.counts())).unwrap_or_default();
            let sent = sent.iter().map(SentBytes::total).sum();
            Some(Page::ok(&(status.metrics() + &relayed + &sent_bytes(sent))))
        }
        "/proxyMode" => Some(Page::ok(mode.word())),
        "/healthz" => Some(Page::ok("ok")),
        _ => None,
    }
}

/// What rules were written with, in the text form of Prometheus.
fn sent_bytes(sent: u64) -> String {
    counter("portolan_proxy_kernel_bytes_total", "Bytes sent to write rules.", sent)
}

/// What relays have carried, in the text form of Prometheus.
fn relayed(counts: Counts) -> String {
    let Counts { connections, refused, flows, dropped } = counts;
    let rows = [
        ("connections", "Connections that relays accepted.", connections),
        ("refused_connections", "Connections that no endpoint answered.", refused),
        ("flows", "Flows of datagrams that relays began.", flows),
        ("dropped_datagrams", "Datagrams that relays dropped.", dropped),
    ];
    let text = |(name, help, value)| counter(&format!("portolan_relay_{name}_total"), help, value);
    rows.map(text).concat()
}

fn counter(name: &str, help: &str, value: u64) -> String {
    format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use relay::Relays;

    use super::*;

    #[test]
    fn the_words_are_kube_proxy_s() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        let updated = Some(SystemTime::UNIX_EPOCH);
        let condition = Condition { keeps_up: true, node_eligible: true, last_updated: updated };
        let well = r#"{"lastUpdated":"1970-01-01 00:00:01.5 +0000 UTC","currentTime":"1970-01-01 00:00:01.5 +0000 UTC","nodeEligible":true}"#;
        assert_eq!(text("healthz", condition, true, now), well);
        let leaving = Condition { node_eligible: false, ..condition };
        let unwell = r#"{"lastUpdated":"1970-01-01 00:00:00 +0000 UTC","currentTime":"1970-01-01 00:00:01.5 +0000 UTC","nodeEligible":false}"#;
        assert_eq!(text("healthz", leaving, false, now), unwell);
        assert!(!text("livez", leaving, true, now).contains("nodeEligible"));
    }

    #[test]
    fn every_page_answers() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let status = Arc::new(ProxyStatus::default());
        let health = health(status.clone());
        assert!(health("/healthz").is_some() && health("/livez").is_some() && health("/").is_none());
        let relays = metrics(
            status.clone(),
            Mode::Userspace,
            Some(Relays::new(runtime.handle().clone(), relay::Config::default()).meter()),
            vec![SentBytes::default()],
        );
        let page = format!("{:?}", relays("/metrics"));
        assert!(page.contains("portolan_relay_refused_connections_total 0"), "{page}");
        let metrics = metrics(status, Mode::Ipvs, None, Vec::new());
        assert_eq!(metrics("/proxyMode"), Some(Page::ok("ipvs")));
        let text = format!("{:?}", metrics("/metrics"));
        assert!(text.contains("kubeproxy_proxy_healthz_total{code="), "{text}");
        assert!(text.contains("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds 0"), "{text}");
        assert!(!text.contains("portolan_relay_"), "{text}");
    }
}
