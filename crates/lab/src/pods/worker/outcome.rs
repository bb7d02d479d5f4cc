//! What came of the work: facts, events, and when to try again.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PodStatus;
use tracing::{info, warn};

use super::Worker;
use crate::pods::facts::{Exit, Run, SandboxFacts, Stop};
use crate::pods::plan::{self, Op, Volumes};
use crate::pods::ports::{
    ApiOutcome, ExitReport, Failure, ImageFailure, PauseProcess, Provision, Severity, StartFailure,
    StartStage,
};
use crate::pods::spec::{ProbeKind, RestartPolicy};

/// How long work that failed waits at first, and at most, before it is tried again.
const RETRY: (SignedDuration, SignedDuration) =
    (SignedDuration::from_millis(250), SignedDuration::from_secs(4));

/// How often volumes that show objects are brought up to date. A kubelet that watches them takes about a minute.
const REFRESH: SignedDuration = SignedDuration::from_secs(10);

/// Finished work.
#[derive(Debug)]
pub(super) enum Outcome {
    SandboxStarted(Result<SandboxFacts, Failure>),
    SandboxRemoved(Result<(), Failure>),
    SandboxLost(Option<PauseProcess>),
    Provided {
        container: String,
        came: Result<Provision, ImageFailure>,
    },
    Started {
        container: String,
        id: String,
        came: Result<Timestamp, StartFailure>,
    },
    Exited {
        container: String,
        id: String,
        exit: ExitReport,
    },
    VolumesSetUp(Result<(), Failure>),
    StartHooked {
        container: String,
        id: String,
        came: Result<(), Failure>,
    },
    Checked {
        container: String,
        kind: ProbeKind,
        id: String,
        came: Result<(), Failure>,
    },
    Hooked {
        container: String,
        came: Result<(), Failure>,
    },
    Signalled {
        container: String,
        came: Result<(), Failure>,
    },
    Removed {
        container: String,
        id: String,
        came: Result<(), Failure>,
    },
    StatusWritten {
        status: Box<PodStatus>,
        came: ApiOutcome,
    },
    ObjectDeleted(ApiOutcome),
    /// The manifest changed meanwhile; there was nothing to do.
    Unknown {
        op: Op,
    },
}

impl Worker {
    pub(super) fn note(&mut self, outcome: Outcome, now: Timestamp) {
        match outcome {
            Outcome::SandboxStarted(came) => self.sandbox_started(came, now),
            Outcome::SandboxRemoved(came) => {
                self.ended(&Op::Sandbox);
                match came {
                    Ok(()) => self.facts.sandbox_removed(),
                    Err(error) => self.retry(Op::Sandbox, &error, now),
                }
            }
            Outcome::SandboxLost(pause) => {
                self.ended(&Op::WatchSandbox);
                if pause.is_some() && self.facts.sandbox.facts().map(|facts| facts.pause) == pause {
                    self.lost();
                }
            }
            Outcome::Provided { container, came } => self.provided(container, came, now),
            Outcome::Started { container, id, came } => self.started(container, id, came, now),
            Outcome::Exited { container, id, exit } => self.exited(container, id, exit),
            Outcome::VolumesSetUp(came) => self.volumes_set_up(came, now),
            Outcome::StartHooked { container, id, came } => self.start_hooked(&container, &id, came, now),
            Outcome::Checked { container, kind, id, came } => {
                self.checked(&container, kind, &id, came, now);
            }
            Outcome::Hooked { container, came } => {
                self.ended(&Op::Hook(container.clone()));
                if let Err(error) = came {
                    let message = format!("PreStopHook failed: {error}");
                    self.event(Severity::Warning, "FailedPreStopHook", message, Some(&container));
                }
                self.facts.container_mut(&container).stop.get_or_insert_with(Stop::default).hook_done = true;
            }
            Outcome::Signalled { container, came } => {
                let op = Op::Signal(container.clone());
                self.ended(&op);
                match came {
                    Ok(()) => self.succeeded(&op),
                    Err(error) => {
                        if let Some(stop) = &mut self.facts.container_mut(&container).stop {
                            (stop.signalled, stop.killed) = (None, None);
                        }
                        self.retry(op, &error, now);
                    }
                }
            }
            Outcome::Removed { container, id, came } => self.removed(&container, &id, came, now),
            Outcome::StatusWritten { status, came } => self.status_written(*status, came, now),
            Outcome::ObjectDeleted(came) => {
                self.ended(&Op::DeleteObject);
                match came {
                    ApiOutcome::Done | ApiOutcome::Gone => self.gone(),
                    ApiOutcome::Failed(error) => self.retry(Op::DeleteObject, &error, now),
                }
            }
            Outcome::Unknown { op } => self.ended(&op),
        }
    }

    pub(super) fn ended(&mut self, op: &Op) {
        self.flight.running.remove(op);
    }

    fn succeeded(&mut self, op: &Op) {
        self.failures.remove(op);
        self.flight.held.remove(op);
    }

    /// Holds the work back, the longer the more often it has failed.
    fn retry(&mut self, op: Op, error: &Failure, now: Timestamp) {
        let count = self.failures.entry(op.clone()).or_default();
        *count = count.saturating_add(1);
        // 250 ms doubled four times is the longest wait.
        let wait = (RETRY.0 * (1_i32 << (*count - 1).min(4))).min(RETRY.1);
        if count.is_power_of_two() {
            warn!(pod = self.spec.label(), ?op, %error, times = *count, again_in_ms = wait.as_millis(), "failed");
        }
        self.flight.held.insert(op, now + wait);
    }

    fn gone(&mut self) {
        if let Some(termination) = &mut self.facts.termination {
            termination.gone = true;
        }
    }

    fn volumes_set_up(&mut self, came: Result<(), Failure>, now: Timestamp) {
        self.ended(&Op::Volumes);
        let refreshed = self.spec.volumes.iter().any(super::super::spec::VolumeSpec::is_refreshed);
        let again = refreshed.then(|| now + REFRESH);
        match came {
            Ok(()) => {
                self.succeeded(&Op::Volumes);
                self.flight.volumes = Volumes::Ready(again);
            }
            Err(error) => {
                self.event(Severity::Warning, "FailedMount", error.message.clone(), None);
                match &mut self.flight.volumes {
                    // What is there stays as it is.
                    Volumes::Ready(due) => *due = again,
                    Volumes::Unknown => self.retry(Op::Volumes, &error, now),
                }
            }
        }
    }

    fn sandbox_started(&mut self, came: Result<SandboxFacts, Failure>, now: Timestamp) {
        self.ended(&Op::Sandbox);
        match came {
            Ok(facts) => {
                self.succeeded(&Op::Sandbox);
                info!(pod = self.spec.label(), address = %facts.address, "sandbox ready");
                self.facts.sandbox_ready(facts);
            }
            Err(error) => {
                let message = format!("Failed to create pod sandbox: {error}");
                self.event(Severity::Warning, "FailedCreatePodSandBox", message, None);
                self.retry(Op::Sandbox, &error, now);
            }
        }
    }

    fn lost(&mut self) {
        info!(pod = self.spec.label(), "sandbox lost");
        if self.facts.termination.is_none() && !plan::finished(&self.spec, &self.facts) {
            let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
            self.event(Severity::Normal, "SandboxChanged", message, None);
        }
        self.facts.sandbox_lost();
        // Restarting because the sandbox went is nobody's crash.
        for container in self.facts.containers.values_mut() {
            if matches!(container.run, Run::Running { .. }) {
                container.crashes = 0;
            }
        }
    }

    fn provided(&mut self, container: String, came: Result<Provision, ImageFailure>, now: Timestamp) {
        self.ended(&Op::Provide(container.clone()));
        let name = self.spec.container(&container).map(|spec| spec.image.clone()).unwrap_or_default();
        match came {
            Ok(Provision::Present(image)) => {
                let message = format!("Container image \"{name}\" already present on machine");
                self.event(Severity::Normal, "Pulled", message, Some(&container));
                self.facts.container_mut(&container).image_ready(image);
            }
            Ok(Provision::Pulled { image, took }) => {
                let message = format!(
                    "Successfully pulled image \"{name}\" in {0}ms ({0}ms including waiting). Image size: {1} bytes.",
                    took.as_millis(),
                    image.size
                );
                self.event(Severity::Normal, "Pulled", message, Some(&container));
                self.facts.container_mut(&container).image_ready(image);
            }
            Err(error) => {
                use crate::pods::ports::ImageFailureKind::{InvalidName, NeverPull, Pull};
                let (reason, message) = match error.kind {
                    Pull => ("ErrImagePull", format!("Failed to pull image \"{name}\": {}", error.message)),
                    NeverPull => ("ErrImageNeverPull", error.message.clone()),
                    InvalidName => ("InvalidImageName", error.message.clone()),
                };
                self.event(Severity::Warning, "Failed", message, Some(&container));
                self.event(Severity::Warning, "Failed", format!("Error: {reason}"), Some(&container));
                if error.kind == Pull {
                    let message = format!("Back-off pulling image \"{name}\"");
                    self.event(Severity::Normal, "BackOff", message, Some(&container));
                    let message = "Error: ImagePullBackOff".to_owned();
                    self.event(Severity::Warning, "Failed", message, Some(&container));
                }
                self.facts.container_mut(&container).image_failed(error, now);
            }
        }
    }

    fn started(
        &mut self,
        container: String,
        id: String,
        came: Result<Timestamp, StartFailure>,
        now: Timestamp,
    ) {
        self.ended(&Op::Lifecycle(container.clone()));
        match came {
            Ok(started) => {
                self.event(
                    Severity::Normal,
                    "Created",
                    format!("Created container: {container}"),
                    Some(&container),
                );
                self.event(
                    Severity::Normal,
                    "Started",
                    format!("Started container {container}"),
                    Some(&container),
                );
                self.tallies.retain(|(name, _), _| *name != container);
                self.flight.next_check.retain(|(name, _), _| *name != container);
                let (hook, startup) = self
                    .spec
                    .container(&container)
                    .map_or((false, false), |spec| (spec.post_start.is_some(), spec.startup.is_some()));
                let known = self.facts.container_mut(&container);
                known.started(id, started);
                known.awaits(hook, startup);
            }
            Err(error) => {
                if error.stage == StartStage::Run {
                    let message = format!("Created container: {container}");
                    self.event(Severity::Normal, "Created", message, Some(&container));
                }
                let message = format!("Error: {}", error.message);
                self.event(Severity::Warning, "Failed", message, Some(&container));
                self.facts.container_mut(&container).start_failed(id, error, now);
                self.tell_back_off(&container);
            }
        }
    }

    /// Tells that a container waits for its next start because it has ended too often.
    fn tell_back_off(&self, container: &str) {
        let sidecar = self.spec.container(container).is_some_and(|spec| spec.sidecar);
        let policy = if sidecar { RestartPolicy::Always } else { self.spec.restart };
        let Some(known) = self.facts.containers.get(container) else { return };
        let ended = matches!(known.run, Run::Exited(_));
        let again = ended && known.crashes > 0 && plan::wants_start(policy, &known.run);
        if again && self.facts.termination.is_none() {
            let message =
                format!("Back-off restarting failed container {container} in pod {}", self.spec.label());
            self.event(Severity::Warning, "BackOff", message, Some(container));
        }
    }

    fn exited(&mut self, container: String, id: String, exit: ExitReport) {
        self.ended(&Op::Watch(container.clone()));
        let message = self.last_words(&container, exit.code != 0);
        let known = self.facts.container_mut(&container);
        let Run::Running { id: current, started } = &known.run else { return };
        if *current != id {
            return;
        }
        let started = *started;
        info!(pod = self.spec.label(), container, code = exit.code, "container exited");
        let facts = Exit {
            id,
            code: exit.code,
            cause: exit.cause,
            started,
            finished: exit.finished,
            removed: false,
            message,
        };
        known.exited(facts);
        self.tell_back_off(&container);
    }

    fn removed(&mut self, container: &str, id: &str, came: Result<(), Failure>, now: Timestamp) {
        let op = Op::Lifecycle(container.to_owned());
        self.ended(&op);
        match came {
            Ok(()) => {
                self.succeeded(&op);
                if let Run::Exited(exit) = &mut self.facts.container_mut(container).run
                    && exit.id == id
                {
                    exit.removed = true;
                }
            }
            Err(error) => self.retry(op, &error, now),
        }
    }

    fn status_written(&mut self, status: PodStatus, came: ApiOutcome, now: Timestamp) {
        self.ended(&Op::Status);
        match came {
            // What came of the pod the watch will say.
            ApiOutcome::Done | ApiOutcome::Gone => {
                self.succeeded(&Op::Status);
                self.sent = Some(status);
                // It may have happened while we were writing.
                self.note_overruled();
            }
            ApiOutcome::Failed(error) => self.retry(Op::Status, &error, now),
        }
    }
}
