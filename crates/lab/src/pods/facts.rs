//! What is known of a pod's sandbox and containers, and how events change it. Pure; kept on disk by `record`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::back_off;
use super::ports::{ExitCause, ImageFailure, PauseProcess, ResolvedImage, StartFailure, StartStage};

/// A container that ran this long without exiting has recovered: its next back-off starts over.
pub const CRASH_RESET: SignedDuration = SignedDuration::from_mins(10);

/// How long a container whose files could not be made waits until that is tried again: about as long as the kubelet.
const CREATE_AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// How long a process that could not be started is shown as such before its status says that it is backed off.
const FAILED_START_SHOWN: SignedDuration = SignedDuration::from_secs(1);

/// Exit code of a process that could not be started, as containerd has it.
const START_FAILED: i32 = 128;

/// How long a container whose configuration is incomplete waits until it is looked at again.
const CONFIG_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// Everything known of one pod on this node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// When the agent accepted the pod: status.startTime.
    pub started: Timestamp,
    /// The sandbox now.
    pub sandbox: Sandbox,
    /// Sandboxes begun so far; the number of the current one, counted from 1.
    pub sandbox_attempts: u32,
    /// By container name, init containers included.
    pub containers: BTreeMap<String, ContainerFacts>,
    /// Set once the pod has to go.
    pub termination: Option<Termination>,
}

/// A pod's sandbox: its namespaces, held by the pause process, and its network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Sandbox {
    /// None, and nothing left of one.
    Absent,
    /// Being made, or a try that failed or was cut off; whatever there is of it must go before the next.
    Unfinished,
    /// Up.
    Ready(SandboxFacts),
    /// Its pause process has gone; containers and network must go before there can be another.
    Lost(SandboxFacts),
}

impl Sandbox {
    /// The facts of a sandbox that is or was up.
    #[must_use]
    pub fn facts(&self) -> Option<&SandboxFacts> {
        match self {
            Self::Ready(facts) | Self::Lost(facts) => Some(facts),
            Self::Absent | Self::Unfinished => None,
        }
    }
}

/// A sandbox that is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxFacts {
    /// The process that holds its namespaces.
    pub pause: PauseProcess,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// The containers are in the node's network namespace, and the address is the node's.
    #[serde(default)]
    pub host_network: bool,
}

/// The end of a pod, once it has been asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Termination {
    /// When the agent learned of it.
    pub began: Timestamp,
    /// When containers are told to stop: later than `began` for a pod that had traffic.
    pub stop_at: Timestamp,
    /// When what still runs is killed.
    pub kill_at: Timestamp,
    /// Whether the API server has no such pod any more.
    pub gone: bool,
}

/// What is known of one container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerFacts {
    /// The image of the current or last run, or of the next once it is there.
    pub image: Option<ResolvedImage>,
    /// Whether `image` was looked up for the next start.
    pub provided: bool,
    /// The last failure to get the image, until it is there.
    pub image_failure: Option<Failed<ImageFailure>>,
    /// The last failure to start it, until it starts.
    pub start_failure: Option<Failed<StartFailure>>,
    /// Now.
    pub run: Run,
    /// The exit before the current run.
    pub last: Option<Exit>,
    /// Starts begun so far; the number of the current or last run, counted from 1.
    pub attempts: u32,
    /// Runs that followed another.
    pub restarts: u32,
    /// Restarts since it last stayed up for [`CRASH_RESET`]: decides the back-off.
    pub crashes: u32,
    /// Whether the readiness probe says so; kept, so that an agent's restart takes no traffic away.
    pub ready: bool,
    /// Whether this run has come up: its postStart hook is done and its startup probe has succeeded.
    #[serde(default)]
    pub up: bool,
    /// Whether some run has come up in this sandbox; for a sidecar, whose successors need not wait twice.
    #[serde(default)]
    pub was_up: bool,
    /// Whether the postStart hook of this run is still to be done.
    #[serde(default)]
    pub hook_pending: bool,
    /// Set when this run has to end though nobody asked for the pod's end.
    #[serde(default)]
    pub doom: Option<Doom>,
    /// How far its stopping has come.
    pub stop: Option<Stop>,
}

/// A run that has to end: a probe or hook of it has failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Doom {
    /// When it is killed if it still runs.
    pub kill_at: Timestamp,
}

/// A container's process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum Run {
    /// Not started since the pod came to this node.
    #[default]
    Never,
    /// Up.
    Running {
        /// The runtime's id.
        id: String,
        /// When it started.
        started: Timestamp,
    },
    /// Down.
    Exited(Exit),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The runtime's id.
    pub id: String,
    /// Exit code; 128 + signal for one that was killed.
    pub code: i32,
    /// Whether the code is the process's own.
    pub cause: ExitCause,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// Whether the runtime has forgotten the container; its log stays.
    pub removed: bool,
    /// Its last words.
    #[serde(default)]
    pub message: String,
}

/// Progress of stopping one container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// The preStop hook has ended, or there is none.
    pub hook_done: bool,
    /// When the stop signal was sent.
    pub signalled: Option<Timestamp>,
    /// When KILL was last sent.
    pub killed: Option<Timestamp>,
}

/// A failure and how often it has happened in a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failed<E> {
    /// The last one.
    pub error: E,
    /// When.
    pub at: Timestamp,
    /// In a row, at least 1.
    pub count: u32,
}

impl<E> Failed<E> {
    /// When it is worth trying again.
    #[must_use]
    pub fn retry_at(&self) -> Timestamp {
        self.at + back_off::after(self.count)
    }

    fn again(previous: Option<Self>, error: E, at: Timestamp) -> Self {
        let count = previous.map_or(0, |failed| failed.count).saturating_add(1);
        Self { error, at, count }
    }
}

impl Failed<StartFailure> {
    /// When it is worth trying to start again. What is missing from its configuration may come at any moment.
    #[must_use]
    pub fn start_again_at(&self) -> Timestamp {
        match self.error.stage {
            StartStage::Config => self.at + CONFIG_AGAIN,
            StartStage::Create => self.at + CREATE_AGAIN,
            // It counts as a run that ended at once, and waits as one.
            StartStage::Run => self.at,
        }
    }

    /// Until when the failure itself is shown.
    #[must_use]
    pub fn shown_until(&self) -> Timestamp {
        match self.error.stage {
            StartStage::Config | StartStage::Create => Timestamp::MAX,
            StartStage::Run => self.at + FAILED_START_SHOWN,
        }
    }
}

impl Facts {
    /// A pod that has just been given to this node.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            started: now,
            sandbox: Sandbox::Absent,
            sandbox_attempts: 0,
            containers: BTreeMap::new(),
            termination: None,
        }
    }

    /// The container of that name; a new one when nothing is known of it yet.
    pub fn container_mut(&mut self, name: &str) -> &mut ContainerFacts {
        self.containers.entry(name.to_owned()).or_default()
    }

    /// Whether a container has a process.
    #[must_use]
    pub fn any_running(&self) -> bool {
        self.containers.values().any(|container| matches!(container.run, Run::Running { .. }))
    }

    /// Notes that a sandbox is about to be made: on disk before anything is. Init containers run again in
    /// a new one.
    pub fn sandbox_begins<'a>(&mut self, attempt: u32, init: impl IntoIterator<Item = &'a str>) {
        self.sandbox = Sandbox::Unfinished;
        self.sandbox_attempts = attempt;
        for name in init {
            let container = self.container_mut(name);
            container.was_up = false;
            if let Run::Exited(exit) = &container.run {
                container.last = Some(exit.clone());
                container.restarts = container.restarts.saturating_add(1);
                container.run = Run::Never;
            }
        }
    }

    /// Notes that the sandbox is up.
    pub fn sandbox_ready(&mut self, facts: SandboxFacts) {
        self.sandbox = Sandbox::Ready(facts);
    }

    /// Notes that the pause process has gone.
    pub fn sandbox_lost(&mut self) {
        if let Sandbox::Ready(facts) = &self.sandbox {
            self.sandbox = Sandbox::Lost(facts.clone());
        }
    }

    /// Notes that nothing is left of the sandbox.
    pub fn sandbox_removed(&mut self) {
        self.sandbox = Sandbox::Absent;
    }

    /// Notes that the pod has to go: `grace` from now, of which a pod that has traffic spends up to
    /// `withdrawal` (at most half) still serving, because proxies elsewhere need a moment to hear of it.
    /// A second, stricter request shortens the first; nothing lengthens it.
    pub fn terminate(&mut self, now: Timestamp, grace: Duration, withdrawal: Duration, serving: bool) {
        let withdrawal = if serving { withdrawal.min(grace / 2) } else { Duration::ZERO };
        let asked = Termination {
            began: now,
            stop_at: later(now, withdrawal),
            kill_at: later(now, grace),
            gone: false,
        };
        match &mut self.termination {
            Some(known) => {
                known.stop_at = known.stop_at.min(asked.stop_at.max(known.began));
                known.kill_at = known.kill_at.min(asked.kill_at);
            }
            none @ None => *none = Some(asked),
        }
    }
}

impl ContainerFacts {
    /// When the next start may be, judged by crashes alone; `None` while running.
    #[must_use]
    pub fn restart_at(&self) -> Option<Timestamp> {
        match &self.run {
            Run::Never => Some(Timestamp::MIN),
            Run::Running { .. } => None,
            Run::Exited(exit) => Some(exit.finished + back_off::after(self.crashes)),
        }
    }

    /// Notes that the image is there.
    pub fn image_ready(&mut self, image: ResolvedImage) {
        self.image = Some(image);
        self.provided = true;
        self.image_failure = None;
    }

    /// Notes that the image could not be had.
    pub fn image_failed(&mut self, error: ImageFailure, now: Timestamp) {
        self.image_failure = Some(Failed::again(self.image_failure.take(), error, now));
    }

    /// Notes that a start is about to be tried: on disk before anything is done.
    pub fn start_begins(&mut self, attempt: u32) {
        self.attempts = attempt;
    }

    /// Notes that it runs. What it must do before it has come up, [`ContainerFacts::awaits`] says.
    pub fn started(&mut self, id: String, started: Timestamp) {
        self.follows();
        self.run = Run::Running { id, started };
        self.start_failure = None;
        self.stop = None;
        self.doom = None;
        self.ready = false;
        self.up = false;
    }

    /// Notes that another run comes after the one that ended.
    fn follows(&mut self) {
        if let Run::Exited(exit) = &self.run {
            self.restarts = self.restarts.saturating_add(1);
            self.crashes = self.crashes.saturating_add(1);
            self.last = Some(exit.clone());
        }
    }

    /// Notes what the run that has just started must do before it has come up: its postStart hook, its startup
    /// probe.
    pub fn awaits(&mut self, hook: bool, startup: bool) {
        self.hook_pending = hook;
        if !hook && !startup {
            self.came_up();
        }
    }

    /// Notes that the run has come up.
    pub fn came_up(&mut self) {
        self.up = true;
        self.was_up = true;
    }

    /// Notes that the run has to end within `grace`.
    pub fn doom(&mut self, now: Timestamp, grace: Duration) {
        self.doom.get_or_insert(Doom { kill_at: later(now, grace) });
        self.ready = false;
    }

    /// Notes that it could not be started. One that came as far as its process has run and ended at once.
    pub fn start_failed(&mut self, id: String, error: StartFailure, now: Timestamp) {
        if error.stage == StartStage::Run {
            self.follows();
            self.exited(Exit {
                id,
                code: START_FAILED,
                cause: ExitCause::StartFailed,
                started: now,
                finished: now,
                removed: false,
                message: error.message.clone(),
            });
        }
        self.start_failure = Some(Failed::again(self.start_failure.take(), error, now));
        // The image may be what is wrong (unpacked files gone): look it up again.
        self.provided = false;
    }

    /// Notes that it ended.
    pub fn exited(&mut self, exit: Exit) {
        if exit.finished.duration_since(exit.started) >= CRASH_RESET {
            self.crashes = 0;
        }
        self.run = Run::Exited(exit);
        self.ready = false;
        self.up = false;
        self.hook_pending = false;
        self.provided = false;
        self.stop = None;
        self.doom = None;
    }
}

/// `at` plus a duration; the end of time when that is beyond it.
#[must_use]
pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn exit(started: i64, finished: i64) -> Exit {
        Exit {
            id: "c".into(),
            code: 1,
            cause: ExitCause::Process,
            started: at(started),
            finished: at(finished),
            removed: false,
            message: String::new(),
        }
    }

    #[test]
    fn back_off_grows_with_each_crash_and_starts_over_after_ten_good_minutes() {
        let mut container = ContainerFacts::default();
        let mut waits = Vec::new();
        let mut now = 0;
        for _ in 0..8 {
            container.started("c".into(), at(now));
            container.exited(exit(now, now + 1));
            let next = container.restart_at().unwrap();
            waits.push(next.as_second() - (now + 1));
            now = next.as_second();
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(container.restarts, 7);
        container.started("c".into(), at(now));
        container.exited(exit(now, now + 600));
        assert_eq!(container.restart_at(), Some(at(now + 600)));
    }

    #[test]
    fn withdrawal_is_for_pods_with_traffic_and_at_most_half_of_the_grace() {
        let second = Duration::from_secs(1);
        for (serving, grace, want) in [(true, 30, 1000), (true, 1, 500), (false, 30, 0), (true, 0, 0)] {
            let mut facts = Facts::new(at(0));
            facts.terminate(at(100), second * grace, second, serving);
            let termination = facts.termination.unwrap();
            assert_eq!(termination.stop_at.as_millisecond() - 100_000, want);
            assert_eq!(termination.kill_at, at(100 + i64::from(grace)));
        }
    }

    #[test]
    fn a_second_request_only_shortens() {
        let second = Duration::from_secs(1);
        let mut facts = Facts::new(at(0));
        facts.terminate(at(100), second * 30, second, true);
        facts.terminate(at(110), second, second, false);
        assert_eq!(facts.termination.as_ref().unwrap().kill_at, at(111));
        facts.terminate(at(111), second * 60, second, false);
        assert_eq!(facts.termination.unwrap().kill_at, at(111));
    }
}
