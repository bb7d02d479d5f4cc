//! Starting conmon, which starts runc and stays as the container's parent.

use std::{path::PathBuf, process::Stdio, time::Duration};

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Command,
};

use super::{ContainerError, ContainerSpec, Stdin, Terminal, exec, record::Bundle};

/// conmon and runc together take some 40 ms; a machine that needs longer than this is stuck.
const LIMIT: Duration = Duration::from_secs(60);

/// Shell words before conmon: move into the lab's control group, then hand our pipe on as descriptor 3, where conmon
/// reports the container's process id. A shell does it because a descriptor that survives `exec` could leak into
/// other children of this process, which has many threads.
const WRAPPER: &str = r#"echo 0 > "$0" && exec "$@" 3>&1 >/dev/null"#;

/// How to call conmon.
#[derive(Clone, Debug)]
pub(super) struct Conmon {
    pub conmon: PathBuf,
    pub runc: PathBuf,
    /// runc's `--root`.
    pub runc_root: PathBuf,
    /// `cgroup.procs` of the group that conmon itself lives in.
    pub group: PathBuf,
}

/// What the main process reads and on what it runs, in conmon's words.
fn streams(spec: &ContainerSpec) -> Vec<&'static str> {
    let stdin: &[&str] = match spec.stdin {
        Stdin::Null => &[],
        Stdin::UntilDetached => &["--stdin"],
        Stdin::Open => &["--stdin", "--leave-stdin-open"],
    };
    let terminal: &[&str] = match spec.terminal {
        Terminal::None => &[],
        Terminal::Pty => &["--terminal"],
    };
    [stdin, terminal].concat()
}

/// The line that conmon writes when runc is done.
#[derive(Deserialize)]
struct Report {
    pid: i32,
    #[serde(default)]
    message: String,
}

impl Conmon {
    /// Has the container made, its main process waiting to be let go.
    ///
    /// conmon leaves our session and outlives us; it writes the log in CRI format.
    pub(super) async fn create(&self, bundle: &Bundle, spec: &ContainerSpec) -> Result<(), ContainerError> {
        let mut root = std::ffi::OsString::from("--root=");
        root.push(&self.runc_root);
        let mut log = std::ffi::OsString::from("k8s-file:");
        log.push(&spec.log_path);
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", WRAPPER])
            .arg(&self.group)
            .arg(&self.conmon)
            .args(["--cid", bundle.id.as_str(), "--cuuid", bundle.id.as_str(), "--name", bundle.id.as_str()])
            .arg("--runtime")
            .arg(&self.runc)
            .arg("--runtime-arg")
            .arg(root)
            .arg("--bundle")
            .arg(&bundle.directory)
            .arg("--container-pidfile")
            .arg(bundle.file("container.pid"))
            .arg("--conmon-pidfile")
            .arg(bundle.file("conmon.pid"))
            .arg("--persist-dir")
            .arg(bundle.file("outcome"))
            .arg("--log-path")
            .arg(log)
            // Its control socket in the bundle, not in /var/run; no sync of the log to the disk at the end.
            .args(["--full-attach", "--no-sync-log", "--log-level", "error"])
            .args(streams(spec))
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("_OCI_SYNCPIPE", "3")
            .current_dir(&bundle.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| ContainerError::io("run", "/bin/sh", source))?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(ContainerError::Runtime { message: "conmon's output cannot be read".into() });
        };
        // Only one line is read: conmon keeps the pipe open as long as it lives.
        let mut line = String::new();
        let mut stdout = BufReader::new(stdout).take(64 << 10);
        match tokio::time::timeout(LIMIT, stdout.read_line(&mut line)).await {
            Ok(Ok(_)) => {}
            Ok(Err(source)) => return Err(ContainerError::io("read the report of", &self.conmon, source)),
            Err(_) => return Err(ContainerError::Timeout { after: LIMIT }),
        }
        // The process that we started forked and ended; this only takes it off the list of zombies.
        let status =
            child.wait().await.map_err(|source| ContainerError::io("wait for", &self.conmon, source))?;
        match serde_json::from_str::<Report>(&line) {
            Ok(report) if report.pid > 0 => Ok(()),
            Ok(report) => {
                Err(ContainerError::Runtime { message: exec::own_words(report.message.as_bytes()) })
            }
            Err(_) => {
                let mut said = String::new();
                // conmon's stderr goes to /dev/null once it runs, so this ends.
                let _ = tokio::time::timeout(LIMIT, stderr.take(4096).read_to_string(&mut said)).await;
                Err(ContainerError::Runtime {
                    message: format!("conmon ended with {status}: {}", said.trim()),
                })
            }
        }
    }
}
