//! What can go wrong with containers.

use std::{fmt, io, path::PathBuf, time::Duration};

use super::ContainerId;
use crate::images::ImageError;

/// Why a container did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// The name has characters that a name must not have.
    #[error("invalid container name {id:?}: 1 to 64 of a-z, 0-9 and -")]
    InvalidId {
        /// The text as given.
        id: String,
    },
    /// The runtime's directory cannot be used.
    #[error("{directory}: {reason}; choose another state directory", directory = directory.display())]
    UnusableDirectory {
        /// The directory.
        directory: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A program that the runtime needs is not installed.
    #[error("{program} is not installed: apt-get install {program}")]
    MissingProgram {
        /// `runc` or `conmon`.
        program: &'static str,
    },
    /// There is a container of this name already.
    #[error("container {id} exists already")]
    AlreadyExists {
        /// The container.
        id: ContainerId,
    },
    /// There is no such container.
    #[error("container {id} does not exist")]
    NotFound {
        /// The container.
        id: ContainerId,
    },
    /// The container does not run, so nothing can be done inside it.
    #[error("container {id} is not running")]
    NotRunning {
        /// The container.
        id: ContainerId,
    },
    /// Neither the spec nor the image says what to run.
    #[error("no command specified")]
    NoCommand,
    /// The user of the image or spec cannot be found in it.
    #[error("unable to find user {user}: {reason}")]
    UnknownUser {
        /// The text as the image has it.
        user: String,
        /// What is missing.
        reason: &'static str,
    },
    /// It would run as root and must not.
    #[error("container has runAsNonRoot and image will run as root")]
    RefusedRoot,
    /// A capability that does not exist.
    #[error("unknown capability {name:?}")]
    UnknownCapability {
        /// The text as given.
        name: String,
    },
    /// The image's files could not be had.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The low-level runtime refused; its own words. Kubernetes shows them as `RunContainerError`.
    #[error("{message}")]
    Runtime {
        /// What runc or conmon said.
        message: String,
    },
    /// A command did not end in time and was killed.
    #[error("command timed out after {}", Seconds(*.after))]
    Timeout {
        /// The time that it had.
        after: Duration,
    },
    /// A file or a kernel call failed.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was tried, as in "cannot … PATH".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// Several steps of a clean-up failed; the others were done.
    #[error("{}", Joined(.0))]
    Several(Vec<ContainerError>),
}

impl ContainerError {
    /// True when the container does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// True when the container exists but does not run.
    pub fn is_not_running(&self) -> bool {
        matches!(self, Self::NotRunning { .. })
    }

    /// True when a command was killed because its time was over.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: path.into(), source: source.into() }
    }

    /// Success when there was no error, the error itself when there was one, else all of them.
    pub(super) fn collect(mut errors: Vec<Self>) -> Result<(), Self> {
        match errors.pop() {
            None => Ok(()),
            Some(only) if errors.is_empty() => Err(only),
            Some(last) => {
                errors.push(last);
                Err(Self::Several(errors))
            }
        }
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}s", self.0.as_secs_f64())
    }
}

struct Joined<'a>(&'a [ContainerError]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(formatter, "{separator}{error}")?;
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                write!(formatter, ": {error}")?;
                cause = error.source();
            }
        }
        Ok(())
    }
}
