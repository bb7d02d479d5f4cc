//! The long-running processes of a lab: started once, written down, found again.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kernel::netns::Netns;
use kernel::process::{DaemonSpec, ProcessId, spawn_daemon};
use serde::{Deserialize, Serialize};

use super::paths::ProcessPaths;
use crate::containers::cgroup::LabCgroup;

/// How long a process may take until it says that it is ready.
const READY: Duration = Duration::from_secs(30);
/// How long a process may take to end in order.
const GRACE: Duration = Duration::from_secs(5);

/// `process.json`: which process it was.
#[derive(Serialize, Deserialize)]
struct Record {
    pid: u32,
    start_time: u64,
}

/// The process written down in `paths`, if it still runs.
pub fn running(paths: &ProcessPaths) -> Option<ProcessId> {
    // A file that is missing or half-written says that there is no process that we could know.
    let record: Record = serde_json::from_slice(&fs::read(paths.process()).ok()?).ok()?;
    let process = ProcessId { pid: record.pid, start_time: record.start_time };
    process.is_alive().then_some(process)
}

/// Starts our own binary with `arguments` unless it runs already in the right namespace, and says whether it did.
///
/// It starts in the caller's namespace, or in `start_in`; `lives_in` is where it is found once it is ready.
///
/// # Errors
/// When it cannot be started or does not become ready; the end of its log is part of the message.
pub fn ensure(
    paths: &ProcessPaths,
    cgroup: &LabCgroup,
    arguments: Vec<OsString>,
    start_in: Option<&Netns>,
    lives_in: &Netns,
) -> Result<bool> {
    if let Some(process) = running(paths) {
        // A process that is just ending has no namespace any more.
        if inode(process).ok() == Some(lives_in.inode()?) {
            return Ok(false);
        }
        // It ends, or somebody removed its namespace and what stands there now is a new one.
        process.stop(GRACE)?;
    }
    fs::create_dir_all(paths.root()).with_context(|| format!("cannot make {}", paths.root().display()))?;
    let program = std::env::current_exe().context("cannot find our own program")?;
    let spec = DaemonSpec {
        arguments,
        namespace: start_in,
        cgroups: cgroup.daemon_directories(),
        ready_timeout: Some(READY),
        ..DaemonSpec::new(program, paths.log())
    };
    let process = spawn_daemon(&spec).with_context(|| last_words(&paths.log()))?;
    let record = Record { pid: process.pid, start_time: process.start_time };
    let fresh = paths.process().with_extension("json.new");
    fs::write(&fresh, serde_json::to_vec(&record)?)?;
    fs::rename(&fresh, paths.process())?;
    Ok(true)
}

fn inode(process: ProcessId) -> Result<u64> {
    Ok(Netns::open_path(process.network_namespace().as_path())?.inode()?)
}

/// The last lines of a log, as the context of an error.
fn last_words(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(5)..].join("\n  ");
    format!("it did not start; its log {} ends with:\n  {tail}\n", log.display())
}
