//! What may go wrong while a lab's network is made or removed.

use std::fmt;

use kernel::netns::NetnsError;
use netstate::namespace::LinkError;
use netstate::sysctl::SysctlError;

/// Why a lab's network could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// A namespace.
    #[error(transparent)]
    Namespace(#[from] NetnsError),
    /// Links, addresses or routes of one of them.
    #[error("in {namespace}: {source}")]
    Link {
        /// The namespace's name.
        namespace: String,
        /// What failed.
        #[source]
        source: LinkError,
    },
    /// Kernel settings of one of them.
    #[error("in {namespace}: {source}")]
    Setting {
        /// The namespace's name.
        namespace: String,
        /// What failed.
        #[source]
        source: SysctlError,
    },
}

/// Everything of a lab's network that could not be removed.
#[derive(Debug, thiserror::Error)]
pub struct RemovalErrors {
    /// At least one.
    pub errors: Vec<NetnsError>,
}

impl fmt::Display for RemovalErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            write!(f, "{}{error}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}
