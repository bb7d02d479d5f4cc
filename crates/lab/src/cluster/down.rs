//! `lab down`: everything of a lab goes, whatever state it is in.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::lock::LabLock;
use super::paths::StateRoot;
use super::progress::Progress;
use super::spec::LabName;
use crate::containers::{self, cgroup::LabCgroup};
use crate::topology;

/// How long processes that were sent KILL may take to disappear.
const KILL: Duration = Duration::from_secs(20);

/// Ends all processes of a lab and removes its namespaces, mounts, control groups and files. Needs none of them to
/// be in order, and no `lab.json`. A lab that is not there is no error.
///
/// # Errors
/// What could not be removed, all of it; a second `down` tries again.
pub fn down(state: &StateRoot, name: &LabName) -> Result<()> {
    super::preflight::require_root()?;
    let paths = state.lab(name);
    fs::create_dir_all(state.labs())?;
    let _lock = LabLock::take(state.lock(name))?;
    let progress = Progress::start();
    let mut errors: Vec<String> = Vec::new();
    let mut note = |what: &str, result: Result<()>| {
        if let Err(error) = result {
            errors.push(format!("{what}: {error:#}"));
        }
    };

    let step = progress.step("processes");
    let cgroup = LabCgroup::new(name.as_str())?;
    note("processes", cgroup.kill_all(KILL).map(drop).map_err(Into::into));
    step.done("");

    let step = progress.step("network, mounts and files");
    note("mounts", containers::unmount_below(paths.root()).map_err(Into::into));
    note("network", topology::remove(name.as_str()).map_err(Into::into));
    note("control groups", cgroup.remove().map_err(Into::into));
    note("files", remove_directory(paths.root()));
    step.done("");

    if errors.is_empty() {
        eprintln!("The lab '{name}' is gone.");
        Ok(())
    } else {
        bail!(
            "not all of the lab '{name}' could be removed; run `portolan lab down` again\n  {}",
            errors.join("\n  ")
        )
    }
}

fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
