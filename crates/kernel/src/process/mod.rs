//! Processes that outlive who started them: known by number and start time, signalled without a race.

mod daemon;
mod limit;
mod pause;
mod ready;

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use netstate::link::NamespacePath;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

pub use daemon::{DaemonSpec, spawn_daemon};
pub use limit::raise_descriptor_limit;
pub use pause::{PauseSpec, run_pause, spawn_pause};
pub use ready::announce_ready;

/// Why something about a process failed.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It has ended, or its number belongs to another one now.
    #[error("process {pid} has ended")]
    Gone {
        /// Its number.
        pid: u32,
    },
    /// A program could not be started.
    #[error("cannot start {}: {step}: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What was being done.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program ended, or the time was over, before it said that it is ready.
    #[error("{} {reason}; it said last: {last_words}", program.display())]
    NotReady {
        /// The program.
        program: PathBuf,
        /// Ended, or too slow.
        reason: &'static str,
        /// The end of its log, on one line.
        last_words: String,
    },
    /// A system call on the process failed.
    #[error("process {pid}: {step}: {source}")]
    Step {
        /// Its number.
        pid: u32,
        /// What was being done.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ProcessError {
    /// Whether the process has ended.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }
}

/// A signal that we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// TERM: end in order.
    Terminate,
    /// KILL: end now.
    Kill,
}

/// One process, told from a later one with the same number by its start time. Write both down to find it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_time: u64,
}

impl ProcessId {
    /// The process that has this number now.
    ///
    /// # Errors
    /// [`ProcessError::Gone`] when there is none, or only its remains, not yet reaped.
    pub fn of(pid: u32) -> Result<Self, ProcessError> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|_| ProcessError::Gone { pid })?;
        match parse_stat(&text) {
            Some((state, start_time)) if !matches!(state, 'Z' | 'X') => Ok(Self { pid, start_time }),
            _ => Err(ProcessError::Gone { pid }),
        }
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).is_ok_and(|now| now == *self)
    }

    /// The network namespace that it is in.
    #[must_use]
    pub fn network_namespace(&self) -> NamespacePath {
        NamespacePath::of_process(self.pid)
    }

    /// Sends a signal, to this process and never to a successor with its number.
    ///
    /// # Errors
    /// [`ProcessError::Gone`] when it has ended.
    pub fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        let signal = match signal {
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Kill => rustix::process::Signal::KILL,
        };
        let handle = self.open()?;
        pidfd_send_signal(handle, signal).map_err(|errno| self.failed("signal", errno))
    }

    /// Waits until it has ended, at most for `timeout`. Whether it has.
    ///
    /// # Errors
    /// [`ProcessError::Step`] when the kernel refuses to watch it.
    pub fn wait(&self, timeout: Duration) -> Result<bool, ProcessError> {
        let handle = match self.open() {
            Err(error) if error.is_gone() => return Ok(true),
            other => other?,
        };
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // A poll waits 65 seconds at most here; the loop does the rest.
            let milliseconds = u16::try_from(left.as_millis()).unwrap_or(u16::MAX);
            let mut watched = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
            match poll(&mut watched, PollTimeout::from(milliseconds)) {
                Ok(0) if left.as_millis() <= u128::from(milliseconds) => return Ok(!self.is_alive()),
                Ok(0) | Err(nix::Error::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(errno) => {
                    return Err(ProcessError::Step { pid: self.pid, step: "wait", source: errno.into() });
                }
            }
        }
    }

    /// Ends it: TERM, and KILL when it still runs after `grace`. Returns once it has ended.
    ///
    /// # Errors
    /// [`ProcessError::Step`] when it cannot be signalled, or does not end within ten seconds of KILL.
    pub fn stop(&self, grace: Duration) -> Result<(), ProcessError> {
        match self.signal(Signal::Terminate) {
            Err(error) if error.is_gone() => return Ok(()),
            other => other?,
        }
        if self.wait(grace)? {
            return Ok(());
        }
        match self.signal(Signal::Kill) {
            Err(error) if error.is_gone() => return Ok(()),
            other => other?,
        }
        if self.wait(Duration::from_secs(10))? {
            return Ok(());
        }
        Err(ProcessError::Step { pid: self.pid, step: "kill", source: io::ErrorKind::TimedOut.into() })
    }

    /// A handle of the kernel's on exactly this process.
    fn open(&self) -> Result<std::os::fd::OwnedFd, ProcessError> {
        let gone = ProcessError::Gone { pid: self.pid };
        let Some(pid) = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw) else {
            return Err(gone);
        };
        let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| self.failed("open", errno))?;
        // The handle is on whoever has the number now: only after it is held does the start time prove who that is.
        if self.is_alive() { Ok(handle) } else { Err(gone) }
    }

    fn failed(&self, step: &'static str, errno: rustix::io::Errno) -> ProcessError {
        if errno == rustix::io::Errno::SRCH {
            return ProcessError::Gone { pid: self.pid };
        }
        ProcessError::Step { pid: self.pid, step, source: errno.into() }
    }
}

/// State and start time from `/proc/PID/stat`. The second field, the name in brackets, may hold anything.
fn parse_stat(text: &str) -> Option<(char, u64)> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // State is the third field, the start time the twenty-second.
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((state, start_time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let text = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 1000 200";
        assert_eq!(parse_stat(text), Some(('S', 123_456)));
        assert_eq!(parse_stat("7 (a) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn a_number_with_another_start_time_is_another_process() {
        let own = ProcessId::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        let other = ProcessId { start_time: own.start_time + 1, ..own };
        assert!(!other.is_alive());
        assert!(other.signal(Signal::Terminate).unwrap_err().is_gone());
        assert!(other.wait(Duration::from_secs(1)).unwrap());
    }
}
