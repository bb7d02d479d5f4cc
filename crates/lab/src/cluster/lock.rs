//! One command at a time changes a lab.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Held while a lab is made, healed or removed; the file goes away with it.
#[derive(Debug)]
pub struct LabLock {
    path: PathBuf,
    _file: Flock<File>,
}

impl LabLock {
    /// Takes the lock at `path`.
    ///
    /// # Errors
    /// At once when another process holds it.
    pub fn take(path: PathBuf) -> Result<Self> {
        loop {
            let open = || OpenOptions::new().create(true).truncate(false).write(true).open(&path);
            let file = open().with_context(|| format!("cannot open {}", path.display()))?;
            let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((_, Errno::EWOULDBLOCK)) => {
                    bail!("another command is changing this lab just now; try again when it has ended")
                }
                Err((_, errno)) => {
                    return Err(errno).with_context(|| format!("cannot lock {}", path.display()));
                }
            };
            // The holder before us may have removed the file between our opening and our locking it.
            if same_file(&file, &path).with_context(|| format!("cannot look at {}", path.display()))? {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for LabLock {
    fn drop(&mut self) {
        // A file that cannot be removed is no harm: it is empty, and the next holder takes it over.
        let _ = fs::remove_file(&self.path);
    }
}

/// Held from the choice of a port of the loopback until somebody listens there: of two labs that start together, in
/// whatever state directories, each gets a port of its own.
#[derive(Debug)]
pub struct PortLock {
    _file: Flock<File>,
}

impl PortLock {
    /// The machine's own; the empty file stays.
    const PATH: &str = "/run/portolan-ports.lock";

    /// Takes the lock; waits for as long as others hold it, which is for the start of an API server.
    ///
    /// # Errors
    /// When the file cannot be made or locked.
    pub fn take() -> Result<Self> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(Self::PATH);
        let file = file.with_context(|| format!("cannot open {}", Self::PATH))?;
        let locked = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno);
        Ok(Self { _file: locked.with_context(|| format!("cannot lock {}", Self::PATH))? })
    }
}

fn same_file(open: &File, path: &Path) -> io::Result<bool> {
    let ours = open.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok(there.ino() == ours.ino() && there.dev() == ours.dev()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one_and_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = LabLock::take(path.clone()).unwrap();
        assert!(LabLock::take(path.clone()).unwrap_err().to_string().contains("another command"));
        drop(held);
        assert!(!path.exists());
        LabLock::take(path).unwrap();
    }
}
