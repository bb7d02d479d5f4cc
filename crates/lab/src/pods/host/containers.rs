//! Containers through runc.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use nix::sys::signal::Signal;

use crate::containers::{
    Capabilities, ContainerError, ContainerId, ContainerSpec, ContainerState, ExecRequest,
    ExitCause as RuntimeCause, JoinedNamespaces, Limits, Mount, Privileges, RunAs, Runtime,
};
use crate::images::{Reference, Store};
use crate::pods::ports::{
    ContainerRequest, Containers, ExecReport, ExitCause, ExitReport, Failure, Job, KnownContainer,
    KnownState, StartFailure, StartStage,
};
use crate::pods::spec::Resources;

/// How much of a command's output goes into a message.
const OUTPUT: usize = 10 * 1024;

/// Containers of one node.
#[derive(Clone)]
pub struct RuncContainers {
    runtime: Arc<Runtime>,
    images: Store,
}

impl RuncContainers {
    /// Containers of that runtime, from images of that store.
    #[must_use]
    pub fn new(runtime: Arc<Runtime>, images: Store) -> Self {
        Self { runtime, images }
    }

    fn spec(&self, request: ContainerRequest) -> Result<ContainerSpec, Failure> {
        let id: ContainerId = request.id.parse().map_err(|error: ContainerError| Failure::of(&error))?;
        let reference: Reference = request.image.reference.parse().map_err(|error| failure(&error))?;
        let image =
            self.images.resolve(&reference).map_err(|error| Failure::of(&error))?.ok_or_else(|| Failure {
                message: format!("image {} has gone from the store", request.image.reference),
            })?;
        let mut namespaces = JoinedNamespaces::of_process(request.pause.pid);
        if request.host_network {
            // The agent lives in the node's.
            namespaces.net = Some(format!("/proc/{}/ns/net", std::process::id()).into());
        }
        let mut spec = ContainerSpec::new(id, image, namespaces, request.log);
        let given = |words: Vec<String>| (!words.is_empty()).then_some(words);
        spec.command = given(request.process.command);
        spec.args = given(request.process.args);
        spec.env = request.process.environment;
        spec.working_dir = request.spec.working_dir;
        (spec.stdin, spec.terminal) = (request.spec.stdin, request.spec.terminal);
        let security = request.spec.security;
        spec.run_as = RunAs {
            user: security.user,
            group: security.group,
            groups: security.groups,
            not_root: security.not_root,
        };
        spec.read_only_root = security.read_only_root;
        spec.capabilities = Capabilities { add: security.add, drop: security.drop };
        spec.privileges = match (security.privileged, security.no_escalation) {
            (true, _) => Privileges::All,
            (false, true) => Privileges::NeverMore,
            (false, false) => Privileges::Usual,
        };
        spec.limits = limits(&request.spec.resources);
        spec.mounts = request
            .binds
            .into_iter()
            .map(|(source, destination, read_only)| Mount {
                source,
                destination: destination.into(),
                read_only,
            })
            .collect();
        spec.labels.insert("container".to_owned(), request.spec.name);
        Ok(spec)
    }
}

impl Containers for RuncContainers {
    fn list(&self) -> Job<Result<Vec<KnownContainer>, Failure>> {
        let runtime = Arc::clone(&self.runtime);
        Box::pin(async move {
            let found = runtime.list().await.map_err(|error| Failure::of(&error))?;
            Ok(found
                .into_iter()
                .map(|status| KnownContainer {
                    id: status.id.to_string(),
                    state: match status.state {
                        ContainerState::Incomplete | ContainerState::Created => KnownState::Created,
                        ContainerState::Running { started_at, .. } => {
                            KnownState::Running { started: started_at }
                        }
                        ContainerState::Exited(exit) => KnownState::Exited {
                            started: exit.started_at.unwrap_or(exit.finished_at),
                            exit: report(exit.code, exit.finished_at, exit.cause),
                        },
                    },
                })
                .collect())
        })
    }

    fn start(&self, request: ContainerRequest) -> Job<Result<Timestamp, StartFailure>> {
        let this = self.clone();
        Box::pin(async move {
            let at = |stage| move |failure: Failure| StartFailure { stage, message: failure.message };
            let spec = this.spec(request).map_err(at(StartStage::Create))?;
            let created = this.runtime.create(&spec).await;
            if let Err(error) = created {
                let stage = match error {
                    ContainerError::RefusedRoot => StartStage::Config,
                    ContainerError::Runtime { .. } => StartStage::Run,
                    _ => StartStage::Create,
                };
                let failure = at(stage)(Failure::of(&error));
                this.discard(&spec.id).await;
                return Err(failure);
            }
            match this.runtime.start(&spec.id).await {
                Ok(started) => Ok(started),
                Err(error) => {
                    this.discard(&spec.id).await;
                    Err(at(StartStage::Run)(Failure::of(&error)))
                }
            }
        })
    }

    fn exited(&self, id: String) -> Job<ExitReport> {
        let runtime = Arc::clone(&self.runtime);
        Box::pin(async move {
            let lost = || report(137, Timestamp::now(), RuntimeCause::Lost);
            let Ok(id) = id.parse::<ContainerId>() else { return lost() };
            loop {
                match runtime.wait(&id).await {
                    Ok(exit) => return report(exit.code, exit.finished_at, exit.cause),
                    Err(error) if error.is_not_found() => return lost(),
                    Err(error) => {
                        tracing::warn!(%id, %error, "cannot wait for a container");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        })
    }

    fn signal(&self, id: String, signal: i32) -> Job<Result<(), Failure>> {
        let runtime = Arc::clone(&self.runtime);
        Box::pin(super::blocking(move || {
            let id: ContainerId = id.parse().map_err(|error: ContainerError| Failure::of(&error))?;
            let signal = Signal::try_from(signal).unwrap_or(Signal::SIGTERM);
            match runtime.signal(&id, signal) {
                Err(error) if error.is_not_found() || error.is_not_running() => Ok(()),
                other => other.map_err(|error| Failure::of(&error)),
            }
        }))
    }

    fn exec(&self, id: String, command: Vec<String>, timeout: Duration) -> Job<Result<ExecReport, Failure>> {
        let runtime = Arc::clone(&self.runtime);
        Box::pin(async move {
            let id: ContainerId = id.parse().map_err(|error: ContainerError| Failure::of(&error))?;
            let request = ExecRequest { command, timeout };
            let output = runtime.exec(&id, &request).await.map_err(|error| Failure::of(&error))?;
            let mut text = output.stdout;
            text.extend_from_slice(&output.stderr);
            text.truncate(OUTPUT);
            Ok(ExecReport { code: output.exit_code, output: String::from_utf8_lossy(&text).into_owned() })
        })
    }

    fn remove(&self, id: String) -> Job<Result<(), Failure>> {
        let runtime = Arc::clone(&self.runtime);
        Box::pin(async move {
            let id: ContainerId = id.parse().map_err(|error: ContainerError| Failure::of(&error))?;
            match runtime.delete(&id).await {
                Err(error) if error.is_not_found() => Ok(()),
                other => other.map_err(|error| Failure::of(&error)),
            }
        })
    }
}

impl RuncContainers {
    /// Takes away what a failed start left; the next start has another id and is not in its way.
    async fn discard(&self, id: &ContainerId) {
        if let Err(error) = self.runtime.delete(id).await {
            tracing::warn!(%id, %error, "cannot remove a container that did not start");
        }
    }
}

/// The kernel's terms for what a container asks for, as the kubelet computes them.
fn limits(resources: &Resources) -> Limits {
    let milli = |nanos: u128| u64::try_from(nanos.div_ceil(1_000_000)).unwrap_or(u64::MAX);
    let whole = |nanos: u128| i64::try_from(nanos.div_ceil(1_000_000_000)).unwrap_or(i64::MAX);
    // A limit without a request is the request too.
    let asked = resources.requests.cpu.or(resources.limits.cpu).map_or(0, milli);
    Limits {
        cpu_shares: (asked.saturating_mul(1024) / 1000).clamp(2, 262_144),
        cpu_milli: resources.limits.cpu.map(milli).filter(|milli| *milli > 0),
        memory: resources.limits.memory.map(whole).filter(|bytes| *bytes > 0),
    }
}

fn failure(error: &impl std::fmt::Display) -> Failure {
    Failure { message: error.to_string() }
}

fn report(code: i32, finished: Timestamp, cause: RuntimeCause) -> ExitReport {
    let cause = match cause {
        RuntimeCause::Process => ExitCause::Process,
        RuntimeCause::OutOfMemory => ExitCause::OutOfMemory,
        RuntimeCause::Lost => ExitCause::Lost,
    };
    ExitReport { code, finished, cause }
}
