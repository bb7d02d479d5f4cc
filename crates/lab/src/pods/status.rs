//! A pod's status as kubectl's users expect to read it. Pure.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::facts::{ContainerFacts, Exit, Facts, Run, Sandbox};
use super::plan::{self, FAILED_PULL_SHOWN};
use super::ports::{ExitCause, ImageFailureKind, StartStage};
use super::spec::{ContainerSpec, PodSpec, RestartPolicy};

/// The scheme of container ids, which names the runtime.
const RUNTIME: &str = "runc";

/// Whatever is needed beside the facts.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The node's address.
    pub host: Ipv4Addr,
    /// The status before: conditions that have not changed keep their time, those of others stay.
    pub previous: Option<&'a core::PodStatus>,
    /// Now.
    pub now: Timestamp,
}

/// Builds the status. Times are cut to seconds, as the API keeps them: equal facts give equal statuses.
#[must_use]
pub fn build(spec: &PodSpec, facts: &Facts, context: Context<'_>) -> core::PodStatus {
    let phase = phase(spec, facts);
    let address = facts.sandbox.facts().map(|sandbox| sandbox.address.to_string()).or_else(|| {
        // A pod that has ended keeps showing the address that it had.
        let kept = phase != Phase::Pending && (facts.termination.is_some() || plan::finished(spec, facts));
        context.previous.filter(|_| kept).and_then(|previous| previous.pod_ip.clone())
    });
    let host = context.host.to_string();
    let statuses = |containers: &[ContainerSpec], init: bool| -> Vec<core::ContainerStatus> {
        containers
            .iter()
            .map(|container| container_status(container, init, spec, facts, context.now))
            .collect()
    };
    core::PodStatus {
        phase: Some(phase.name().to_owned()),
        conditions: Some(conditions(spec, facts, phase, context)),
        pod_ips: address.clone().map(|ip| vec![core::PodIP { ip }]),
        pod_ip: address,
        host_ips: Some(vec![core::HostIP { ip: host.clone() }]),
        host_ip: Some(host),
        start_time: Some(time(facts.started)),
        init_container_statuses: (!spec.init.is_empty()).then(|| statuses(&spec.init, true)),
        container_statuses: Some(statuses(&spec.containers, false)),
        qos_class: context.previous.and_then(|previous| previous.qos_class.clone()),
        ..core::PodStatus::default()
    }
}

/// The pod's place in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }
}

fn known<'a>(facts: &'a Facts, container: &ContainerSpec) -> Option<&'a ContainerFacts> {
    facts.containers.get(&container.name)
}

/// The rules of the kubelet's `getPhase`.
fn phase(spec: &PodSpec, facts: &Facts) -> Phase {
    // A pod on its way out will not be restarted, whatever its policy.
    let policy = match &facts.termination {
        Some(_) if !facts.any_running() => RestartPolicy::Never,
        _ => spec.restart,
    };
    if !plan::initialized(spec, facts) {
        return if plan::finished(spec, facts) { Phase::Failed } else { Phase::Pending };
    }
    let (mut waiting, mut running, mut succeeded, mut stopped) = (0_usize, 0_usize, 0_usize, 0_usize);
    // A sidecar that runs keeps the pod running; one that has ended says nothing.
    let sidecars = spec.init.iter().filter(|container| container.sidecar);
    running += sidecars
        .filter(|container| {
            matches!(known(facts, container).map(|known| &known.run), Some(Run::Running { .. }))
        })
        .count();
    for container in &spec.containers {
        match known(facts, container).map(|known| &known.run) {
            Some(Run::Running { .. }) => running += 1,
            Some(Run::Exited(exit)) => {
                stopped += 1;
                succeeded += usize::from(exit.code == 0);
            }
            Some(Run::Never) | None => waiting += 1,
        }
    }
    match (waiting, running) {
        (1.., _) if facts.termination.is_some() && running == 0 && stopped > 0 => Phase::Failed,
        (1.., _) => Phase::Pending,
        (0, 1..) => Phase::Running,
        (0, 0) => match policy {
            RestartPolicy::Always => Phase::Running,
            RestartPolicy::Never | RestartPolicy::OnFailure if succeeded == stopped => Phase::Succeeded,
            RestartPolicy::Never => Phase::Failed,
            RestartPolicy::OnFailure => Phase::Running,
        },
    }
}

fn conditions(spec: &PodSpec, facts: &Facts, phase: Phase, context: Context<'_>) -> Vec<core::PodCondition> {
    let unready = names(plan::serving(spec), |container| plan::container_ready(container, facts));
    let ready = if plan::pod_ready(spec, facts) {
        Verdict::True
    } else {
        match phase {
            Phase::Succeeded => Verdict::False("PodCompleted", String::new()),
            Phase::Failed => Verdict::False("PodFailed", String::new()),
            Phase::Pending | Phase::Running => Verdict::False(
                "ContainersNotReady",
                format!("containers with unready status: [{}]", unready.join(" ")),
            ),
        }
    };
    let incomplete = names(spec.init.iter(), |container| plan::init_is_done(container, facts));
    let initialized = match (incomplete.is_empty(), phase) {
        (true, Phase::Succeeded) => Verdict::TrueBecause("PodCompleted"),
        (true, _) => Verdict::True,
        (false, _) => Verdict::False(
            "ContainersNotInitialized",
            format!("containers with incomplete status: [{}]", incomplete.join(" ")),
        ),
    };
    let sandbox = if matches!(facts.sandbox, Sandbox::Ready(_)) {
        Verdict::True
    } else {
        Verdict::False("", String::new())
    };
    let own = [
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", initialized),
        ("Ready", ready.clone()),
        ("ContainersReady", ready),
    ];
    let before = context.previous.and_then(|previous| previous.conditions.as_deref()).unwrap_or_default();
    let mut all: Vec<core::PodCondition> =
        own.into_iter().map(|(kind, verdict)| condition(kind, verdict, before, context.now)).collect();
    let scheduled = before.iter().find(|condition| condition.type_ == "PodScheduled");
    all.push(match scheduled {
        Some(scheduled) if scheduled.status == "True" => scheduled.clone(),
        _ => condition("PodScheduled", Verdict::True, before, context.now),
    });
    let of_others = before.iter().filter(|old| all.iter().all(|new| new.type_ != old.type_));
    let of_others: Vec<_> = of_others.cloned().collect();
    all.extend(of_others);
    all
}

fn names<'a>(
    containers: impl Iterator<Item = &'a ContainerSpec>,
    good: impl Fn(&ContainerSpec) -> bool,
) -> Vec<&'a str> {
    containers.filter(|container| !good(container)).map(|container| container.name.as_str()).collect()
}

#[derive(Debug, Clone)]
enum Verdict {
    True,
    TrueBecause(&'static str),
    False(&'static str, String),
}

fn condition(
    kind: &str,
    verdict: Verdict,
    before: &[core::PodCondition],
    now: Timestamp,
) -> core::PodCondition {
    let (status, reason, message) = match verdict {
        Verdict::True => ("True", "", String::new()),
        Verdict::TrueBecause(reason) => ("True", reason, String::new()),
        Verdict::False(reason, message) => ("False", reason, message),
    };
    let old = before.iter().find(|condition| condition.type_ == kind && condition.status == status);
    core::PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: (!reason.is_empty()).then(|| reason.to_owned()),
        message: (!message.is_empty()).then_some(message),
        last_transition_time: old
            .and_then(|old| old.last_transition_time.clone())
            .or_else(|| Some(time(now))),
        ..core::PodCondition::default()
    }
}

fn container_status(
    container: &ContainerSpec,
    init: bool,
    spec: &PodSpec,
    facts: &Facts,
    now: Timestamp,
) -> core::ContainerStatus {
    let nothing = ContainerFacts::default();
    let known = known(facts, container).unwrap_or(&nothing);
    let (state, last) = states(container, init, known, spec, facts, now);
    let current = match &known.run {
        Run::Running { id, .. } => Some(id.as_str()),
        Run::Exited(exit) => Some(exit.id.as_str()),
        Run::Never => known.last.as_ref().map(|last| last.id.as_str()),
    };
    let running = matches!(known.run, Run::Running { .. });
    core::ContainerStatus {
        name: container.name.clone(),
        ready: if init && !container.sidecar {
            matches!(&known.run, Run::Exited(exit) if exit.code == 0)
        } else {
            plan::container_ready(container, facts)
        },
        started: Some(running && known.up),
        restart_count: i32::try_from(known.restarts).unwrap_or(i32::MAX),
        image: known.image.as_ref().map_or_else(|| container.image.clone(), |image| image.reference.clone()),
        image_id: known.image.as_ref().map(image_id).unwrap_or_default(),
        container_id: current.map(|id| format!("{RUNTIME}://{id}")),
        last_state: Some(last.map(terminated).unwrap_or_default()),
        state: Some(state),
        ..core::ContainerStatus::default()
    }
}

/// `repository@digest`, by which the very same image can be fetched again.
fn image_id(image: &super::ports::ResolvedImage) -> String {
    let name = image.reference.split('@').next().unwrap_or_default();
    let after_registry = name.rfind('/').map_or(0, |slash| slash + 1);
    let repository = match name[after_registry..].find(':') {
        Some(colon) => &name[..after_registry + colon],
        None => name,
    };
    format!("{repository}@{}", image.digest)
}

/// The state of a container and the one before it.
fn states<'a>(
    container: &ContainerSpec,
    init: bool,
    known: &'a ContainerFacts,
    spec: &PodSpec,
    facts: &Facts,
    now: Timestamp,
) -> (core::ContainerState, Option<&'a Exit>) {
    match &known.run {
        Run::Running { started, .. } => {
            let running = core::ContainerStateRunning { started_at: Some(time(*started)) };
            (core::ContainerState { running: Some(running), ..Default::default() }, known.last.as_ref())
        }
        Run::Exited(exit) => {
            let done = facts.termination.is_some()
                || plan::finished(spec, facts)
                || (init && !container.sidecar && exit.code == 0)
                || !(container.sidecar || plan::wants_start(spec.restart, &known.run));
            let shown = known.start_failure.as_ref().is_none_or(|failed| now < failed.shown_until());
            match waiting_reason(container, known, now) {
                Some(reason) if !done && (shown || known.crashes == 0) => (waiting(reason), Some(exit)),
                _ if !done && known.crashes > 0 => (waiting(crash_loop(container, known, spec)), Some(exit)),
                Some(_) | None => (terminated(exit), known.last.as_ref()),
            }
        }
        Run::Never => (waiting(not_started(container, known, spec, now)), known.last.as_ref()),
    }
}

/// Why a container that has not run since the pod came here waits: one word and what there is to say.
pub(super) fn not_started(
    container: &ContainerSpec,
    known: &ContainerFacts,
    spec: &PodSpec,
    now: Timestamp,
) -> (&'static str, String) {
    let uninitialized = if spec.init.is_empty() { "ContainerCreating" } else { "PodInitializing" };
    match &spec.unsupported {
        Some(problem) => ("CreateContainerConfigError", problem.clone()),
        None => waiting_reason(container, known, now).unwrap_or_else(|| (uninitialized, String::new())),
    }
}

/// What keeps a container from starting, when it is an error.
fn waiting_reason(
    container: &ContainerSpec,
    known: &ContainerFacts,
    now: Timestamp,
) -> Option<(&'static str, String)> {
    if let Some(failed) = &known.image_failure {
        let error = &failed.error;
        let image = &container.image;
        return Some(match error.kind {
            ImageFailureKind::InvalidName => ("InvalidImageName", error.message.clone()),
            ImageFailureKind::NeverPull => ("ErrImageNeverPull", error.message.clone()),
            ImageFailureKind::Pull if now < failed.at + FAILED_PULL_SHOWN => {
                ("ErrImagePull", error.message.clone())
            }
            ImageFailureKind::Pull => (
                "ImagePullBackOff",
                format!("Back-off pulling image \"{image}\": ErrImagePull: {}", error.message),
            ),
        });
    }
    known.start_failure.as_ref().map(|failed| {
        let reason = match failed.error.stage {
            StartStage::Config => "CreateContainerConfigError",
            StartStage::Create => "CreateContainerError",
            StartStage::Run => "RunContainerError",
        };
        (reason, failed.error.message.clone())
    })
}

fn crash_loop(container: &ContainerSpec, known: &ContainerFacts, spec: &PodSpec) -> (&'static str, String) {
    let wait = super::back_off::after(known.crashes);
    let minutes = wait.as_secs() / 60;
    // Durations as Go prints them: 10s, 1m20s, 5m0s.
    let text = match minutes {
        0 => format!("{}s", wait.as_secs()),
        _ => format!("{minutes}m{}s", wait.as_secs() % 60),
    };
    let message =
        format!("back-off {text} restarting failed container={} pod={}", container.name, spec.label());
    ("CrashLoopBackOff", message)
}

fn waiting((reason, message): (&'static str, String)) -> core::ContainerState {
    let waiting = core::ContainerStateWaiting {
        reason: Some(reason.to_owned()),
        message: (!message.is_empty()).then_some(message),
    };
    core::ContainerState { waiting: Some(waiting), ..Default::default() }
}

fn terminated(exit: &Exit) -> core::ContainerState {
    let reason = match exit.cause {
        ExitCause::OutOfMemory => "OOMKilled",
        ExitCause::StartFailed => "StartError",
        ExitCause::Lost => "ContainerStatusUnknown",
        ExitCause::Process if exit.code == 0 => "Completed",
        ExitCause::Process => "Error",
    };
    let terminated = core::ContainerStateTerminated {
        container_id: Some(format!("{RUNTIME}://{}", exit.id)),
        exit_code: exit.code,
        reason: Some(reason.to_owned()),
        // A process that never was did not start at any time: zero, as containerd has it.
        started_at: Some(match exit.cause {
            ExitCause::StartFailed => time(Timestamp::UNIX_EPOCH),
            ExitCause::OutOfMemory | ExitCause::Lost | ExitCause::Process => time(exit.started),
        }),
        finished_at: Some(time(exit.finished)),
        message: (!exit.message.is_empty()).then(|| exit.message.clone()),
        ..Default::default()
    };
    core::ContainerState { terminated: Some(terminated), ..Default::default() }
}

/// A time of the API: whole seconds.
#[must_use]
pub fn time(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
