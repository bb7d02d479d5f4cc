use ipnet::IpNet;
use model::{Changes, NodeName, Snapshot};
use netstate::conntrack::ConntrackError;
use netstate::ipset::IpsetError;
use netstate::iptables::IptablesError;
use netstate::ipvs::IpvsError;
use netstate::namespace::LinkError;
use netstate::nft::{InterfaceName, NftError};
use netstate::relay::RelayError;
use netstate::sysctl::SysctlError;

/// What the proxy must know of the node it works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeContext {
    /// The node's name: endpoints on it are local.
    pub node: NodeName,
    /// How connections of pods are told from others. To a virtual address, those that are no pod's are masqueraded, so
    /// that their replies pass this node again; to an external address of a Service with `externalTrafficPolicy:
    /// Local`, pods are served by endpoints anywhere.
    pub pods: LocalTraffic,
    /// Connections to a virtual address are all masqueraded (kube-proxy's `--masquerade-all`).
    pub masquerade_all: bool,
    /// At which of the node's addresses node ports are served.
    pub node_port_addresses: NodePortAddresses,
}

impl NodeContext {
    /// A node that knows the ranges of the cluster's pods, at most a few per family, and serves node ports at all its
    /// addresses.
    pub fn new(node: NodeName, pod_ranges: Vec<IpNet>) -> Self {
        let pods =
            if pod_ranges.is_empty() { LocalTraffic::Unknown } else { LocalTraffic::Ranges(pod_ranges) };
        Self { node, pods, masquerade_all: false, node_port_addresses: NodePortAddresses::All }
    }
}

/// How a connection of a pod is known (kube-proxy's `--detect-local-mode`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalTraffic {
    /// By its source address: it is in one of these ranges. Those of the cluster's or of the node's pods; a family
    /// without any is [`LocalTraffic::Unknown`].
    Ranges(Vec<IpNet>),
    /// It comes in by the bridge of this name.
    Interface(InterfaceName),
    /// It comes in by an interface whose name begins so; 1 to 15 bytes.
    InterfacePrefix(InterfaceName),
    /// Not at all: no connection to a virtual address is masqueraded for where it comes from, and no pod is known from
    /// outside.
    Unknown,
}

/// At which addresses of a node its node ports are served (`--nodeport-addresses`). Never at loopback addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// At all of them.
    All,
    /// At those within these ranges.
    Ranges(Vec<IpNet>),
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
    /// IPVS could not be read or changed.
    #[error("services could not be written to the kernel: {0}")]
    Ipvs(#[from] IpvsError),
    /// ipsets could not be read or changed.
    #[error("services could not be written to the kernel: {0}")]
    Ipset(#[from] IpsetError),
    /// iptables could not be read or changed.
    #[error("services could not be written to the kernel: {0}")]
    Iptables(#[from] IptablesError),
    /// Virtual addresses could not be given to the node.
    #[error("virtual addresses could not be written to the kernel: {0}")]
    Link(#[from] LinkError),
    /// A setting could not be made.
    #[error(transparent)]
    Setting(#[from] SysctlError),
    /// Stale connections could not be deleted; the rules are in place.
    #[error("stale connections could not be deleted: {0}")]
    Conntrack(#[from] ConntrackError),
    /// A relay could not be opened. The others are there and so are the rules, which refuse what it would carry.
    #[error("a service is refused: {0}")]
    Relay(#[from] RelayError),
}

impl SyncError {
    /// The same sync may succeed later although nothing changed.
    pub fn is_transient(&self) -> bool {
        let itself = match self {
            Self::Nft(error) => error.is_transient(),
            Self::Ipvs(error) => error.is_transient(),
            Self::Ipset(error) => error.is_transient(),
            Self::Iptables(error) => error.is_transient(),
            Self::Link(error) => error.is_transient(),
            Self::Setting(_) => false,
            Self::Conntrack(error) => error.is_transient(),
            Self::Relay(error) => error.is_transient(),
        };
        itself || self.is_surprise()
    }

    /// The kernel does not hold what we left in it: somebody else has been there.
    pub fn is_surprise(&self) -> bool {
        match self {
            Self::Nft(error) => error.is_not_found(),
            Self::Ipvs(error) => error.is_not_found() || error.is_exists(),
            Self::Ipset(error) => error.is_not_found(),
            Self::Iptables(error) => error.is_not_found(),
            Self::Link(error) => error.is_not_found() || error.is_exists(),
            Self::Setting(_) | Self::Conntrack(_) | Self::Relay(_) => false,
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

impl<D: Dataplane + ?Sized> Dataplane for Box<D> {
    fn sync(&mut self, snapshot: &Snapshot<'_>, changes: &Changes) -> Result<SyncReport, SyncError> {
        (**self).sync(snapshot, changes)
    }

    fn may_be_disturbed(&mut self) -> Result<bool, SyncError> {
        (**self).may_be_disturbed()
    }

    fn cleanup(&mut self) -> Result<(), SyncError> {
        (**self).cleanup()
    }
}
