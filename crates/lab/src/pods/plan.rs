//! What to do next for a pod. Pure: the manifest, the facts, what is under way and the time decide.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::facts::{ContainerFacts, Facts, Run, Sandbox, Termination, later};
use super::spec::{ContainerSpec, PodSpec, ProbeKind, RestartPolicy};

/// How long a failed pull is shown as such before its status says that it is backed off.
pub const FAILED_PULL_SHOWN: SignedDuration = SignedDuration::from_secs(1);

/// KILL is sent again to what is still there after this long (a process in the kernel may miss none, but a
/// runtime may).
const KILL_AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// What containers of a lost sandbox get to end. Shorter than the pod's own grace period, since nobody asked for
/// their end and the pod is without service until they have gone.
const LOST_GRACE: Duration = Duration::from_secs(2);

/// One effect. At most one of each [`Op`] is under way at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make the sandbox of that number.
    StartSandbox {
        /// Counted from 1.
        attempt: u32,
    },
    /// Take away what there is of the current sandbox.
    RemoveSandbox,
    /// Make the pod's volumes, or bring them up to date.
    SetUpVolumes,
    /// Wait for the pause process to go.
    WatchSandbox,
    /// Get the container's image.
    Provide {
        /// Its name.
        container: String,
    },
    /// Start the container's run of that number.
    Start {
        /// Its name.
        container: String,
        /// Counted from 1.
        attempt: u32,
    },
    /// Wait for the container to end.
    Watch {
        /// Its name.
        container: String,
    },
    /// Do one of the container's probes once.
    Check {
        /// Its name.
        container: String,
        /// Which.
        probe: ProbeKind,
    },
    /// Run the container's postStart hook.
    StartHook {
        /// Its name.
        container: String,
    },
    /// Run the container's preStop hook.
    Hook {
        /// Its name.
        container: String,
        /// When it has to be over.
        deadline: Timestamp,
    },
    /// Ask the container to end.
    Stop {
        /// Its name.
        container: String,
    },
    /// Make the container end.
    Kill {
        /// Its name.
        container: String,
    },
    /// Make the runtime forget the container's ended run.
    Remove {
        /// Its name.
        container: String,
    },
    /// Remove the pod's object from the API server.
    DeleteObject,
    /// Forget the pod: nothing is left of it here or there.
    Forget,
}

/// The kinds of work that exclude each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// Making or removing the sandbox.
    Sandbox,
    /// Making the volumes.
    Volumes,
    /// Waiting for the pause process.
    WatchSandbox,
    /// Getting a container's image.
    Provide(String),
    /// Starting a container or removing its ended run.
    Lifecycle(String),
    /// Waiting for a container.
    Watch(String),
    /// Doing a container's probe.
    Check(String, ProbeKind),
    /// Running a container's postStart hook.
    StartHook(String),
    /// Running a container's preStop hook.
    Hook(String),
    /// Sending a container a signal.
    Signal(String),
    /// Removing the API object.
    DeleteObject,
    /// Writing the pod's status.
    Status,
}

impl Action {
    /// What it excludes.
    #[must_use]
    pub fn op(&self) -> Op {
        match self {
            Self::StartSandbox { .. } | Self::RemoveSandbox => Op::Sandbox,
            Self::SetUpVolumes => Op::Volumes,
            Self::WatchSandbox => Op::WatchSandbox,
            Self::Provide { container } => Op::Provide(container.clone()),
            Self::Start { container, .. } | Self::Remove { container } => Op::Lifecycle(container.clone()),
            Self::Watch { container } => Op::Watch(container.clone()),
            Self::Check { container, probe } => Op::Check(container.clone(), *probe),
            Self::StartHook { container } => Op::StartHook(container.clone()),
            Self::Hook { container, .. } => Op::Hook(container.clone()),
            Self::Stop { container } | Self::Kill { container } => Op::Signal(container.clone()),
            Self::DeleteObject | Self::Forget => Op::DeleteObject,
        }
    }
}

/// What is under way, and what has failed and waits. Lives as long as the agent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Flight {
    /// Under way.
    pub running: BTreeSet<Op>,
    /// Not to be tried before that time.
    pub held: BTreeMap<Op, Timestamp>,
    /// When a probe is due next; absent before the first time.
    pub next_check: BTreeMap<(String, ProbeKind), Timestamp>,
    /// How far the volumes are.
    pub volumes: Volumes,
}

/// How far a pod's volumes are. Making them again does no harm, so nobody needs to remember.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Volumes {
    /// Nobody knows.
    #[default]
    Unknown,
    /// All there; to be brought up to date at that time, if ever.
    Ready(Option<Timestamp>),
}

/// What to do now and when to ask again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be begun now; none of them is under way.
    pub actions: Vec<Action>,
    /// When time alone changes the answer.
    pub wake: Option<Timestamp>,
}

/// Decides what to do next.
#[must_use]
pub fn decide(spec: &PodSpec, facts: &Facts, flight: &Flight, now: Timestamp) -> Plan {
    let mut planner = Planner { spec, facts, flight, now, plan: Plan::default(), volumes_ready: false };
    planner.watch();
    planner.sweep();
    if let Some(termination) = &facts.termination {
        planner.terminate(termination);
    } else if finished(spec, facts) {
        planner.stop_sidecars();
        planner.remove_sandbox();
    } else if spec.unsupported.is_none() {
        planner.run();
    }
    planner.plan
}

/// Whether the init containers have all done their part: succeeded, or come up if they are sidecars.
#[must_use]
pub fn initialized(spec: &PodSpec, facts: &Facts) -> bool {
    spec.init.iter().all(|container| init_is_done(container, facts))
}

/// Whether the init container has done its part.
#[must_use]
pub fn init_is_done(container: &ContainerSpec, facts: &Facts) -> bool {
    if container.sidecar {
        return facts.containers.get(&container.name).is_some_and(|known| known.was_up);
    }
    matches!(run_of(facts, &container.name), Run::Exited(exit) if exit.code == 0)
}

/// Whether the pod has run to its end: nothing of it will be started again. Sidecars may still run.
#[must_use]
pub fn finished(spec: &PodSpec, facts: &Facts) -> bool {
    if !initialized(spec, facts) {
        let failed = |container: &ContainerSpec| {
            !container.sidecar
                && matches!(run_of(facts, &container.name), Run::Exited(exit) if exit.code != 0)
        };
        return spec.restart == RestartPolicy::Never && spec.init.iter().any(failed);
    }
    spec.containers.iter().all(|container| {
        let run = run_of(facts, &container.name);
        matches!(run, Run::Exited(_)) && !wants_start(spec.restart, run)
    })
}

/// The containers that serve: the sidecars and the regular ones.
pub fn serving(spec: &PodSpec) -> impl Iterator<Item = &ContainerSpec> {
    spec.init.iter().filter(|container| container.sidecar).chain(&spec.containers)
}

/// Whether the restart policy wants a container in that state started.
#[must_use]
pub fn wants_start(policy: RestartPolicy, run: &Run) -> bool {
    match run {
        Run::Never => true,
        Run::Running { .. } => false,
        Run::Exited(exit) => match policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => exit.code != 0,
            RestartPolicy::Never => false,
        },
    }
}

/// Whether the container gets traffic, as far as it alone decides.
#[must_use]
pub fn container_ready(container: &ContainerSpec, facts: &Facts) -> bool {
    facts.containers.get(&container.name).is_some_and(|known| {
        matches!(known.run, Run::Running { .. })
            && known.up
            && known.doom.is_none()
            && (container.readiness.is_none() || known.ready)
    })
}

/// Whether the pod gets traffic.
#[must_use]
pub fn pod_ready(spec: &PodSpec, facts: &Facts) -> bool {
    matches!(facts.sandbox, Sandbox::Ready(_))
        && initialized(spec, facts)
        && serving(spec).all(|container| container_ready(container, facts))
}

fn run_of<'a>(facts: &'a Facts, name: &str) -> &'a Run {
    facts.containers.get(name).map_or(&Run::Never, |container| &container.run)
}

struct Planner<'a> {
    spec: &'a PodSpec,
    facts: &'a Facts,
    flight: &'a Flight,
    now: Timestamp,
    plan: Plan,
    volumes_ready: bool,
}

impl Planner<'_> {
    fn wake_at(&mut self, at: Timestamp) {
        self.plan.wake = Some(self.plan.wake.map_or(at, |known| known.min(at)));
    }

    /// Begins the action unless its like is under way or held.
    fn want(&mut self, action: Action) {
        let op = action.op();
        if self.flight.running.contains(&op) || self.plan.actions.iter().any(|begun| begun.op() == op) {
            return;
        }
        match self.flight.held.get(&op) {
            Some(until) if *until > self.now => self.wake_at(*until),
            _ => self.plan.actions.push(action),
        }
    }

    fn watch(&mut self) {
        if let Sandbox::Ready(_) = self.facts.sandbox {
            self.want(Action::WatchSandbox);
        }
        for (name, container) in &self.facts.containers {
            if let Run::Running { .. } = container.run {
                self.want(Action::Watch { container: name.clone() });
            }
        }
    }

    fn sweep(&mut self) {
        for (name, container) in &self.facts.containers {
            if let Run::Exited(exit) = &container.run
                && !exit.removed
            {
                self.want(Action::Remove { container: name.clone() });
            }
        }
    }

    /// Sees to the volumes; containers wait until they are there.
    fn set_up_volumes(&mut self) {
        if self.spec.volumes.is_empty() {
            self.volumes_ready = true;
            return;
        }
        match self.flight.volumes {
            Volumes::Unknown => self.want(Action::SetUpVolumes),
            Volumes::Ready(again) => {
                self.volumes_ready = true;
                match again {
                    Some(at) if at > self.now => self.wake_at(at),
                    Some(_) => self.want(Action::SetUpVolumes),
                    None => {}
                }
            }
        }
    }

    fn run(&mut self) {
        self.set_up_volumes();
        match &self.facts.sandbox {
            Sandbox::Absent => {
                if self.volumes_ready {
                    self.want(Action::StartSandbox {
                        attempt: self.facts.sandbox_attempts.saturating_add(1),
                    });
                }
                self.prefetch();
            }
            Sandbox::Unfinished => {
                self.prefetch();
                self.want(Action::RemoveSandbox);
            }
            Sandbox::Lost(_) => {
                for (name, container) in &self.facts.containers {
                    if let Run::Running { .. } = container.run {
                        let begun = container.stop.as_ref().and_then(|stop| stop.signalled);
                        let grace = self.spec.grace.min(LOST_GRACE);
                        self.stop(name, container, later(begun.unwrap_or(self.now), grace));
                    }
                }
                self.remove_sandbox();
            }
            Sandbox::Ready(_) => self.run_containers(),
        }
    }

    /// Gets the first images while the sandbox is being made.
    fn prefetch(&mut self) {
        if self.spec.init.is_empty() {
            for container in &self.spec.containers {
                if wants_start(self.spec.restart, run_of(self.facts, &container.name)) {
                    self.provide(container);
                }
            }
        }
    }

    fn run_containers(&mut self) {
        for container in &self.spec.init {
            match run_of(self.facts, &container.name) {
                Run::Exited(exit) if exit.code == 0 && !container.sidecar => {}
                Run::Running { started, .. } => self.attend(container, *started),
                Run::Never | Run::Exited(_) => self.start(container),
            }
            if !init_is_done(container, self.facts) {
                return;
            }
        }
        for container in &self.spec.containers {
            match run_of(self.facts, &container.name) {
                Run::Running { started, .. } => self.attend(container, *started),
                run if wants_start(self.spec.restart, run) => self.start(container),
                Run::Never | Run::Exited(_) => {}
            }
        }
    }

    /// Looks after a container that runs: its hook, its probes, its end when one of them has failed.
    fn attend(&mut self, container: &ContainerSpec, started: Timestamp) {
        // A run that is known of has facts.
        let Some(known) = self.facts.containers.get(&container.name) else { return };
        if let Some(doom) = &known.doom {
            return self.stop(&container.name, known, doom.kill_at);
        }
        // Without either the hook's success is a matter of form: an agent that was cut off may have missed it.
        if known.hook_pending || (!known.up && container.startup.is_none()) {
            return self.want(Action::StartHook { container: container.name.clone() });
        }
        if container.startup.is_some() && !known.up {
            return self.check(container, ProbeKind::Startup, started);
        }
        self.check(container, ProbeKind::Liveness, started);
        self.check(container, ProbeKind::Readiness, started);
    }

    /// Whether the container's image is there; sees to it when not.
    fn provide(&mut self, container: &ContainerSpec) -> bool {
        let Some(known) = self.facts.containers.get(&container.name) else {
            self.want(Action::Provide { container: container.name.clone() });
            return false;
        };
        if known.provided {
            return true;
        }
        if let Some(failed) = &known.image_failure
            && failed.retry_at() > self.now
        {
            let shown_until = failed.at + FAILED_PULL_SHOWN;
            self.wake_at(if shown_until > self.now { shown_until } else { failed.retry_at() });
            return false;
        }
        self.want(Action::Provide { container: container.name.clone() });
        false
    }

    fn start(&mut self, container: &ContainerSpec) {
        let known = self.facts.containers.get(&container.name);
        if let Some(known) = known {
            let not_before = known
                .restart_at()
                .into_iter()
                .chain(known.start_failure.as_ref().map(super::facts::Failed::start_again_at))
                .max()
                .unwrap_or(self.now);
            if not_before > self.now {
                let shown = known.start_failure.as_ref().map(super::facts::Failed::shown_until);
                return self
                    .wake_at(shown.filter(|until| *until > self.now).unwrap_or(not_before).min(not_before));
            }
        }
        if self.provide(container) && self.volumes_ready {
            let attempt = known.map_or(0, |known| known.attempts).saturating_add(1);
            self.want(Action::Start { container: container.name.clone(), attempt });
        }
    }

    fn check(&mut self, container: &ContainerSpec, kind: ProbeKind, started: Timestamp) {
        let Some(probe) = container.probe(kind) else { return };
        let key = (container.name.clone(), kind);
        let due =
            self.flight.next_check.get(&key).copied().unwrap_or_else(|| later(started, probe.initial_delay));
        if due > self.now {
            self.wake_at(due);
        } else {
            self.want(Action::Check { container: container.name.clone(), probe: kind });
        }
    }

    fn terminate(&mut self, termination: &Termination) {
        if self.facts.any_running() && termination.stop_at > self.now {
            self.wake_at(termination.stop_at);
            for container in serving(self.spec) {
                if let Run::Running { started, .. } = run_of(self.facts, &container.name) {
                    self.check(container, ProbeKind::Readiness, *started);
                }
            }
            return;
        }
        for (name, container) in &self.facts.containers {
            if let Run::Running { .. } = container.run {
                if self.outlives(name) && self.now < termination.kill_at {
                    self.wake_at(termination.kill_at);
                } else {
                    self.stop(name, container, termination.kill_at);
                }
            }
        }
        self.remove_sandbox();
        if self.is_down() && self.facts.sandbox == Sandbox::Absent {
            self.want(if termination.gone { Action::Forget } else { Action::DeleteObject });
        }
    }

    /// Whether the container is a sidecar that has to stay for those that started after it and still run.
    fn outlives(&self, name: &str) -> bool {
        let runs =
            |container: &ContainerSpec| matches!(run_of(self.facts, &container.name), Run::Running { .. });
        let at = self.spec.init.iter().position(|container| container.name == name && container.sidecar);
        at.is_some_and(|at| self.spec.init[at + 1..].iter().chain(&self.spec.containers).any(runs))
    }

    /// Ends the sidecars of a pod whose other containers have run to their end, the last one first.
    fn stop_sidecars(&mut self) {
        for container in &self.spec.init {
            if let Some(known) = self.facts.containers.get(&container.name)
                && let Run::Running { .. } = known.run
                && !self.outlives(&container.name)
            {
                let begun = known.stop.as_ref().and_then(|stop| stop.signalled).unwrap_or(self.now);
                self.stop(&container.name, known, later(begun, self.spec.grace));
            }
        }
    }

    /// One step towards the end of a running container.
    fn stop(&mut self, name: &str, known: &ContainerFacts, kill_at: Timestamp) {
        let stop = known.stop.clone().unwrap_or_default();
        let container = name.to_owned();
        if self.now >= kill_at {
            return match stop.killed {
                Some(at) if at + KILL_AGAIN > self.now => self.wake_at(at + KILL_AGAIN),
                _ => self.want(Action::Kill { container }),
            };
        }
        self.wake_at(kill_at);
        let has_hook = self.spec.container(name).is_some_and(|container| container.pre_stop.is_some());
        if has_hook && !stop.hook_done {
            self.want(Action::Hook { container, deadline: kill_at });
        } else if stop.signalled.is_none() {
            self.want(Action::Stop { container });
        }
    }

    /// No container runs, is being started, or is still known to the runtime.
    fn is_down(&self) -> bool {
        let quiet = |container: &ContainerFacts| match &container.run {
            Run::Never => true,
            Run::Running { .. } => false,
            Run::Exited(exit) => exit.removed,
        };
        self.facts.containers.values().all(quiet)
            && !self.flight.running.iter().any(|op| matches!(op, Op::Lifecycle(_)))
    }

    fn remove_sandbox(&mut self) {
        if self.facts.sandbox != Sandbox::Absent && self.is_down() {
            self.want(Action::RemoveSandbox);
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
