//! Commands inside a running container, for probes and the like.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
};

use super::{
    ContainerError,
    process::{self, Process},
    record::Bundle,
};

/// Most that is kept of each output; the rest is read and dropped, so that the command never blocks on it.
const OUTPUT_LIMIT: usize = 1 << 20;

/// A command to run inside a container, as the container's user, in its working directory and environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecRequest {
    /// Program and arguments; no shell is involved.
    pub command: Vec<String>,
    /// After this time the command is killed.
    pub timeout: Duration,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutput {
    /// Its standard output, at most the first MiB.
    pub stdout: Vec<u8>,
    /// Its standard error, at most the first MiB.
    pub stderr: Vec<u8>,
    /// 0 to 255; 128 + N after signal N.
    pub exit_code: i32,
}

/// Runs a command by `runc exec`.
pub(super) async fn run(
    runc: &Path,
    runc_root: &Path,
    bundle: &Bundle,
    request: &ExecRequest,
) -> Result<ExecOutput, ContainerError> {
    let session = Session::prepare(bundle, &request.command)?;
    let mut child = Command::new(runc)
        .arg("--root")
        .arg(runc_root)
        .arg("exec")
        .arg("--process")
        .arg(&session.process)
        .arg("--pid-file")
        .arg(&session.pid)
        .arg(bundle.id.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| ContainerError::io("run", runc, source))?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(ContainerError::Runtime { message: "runc's output cannot be read".into() });
    };
    let all = async { tokio::join!(read_start(stdout), read_start(stderr), child.wait()) };
    let (stdout, stderr, status) = tokio::time::timeout(request.timeout, all)
        .await
        .map_err(|_| ContainerError::Timeout { after: request.timeout })?;
    let status = status.map_err(|source| ContainerError::io("wait for", runc, source))?;
    // runc says 255 both for its own failures and for the command's; only a command that ran has a pid file.
    if !session.pid.exists() {
        return Err(ContainerError::Runtime { message: own_words(&stderr) });
    }
    Ok(ExecOutput { stdout, stderr, exit_code: status.code().unwrap_or(255) })
}

/// The files of one command. Dropping it kills the command if it still runs, for instance when time was over.
struct Session {
    process: PathBuf,
    pid: PathBuf,
    container: String,
}

impl Session {
    fn prepare(bundle: &Bundle, command: &[String]) -> Result<Self, ContainerError> {
        if command.is_empty() {
            return Err(ContainerError::NoCommand);
        }
        let config = bundle.file("config.json");
        let text = fs::read(&config).map_err(|source| ContainerError::io("read", &config, source))?;
        let mut config_value: serde_json::Value =
            serde_json::from_slice(&text).map_err(|source| ContainerError::io("decode", &config, source))?;
        let mut process = config_value["process"].take();
        process["args"] = command.into();
        let name = format!("exec-{}", uuid::Uuid::new_v4().simple());
        let session = Self {
            process: bundle.file(&format!("{name}.json")),
            pid: bundle.file(&format!("{name}.pid")),
            container: bundle.id.to_string(),
        };
        fs::write(&session.process, process.to_string())
            .map_err(|source| ContainerError::io("write", &session.process, source))?;
        Ok(session)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let still_runs = Process::from_file(&self.pid, |pid| process::is_in_container(pid, &self.container));
        if let Some(command) = still_runs {
            // runc makes each command the leader of a session, hence of a process group.
            if let Ok(group) = i32::try_from(command.pid) {
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
            let _ = command.signal(Signal::SIGKILL);
        }
        let _ = fs::remove_file(&self.process);
        let _ = fs::remove_file(&self.pid);
    }
}

async fn read_start(mut from: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = vec![0; 8 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let room = OUTPUT_LIMIT.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
    kept
}

/// What runc says when it fails, without its log decoration.
pub(super) fn own_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("runc failed without a word");
    match line.split_once("msg=\"").and_then(|(_, message)| message.rsplit_once('"')) {
        Some((message, _)) => message.replace("\\\"", "\""),
        None => line.trim().to_owned(),
    }
}
