//! Sandboxes: a pause process and its place in the pod network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kernel::process::{PauseSpec, ProcessId, spawn_pause};
use podnet::{HostPort, PodAddress, PodNetwork, PodnetError};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;
use tracing::{info, warn};

use crate::pods::facts::SandboxFacts;
use crate::pods::ports::{Failure, Job, PauseProcess, SandboxId, SandboxRequest, Sandboxes};
use crate::pods::readiness::readable;
use crate::pods::record::Records;

/// How long a pause process may take to end on TERM. It does nothing, so it needs next to nothing.
const PAUSE_GRACE: Duration = Duration::from_secs(2);

/// How the logs of pause processes begin. By its log a process is known for one of this node's.
const LOG_PREFIX: &str = "pause-";

/// A sandbox that an earlier agent has made.
#[derive(Debug, Clone)]
pub struct LiveSandbox {
    /// What is known of it.
    pub facts: SandboxFacts,
    /// Ports of the node that lead to it.
    pub host_ports: Vec<HostPort>,
}

/// Sandboxes of one node.
#[derive(Clone)]
pub struct PauseSandboxes {
    program: PathBuf,
    records: Records,
    network: Arc<PodNetwork>,
}

impl PauseSandboxes {
    /// Sandboxes whose pause process is `program pause`, connected to the network.
    #[must_use]
    pub fn new(program: PathBuf, records: Records, network: Arc<PodNetwork>) -> Self {
        Self { program, records, network }
    }

    /// Ends pause processes of this node that are not of a live sandbox, takes back the addresses of sandboxes
    /// that are none any more, and repairs the links of the live ones that have some. One that cannot be repaired
    /// loses its pause process: its pod then gets a new sandbox.
    ///
    /// # Errors
    /// When the node's links cannot be read or changed.
    pub fn reconcile(&self, live: &BTreeMap<SandboxId, LiveSandbox>) -> Result<(), Failure> {
        let kept: BTreeSet<ProcessId> = live.values().map(|sandbox| process(&sandbox.facts.pause)).collect();
        for orphan in pause_processes(self.records.path()).into_iter().filter(|found| !kept.contains(found)) {
            info!(pid = orphan.pid, "ending a pause process that belongs to no pod");
            if let Err(error) = orphan.stop(PAUSE_GRACE) {
                warn!(pid = orphan.pid, %error, "cannot end a pause process that belongs to no pod");
            }
        }
        let alive: BTreeMap<_, _> = live
            .iter()
            .map(|(id, sandbox)| (id, &sandbox.facts))
            .filter(|(_, facts)| !facts.host_network && process(&facts.pause).is_alive())
            .map(|(id, facts)| (network_id(id), process(&facts.pause).network_namespace()))
            .collect();
        let found = self.network.reconcile(&alive).map_err(|error| Failure::of(&error))?;
        let ports = live.iter().map(|(id, sandbox)| (network_id(id), sandbox.host_ports.clone())).collect();
        self.network.publish_all(&ports).map_err(|error| Failure::of(&error))?;
        for broken in found.broken {
            warn!(sandbox = %broken, "the sandbox has no working network: it will be made anew");
            for sandbox in live.iter().filter(|(id, _)| network_id(id) == broken).map(|(_, sandbox)| sandbox)
            {
                if let Err(error) = process(&sandbox.facts.pause).stop(PAUSE_GRACE) {
                    warn!(sandbox = %broken, %error, "cannot end its pause process");
                }
            }
        }
        Ok(())
    }

    /// An address for the sandbox, and the ports of the node that lead to it. What a failed try leaves, `remove` takes
    /// away.
    fn connect(&self, request: &SandboxRequest, pause: &ProcessId) -> Result<PodAddress, PodnetError> {
        let id = network_id(&request.id);
        let place = self.network.add(&id, &pause.network_namespace())?;
        self.network.publish(&id, &request.host_ports)?;
        Ok(place)
    }

    fn make(&self, request: &SandboxRequest) -> Result<SandboxFacts, Failure> {
        let spec = PauseSpec {
            program: self.program.clone(),
            hostname: request.hostname.clone(),
            log: self.records.pod(&request.id.uid).file(&format!("{LOG_PREFIX}{}.log", request.id.attempt)),
            // The agent is in the lab's control group, and its children are with it.
            cgroups: Vec::new(),
        };
        let pause = spawn_pause(&spec).map_err(|error| Failure::of(&error))?;
        if let Some(address) = request.host_network {
            // The namespace that the pause process made stays empty: nobody joins it.
            let pause = PauseProcess { pid: pause.pid, start_ticks: pause.start_time };
            return Ok(SandboxFacts { pause, address, host_network: true });
        }
        let connected =
            self.connect(request, &pause).map_err(|error| Failure::of(&error)).and_then(|place| match place
                .address
            {
                IpAddr::V4(address) => Ok(address),
                IpAddr::V6(address) => Err(Failure { message: format!("{address} is not an IPv4 address") }),
            });
        match connected {
            Ok(address) => Ok(SandboxFacts {
                pause: PauseProcess { pid: pause.pid, start_ticks: pause.start_time },
                address,
                host_network: false,
            }),
            Err(failure) => {
                if let Err(error) = pause.stop(PAUSE_GRACE) {
                    warn!(sandbox = %request.id, %error, "cannot end the pause process of a failed sandbox");
                }
                Err(failure)
            }
        }
    }
}

impl Sandboxes for PauseSandboxes {
    fn start(&self, request: SandboxRequest) -> Job<Result<SandboxFacts, Failure>> {
        let this = self.clone();
        Box::pin(super::blocking(move || this.make(&request)))
    }

    fn lost(&self, pause: PauseProcess) -> Job<()> {
        Box::pin(async move {
            if let Some(handle) = open(&pause)
                && let Err(error) = handle.readable().await.map(drop)
            {
                warn!(pid = pause.pid, %error, "cannot watch a pause process");
            }
        })
    }

    fn remove(&self, id: SandboxId, pause: Option<PauseProcess>) -> Job<Result<(), Failure>> {
        let this = self.clone();
        Box::pin(super::blocking(move || {
            this.network.delete(&network_id(&id)).map_err(|error| Failure::of(&error))?;
            match pause {
                Some(pause) => process(&pause).stop(PAUSE_GRACE).map_err(|error| Failure::of(&error)),
                None => Ok(()),
            }
        }))
    }
}

/// A handle that becomes readable when the process ends; `None` when it has ended.
fn open(pause: &PauseProcess) -> Option<AsyncFd<OwnedFd>> {
    let pid = Pid::from_raw(i32::try_from(pause.pid).ok()?)?;
    let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // The handle is on whoever has the number now: only after it is held does the start time prove who that is.
    if !process(pause).is_alive() {
        return None;
    }
    readable(handle).ok()
}

fn process(pause: &PauseProcess) -> ProcessId {
    ProcessId { pid: pause.pid, start_time: pause.start_ticks }
}

fn network_id(id: &SandboxId) -> podnet::SandboxId {
    podnet::SandboxId::new(id.to_string())
}

/// The processes whose standard error is a pause log below that directory.
fn pause_processes(directory: &Path) -> Vec<ProcessId> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let output = std::fs::read_link(format!("/proc/{pid}/fd/2")).unwrap_or_default();
            let name = output.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            output.starts_with(directory) && name.starts_with(LOG_PREFIX)
        })
        .filter_map(|pid| ProcessId::of(pid).ok())
        .collect()
}
