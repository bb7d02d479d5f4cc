//! The process that holds a pod's namespaces open: it does nothing but wait for signals and reap.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, sethostname};

use netstate::link::LinkName;
use netstate::namespace::{LinkOp, LinkPort};

use super::{DaemonSpec, ProcessError, ProcessId, announce_ready, spawn_daemon};
use crate::link::Links;

/// How long a pause process may take until it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(10);

/// A pause process to start.
#[derive(Debug, Clone)]
pub struct PauseSpec {
    /// Our own program, which runs [`run_pause`] when its arguments are `pause --hostname HOSTNAME`.
    pub program: PathBuf,
    /// The pod's host name.
    pub hostname: String,
    /// Where it writes what goes wrong.
    pub log: PathBuf,
    /// Directories of control groups that it joins.
    pub cgroups: Vec<PathBuf>,
}

/// Starts a pause process. When this returns, its namespaces are there (`/proc/PID/ns/{net,ipc,uts}`), with the
/// loopback up; it outlives the caller and ends on TERM.
///
/// # Errors
/// [`ProcessError`] when it does not start or is not ready in ten seconds.
pub fn spawn_pause(spec: &PauseSpec) -> Result<ProcessId, ProcessError> {
    let arguments = ["pause", "--hostname", &spec.hostname].map(OsString::from);
    spawn_daemon(&DaemonSpec {
        arguments: arguments.to_vec(),
        cgroups: spec.cgroups.clone(),
        ready_timeout: Some(READY_TIMEOUT),
        ..DaemonSpec::new(&spec.program, &spec.log)
    })
}

/// What `portolan pause` does: new network, IPC and UTS namespaces with the host name and the loopback up, the word
/// that it is ready, then waiting until TERM or INT, reaping whatever becomes its child.
///
/// To be called by the program's first thread while it is the only one: namespaces are a thread's, and those of the
/// first thread are what others see as the process's.
///
/// # Errors
/// When a namespace cannot be made; nothing is left then.
pub fn run_pause(hostname: &str) -> io::Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD] {
        signals.add(signal);
    }
    // Blocked before the word is given, so that no signal comes too early.
    signals.thread_block()?;
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)?;
    sethostname(hostname)?;
    let links = Links::in_current().map_err(io::Error::other)?;
    links.commit(&[LinkOp::SetUp { link: LinkName::loopback(), up: true }]).map_err(io::Error::other)?;
    drop(links);
    announce_ready()?;
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => reap(),
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn reap() {
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return,
            Err(Errno::EINTR) | Ok(_) => {}
            Err(_) => return,
        }
    }
}
