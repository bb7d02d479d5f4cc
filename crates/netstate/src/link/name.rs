//! Names that the kernel accepts, checked where they come in.

use std::borrow::Cow;
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
pub struct LinkName(Cow<'static, str>);

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
        Ok(Self(Cow::Owned(name.to_owned())))
    }

    /// A name known when the program is compiled; use it in `const` items so that a bad one does not compile.
    ///
    /// # Panics
    /// When it is empty, too long, or holds anything but letters, digits and `-`.
    #[must_use]
    pub const fn constant(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= 15, "a link name has 1 to 15 bytes");
        let mut index = 0;
        while index < bytes.len() {
            assert!(bytes[index].is_ascii_alphanumeric() || bytes[index] == b'-', "not a link name");
            index += 1;
        }
        Self(Cow::Borrowed(name))
    }

    /// `lo`.
    #[must_use]
    pub const fn loopback() -> Self {
        Self::constant("lo")
    }

    /// `eth0`, the uplink of nodes and pods.
    #[must_use]
    pub const fn eth0() -> Self {
        Self::constant("eth0")
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
