//! A container's directory: what is where, and what its files say about its state.
//!
//! ```text
//! <id>/record.json             what the caller asked for, as far as it is needed again
//!      config.json             for runc
//!      upper/ work/ rootfs/    writable layer; rootfs is the overlay's mount point
//!      conmon.pid container.pid
//!      started                 made when the main process was let go; its content is the time
//!      outcome/exit            exit code, written by conmon; its time of change is when the process ended
//!      outcome/oom             there when the kernel ended it for want of memory
//!      lost                    written by us when conmon died without an outcome
//! ```

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use jiff::Timestamp;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::{
    ContainerError, ContainerExit, ContainerId, ContainerState, ContainerStatus, ExitCause,
    process::{self, Process},
};

/// Exit code of a container whose own is unknown: that of a killed process.
const LOST_CODE: i32 = 137;

/// The files of one container.
#[derive(Clone, Debug)]
pub(super) struct Bundle {
    pub id: ContainerId,
    pub directory: PathBuf,
}

/// What is kept of a container's spec.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub created_at: Timestamp,
    pub labels: BTreeMap<String, String>,
}

impl Bundle {
    /// Makes the directory with its record.
    pub(super) fn create(&self, record: &Record) -> Result<(), ContainerError> {
        let made = fs::DirBuilder::new().mode(0o711).create(&self.directory);
        made.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => ContainerError::AlreadyExists { id: self.id.clone() },
            _ => ContainerError::io("make", &self.directory, source),
        })?;
        let outcome = self.directory.join("outcome");
        fs::create_dir(&outcome).map_err(|source| ContainerError::io("make", outcome, source))?;
        let text =
            serde_json::to_vec(record).map_err(|error| ContainerError::io("encode", self.record(), error))?;
        fs::write(self.record(), text).map_err(|source| ContainerError::io("write", self.record(), source))
    }

    /// True when the container is known, whatever its state.
    pub(super) fn exists(&self) -> bool {
        self.directory.is_dir()
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn record(&self) -> PathBuf {
        self.file("record.json")
    }

    /// The container's conmon, if it lives.
    pub(super) fn conmon(&self) -> Option<Process> {
        Process::from_file(&self.file("conmon.pid"), |pid| process::has_argument(pid, self.id.as_str()))
    }

    /// The container's main process, if it lives.
    pub(super) fn main_process(&self) -> Option<Process> {
        let is_it = |pid| process::is_in_container(pid, self.id.as_str());
        Process::from_file(&self.file("container.pid"), is_it)
    }

    /// Notes that the main process was let go.
    pub(super) fn set_started(&self, at: Timestamp) -> Result<(), ContainerError> {
        let path = self.file("started");
        fs::write(&path, at.to_string()).map_err(|source| ContainerError::io("write", path, source))
    }

    pub(super) fn started_at(&self) -> Option<Timestamp> {
        fs::read_to_string(self.file("started")).ok()?.trim().parse().ok()
    }

    /// The outcome, once there is one.
    pub(super) fn exit(&self) -> Option<ContainerExit> {
        let started_at = self.started_at();
        let outcome = self.file("outcome/exit");
        if let Some(code) = fs::read_to_string(&outcome).ok().and_then(|text| text.trim().parse().ok()) {
            let out_of_memory = self.file("outcome/oom").exists();
            let cause = if out_of_memory { ExitCause::OutOfMemory } else { ExitCause::Process };
            return Some(ContainerExit { code, started_at, finished_at: changed_at(&outcome), cause });
        }
        let lost = self.file("lost");
        lost.exists().then(|| ContainerExit {
            code: LOST_CODE,
            started_at,
            finished_at: changed_at(&lost),
            cause: ExitCause::Lost,
        })
    }

    /// Ends a container whose conmon is dead: its output goes nowhere and nobody would learn its outcome.
    ///
    /// Gives the outcome that conmon may have written after all in its last moment.
    pub(super) fn give_up(&self) -> Result<ContainerExit, ContainerError> {
        if let Some(exit) = self.exit() {
            return Ok(exit);
        }
        if let Some(main) = self.main_process() {
            main.signal(Signal::SIGKILL)
                .map_err(|error| ContainerError::io("kill", &self.directory, error))?;
        }
        let lost = self.file("lost");
        fs::write(&lost, "").map_err(|source| ContainerError::io("write", &lost, source))?;
        let finished_at = changed_at(&lost);
        Ok(ContainerExit {
            code: LOST_CODE,
            started_at: self.started_at(),
            finished_at,
            cause: ExitCause::Lost,
        })
    }

    /// What the files and processes say. `has_run` tells whether a container without a note of its start runs all
    /// the same: whoever let it go may have been killed before writing the note.
    pub(super) fn status(&self, has_run: impl FnOnce() -> bool) -> Result<ContainerStatus, ContainerError> {
        if !self.exists() {
            return Err(ContainerError::NotFound { id: self.id.clone() });
        }
        let record: Option<Record> =
            fs::read(self.record()).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let known = record.is_some();
        let record = record
            .unwrap_or_else(|| Record { created_at: changed_at(&self.directory), labels: BTreeMap::new() });
        let pid =
            fs::read_to_string(self.file("container.pid")).ok().and_then(|text| text.trim().parse().ok());
        let state = match (self.exit(), self.conmon(), pid) {
            (Some(exit), _, _) => ContainerState::Exited(exit),
            (None, Some(_), Some(pid)) => match self.started_at() {
                Some(started_at) => ContainerState::Running { started_at, pid },
                None if has_run() => {
                    let started_at = changed_at(&self.file("container.pid"));
                    self.set_started(started_at)?;
                    ContainerState::Running { started_at, pid }
                }
                None => ContainerState::Created,
            },
            (None, None, Some(_)) if known => ContainerState::Exited(self.give_up()?),
            (None, _, _) => ContainerState::Incomplete,
        };
        Ok(ContainerStatus {
            id: self.id.clone(),
            labels: record.labels,
            created_at: record.created_at,
            state,
        })
    }
}

/// When a file was last written; now, if even that cannot be told.
fn changed_at(path: &Path) -> Timestamp {
    let changed =
        fs::metadata(path).and_then(|metadata| metadata.modified()).unwrap_or_else(|_| SystemTime::now());
    Timestamp::try_from(changed).unwrap_or_else(|_| Timestamp::now())
}
