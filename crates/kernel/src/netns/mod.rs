//! Network namespaces by name under `/run/netns`, kept as `ip netns` keeps them, and work inside them.
//!
//! A thread is in one network namespace, and what it opens or starts belongs to that namespace for good. So whatever
//! is to happen inside a namespace happens on a helper thread that goes there and ends: [`Netns::run`]. The caller's
//! own thread never moves.

mod directory;
mod temporary;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use netstate::link::NamespacePath;
use nix::sched::{CloneFlags, setns, unshare};

pub use directory::{create, delete, ensure, list, open, path_of};
pub use temporary::TemporaryNamespace;

/// Where `ip netns` keeps the named namespaces.
pub const DIRECTORY: &str = "/run/netns";

/// Why something about a namespace failed.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The name cannot be a file name.
    #[error("{name:?} is not a name for a network namespace")]
    InvalidName {
        /// What was given.
        name: String,
    },
    /// One step failed.
    #[error("network namespace {}: {step}: {source}{}", path.display(), advice(source))]
    Step {
        /// The namespace's file.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl NetnsError {
    /// Whether there is no such namespace.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Step { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether there is one with that name already.
    #[must_use]
    pub fn is_exists(&self) -> bool {
        matches!(self, Self::Step { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    }

    fn step(path: &Path, step: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Step { path: path.to_owned(), step, source: source.into() }
    }
}

fn advice(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::PermissionDenied { " (root with CAP_SYS_ADMIN is needed)" } else { "" }
}

/// A namespace held open: it lives at least as long as this does.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
}

impl Netns {
    /// Opens a namespace by its file: `/run/netns/NAME`, `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// When there is none; `is_not_found` tells.
    pub fn open_path(path: &Path) -> Result<Self, NetnsError> {
        let file = File::open(path).map_err(|source| NetnsError::step(path, "open", source))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn current() -> Result<Self, NetnsError> {
        Self::open_path(Path::new("/proc/thread-self/ns/net"))
    }

    /// The file it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file it was opened by, as planners name it.
    #[must_use]
    pub fn namespace_path(&self) -> NamespacePath {
        NamespacePath::new(&self.path)
    }

    /// The namespace's number, the same for all names of one namespace.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn inode(&self) -> Result<u64, NetnsError> {
        Ok(self.file.metadata().map_err(|source| NetnsError::step(&self.path, "stat", source))?.ino())
    }

    /// Moves the calling thread into the namespace for good, and with it every thread that it starts from now on. For
    /// a process that lives there, before its first further thread.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn enter(&self) -> Result<(), NetnsError> {
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| NetnsError::step(&self.path, "enter", errno))
    }

    /// Runs a closure inside the namespace, on a thread of its own, and waits for it. Sockets opened and processes
    /// started there stay in the namespace and can be handed out. A panic inside goes on in the caller.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        let failed = |step, source: io::Error| NetnsError::step(&self.path, step, source);
        thread::scope(|scope| {
            let helper = thread::Builder::new()
                .name("netns".to_owned())
                .spawn_scoped(scope, || {
                    setns(&self.file, CloneFlags::CLONE_NEWNET)?;
                    Ok::<T, nix::Error>(act())
                })
                .map_err(|source| failed("start a thread", source))?;
            match helper.join() {
                Ok(result) => result.map_err(|errno| failed("enter", errno.into())),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Runs a closure on a thread of its own in a namespace that has just been made, and waits for it.
fn run_in_new<T: Send>(path: &Path, act: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
    let failed = |step, source: io::Error| NetnsError::step(path, step, source);
    thread::scope(|scope| {
        let helper = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, || {
                unshare(CloneFlags::CLONE_NEWNET)?;
                Ok::<T, nix::Error>(act())
            })
            .map_err(|source| failed("start a thread", source))?;
        match helper.join() {
            Ok(result) => result.map_err(|errno| failed("unshare", errno.into())),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
