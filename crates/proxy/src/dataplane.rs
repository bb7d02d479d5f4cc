use ipnet::IpNet;
use model::{Changes, NodeName, Snapshot};
use netstate::conntrack::ConntrackError;
use netstate::nft::NftError;

/// What the proxy must know of the node it works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeContext {
    /// The node's name: endpoints on it are local.
    pub node: NodeName,
    /// The range that all pods of the cluster take their IPv4 addresses from (kube-proxy's
    /// `--cluster-cidr`). Connections to a virtual address that come from elsewhere are masqueraded, so
    /// that their replies pass this node again. `None`: no connection is masqueraded for where it comes
    /// from.
    pub pod_range: Option<IpNet>,
}

/// What one sync did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// Changes sent to the kernel: elements, rules, chains and sets count one each.
    pub changes: usize,
    /// Connection tracking entries deleted.
    pub connections: usize,
    /// Session affinity entries deleted.
    pub affinities: usize,
}

/// Why the kernel could not be brought in line.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// nftables could not be read or changed.
    #[error("services could not be written to the kernel: {0}")]
    Nft(#[from] NftError),
    /// Stale connections could not be deleted; the rules are in place.
    #[error("stale connections could not be deleted: {0}")]
    Conntrack(#[from] ConntrackError),
}

impl SyncError {
    /// The same sync may succeed later although nothing changed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Nft(error) => error.is_transient() || error.is_not_found(),
            Self::Conntrack(error) => error.is_transient(),
        }
    }
}

/// Makes one node's kernel serve the cluster's services. Calls block.
pub trait Dataplane: Send {
    /// Brings the kernel in line with `snapshot`.
    ///
    /// `changes` names what may differ from the last call that succeeded; the first call looks at
    /// everything in any case. Equal states send nothing to the kernel.
    ///
    /// # Errors
    /// [`SyncError`]. Rules are changed all or not at all. The next call observes the kernel and
    /// compares everything, whatever its `changes`.
    fn sync(&mut self, snapshot: &Snapshot<'_>, changes: &Changes) -> Result<SyncReport, SyncError>;

    /// Whether somebody else may have written over what the last sync wrote. Costs one question to the kernel,
    /// so it may be asked every few seconds; only a sync of [`Changes::Everything`] tells whether it is so.
    ///
    /// # Errors
    /// [`SyncError`].
    fn may_be_disturbed(&mut self) -> Result<bool, SyncError>;

    /// Removes everything that this dataplane ever wrote, and nothing else.
    ///
    /// # Errors
    /// [`SyncError`].
    fn cleanup(&mut self) -> Result<(), SyncError>;
}
