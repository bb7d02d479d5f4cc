//! What planners need from the kernel, and how it may fail.

use std::io;
use std::path::PathBuf;

use super::{LinkOp, NetworkState};
use crate::link::{LinkName, NamespacePath};

/// Links and routes of one namespace. Calls block for well under a millisecond per operation.
pub trait LinkPort: Send + Sync {
    /// Reads all links and the main table's unicast routes.
    ///
    /// # Errors
    /// [`LinkError`] when the kernel refuses.
    fn observe(&self) -> Result<NetworkState, LinkError>;

    /// Carries the operations out in their order and stops at the first that fails: what came before it stays.
    ///
    /// # Errors
    /// [`LinkError`] with the operation that failed.
    fn commit(&self, operations: &[LinkOp]) -> Result<(), LinkError>;
}

/// Opens the links of other namespaces.
pub trait NamespacePorts: Send + Sync {
    /// Opens a namespace.
    ///
    /// # Errors
    /// [`LinkError::Namespace`] when it cannot be opened.
    fn open(&self, namespace: &NamespacePath) -> Result<Box<dyn LinkPort>, LinkError>;
}

/// Why links could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The kernel refused one operation.
    #[error("{operation}: {source}")]
    Operation {
        /// The operation in `ip` syntax.
        operation: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// An operation names a link that does not exist.
    #[error("{operation}: there is no link {link}")]
    NoSuchLink {
        /// The operation in `ip` syntax.
        operation: String,
        /// The missing link.
        link: LinkName,
    },
    /// A namespace could not be opened.
    #[error("cannot open the network namespace {}: {source}", path.display())]
    Namespace {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The netlink socket failed.
    #[error("netlink socket: {0}")]
    Socket(#[source] io::Error),
    /// The kernel's answer could not be read.
    #[error("netlink answer: {0}")]
    Decode(String),
}

impl LinkError {
    /// Whether what was named is not there: a link, a route or a namespace.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::NoSuchLink { .. } => true,
            Self::Operation { source, .. } => {
                // ENOENT, ESRCH (a route), ENODEV (a link), EADDRNOTAVAIL (an address).
                matches!(source.raw_os_error(), Some(2 | 3 | 19 | 99))
            }
            Self::Namespace { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Socket(_) | Self::Decode(_) => false,
        }
    }

    /// Whether what was to be made is there already.
    #[must_use]
    pub fn is_exists(&self) -> bool {
        matches!(self, Self::Operation { source, .. } if source.raw_os_error() == Some(17))
    }

    /// Whether the same call may succeed when repeated: the kernel was busy or out of memory for a moment.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Operation { source, .. } | Self::Socket(source) => {
                // EINTR, EAGAIN, ENOMEM, EBUSY, ENOBUFS.
                matches!(source.raw_os_error(), Some(4 | 11 | 12 | 16 | 105))
            }
            Self::NoSuchLink { .. } | Self::Namespace { .. } | Self::Decode(_) => false,
        }
    }
}
