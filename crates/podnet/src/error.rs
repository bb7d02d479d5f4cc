//! What may go wrong.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use netstate::conntrack::ConntrackError;
use netstate::link::LinkName;
use netstate::namespace::LinkError;
use netstate::nft::NftError;
use netstate::sysctl::SysctlError;

/// Why the pod network could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum PodnetError {
    /// A node's range must hold the gateway and one pod besides network and broadcast address.
    #[error("pod range {range} is too small for a node: use /30 or larger")]
    RangeTooSmall {
        /// The range.
        range: Ipv4Net,
    },
    /// Every address is given away.
    #[error(
        "all {capacity} pod addresses of {range} are in use: delete pods of this node or give it a larger range"
    )]
    Exhausted {
        /// The node's range.
        range: Ipv4Net,
        /// How many pods it can hold.
        capacity: u32,
    },
    /// An address cannot be a pod's: outside the range, the gateway's, or another sandbox's.
    #[error("{address} cannot be given to a pod of {range}: {reason}")]
    Unusable {
        /// The address.
        address: Ipv4Addr,
        /// The node's range.
        range: Ipv4Net,
        /// Why.
        reason: &'static str,
    },
    /// The node has no uplink by that name.
    #[error("this node has no link {link} to take the MTU from")]
    NoUplink {
        /// The link that was looked for.
        link: LinkName,
    },
    /// The addresses could not be written down or read.
    #[error("pod addresses in {}: {source}", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Links, addresses or routes.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The masquerade and host port tables.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// UDP connections of a host port.
    #[error(transparent)]
    Conntrack(#[from] ConntrackError),
    /// Kernel settings.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
}

impl PodnetError {
    /// Whether there is no address left; another pod's end may change that.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        matches!(self, Self::Exhausted { .. })
    }

    /// Whether the same call may succeed when repeated at once.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Link(error) => error.is_transient(),
            Self::Nft(error) => error.is_transient(),
            Self::Conntrack(error) => error.is_transient(),
            Self::RangeTooSmall { .. }
            | Self::Exhausted { .. }
            | Self::Unusable { .. }
            | Self::NoUplink { .. }
            | Self::Store { .. }
            | Self::Sysctl(_) => false,
        }
    }
}
