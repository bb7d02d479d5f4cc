//! Processes by descriptor, so that a number used again never stands for the wrong one.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::Signal,
};
use rustix::process::PidfdFlags;
use tokio::io::{Interest, unix::AsyncFd};

/// One process, held: its number is not given to another one unnoticed.
#[derive(Debug)]
pub(super) struct Process {
    descriptor: OwnedFd,
    pub pid: u32,
}

impl Process {
    /// The process whose number the file holds, if `is_it` says it is still the one meant.
    ///
    /// The check runs with the process held, so its answer stays true.
    pub(super) fn from_file(file: &Path, is_it: impl Fn(u32) -> bool) -> Option<Self> {
        let pid: u32 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
        let number = rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)?;
        let descriptor = rustix::process::pidfd_open(number, PidfdFlags::empty()).ok()?;
        let held = Self { descriptor, pid };
        (is_it(pid) && !held.has_ended()).then_some(held)
    }

    /// The process of that number now. Sure to be the one meant only for a child that has not been waited for.
    pub(super) fn of_number(pid: u32) -> Option<Self> {
        let number = rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)?;
        let descriptor = rustix::process::pidfd_open(number, PidfdFlags::empty()).ok()?;
        Some(Self { descriptor, pid })
    }

    /// Sends a signal. A process that has ended is no error.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let signal = rustix::process::Signal::from_named_raw(signal as i32)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        match rustix::process::pidfd_send_signal(&self.descriptor, signal) {
            Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// True when it has ended, reaped or not.
    pub(super) fn has_ended(&self) -> bool {
        let mut poll_it = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut poll_it, PollTimeout::ZERO), Ok(count) if count > 0)
    }

    /// Returns when it has ended.
    #[expect(
        deprecated,
        reason = "the successor is unsafe, for types that may change their descriptor; OwnedFd cannot"
    )]
    pub(super) async fn ended(self) -> io::Result<()> {
        let descriptor = AsyncFd::with_interest(self.descriptor, Interest::READABLE)?;
        descriptor.readable().await.map(|_| ())
    }

    /// Returns true when it has ended within the limit.
    pub(super) async fn ended_within(self, limit: Duration) -> io::Result<bool> {
        match tokio::time::timeout(limit, self.ended()).await {
            Ok(ended) => ended.map(|()| true),
            Err(_) => Ok(false),
        }
    }
}

/// True when the process is in a control group whose last part is `id`: only a container's own processes are.
pub(super) fn is_in_container(pid: u32, id: &str) -> bool {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else { return false };
    text.lines().any(|line| line.rsplit('/').next() == Some(id))
}

/// The container's processes in the session that this process leads, itself included, each held.
pub(super) fn session_members(leader: &Process, id: &str) -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let members = pids.filter(|pid| session_of(*pid) == Some(leader.pid)).filter_map(Process::of_number);
    // Asked again now that they are held: a number may have changed hands in between.
    members.filter(|held| session_of(held.pid) == Some(leader.pid) && is_in_container(held.pid, id)).collect()
}

/// The session of a process: the sixth word of its `stat`, counted behind the name, which may hold anything.
fn session_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(3)?.parse().ok()
}

/// True when the process was called with this word among its arguments.
pub(super) fn has_argument(pid: u32, word: &str) -> bool {
    let Ok(words) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    words.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
}
