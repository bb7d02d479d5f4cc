//! Histories, generated: what may happen to a cluster, and to a node that follows it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use model::{
    AddressFamily, Endpoint, EndpointSlice, Hints, Kind, Node, Object, ObjectKey, Port, Protocol, Service,
    ServiceKey, ServiceKind, ServicePort, SessionAffinity, SliceKey, SlicePort, TrafficPolicy,
};
use proptest::prelude::*;

/// Services of which nothing bad is said, though they claim each other's doors.
const GOOD: [&str; 3] = ["a", "b", "c"];

/// The Service that claims what is others', repeats itself and asks for the impossible. The last in order of names, so
/// that nothing contested is its own.
pub(super) const BAD: &str = "z";

const ZONES: [Option<&str>; 3] = [None, Some("here"), Some("there")];

/// What happens, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(super) steps: Vec<Step>,
    /// Turns the order in which things are told that have none.
    pub(super) turn: u64,
}

/// One thing that happens.
#[derive(Clone)]
pub(super) enum Step {
    /// The proxy brings its kernel in line.
    Sync,
    /// An object is made, or changed.
    Apply(Box<Object>),
    /// An object goes, if it was there.
    Delete(ObjectKey),
    /// The API server is lost. What happens from now on is not told …
    Lose,
    /// … until all objects are listed again.
    List,
    /// Another process takes over, which remembers nothing and lists everything.
    Restart {
        /// It finds things of ours that no cluster asks for, as a crash or another version leaves them.
        littered: bool,
    },
    /// The next change of the kernel is refused.
    Fail,
}

/// One line a step.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sync => f.write_str("sync"),
            Self::Apply(object) => write!(f, "apply {object:?}"),
            Self::Delete(key) => write!(f, "delete {key:?}"),
            Self::Lose => f.write_str("lose the API server"),
            Self::List => f.write_str("list"),
            Self::Restart { littered } => write!(f, "restart, littered: {littered}"),
            Self::Fail => f.write_str("fail"),
        }
    }
}

/// Histories of up to 40 steps.
pub(crate) fn any_history() -> impl Strategy<Value = History> {
    let steps = prop::collection::vec(any::<u64>().prop_map(|chance| step(&mut Dice(chance))), 0..40);
    (steps, any::<u64>()).prop_map(|(steps, turn)| History { steps, turn })
}

/// Chance, used up choice by choice. The smaller the number, the plainer is what it chooses: that is how proptest finds
/// the plainest history in which a law does not hold.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u8) -> u8 {
        let side = self.0 % u64::from(sides);
        self.0 /= u64::from(sides);
        // It is below a number of eight bits.
        side as u8
    }

    fn one_in(&mut self, sides: u8) -> bool {
        self.below(sides) == sides - 1
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.below(choices.len() as u8))].clone()
    }
}

fn step(dice: &mut Dice) -> Step {
    match dice.below(24) {
        0..=5 => Step::Sync,
        6..=11 => Step::Apply(Box::new(Object::Service(any_service(dice)))),
        12..=16 => Step::Apply(Box::new(Object::EndpointSlice(any_slice(dice)))),
        17 => Step::Apply(Box::new(Object::Node(any_node(dice)))),
        18 => Step::Delete(ObjectKey::Service(any_service_key(dice))),
        19 => Step::Delete(ObjectKey::EndpointSlice(any_slice_key(dice).0)),
        20 => Step::Lose,
        21 => Step::List,
        22 => Step::Restart { littered: dice.one_in(2) },
        _ => Step::Fail,
    }
}

fn any_service_key(dice: &mut Dice) -> ServiceKey {
    let name = if dice.one_in(8) { BAD } else { dice.of(&GOOD) };
    ServiceKey::new("default", name)
}

fn any_service(dice: &mut Dice) -> Service {
    let mut service = Service::new(any_service_key(dice));
    let is_bad = &*service.key.name == BAD;
    let own = 1 + dice.below(3);
    service.cluster_addresses = vec![virtual_address(own)];
    if dice.one_in(3) {
        service.cluster_addresses.push(format!("fd00:10:96::{own}").parse().unwrap());
    }
    service.ports = (0..=dice.below(2)).map(|_| any_port(dice)).collect();
    service.kind = dice.of(&[ServiceKind::ClusterIp, ServiceKind::NodePort, ServiceKind::LoadBalancer]);
    if dice.one_in(3) {
        service.affinity =
            SessionAffinity::ClientAddress { timeout: Duration::from_secs(dice.of(&[10, 20])) };
    }
    let policy = |dice: &mut Dice| dice.of(&[TrafficPolicy::Cluster, TrafficPolicy::Local]);
    service.internal_policy = policy(dice);
    service.external_policy = policy(dice);
    service.external_addresses = (0..dice.below(2)).map(|_| virtual_address(4 + dice.below(3))).collect();
    service.load_balancer.addresses =
        (0..dice.below(2)).map(|_| virtual_address(6 + dice.below(2))).collect();
    let ranges = ["192.0.2.0/24", "192.0.2.0/25", "2001:db8::/32", "10.244.1.0/24"];
    let ranges = ranges.map(|range| range.parse().unwrap());
    service.load_balancer.source_ranges = ranges[..usize::from(dice.below(4))].into();
    service.health_check_port = if dice.one_in(3) { port(32_000 + u16::from(own)) } else { None };
    if dice.one_in(12) {
        service.proxy_name = Some("another".into());
    }
    if dice.one_in(12) {
        service.kind = ServiceKind::ExternalName("elsewhere.example".into());
    }
    if is_bad {
        make_bad(&mut service);
    }
    service
}

/// Claims everything that there is, twice, and the node's own address.
fn make_bad(service: &mut Service) {
    let everything = (1..8).map(virtual_address).chain([[10, 100, 0, 2].into()]);
    service.external_addresses = everything.clone().chain(everything).collect();
    service.load_balancer.addresses = service.external_addresses.clone();
    service.ports.extend_from_within(..);
    let all = ["0.0.0.0/0", "::/0", "192.0.2.77/24", "192.0.2.0/24"].map(|range| range.parse().unwrap());
    service.load_balancer.source_ranges =
        service.load_balancer.source_ranges.iter().copied().chain(all).collect();
}

fn virtual_address(last: u8) -> IpAddr {
    [10, 96, 0, last].into()
}

fn port(number: u16) -> Option<Port> {
    Port::try_from(i64::from(number)).ok()
}

fn any_port(dice: &mut Dice) -> ServicePort {
    ServicePort {
        name: "".into(),
        protocol: dice.of(&[Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Udp, Protocol::Sctp]),
        port: port(80 + u16::from(dice.below(2))).unwrap(),
        node_port: if dice.one_in(2) { port(30_000 + u16::from(dice.below(2))) } else { None },
    }
}

/// A key, whether the slice is of IPv6, and whose name it bears.
fn any_slice_key(dice: &mut Dice) -> (SliceKey, AddressFamily, &'static str) {
    let name = if dice.one_in(8) { BAD } else { dice.of(&GOOD) };
    let (family, suffix) =
        dice.of(&[(AddressFamily::V4, ""), (AddressFamily::V4, "-2"), (AddressFamily::V6, "-6")]);
    (SliceKey::new("default", &format!("{name}{suffix}")), family, name)
}

/// Some endpoints of one family on two nodes, of which some drain or fail and some are meant for a zone.
fn any_slice(dice: &mut Dice) -> EndpointSlice {
    let (key, family, name) = any_slice_key(dice);
    // A label may change, and then the slice is another Service's or nobody's.
    let owner = match dice.below(10) {
        0..8 => Some(name),
        8 => Some(GOOD[0]),
        _ => None,
    };
    let ports = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    let ports = ports.map(|protocol| SlicePort { name: "".into(), protocol, port: port(80).unwrap() });
    EndpointSlice {
        key,
        service: owner.map(|owner| ServiceKey::new("default", owner)),
        family,
        ports: if dice.one_in(8) { Vec::new() } else { ports.into() },
        endpoints: (0..dice.below(5)).map(|_| any_endpoint(dice, family)).collect(),
    }
}

fn any_endpoint(dice: &mut Dice, family: AddressFamily) -> Endpoint {
    let (node, last) = (1 + dice.below(2), 2 + dice.below(4));
    let address: IpAddr = match family {
        AddressFamily::V4 => Ipv4Addr::new(10, 244, node, last).into(),
        AddressFamily::V6 => format!("fd10:244:{node}::{last}").parse().unwrap(),
    };
    let (ready, serving, terminating) = dice.of(&[
        (true, true, false),
        (true, true, false),
        (true, true, false),
        (false, true, true),
        (false, false, false),
    ]);
    let zones = |zone: &str| Box::new(Hints { zones: vec![zone.into()], nodes: Vec::new() });
    Endpoint {
        address,
        ready,
        serving,
        terminating,
        // Whoever writes a slice by hand does not say.
        node: if dice.one_in(6) { None } else { Some(format!("node{node}").as_str().into()) },
        zone: None,
        hints: dice.of(&[Some("here"), Some("here"), None, Some("there")]).map(zones),
    }
}

/// node1, in one zone or another.
fn any_node(dice: &mut Dice) -> Node {
    Node {
        name: "node1".into(),
        addresses: vec![[10, 100, 0, 2].into()],
        pod_ranges: Vec::new(),
        zone: dice.of(&ZONES).map(Into::into),
    }
}

/// The kinds in one order or another.
pub(super) fn kinds(turn: u64) -> [Kind; 3] {
    let mut kinds = Kind::ALL;
    turned(&mut kinds, turn);
    kinds
}

/// Puts things that have no order into another.
pub(super) fn turned<T>(things: &mut [T], turn: u64) {
    if !things.is_empty() {
        // The remainder is smaller than a length.
        things.rotate_left((turn % things.len() as u64) as usize);
        if turn % 2 == 1 {
            things.reverse();
        }
    }
}
