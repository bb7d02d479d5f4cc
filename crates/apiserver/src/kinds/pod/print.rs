//! A pod's row: its state in one word, as `printPod` finds it.

use jiff::Timestamp;
use serde_json::Value;

use crate::kinds::field::{flag, items, member, number, text};
use crate::kinds::table::{self, Column};

pub(in crate::kinds) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::text("Ready"),
    Column::text("Status"),
    Column::text("Restarts"),
    Column::AGE,
    Column::text("IP").wide(),
    Column::text("Node").wide(),
    Column::text("Nominated Node").wide(),
    Column::text("Readiness Gates").wide(),
];

pub(in crate::kinds) fn row(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = summarise(pod);
    let restarts = match summary.restarts.last.filter(|_| summary.restarts.count > 0) {
        Some(last) => {
            let ago = table::human_duration(now.as_second() - last.as_second());
            format!("{} ({ago} ago)", summary.restarts.count)
        }
        None => summary.restarts.count.to_string(),
    };
    let address = match text(pod, "/status/podIPs/0/ip") {
        "" => text(pod, "/status/podIP"),
        first => first,
    };
    vec![
        table::name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        table::age(pod, now),
        table::or_none(address),
        table::or_none(text(pod, "/spec/nodeName")),
        table::or_none(text(pod, "/status/nominatedNodeName")),
        gates(pod),
    ]
}

struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: Restarts,
}

#[derive(Default, Clone)]
struct Restarts {
    count: i64,
    /// The end of the container before the present one.
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += number(status, "/restartCount").unwrap_or_default();
        let ended = text(status, "/lastState/terminated/finishedAt").parse().ok();
        self.last = self.last.max(ended);
    }
}

fn summarise(pod: &Value) -> Summary {
    let phase = text(pod, "/status/phase");
    let mut summary = Summary {
        ready: 0,
        total: items(pod, "/spec/containers").len(),
        reason: Some(text(pod, "/status/reason"))
            .filter(|reason| !reason.is_empty())
            .unwrap_or(phase)
            .to_owned(),
        restarts: Restarts::default(),
    };
    if condition(pod, "PodScheduled")
        .is_some_and(|condition| member(condition, "reason") == "SchedulingGated")
    {
        summary.reason = "SchedulingGated".to_owned();
    }
    let (initialising, sidecars) = init_containers(pod, &mut summary);
    let initialised =
        condition(pod, "Initialized").is_some_and(|condition| member(condition, "status") == "True");
    if !initialising || initialised {
        summary.restarts = sidecars;
        containers(pod, &mut summary);
    }
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        if text(pod, "/status/reason") == "NodeLost" {
            summary.reason = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            summary.reason = "Terminating".to_owned();
        }
    }
    summary
}

/// Whether init containers are still at work, and the restarts of those that run beside the others.
fn init_containers(pod: &Value, summary: &mut Summary) -> (bool, Restarts) {
    let specs = items(pod, "/spec/initContainers");
    let is_sidecar = |name: &str| {
        specs.iter().any(|spec| member(spec, "name") == name && member(spec, "restartPolicy") == "Always")
    };
    summary.total += specs.iter().filter(|spec| is_sidecar(member(spec, "name"))).count();
    let mut sidecars = Restarts::default();
    for (index, status) in items(pod, "/status/initContainerStatuses").iter().enumerate() {
        summary.restarts.add(status);
        let sidecar = is_sidecar(member(status, "name"));
        if sidecar {
            sidecars.add(status);
        }
        let terminated = status.pointer("/state/terminated");
        let waiting = text(status, "/state/waiting/reason");
        let reason = match terminated {
            Some(end) if exit_code(end) == 0 => continue,
            _ if sidecar && flag(status, "/started") => {
                summary.ready += usize::from(flag(status, "/ready"));
                continue;
            }
            Some(end) => ended(end),
            None if !waiting.is_empty() && waiting != "PodInitializing" => waiting.to_owned(),
            None => format!("{index}/{}", specs.len()),
        };
        summary.reason = format!("Init:{reason}");
        return (true, sidecars);
    }
    (false, sidecars)
}

fn containers(pod: &Value, summary: &mut Summary) {
    let mut running = false;
    for status in items(pod, "/status/containerStatuses").iter().rev() {
        summary.restarts.add(status);
        let waiting = text(status, "/state/waiting/reason");
        if !waiting.is_empty() {
            summary.reason = waiting.to_owned();
        } else if let Some(end) = status.pointer("/state/terminated") {
            summary.reason = ended(end);
        } else if flag(status, "/ready") && status.pointer("/state/running").is_some() {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" && running {
        let ready = condition(pod, "Ready").is_some_and(|condition| member(condition, "status") == "True");
        summary.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

fn exit_code(terminated: &Value) -> i64 {
    number(terminated, "/exitCode").unwrap_or_default()
}

fn ended(terminated: &Value) -> String {
    match (member(terminated, "reason"), number(terminated, "/signal").unwrap_or_default()) {
        ("", 0) => format!("ExitCode:{}", exit_code(terminated)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    items(pod, "/status/conditions").iter().find(|condition| member(condition, "type") == kind)
}

fn gates(pod: &Value) -> Value {
    let gates = items(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return "<none>".into();
    }
    let open = gates.iter().filter(|gate| {
        condition(pod, member(gate, "conditionType"))
            .is_some_and(|condition| member(condition, "status") == "True")
    });
    format!("{}/{}", open.count(), gates.len()).into()
}
