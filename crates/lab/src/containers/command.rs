//! The files of one command that runs inside a container, and its end.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::sys::signal::Signal;
use tokio::process::Command;

use super::{
    ContainerError,
    process::{self, Process},
    record::Bundle,
    session::TerminalSize,
};

/// What the files' names begin with.
const PREFIX: &str = "exec-";

/// Whether a process sees a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Terminal {
    /// Pipes.
    #[default]
    None,
    /// A pseudo-terminal, which is input, output and errors in one.
    Pty,
}

impl Terminal {
    /// Kubernetes' `tty`.
    pub fn from_flag(tty: bool) -> Self {
        if tty { Self::Pty } else { Self::None }
    }
}

/// The files of one command. Dropping it kills the command, and what it started, if they still run: its time is over,
/// or its client has gone.
pub(super) struct CommandFiles {
    process: PathBuf,
    pid: PathBuf,
    container: String,
}

impl CommandFiles {
    /// Writes what runc reads: the container's own process, with other words. A terminal has that size from the start:
    /// runc itself hands sizes on only once the command runs.
    pub(super) fn prepare(
        bundle: &Bundle,
        command: &[String],
        terminal: Terminal,
        size: Option<TerminalSize>,
    ) -> Result<Self, ContainerError> {
        if command.is_empty() {
            return Err(ContainerError::NoCommand);
        }
        let config = bundle.file("config.json");
        let text = fs::read(&config).map_err(|source| ContainerError::io("read", &config, source))?;
        let mut config_value: serde_json::Value =
            serde_json::from_slice(&text).map_err(|source| ContainerError::io("decode", &config, source))?;
        let mut process = config_value["process"].take();
        process["args"] = command.into();
        process["terminal"] = (terminal == Terminal::Pty).into();
        if terminal == Terminal::Pty {
            name_terminal(&mut process);
        }
        if let Some(size) = size {
            process["consoleSize"] = serde_json::json!({"height": size.rows, "width": size.columns});
        }
        let name = format!("{PREFIX}{}", uuid::Uuid::new_v4().simple());
        let files = Self {
            process: bundle.file(&format!("{name}.json")),
            pid: bundle.file(&format!("{name}.pid")),
            container: bundle.id.to_string(),
        };
        fs::write(&files.process, process.to_string())
            .map_err(|source| ContainerError::io("write", &files.process, source))?;
        Ok(files)
    }

    /// `runc exec` of it. Its inputs and outputs are the caller's to say.
    pub(super) fn command(&self, runc: &Path, runc_root: &Path) -> Command {
        let mut command = Command::new(runc);
        command
            .arg("--root")
            .arg(runc_root)
            .arg("exec")
            .arg("--process")
            .arg(&self.process)
            .arg("--pid-file")
            .arg(&self.pid)
            .arg(&self.container)
            .kill_on_drop(true);
        command
    }

    /// Whether the command was started at all. runc says 255 both for its own failures and for the command's; only a
    /// command that ran has a pid file.
    pub(super) fn has_begun(&self) -> bool {
        self.pid.exists()
    }
}

impl Drop for CommandFiles {
    fn drop(&mut self) {
        end(&self.pid, &self.container);
        let _ = fs::remove_file(&self.process);
        let _ = fs::remove_file(&self.pid);
    }
}

/// Ends the commands that an earlier process of ours left in the container: nobody hears them any more.
pub(super) fn end_left_over(bundle: &Bundle) {
    let entries = fs::read_dir(&bundle.directory).into_iter().flatten().flatten();
    let ours = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(PREFIX))
    });
    for path in ours {
        if path.extension().is_some_and(|extension| extension == "pid") {
            end(&path, bundle.id.as_str());
        }
        let _ = fs::remove_file(&path);
    }
}

/// Kills the command whose number the file holds, with everything in its session.
fn end(pid_file: &Path, container: &str) {
    // runc makes each command the leader of a session.
    let leader = Process::from_file(pid_file, |pid| process::is_in_container(pid, container));
    let Some(leader) = leader else { return };
    for member in process::session_members(&leader, container) {
        let _ = member.signal(Signal::SIGKILL);
    }
    let _ = leader.signal(Signal::SIGKILL);
}

/// Says which kind of terminal it is, unless the image or the pod says it: what other runtimes do.
fn name_terminal(process: &mut serde_json::Value) {
    let Some(variables) = process["env"].as_array_mut() else { return };
    if !variables.iter().any(|entry| entry.as_str().is_some_and(|entry| entry.starts_with("TERM="))) {
        variables.push("TERM=xterm".into());
    }
}
