//! What a container is asked to be, and what became of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    str::FromStr,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ContainerError, Terminal};
use crate::images::Image;

/// Name of one container on its node: 1 to 64 characters of `a-z`, `0-9` and `-`, not starting with `-`.
///
/// Kubernetes shows it as `containerd://<id>`-like text in a pod's status.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// A new name that no other container has: 64 hexadecimal digits, as other runtimes give them.
    pub fn random() -> Self {
        Self(format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = ContainerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if (1..=64).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ContainerError::InvalidId { id: text.to_owned() })
        }
    }
}

impl TryFrom<String> for ContainerId {
    type Error = ContainerError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Everything that decides how a container runs.
///
/// It always gets its own pid and mount namespaces, a writable layer of its own over the image, and, unless
/// asked otherwise, the capabilities that Docker and containerd give by default.
/// Neither `oom_score_adj` nor resource limits are touched: both are inherited, since root without
/// `CAP_SYS_RESOURCE` may not raise them.
#[derive(Clone, Debug)]
pub struct ContainerSpec {
    /// Its name.
    pub id: ContainerId,
    /// The image; its layers are unpacked on first use.
    pub image: Image,
    /// Replaces the image's entrypoint, and drops its arguments (Kubernetes' `command`). `None`: the image's.
    pub command: Option<Vec<String>>,
    /// Replaces the image's arguments (Kubernetes' `args`). `None`: the image's, unless `command` is given.
    pub args: Option<Vec<String>>,
    /// Variables in order, over the image's; a later one of the same name wins.
    pub env: Vec<(String, String)>,
    /// Directory to start in; made when missing. `None`: the image's, else `/`.
    pub working_dir: Option<String>,
    /// Who the main process is.
    pub run_as: RunAs,
    /// Files and directories of the node to show inside, in this order, after `/proc`, `/dev` and `/sys`.
    pub mounts: Vec<Mount>,
    /// Namespaces of the pod to join.
    pub namespaces: JoinedNamespaces,
    /// Capabilities beyond or below the default set.
    pub capabilities: Capabilities,
    /// What the main process can read.
    pub stdin: Stdin,
    /// What the main process runs on.
    pub terminal: Terminal,
    /// How far it stands apart from the node.
    pub privileges: Privileges,
    /// What it can use of the machine.
    pub limits: Limits,
    /// True: the image's tree cannot be written to (mounts can).
    pub read_only_root: bool,
    /// File for the output in CRI format (`<RFC 3339> stdout|stderr F|P <text>`); its directory is made.
    /// It is the caller's to remove.
    pub log_path: PathBuf,
    /// Words of the caller, kept with the container and given back by [`super::Runtime::list`].
    pub labels: BTreeMap<String, String>,
}

impl ContainerSpec {
    /// A container that runs the image as it is, in the given namespaces.
    pub fn new(id: ContainerId, image: Image, namespaces: JoinedNamespaces, log_path: PathBuf) -> Self {
        Self {
            id,
            image,
            command: None,
            args: None,
            env: Vec::new(),
            working_dir: None,
            run_as: RunAs::default(),
            mounts: Vec::new(),
            namespaces,
            capabilities: Capabilities::default(),
            stdin: Stdin::default(),
            terminal: Terminal::default(),
            privileges: Privileges::default(),
            limits: Limits::default(),
            read_only_root: false,
            log_path,
            labels: BTreeMap::new(),
        }
    }
}

/// The user of the main process. What is `None` comes from the image, and is root when the image is silent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunAs {
    /// Kubernetes' `runAsUser`.
    pub user: Option<u32>,
    /// Kubernetes' `runAsGroup`.
    pub group: Option<u32>,
    /// Groups beside those of the image's user (Kubernetes' `supplementalGroups` and `fsGroup`).
    pub groups: Vec<u32>,
    /// Refuse to run as root (Kubernetes' `runAsNonRoot`).
    pub not_root: bool,
}

/// How far a container stands apart from the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Privileges {
    /// As containers usually do; programs with the set-user-ID bit work.
    #[default]
    Usual,
    /// As usual, and no process can ever get more privileges than its parent (Kubernetes'
    /// `allowPrivilegeEscalation: false`).
    NeverMore,
    /// Hardly at all: every capability, `/proc` and `/sys` to write to, all devices (Kubernetes' `privileged`). Device
    /// files beyond the usual ones are not made.
    All,
}

/// What a container can use of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Its weight against others when the CPUs are busy, 2 to 262144; 0 leaves the kernel's default of 1024.
    pub cpu_shares: u64,
    /// Thousandths of a CPU in each period of 100 ms.
    pub cpu_milli: Option<u64>,
    /// Bytes of memory; the kernel kills what goes beyond.
    pub memory: Option<i64>,
}

/// Standard input of a container's main process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdin {
    /// Nothing to read.
    #[default]
    Null,
    /// What attached clients send, until the first of them has gone (Kubernetes' `stdin` with `stdinOnce`).
    UntilDetached,
    /// What attached clients send, for as long as the container runs (Kubernetes' `stdin`).
    Open,
}

/// A file or directory of the node shown inside the container (a recursive bind mount).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path on the node.
    pub source: PathBuf,
    /// Absolute path inside; made when missing.
    pub destination: PathBuf,
    /// True: writing is refused.
    pub read_only: bool,
}

/// Paths of the pod's namespaces, such as `/proc/<pause>/ns/net`. `None`: a new one for this container alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinedNamespaces {
    /// Network.
    pub net: Option<PathBuf>,
    /// System V and POSIX message queues, shared memory.
    pub ipc: Option<PathBuf>,
    /// Host name.
    pub uts: Option<PathBuf>,
}

impl JoinedNamespaces {
    /// The three namespaces of one process, as a pod's pause process holds them.
    pub fn of_process(pid: u32) -> Self {
        let path = |name: &str| Some(PathBuf::from(format!("/proc/{pid}/ns/{name}")));
        Self { net: path("net"), ipc: path("ipc"), uts: path("uts") }
    }
}

/// Differences from the default capabilities, named as Kubernetes names them (`NET_ADMIN`, `ALL`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Given in addition.
    pub add: BTreeSet<String>,
    /// Taken away; wins over nothing but the defaults (`drop: ALL`, `add: X` leaves X).
    pub drop: BTreeSet<String>,
}

/// One container that the runtime knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStatus {
    /// Its name.
    pub id: ContainerId,
    /// The caller's words from [`ContainerSpec::labels`].
    pub labels: BTreeMap<String, String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// What it does now.
    pub state: ContainerState,
}

/// What a container does at the moment of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Its making was interrupted: nothing of it can run; delete it.
    Incomplete,
    /// Made, not started.
    Created,
    /// Its main process runs.
    Running {
        /// When it started.
        started_at: Timestamp,
        /// The main process, as the node sees it.
        pid: u32,
    },
    /// Its main process has ended.
    Exited(ContainerExit),
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerExit {
    /// 0 to 255; 128 + N after signal N, as shells say it; 137 when [`ExitCause::Lost`].
    pub code: i32,
    /// When it started, if it ever did.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Whether the code is the process's own.
    pub cause: ExitCause,
}

/// Why a container has an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCause {
    /// The main process ended and this is its code.
    Process,
    /// The kernel ended it for want of memory.
    OutOfMemory,
    /// Its conmon was killed, so nobody knows; Kubernetes calls it `ContainerStatusUnknown`.
    Lost,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_name_is_a_valid_one() {
        let id = ContainerId::random();
        assert_eq!(id.as_str().parse::<ContainerId>().unwrap(), id);
        assert_eq!(id.as_str().len(), 64);
    }

    #[test]
    fn a_name_never_is_a_path() {
        for bad in ["", "-a", "a/b", "..", "A", "a b", &"a".repeat(65)] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad}");
        }
    }
}
