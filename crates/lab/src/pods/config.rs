//! What the agent of one node must be told.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::Ipv4Net;

/// The agent's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's name, as its Node object and certificate call it.
    pub node: String,
    /// The node's own address on `eth0`: Node.status InternalIP, and where the kubelet API listens.
    pub address: Ipv4Addr,
    /// The node's directory, `<state>/labs/<lab>/nodes/<node>`. The agent keeps `pods/` and what the
    /// container runtime and the address allocation need below it.
    pub directory: PathBuf,
    /// The image store shared by all labs, `<state>/images`.
    pub image_store: PathBuf,
    /// The portolan binary, run as `portolan pause` for each pod.
    pub program: PathBuf,
    /// The lab's name, for the cgroup that every process of the lab lives in.
    pub lab: String,
    /// Destinations that pods reach with their own address; traffic to all others is masqueraded.
    pub non_masquerade: Vec<Ipv4Net>,
    /// The cluster's name server, written to the pods' `/etc/resolv.conf`.
    pub dns_server: IpAddr,
    /// The cluster's DNS domain, normally `cluster.local`.
    pub dns_domain: String,
    /// How long a ready pod that is being deleted goes on serving before it is told to stop, so that every
    /// node's proxy has stopped sending it new connections by then. Bounded by the pod's grace period; the
    /// default is [`Config::WITHDRAWAL_DELAY`].
    pub withdrawal_delay: Duration,
    /// Port of the kubelet API on the node's address, normally [`Config::KUBELET_PORT`].
    pub kubelet_port: u16,
    /// Keys and certificates of the kubelet API.
    pub server: ServerFiles,
    /// How long others take the node for alive after its Lease was renewed (`nodeLeaseDurationSeconds` of the kubelet);
    /// it is renewed four times in that time. At least a second.
    pub lease_duration: Duration,
    /// Labels put on the Node beside the well-known ones.
    pub labels: BTreeMap<String, String>,
}

impl Config {
    /// The kubelet's port on every node of every Kubernetes cluster.
    pub const KUBELET_PORT: u16 = 10250;
    /// Default of `lease_duration`.
    pub const LEASE_DURATION: Duration = Duration::from_secs(40);
    /// Default of `withdrawal_delay`.
    pub const WITHDRAWAL_DELAY: Duration = Duration::from_secs(1);
}

/// PEM files of the kubelet API's TLS server.
#[derive(Debug, Clone)]
pub struct ServerFiles {
    /// The node's serving certificate (and its chain).
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub private_key: PathBuf,
    /// The authority that client certificates must come from.
    pub client_authority: PathBuf,
}
