//! What the agent needs from the world, as narrow traits. `host` has the real ones, tests have fakes.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;
use podnet::HostPort;
use serde::{Deserialize, Serialize};

use super::environment::Expanded;
use super::facts::SandboxFacts;
use super::objects::{ObjectNames, Objects};
use super::spec::{ContainerSpec, Handler, PullPolicy};

/// Work that may take a while; owns what it needs, so that it can go on while the pod's task does other things.
pub type Job<T> = BoxFuture<'static, T>;

/// Something that went wrong, in words for the pod's user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// One sentence: what, and the cause.
    pub message: String,
}

impl Failure {
    /// A failure with the whole chain of causes in its message.
    #[must_use]
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !message.contains(&cause_text) {
                message = format!("{message}: {cause_text}");
            }
            source = cause.source();
        }
        Self { message }
    }
}

/// Why an image could not be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFailure {
    /// Decides the reason that the container's status shows.
    pub kind: ImageFailureKind,
    /// In words.
    pub message: String,
}

/// The kinds that users see as different reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageFailureKind {
    /// The name is no image name: InvalidImageName.
    InvalidName,
    /// Not in the store, and the policy forbids to fetch it: ErrImageNeverPull.
    NeverPull,
    /// It could not be fetched: ErrImagePull.
    Pull,
}

/// An image that is in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedImage {
    /// The full reference, with registry and tag.
    pub reference: String,
    /// The manifest's digest, `sha256:…`.
    pub digest: String,
    /// The number of the signal that asks a container of it to end.
    pub stop_signal: i32,
    /// Bytes of its layers, as the store has them.
    pub size: u64,
}

/// How an image came to be in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provision {
    /// It was there.
    Present(ResolvedImage),
    /// It was fetched.
    Pulled {
        /// The image.
        image: ResolvedImage,
        /// How long that took.
        took: Duration,
    },
}

/// Images by name.
pub trait Images: Send + Sync {
    /// The image in the store, without going anywhere; `None` when it is not there.
    ///
    /// # Errors
    /// When the name is none or the store cannot be read.
    fn find(&self, name: &str) -> Result<Option<ResolvedImage>, ImageFailure>;

    /// Fetches an image into the store.
    fn pull(&self, name: String) -> Job<Result<ResolvedImage, ImageFailure>>;
}

/// Sees to it that an image is in the store, as far as the policy allows.
///
/// # Errors
/// When it is not there afterwards.
pub async fn provide(images: &dyn Images, name: &str, policy: PullPolicy) -> Result<Provision, ImageFailure> {
    if let Some(image) = images.find(name)? {
        return Ok(Provision::Present(image));
    }
    if policy == PullPolicy::Never {
        return Err(ImageFailure {
            kind: ImageFailureKind::NeverPull,
            message: format!("Container image \"{name}\" is not present with pull policy of Never"),
        });
    }
    let began = std::time::Instant::now();
    let image = images.pull(name.to_owned()).await?;
    Ok(Provision::Pulled { image, took: began.elapsed() })
}

/// A process that holds a pod's namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseProcess {
    /// Its process id.
    pub pid: u32,
    /// Its start in clock ticks since boot (`/proc/PID/stat`): tells it from a later process of that id.
    pub start_ticks: u64,
}

/// What a sandbox is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxRequest {
    /// Which one.
    pub id: SandboxId,
    /// The name inside.
    pub hostname: String,
    /// The node's address, when the pod is to have the node's network instead of one of its own.
    pub host_network: Option<Ipv4Addr>,
    /// Ports of the node that are to lead to it.
    pub host_ports: Vec<HostPort>,
}

/// Names one sandbox of one pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SandboxId {
    /// The pod's uid.
    pub uid: String,
    /// Counted from 1.
    pub attempt: u32,
}

impl std::fmt::Display for SandboxId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}-{}", self.uid, self.attempt)
    }
}

/// Sandboxes: namespaces with a network.
pub trait Sandboxes: Send + Sync {
    /// Starts the pause process and connects its network. What a failed try leaves, `remove` takes away.
    fn start(&self, request: SandboxRequest) -> Job<Result<SandboxFacts, Failure>>;

    /// Resolves when the pause process has gone; at once when it has gone already.
    fn lost(&self, pause: PauseProcess) -> Job<()>;

    /// Ends the pause process and takes the network away; nothing to do is success.
    fn remove(&self, id: SandboxId, pause: Option<PauseProcess>) -> Job<Result<(), Failure>>;
}

/// What a container is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerRequest {
    /// The runtime's id for it.
    pub id: String,
    /// What the manifest says.
    pub spec: ContainerSpec,
    /// Command and environment with all values filled in.
    pub process: Expanded,
    /// The image to run.
    pub image: ResolvedImage,
    /// Whose namespaces it joins.
    pub pause: PauseProcess,
    /// Where its output goes, in the CRI's log format.
    pub log: PathBuf,
    /// Host files and directories seen inside: (host path, path inside, read-only).
    pub binds: Vec<(PathBuf, String, bool)>,
    /// It is in the node's network namespace instead of the sandbox's.
    pub host_network: bool,
}

/// A container that the runtime knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownContainer {
    /// The id that it was made with.
    pub id: String,
    /// Its state.
    pub state: KnownState,
}

/// The state of a container that the runtime knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnownState {
    /// Made, never started, or half made.
    Created,
    /// Up.
    Running {
        /// Since.
        started: Timestamp,
    },
    /// Down.
    Exited {
        /// When it started.
        started: Timestamp,
        /// How it ended.
        exit: ExitReport,
    },
}

/// How a container's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitReport {
    /// 128 + signal for one that was killed.
    pub code: i32,
    /// When.
    pub finished: Timestamp,
    /// Whether the code is the process's own.
    pub cause: ExitCause,
}

/// Why a container has an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitCause {
    /// The process ended and this is its code.
    Process,
    /// The kernel ended it for want of memory.
    OutOfMemory,
    /// Its process could not be started.
    StartFailed,
    /// Nobody saw it end.
    Lost,
}

/// Containers.
pub trait Containers: Send + Sync {
    /// Every container on this node.
    fn list(&self) -> Job<Result<Vec<KnownContainer>, Failure>>;

    /// Makes and starts one; when it started.
    fn start(&self, request: ContainerRequest) -> Job<Result<Timestamp, StartFailure>>;

    /// Resolves when it has ended; at once when it has already.
    fn exited(&self, id: String) -> Job<ExitReport>;

    /// Sends the signal of that number to its main process; success when there is no process any more.
    fn signal(&self, id: String, signal: i32) -> Job<Result<(), Failure>>;

    /// Runs a command inside; exit code and output together.
    fn exec(&self, id: String, command: Vec<String>, timeout: Duration) -> Job<Result<ExecReport, Failure>>;

    /// Makes the runtime forget it, killing what runs; success when it is not known.
    fn remove(&self, id: String) -> Job<Result<(), Failure>>;
}

/// Why a container did not start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFailure {
    /// Decides the reason that the container's status shows.
    pub stage: StartStage,
    /// In words.
    pub message: String,
}

/// How far a failed start had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartStage {
    /// What its manifest names does not exist: CreateContainerConfigError.
    Config,
    /// Its files: CreateContainerError.
    Create,
    /// Its process: RunContainerError.
    Run,
}

/// What a command run inside a container gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecReport {
    /// Exit code.
    pub code: i32,
    /// Its output, cut to what a message can hold.
    pub output: String,
}

/// Checks from the node's network namespace.
pub trait Prober: Send + Sync {
    /// Performs an HTTP or TCP check against `address`; `Err` says why it failed.
    fn check(&self, handler: Handler, address: Ipv4Addr, timeout: Duration) -> Job<Result<(), Failure>>;
}

/// ConfigMaps and Secrets of the API server.
pub trait ObjectSource: Send + Sync {
    /// Reads those that exist of the names; `Err` when the API server does not answer.
    fn read(&self, namespace: String, names: ObjectNames) -> Job<Result<Objects, Failure>>;
}

/// A pod's identity for the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRef {
    /// metadata.namespace
    pub namespace: String,
    /// metadata.name
    pub name: String,
    /// metadata.uid
    pub uid: String,
}

/// What a request to the API server came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiOutcome {
    /// Done.
    Done,
    /// There is no such pod, or another of the same name.
    Gone,
    /// Try again later.
    Failed(Failure),
}

/// The API server's side of a pod.
pub trait PodApi: Send + Sync {
    /// Writes the pod's status.
    fn write_status(&self, pod: PodRef, status: PodStatus) -> Job<ApiOutcome>;

    /// Removes the pod's object: the node is done with it.
    fn remove(&self, pod: PodRef) -> Job<ApiOutcome>;

    /// Records an event; never fails, never waits.
    fn record(&self, pod: &PodRef, event: PodEvent);
}

/// An event about a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodEvent {
    /// Normal or a warning.
    pub severity: Severity,
    /// One word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
    /// The container it is about.
    pub container: Option<ContainerRef>,
}

/// A container as events name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRef {
    /// Its name.
    pub name: String,
    /// Whether it is an init container.
    pub init: bool,
}

/// How an event is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Type Normal.
    Normal,
    /// Type Warning.
    Warning,
}

/// All of the above together.
#[derive(Clone)]
pub struct Ports {
    /// Images.
    pub images: Arc<dyn Images>,
    /// Sandboxes.
    pub sandboxes: Arc<dyn Sandboxes>,
    /// Containers.
    pub containers: Arc<dyn Containers>,
    /// Network probes.
    pub prober: Arc<dyn Prober>,
    /// The API server: pods.
    pub api: Arc<dyn PodApi>,
    /// The API server: what pods take values from.
    pub objects: Arc<dyn ObjectSource>,
}
