//! Commands inside a running container, for probes and the like.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::{
    ContainerError,
    command::{CommandFiles, Terminal},
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
    let files = CommandFiles::prepare(bundle, &request.command, Terminal::None, None)?;
    let mut child = files
        .command(runc, runc_root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
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
    if !files.has_begun() {
        return Err(ContainerError::Runtime { message: own_words(&stderr) });
    }
    Ok(ExecOutput { stdout, stderr, exit_code: status.code().unwrap_or(255) })
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
