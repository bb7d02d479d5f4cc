//! Starting a process that belongs to nobody: its own session, adopted by init, inside a namespace.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::ready::{Outcome, await_ready};
use super::{ProcessError, ProcessId};
use crate::netns::{Netns, NetnsError};

/// How much of a log's end goes into an error.
const LAST_WORDS: usize = 1000;

/// A process to start. Its standard input is empty; its standard error goes to the log.
#[derive(Debug)]
pub struct DaemonSpec<'a> {
    /// The program, as an absolute path.
    pub program: PathBuf,
    /// Its arguments, without its own name.
    pub arguments: Vec<OsString>,
    /// Environment variables besides the inherited ones.
    pub environment: Vec<(OsString, OsString)>,
    /// The network namespace it starts in; `None`: the caller's.
    pub namespace: Option<&'a Netns>,
    /// The file that its output is appended to; made when it is not there.
    pub log: PathBuf,
    /// Directories of control groups that it joins before its program runs.
    pub cgroups: Vec<PathBuf>,
    /// Wait so long for its call of [`super::announce_ready`]; `None`: do not wait.
    pub ready_timeout: Option<Duration>,
}

impl DaemonSpec<'_> {
    /// A program with a log, and nothing special.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            namespace: None,
            log: log.into(),
            cgroups: Vec::new(),
            ready_timeout: None,
        }
    }
}

/// Starts a process in a session of its own whose parent is init: it outlives the caller, no terminal reaches it, and
/// nobody has to reap it.
///
/// # Errors
/// [`ProcessError::Start`] when it cannot be started, [`ProcessError::NotReady`] when readiness was asked for and did
/// not come; the process is killed then.
pub fn spawn_daemon(spec: &DaemonSpec<'_>) -> Result<ProcessId, ProcessError> {
    let failed =
        |step| move |source: io::Error| ProcessError::Start { program: spec.program.clone(), step, source };
    let (pid, ready) = match spec.namespace {
        None => start(spec).map_err(failed("start"))?,
        Some(namespace) => namespace
            .run(|| start(spec))
            .map_err(|error| match error {
                NetnsError::Step { source, .. } => source,
                NetnsError::InvalidName { .. } => io::ErrorKind::InvalidInput.into(),
            })
            .map_err(failed("enter its namespace"))?
            .map_err(failed("start"))?,
    };
    let not_ready = |reason| ProcessError::NotReady {
        program: spec.program.clone(),
        reason,
        last_words: last_words(&spec.log),
    };
    // Asked before the waiting: a process that ends meanwhile must not be taken for a successor with its number.
    let process = ProcessId::of(pid).map_err(|_| not_ready("ended at once"))?;
    let (Some(pipe), Some(timeout)) = (ready, spec.ready_timeout) else {
        return Ok(process);
    };
    match await_ready(pipe, timeout).map_err(failed("wait until it is ready"))? {
        Outcome::Ready => Ok(process),
        Outcome::Ended => Err(not_ready("ended before it was ready")),
        Outcome::TooSlow => {
            let _ = process.signal(super::Signal::Kill);
            Err(not_ready("was not ready in time"))
        }
    }
}

/// Starts the process and learns its number.
fn start(spec: &DaemonSpec<'_>) -> io::Result<(u32, Option<OwnedFd>)> {
    if let Some(directory) = spec.log.parent() {
        fs::create_dir_all(directory)?;
    }
    let log = OpenOptions::new().create(true).append(true).open(&spec.log)?;
    let mut cgroups = Vec::new();
    for directory in &spec.cgroups {
        cgroups.push(OpenOptions::new().write(true).open(directory.join("cgroup.procs"))?);
    }
    let (number_reader, number_writer) = pipe2(OFlag::O_CLOEXEC)?;
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.arguments)
        .envs(spec.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stderr(log.try_clone()?);
    let ready = if spec.ready_timeout.is_some() {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        command.stdout(Stdio::from(writer));
        Some(reader)
    } else {
        command.stdout(log);
        None
    };
    detach_before_exec(&mut command, File::from(number_writer), cgroups);
    // What was started is the go-between, which has ended already.
    command.spawn()?.wait()?;
    // The command holds the pipes' writing ends; only without them does reading come to an end.
    drop(command);
    let mut number = [0; 4];
    File::from(number_reader).read_exact(&mut number)?;
    Ok((u32::from_ne_bytes(number), ready))
}

/// Forks once more in the new process and lets only the grandchild go on, in a session of its own.
fn detach_before_exec(command: &mut Command, mut number: File, mut cgroups: Vec<File>) {
    let detach = move || {
        let child = {
            #[expect(unsafe_code, reason = "fork is unsafe to call")]
            // SAFETY: this is a child just forked, with one thread; it calls only async-signal-safe functions until
            // it ends or executes a program: fork, _exit, setsid, getpid, write.
            unsafe {
                nix::unistd::fork()
            }
        }?;
        if child.is_parent() {
            #[expect(unsafe_code, reason = "_exit is foreign")]
            // SAFETY: ends this process without running anything of it; no memory of the caller is touched.
            unsafe {
                nix::libc::_exit(0)
            }
        }
        nix::unistd::setsid()?;
        for cgroup in &mut cgroups {
            // 0 stands for the process that writes.
            cgroup.write_all(b"0")?;
        }
        number.write_all(&nix::unistd::getpid().as_raw().to_ne_bytes())
    };
    #[expect(unsafe_code, reason = "pre_exec is unsafe to call")]
    // SAFETY: the closure calls async-signal-safe functions only and allocates nothing: files were opened before.
    unsafe {
        command.pre_exec(detach);
    }
}

/// The end of a log on one line.
fn last_words(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let tail = &text[text.len().saturating_sub(LAST_WORDS)..];
    let words = String::from_utf8_lossy(tail).lines().map(str::trim).collect::<Vec<_>>().join(" | ");
    if words.is_empty() { "nothing".to_owned() } else { words }
}
