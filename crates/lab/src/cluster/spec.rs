//! What a lab is asked to be: parsed once, at the edge, and kept as `lab.json`.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;
use std::str::FromStr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::audit::AuditLogSpec;
use crate::topology::{LabNetwork, RangeError, names};

/// A lab's name: 1 to 20 characters of `a-z`, `0-9` and `-`, first a letter, last no `-`.
///
/// It becomes part of namespace names and of directory names, hence the narrow alphabet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabName(String);

impl LabName {
    /// The most characters that a name may have.
    pub const MAX: usize = 20;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LabName {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let well_formed = text.len() <= Self::MAX
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if well_formed { Ok(Self(text.to_owned())) } else { Err(SpecError::Name { name: text.to_owned() }) }
    }
}

impl TryFrom<String> for LabName {
    type Error = SpecError;

    fn try_from(text: String) -> Result<Self, SpecError> {
        text.parse()
    }
}

impl From<LabName> for String {
    fn from(name: LabName) -> Self {
        name.0
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a node's service proxy works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyMode {
    /// Service addresses live in nftables maps.
    #[default]
    Nftables,
    /// Service addresses live in the chains that `iptables-save` shows.
    Iptables,
    /// Service addresses are virtual servers of the kernel's load balancer.
    Ipvs,
    /// Connections to service addresses end in the agent, which makes one of its own to an endpoint.
    Userspace,
    /// The best of these that the kernel can do.
    Auto,
    /// No proxy: service addresses mean nothing on this node.
    None,
}

impl ProxyMode {
    const ALL: [Self; 6] =
        [Self::Nftables, Self::Iptables, Self::Ipvs, Self::Userspace, Self::Auto, Self::None];

    fn word(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
            Self::Ipvs => "ipvs",
            Self::Userspace => "userspace",
            Self::Auto => "auto",
            Self::None => "none",
        }
    }
}

impl FromStr for ProxyMode {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let known = Self::ALL.into_iter().find(|mode| mode.word() == text);
        known.ok_or_else(|| SpecError::ProxyMode { mode: text.to_owned() })
    }
}

impl fmt::Display for ProxyMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One word of `--proxy-mode`: `MODE` for every node, or `NODE=MODE` for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyModeChoice {
    /// The node it is for; `None` means all.
    pub node: Option<String>,
    /// The mode.
    pub mode: ProxyMode,
}

impl FromStr for ProxyModeChoice {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        Ok(match text.split_once('=') {
            Some((node, mode)) => Self { node: Some(node.to_owned()), mode: mode.parse()? },
            None => Self { node: None, mode: text.parse()? },
        })
    }
}

/// What the user asks `lab up` for. What is `None` takes its default in a new lab, and what it has in an old one.
#[derive(Clone, Debug)]
pub struct LabRequest {
    /// The lab's name.
    pub name: LabName,
    /// How many nodes, at least 1; [`LabRequest::NODES`] by default.
    pub nodes: Option<usize>,
    /// Modes, later ones winning over earlier ones.
    pub proxy_modes: Vec<ProxyModeChoice>,
    /// The network that joins the nodes; [`LabRequest::NODE_CIDR`] by default.
    pub node_cidr: Option<Ipv4Net>,
    /// Where pods get their addresses from; [`LabRequest::POD_CIDR`] by default.
    pub pod_cidr: Option<Ipv4Net>,
    /// Where Services get their addresses from; [`LabRequest::SERVICE_CIDR`] by default.
    pub service_cidr: Option<Ipv4Net>,
    /// The API server's port on this machine's loopback; by default the first free one from 6443.
    pub api_port: Option<u16>,
    /// Seconds for which a node may be silent until it counts as lost; [`LabRequest::NODE_GRACE`] by default.
    pub node_grace: Option<u32>,
    /// Audit lines of the API server; none by default.
    pub audit_log: Option<AuditLogSpec>,
}

impl LabRequest {
    /// Nodes of a lab when nobody says how many.
    pub const NODES: usize = 3;
    /// The node network of the reference cluster.
    pub const NODE_CIDR: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 100, 0, 0), 24);
    /// The pod network of the reference cluster.
    pub const POD_CIDR: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16);
    /// The service range of the reference cluster.
    pub const SERVICE_CIDR: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 12);

    /// kube-controller-manager's default of many years.
    pub const NODE_GRACE: u32 = 40;

    /// A lab with everything at its default.
    pub fn named(name: LabName) -> Self {
        Self {
            name,
            nodes: None,
            proxy_modes: Vec::new(),
            node_cidr: None,
            pod_cidr: None,
            service_cidr: None,
            api_port: None,
            node_grace: None,
            audit_log: None,
        }
    }
}

/// A node of a lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// `node1`, `node2`, ….
    pub name: String,
    /// Its own address in the node network.
    pub address: Ipv4Addr,
    /// How its service proxy works.
    pub proxy_mode: ProxyMode,
}

/// A lab as it was made; stays the same for the lab's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabSpec {
    /// The lab's name.
    pub name: LabName,
    /// The network that joins the nodes.
    pub node_cidr: Ipv4Net,
    /// Where pods get their addresses from.
    pub pod_cidr: Ipv4Net,
    /// Where Services get their addresses from.
    pub service_cidr: Ipv4Net,
    /// The API server's port on this machine's loopback.
    pub api_port: u16,
    /// The control plane's address in the node network: the last one.
    pub control_plane: Ipv4Addr,
    /// The nodes in order.
    pub nodes: Vec<NodeSpec>,
    /// Seconds for which a node may be silent until it counts as lost, at least 4.
    #[serde(default = "default_node_grace")]
    pub node_grace: u32,
    /// Audit lines of the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_log: Option<AuditLogSpec>,
}

/// Labs made before there was a choice.
fn default_node_grace() -> u32 {
    LabRequest::NODE_GRACE
}

/// The shortest grace period: agents renew their leases four times in it, and a renewal a second is plenty.
const SHORTEST_NODE_GRACE: u32 = 4;

/// The API server's port inside the node network.
pub const API_PORT: u16 = 6443;

impl LabSpec {
    /// Lays the nodes out: the router has the node network's first address, the nodes follow, the control plane
    /// has the last.
    ///
    /// # Errors
    /// When the ranges have no room or overlap, or a proxy mode names a node that there is not.
    pub fn plan(request: &LabRequest, api_port: u16) -> Result<Self, SpecError> {
        let count = request.nodes.unwrap_or(LabRequest::NODES);
        let network = LabNetwork {
            lab: request.name.to_string(),
            nodes: count,
            node_range: request.node_cidr.unwrap_or(LabRequest::NODE_CIDR),
            pod_range: request.pod_cidr.unwrap_or(LabRequest::POD_CIDR),
            service_range: request.service_cidr.unwrap_or(LabRequest::SERVICE_CIDR),
        };
        if count == 0 {
            return Err(SpecError::NoNodes);
        }
        let node_grace = request.node_grace.unwrap_or(LabRequest::NODE_GRACE);
        if node_grace < SHORTEST_NODE_GRACE {
            return Err(SpecError::NodeGrace { seconds: node_grace });
        }
        if let Some(audit) = &request.audit_log {
            if audit.max_size == 0 {
                return Err(SpecError::AuditLogSize);
            }
            if audit.path.file_name().is_none() || !audit.path.is_absolute() {
                return Err(SpecError::AuditLogPath { path: audit.path.clone() });
            }
        }
        network.check()?;
        let mut nodes: Vec<NodeSpec> = (1..=count)
            .map(|number| NodeSpec {
                name: names::node_name(number),
                address: network.node_address(number),
                proxy_mode: ProxyMode::default(),
            })
            .collect();
        for choice in &request.proxy_modes {
            let mut chosen = 0;
            for node in &mut nodes {
                if choice.node.as_ref().is_none_or(|name| *name == node.name) {
                    node.proxy_mode = choice.mode;
                    chosen += 1;
                }
            }
            if chosen == 0 {
                return Err(SpecError::UnknownNode {
                    node: choice.node.clone().unwrap_or_default(),
                    nodes: count,
                });
            }
        }
        Ok(Self {
            name: request.name.clone(),
            node_cidr: network.node_range,
            pod_cidr: network.pod_range,
            service_cidr: network.service_range,
            api_port,
            control_plane: network.control_plane_address(),
            nodes,
            node_grace,
            audit_log: request.audit_log.clone(),
        })
    }

    /// Checks that a request for this lab, which is there already, asks for nothing else than it is.
    ///
    /// # Errors
    /// [`SpecError::Differs`] with the first difference; what [`LabSpec::plan`] says of the request itself.
    pub fn accepts(&self, request: &LabRequest) -> Result<(), SpecError> {
        let filled = LabRequest {
            nodes: request.nodes.or(Some(self.nodes.len())),
            node_cidr: request.node_cidr.or(Some(self.node_cidr)),
            pod_cidr: request.pod_cidr.or(Some(self.pod_cidr)),
            service_cidr: request.service_cidr.or(Some(self.service_cidr)),
            node_grace: request.node_grace.or(Some(self.node_grace)),
            audit_log: request.audit_log.clone().or_else(|| self.audit_log.clone()),
            ..request.clone()
        };
        let mut asked = Self::plan(&filled, request.api_port.unwrap_or(self.api_port))?;
        if request.proxy_modes.is_empty() {
            for (asked, node) in asked.nodes.iter_mut().zip(&self.nodes) {
                asked.proxy_mode = node.proxy_mode;
            }
        }
        let differences = [
            ("--nodes", self.nodes.len() != asked.nodes.len()),
            ("--node-cidr", self.node_cidr != asked.node_cidr),
            ("--pod-cidr", self.pod_cidr != asked.pod_cidr),
            ("--service-cidr", self.service_cidr != asked.service_cidr),
            ("--api-port", self.api_port != asked.api_port),
            ("--proxy-mode", self.nodes != asked.nodes),
            ("--node-monitor-grace-period", self.node_grace != asked.node_grace),
            ("--audit-log-path", self.audit_log != asked.audit_log),
        ];
        match differences.iter().find(|(_, differs)| *differs) {
            Some((option, _)) => Err(SpecError::Differs { name: self.name.clone(), option }),
            None => Ok(()),
        }
    }

    /// Reads a lab's `lab.json`.
    ///
    /// # Errors
    /// [`SpecError::Read`] when the file is not there or not readable, [`SpecError::Parse`] when it is damaged.
    pub fn load(path: &Path) -> Result<Self, SpecError> {
        let read = |source| SpecError::Read { path: path.to_owned(), source };
        let parse = |source| SpecError::Parse { path: path.to_owned(), source };
        serde_json::from_slice(&std::fs::read(path).map_err(read)?).map_err(parse)
    }

    /// Writes `lab.json`, whole or not at all.
    ///
    /// # Errors
    /// [`SpecError::Write`] when the disk says no.
    pub fn save(&self, path: &Path) -> Result<(), SpecError> {
        let write = |source| SpecError::Write { path: path.to_owned(), source };
        let fresh = path.with_extension("json.new");
        let text = serde_json::to_vec_pretty(self).map_err(|error| write(error.into()))?;
        std::fs::write(&fresh, text).map_err(write)?;
        std::fs::rename(&fresh, path).map_err(write)
    }

    /// The network that the lab stands in.
    pub fn network(&self) -> LabNetwork {
        LabNetwork {
            lab: self.name.to_string(),
            nodes: self.nodes.len(),
            node_range: self.node_cidr,
            pod_range: self.pod_cidr,
            service_range: self.service_cidr,
        }
    }

    /// The name of the network namespace of a node, `router`, `outside` or `control-plane`.
    pub fn namespace(&self, machine: &str) -> Option<String> {
        let lab = self.name.as_str();
        match machine {
            "router" => Some(names::router(lab)),
            "outside" => Some(names::outside(lab)),
            "control-plane" => Some(names::control_plane(lab)),
            node => {
                let number = self.nodes.iter().position(|spec| spec.name == node)? + 1;
                Some(names::node(lab, number))
            }
        }
    }

    /// Destinations that pods reach with their own address: private networks, and whatever else is the lab's own.
    pub fn non_masquerade(&self) -> Vec<Ipv4Net> {
        let private = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8);
        let own = [self.node_cidr, self.pod_cidr, self.service_cidr];
        [private].into_iter().chain(own.into_iter().filter(|range| !private.contains(range))).collect()
    }

    /// The node called `name`.
    pub fn node(&self, name: &str) -> Option<&NodeSpec> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The address of the Service `kubernetes`: the first of the service range.
    pub fn kubernetes_service(&self) -> Ipv4Addr {
        self.service_cidr.hosts().next().unwrap_or(self.service_cidr.addr())
    }

    /// The address that cluster DNS has by convention: the tenth of the service range.
    pub fn cluster_dns(&self) -> Ipv4Addr {
        self.service_cidr.hosts().nth(9).unwrap_or(self.service_cidr.addr())
    }
}

/// What can be wrong with a request for a lab.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum SpecError {
    #[error(
        "'{name}' cannot be a lab's name: it takes 1 to {max} characters of a-z, 0-9 and '-', first a letter, last no '-'",
        max = LabName::MAX
    )]
    Name { name: String },
    #[error("'{mode}' is no proxy mode; there are nftables, iptables, ipvs, userspace, auto and none")]
    ProxyMode { mode: String },
    #[error("there is no node '{node}'; the lab has node1 to node{nodes}")]
    UnknownNode { node: String, nodes: usize },
    #[error("a lab has at least one node; say --nodes 1 or more")]
    NoNodes,
    #[error(
        "--node-monitor-grace-period {seconds} is too short: agents report every second at most, so say {SHORTEST_NODE_GRACE} or more"
    )]
    NodeGrace { seconds: u32 },
    #[error("--audit-log-maxsize 0 leaves no room for a line; say 1 or more megabytes")]
    AuditLogSize,
    #[error("--audit-log-path {} is no file's path", path.display())]
    AuditLogPath { path: std::path::PathBuf },
    #[error(transparent)]
    Ranges(#[from] RangeError),
    #[error(
        "the lab '{name}' is there with another {option}; take it down first, or give the new one another --name"
    )]
    Differs { name: LabName, option: &'static str },
    #[error("cannot read {path}: {source}")]
    Read { path: std::path::PathBuf, source: std::io::Error },
    #[error("cannot write {path}: {source}")]
    Write { path: std::path::PathBuf, source: std::io::Error },
    #[error("{path} is damaged ({source}); take the lab down with `portolan lab down` and make it anew")]
    Parse { path: std::path::PathBuf, source: serde_json::Error },
}

impl SpecError {
    /// Whether the lab simply does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> LabRequest {
        LabRequest::named("default".parse().unwrap())
    }

    #[test]
    fn the_reference_cluster_has_the_articles_addresses() {
        let spec = LabSpec::plan(&request(), 6443).unwrap();
        let addresses: Vec<String> = spec.nodes.iter().map(|n| format!("{} {}", n.name, n.address)).collect();
        assert_eq!(addresses, ["node1 10.100.0.2", "node2 10.100.0.3", "node3 10.100.0.4"]);
        assert_eq!(spec.control_plane.to_string(), "10.100.0.254");
        assert_eq!(spec.kubernetes_service().to_string(), "10.96.0.1");
        assert_eq!(spec.cluster_dns().to_string(), "10.96.0.10");
    }

    #[test]
    fn a_range_without_room_is_refused() {
        let tight = |cidr: &str, nodes| {
            LabSpec::plan(&LabRequest { node_cidr: cidr.parse().ok(), nodes: Some(nodes), ..request() }, 1)
        };
        assert!(tight("10.0.0.0/29", 4).is_ok());
        assert!(matches!(tight("10.0.0.0/29", 5), Err(SpecError::Ranges(_))));
        assert!(matches!(tight("10.0.0.0/31", 1), Err(SpecError::Ranges(_))));
        assert!(matches!(tight("10.0.0.0/24", 0), Err(SpecError::NoNodes)));
    }

    #[test]
    fn nodes_are_given_at_least_four_seconds() {
        let with = |seconds| LabSpec::plan(&LabRequest { node_grace: Some(seconds), ..request() }, 1);
        assert_eq!(with(4).unwrap().node_grace, 4);
        assert!(with(3).unwrap_err().to_string().contains("--node-monitor-grace-period 3 is too short"));
    }

    fn audit_log() -> AuditLogSpec {
        AuditLogSpec { path: "/var/log/audit.log".into(), max_size: 1, max_backups: 0 }
    }

    #[test]
    fn audit_lines_stay_where_they_are_and_old_labs_have_none() {
        let plan = |audit_log| LabSpec::plan(&LabRequest { audit_log: Some(audit_log), ..request() }, 1);
        let lab = plan(audit_log()).unwrap();
        assert!(lab.accepts(&request()).is_ok());
        assert_eq!(audit_log().config().max_size, 1_048_576);
        let mut json = serde_json::to_value(&lab).unwrap();
        assert_eq!(serde_json::from_value::<LabSpec>(json.clone()).unwrap(), lab);
        json.as_object_mut().unwrap().remove("audit_log").unwrap();
        assert_eq!(serde_json::from_value::<LabSpec>(json).unwrap().audit_log, None);
        let none = plan(AuditLogSpec { max_size: 0, ..audit_log() }).unwrap_err();
        assert!(none.to_string().contains("say 1 or more megabytes"), "{none}");
        for path in ["audit.log", "/", "/var/.."] {
            plan(AuditLogSpec { path: path.into(), ..audit_log() }).expect_err(path);
        }
    }

    #[test]
    fn a_later_proxy_mode_wins_and_may_name_one_node() {
        let modes = |words: &[&str]| {
            let proxy_modes = words.iter().map(|w| w.parse().unwrap()).collect();
            LabSpec::plan(&LabRequest { proxy_modes, ..request() }, 1)
        };
        let spec = modes(&["nftables", "node3=none"]).unwrap();
        assert_eq!(spec.nodes[2].proxy_mode, ProxyMode::None);
        assert_eq!(spec.nodes[1].proxy_mode, ProxyMode::Nftables);
        assert!(modes(&["none"]).unwrap().nodes.iter().all(|n| n.proxy_mode == ProxyMode::None));
        assert!(matches!(modes(&["node9=none"]), Err(SpecError::UnknownNode { .. })));
    }

    #[test]
    fn a_lab_that_is_there_is_healed_but_not_changed() {
        let lab = LabSpec::plan(&LabRequest { nodes: Some(2), ..request() }, 7000).unwrap();
        assert!(lab.accepts(&request()).is_ok());
        assert!(lab.accepts(&LabRequest { nodes: Some(2), api_port: Some(7000), ..request() }).is_ok());
        let option = |request| match lab.accepts(&request).unwrap_err() {
            SpecError::Differs { option, .. } => option,
            other => panic!("{other}"),
        };
        assert_eq!(option(LabRequest { nodes: Some(3), ..request() }), "--nodes");
        assert_eq!(option(LabRequest { pod_cidr: "10.0.0.0/14".parse().ok(), ..request() }), "--pod-cidr");
        assert_eq!(
            option(LabRequest { proxy_modes: vec!["none".parse().unwrap()], ..request() }),
            "--proxy-mode"
        );
        assert_eq!(option(LabRequest { api_port: Some(1), ..request() }), "--api-port");
        assert_eq!(option(LabRequest { node_grace: Some(8), ..request() }), "--node-monitor-grace-period");
        assert_eq!(option(LabRequest { audit_log: Some(audit_log()), ..request() }), "--audit-log-path");
    }

    #[test]
    fn names_that_could_leave_their_directory_are_refused() {
        for bad in ["", "..", "a/b", "A", "-a", "a-", "0a", "a_b", "aaaaaaaaaaaaaaaaaaaaa"] {
            assert!(bad.parse::<LabName>().is_err(), "{bad}");
        }
        for good in ["a", "default", "my-lab2"] {
            assert!(good.parse::<LabName>().is_ok(), "{good}");
        }
    }
}
