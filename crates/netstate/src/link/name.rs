//! Names that the kernel accepts, checked where they come in.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a name is no link name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, `.`, `..`, or with a character that the kernel refuses.
    #[error("{name:?} is not a link name: use letters, digits, '-', '_' and '.'")]
    Invalid {
        /// What was given.
        name: String,
    },
    /// Longer than the kernel's 15 bytes (IFNAMSIZ less the closing zero).
    #[error("link name {name:?} is longer than 15 bytes")]
    TooLong {
        /// What was given.
        name: String,
    },
}

/// The name of a link: 1 to 15 bytes without slash, colon and white space (`dev_valid_name` of the kernel).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkName(String);

impl LinkName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`NameError`] when the kernel would refuse it.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let refused = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':');
        if name.is_empty() || name == "." || name == ".." || name.contains(refused) {
            return Err(NameError::Invalid { name: name.to_owned() });
        }
        if name.len() > 15 {
            return Err(NameError::TooLong { name: name.to_owned() });
        }
        Ok(Self(name.to_owned()))
    }

    /// `lo`.
    #[must_use]
    pub fn loopback() -> Self {
        Self("lo".to_owned())
    }

    /// `eth0`, the uplink of nodes and pods.
    #[must_use]
    pub fn eth0() -> Self {
        Self("eth0".to_owned())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a network namespace can be opened: `/run/netns/NAME`, `/proc/PID/ns/net`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespacePath(PathBuf);

impl NamespacePath {
    /// A namespace by its file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The namespace that a process is in.
    #[must_use]
    pub fn of_process(pid: u32) -> Self {
        Self(PathBuf::from(format!("/proc/{pid}/ns/net")))
    }

    /// The file.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for NamespacePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}
