//! The behaviour table: what the cluster holds, who asks from where for which address and port, and what must come of
//! it. Data, not code, in one file per subject; every mode has to do all of it ([`crate::modes`] says where one cannot).
//!
//! Objects are those of the Kubernetes API, read as the proxy reads them. The sections of one [`Settings`] are served
//! together, so each must also leave the others alone: every Service has addresses and ports of its own.

mod affinity;
mod broken;
mod cluster_addresses;
mod contested;
mod external_addresses;
mod families;
mod load_balancers;
mod local_traffic;
mod node_ports;
mod readiness;
mod sctp;
mod topology;
mod traffic_policies;

use std::net::{IpAddr, SocketAddr};

use model::{Object, Protocol};
use serde_json::Value;

use crate::asking::Asker;
use crate::objects::read;

/// Cases about one thing, with the objects that they need.
pub struct Section {
    /// The field, or the situation: a row of the README's matrix.
    pub feature: &'static str,
    /// What the rule is, for the page.
    pub about: &'static str,
    /// How the proxy is set up.
    pub settings: Settings,
    /// Services, EndpointSlices and nodes.
    pub objects: Vec<Value>,
    /// What is reported of them, in order: the fields of which parts are skipped.
    pub reported: &'static [&'static str],
    /// The contract.
    pub cases: Vec<Case>,
}

/// Who asks, by which protocol, for what, and what must come of it. Asked as often as it takes to meet everybody.
pub struct Case(pub Asker, pub Protocol, pub &'static str, pub Then);

/// What must come of it.
pub enum Then {
    /// Each of these endpoints answers at some time, and nobody else.
    Each(&'static [&'static str], Seen),
    /// One of these endpoints answers, always the same.
    One(&'static [&'static str], Seen),
    /// No door: whoever has the address himself answers.
    Straight(&'static str, Seen),
    /// A TCP reset, or port unreachable.
    Refused,
    /// Silence.
    Dropped,
    /// None of our business: it goes out by the router, who answers in the place of the world.
    Leaves,
}

/// Whom the endpoint takes for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The client itself. Only a pod that meets itself sees the node, since it would not answer itself.
    Client,
    /// The node, by the address of its link that leads to the endpoint.
    Node,
}

/// How the proxy is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Settings {
    /// Pods are told by the cluster's pod ranges, and node ports are at every address of the node.
    Usual,
    /// `--masquerade-all`.
    MasqueradeAll,
    /// No `--cluster-cidr`: nobody knows what a pod is.
    PodsUnknown,
    /// `--detect-local-mode=BridgeInterface`: pods are those behind the bridge.
    PodsByBridge,
    /// `--detect-local-mode=InterfaceNamePrefix`.
    PodsByPrefix,
    /// `--nodeport-addresses` names the second address of the node in each family.
    OneNodePortAddress,
}

impl Settings {
    pub const ALL: [Self; 6] = [
        Self::Usual,
        Self::MasqueradeAll,
        Self::PodsUnknown,
        Self::PodsByBridge,
        Self::PodsByPrefix,
        Self::OneNodePortAddress,
    ];

    /// In kube-proxy's flags.
    pub fn flags(self) -> &'static str {
        match self {
            Self::Usual => "--cluster-cidr=10.244.0.0/16,fd00:10:244::/48",
            Self::MasqueradeAll => "--cluster-cidr=10.244.0.0/16,fd00:10:244::/48 --masquerade-all",
            Self::PodsUnknown => "none of those that tell what a pod is",
            Self::PodsByBridge => "--detect-local-mode=BridgeInterface --pod-bridge-interface=cbr0",
            Self::PodsByPrefix => "--detect-local-mode=InterfaceNamePrefix --pod-interface-name-prefix=cb",
            Self::OneNodePortAddress => {
                "--cluster-cidr=10.244.0.0/16,fd00:10:244::/48 \
                 --nodeport-addresses=10.100.0.22/32,fd00:10:100::22/128"
            }
        }
    }
}

/// All of it, in the order of the page.
pub fn sections() -> Vec<Section> {
    [
        cluster_addresses::sections(),
        node_ports::sections(),
        load_balancers::sections(),
        external_addresses::sections(),
        traffic_policies::sections(),
        readiness::sections(),
        topology::sections(),
        affinity::sections(),
        families::sections(),
        sctp::sections(),
        local_traffic::sections(),
        contested::sections(),
        broken::sections(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What the cluster holds under some settings: also what a mode cannot do, for it must not hurt the rest. An object that several sections name is
/// the same.
pub fn objects(settings: Settings) -> Vec<Object> {
    let mut objects = Vec::new();
    for section in sections().iter().filter(|section| section.settings == settings) {
        for object in section.objects.iter().filter_map(|object| read(object).0) {
            match objects.iter().find(|other: &&Object| other.key() == object.key()) {
                Some(other) => assert_eq!(*other, object, "two objects of one name"),
                None => objects.push(object),
            }
        }
    }
    objects
}

/// The address by which an endpoint sees its client.
pub fn seen_by(endpoint: SocketAddr, asker: Asker, seen: Seen) -> IpAddr {
    let client = asker.address(endpoint.ip());
    match seen {
        Seen::Client if client != endpoint.ip() || client.is_loopback() => client,
        Seen::Client | Seen::Node => node_towards(endpoint.ip()),
    }
}

/// The address by which the world sees a client that no proxy has touched: pods leave the cluster with the node's.
pub fn seen_outside(asker: Asker, to: SocketAddr) -> IpAddr {
    let client = asker.address(to.ip());
    let [pods, cluster] = ["10.244.1.0/24", "10.0.0.0/8"].map(|range| range.parse::<ipnet::IpNet>().unwrap());
    if pods.contains(&client) && !cluster.contains(&to.ip()) { node_towards(to.ip()) } else { client }
}

/// The address of node1's link that leads to an address.
pub fn node_towards(address: IpAddr) -> IpAddr {
    let links = [("10.244.1.0/24", "10.244.1.1"), ("fd00:10:244:1::/64", "fd00:10:244:1::1")];
    let link = links.into_iter().find(|(range, _)| {
        let range: ipnet::IpNet = range.parse().unwrap();
        range.contains(&address)
    });
    let uplink = if address.is_ipv4() { "10.100.0.2" } else { "fd00:10:100::2" };
    link.map_or(uplink, |(_, own)| own).parse().unwrap()
}

/// Port 80 of the three endpoints that there can be: two on node1, one on node2.
pub const THREE: &[&str] = &["10.244.1.2:80", "10.244.1.3:80", "10.244.2.2:80"];
/// Those of node1.
pub const HERE: &[&str] = &["10.244.1.2:80", "10.244.1.3:80"];
/// One of them.
pub const FIRST: &[&str] = &["10.244.1.2:80"];
/// The other.
pub const SECOND: &[&str] = &["10.244.1.3:80"];
/// That of node2.
pub const THERE: &[&str] = &["10.244.2.2:80"];
/// One on each node.
pub const BOTH: &[&str] = &["10.244.1.2:80", "10.244.2.2:80"];
/// The same in IPv6.
pub const THREE_V6: &[&str] = &["[fd00:10:244:1::2]:80", "[fd00:10:244:1::3]:80", "[fd00:10:244:2::2]:80"];
pub const HERE_V6: &[&str] = &["[fd00:10:244:1::2]:80", "[fd00:10:244:1::3]:80"];
pub const FIRST_V6: &[&str] = &["[fd00:10:244:1::2]:80"];

#[test]
fn what_makes_no_sense_is_reported() {
    for section in sections() {
        let errors = section.objects.iter().flat_map(|object| read(object).1);
        let fields: Vec<String> = errors.map(|error| error.field).collect();
        assert_eq!(fields, section.reported, "{}", section.feature);
    }
}
