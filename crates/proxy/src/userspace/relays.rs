//! Which relays a service needs, and which one stands behind a door.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use model::{AddressFamily, Protocol, ServiceKey, ServicePortName, TrafficPolicy};
use netstate::nft::Family;
use netstate::relay::{Backends, Relay, RelayName, Transport};

use crate::doors::{Behind, Door, Ends, Nobody, ServicePlan};

/// What tells one relay of the node from all others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RelayKey {
    port: ServicePortName,
    pub(super) protocol: Protocol,
    pub(super) family: AddressFamily,
    /// Whether it leads to endpoints anywhere, or to this node's only.
    reach: Reach,
}

/// How far a relay reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Cluster,
    Node,
}

impl RelayKey {
    /// The service that it is for.
    pub(super) const fn service(&self) -> &ServiceKey {
        &self.port.service
    }

    /// What the port that runs the relays knows it by.
    pub(super) fn name(&self) -> RelayName {
        RelayName::new(&self.to_string())
    }
}

impl fmt::Display for RelayKey {
    /// `default/web:http tcp IPv4`, with ` (local)` behind it when it reaches this node's endpoints only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, protocol, family, reach } = self;
        write!(f, "{port} {} {family}", protocol.lower())?;
        match reach {
            Reach::Cluster => Ok(()),
            Reach::Node => f.write_str(" (local)"),
        }
    }
}

/// The kernel's word for a family.
pub(super) const fn nft_family(family: AddressFamily) -> Family {
    match family {
        AddressFamily::V4 => Family::Ip,
        AddressFamily::V6 => Family::Ip6,
    }
}

/// Where a way through a door ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// Nobody serves, or nobody can.
    Refuse,
    /// Others elsewhere serve.
    Drop,
    /// A relay.
    Relay(RelayKey),
}

/// The ways through a door: of pods and the node itself, and of everybody else where that is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ways {
    pub(super) inside: Way,
    pub(super) outside: Option<Way>,
}

/// Where the ways through a door end.
pub(super) fn ways(door: &Door, behind: &Behind) -> Ways {
    let inside = way(door, behind, behind.inside(), inside_reach(behind));
    let outside = behind.outside().map(|ends| way(door, behind, ends, Reach::Node));
    let outside = outside.filter(|outside| *outside != inside);
    Ways { inside, outside }
}

fn inside_reach(behind: &Behind) -> Reach {
    match behind.inside_policy() {
        TrafficPolicy::Cluster => Reach::Cluster,
        TrafficPolicy::Local => Reach::Node,
    }
}

fn way(door: &Door, behind: &Behind, ends: &Ends, reach: Reach) -> Way {
    let Some(first) = ends.slots.first() else {
        return match ends.nobody {
            Nobody::Refuse => Way::Refuse,
            Nobody::Drop => Way::Drop,
        };
    };
    match transport(door.protocol()) {
        None => Way::Refuse,
        Some(_) => Way::Relay(RelayKey {
            port: behind.name().clone(),
            protocol: door.protocol(),
            family: AddressFamily::of(first.address),
            reach,
        }),
    }
}

/// `None`: sockets cannot carry it.
fn transport(protocol: Protocol) -> Option<Transport> {
    match protocol {
        Protocol::Tcp => Some(Transport::Tcp),
        Protocol::Udp => Some(Transport::Udp),
        Protocol::Sctp => None,
    }
}

/// The relays that a service needs: none for those who have nobody to lead to.
pub(super) fn relays_of(plan: &ServicePlan) -> BTreeMap<RelayKey, Relay> {
    let mut relays = BTreeMap::new();
    for (door, behind) in &plan.doors {
        let Ways { inside, outside } = ways(door, behind);
        for (way, ends) in [(Some(inside), Some(behind.inside())), (outside, behind.outside())] {
            if let (Some(Way::Relay(key)), Some(ends), Some(transport)) =
                (way, ends, transport(door.protocol()))
            {
                let family = nft_family(key.family);
                relays.entry(key).or_insert_with(|| Relay {
                    family,
                    transport,
                    backends: backends(ends, behind),
                });
            }
        }
    }
    relays
}

fn backends(ends: &Ends, behind: &Behind) -> Backends {
    let socket =
        |endpoint: &model::EndpointAddress| SocketAddr::new(endpoint.address, endpoint.port.number());
    Backends { endpoints: ends.slots.iter().map(socket).collect(), affinity: behind.affinity() }
}

/// The service ports that a service wants carried and no socket can.
pub(super) fn impossible(plan: &ServicePlan) -> impl Iterator<Item = &ServicePortName> {
    let doors = plan.doors.iter();
    let impossible = doors
        .filter(|(door, behind)| transport(door.protocol()).is_none() && behind.endpoints().next().is_some());
    let mut last = None;
    impossible.map(|(_, behind)| behind.name()).filter(move |name| last.replace(*name) != Some(*name))
}

/// At which port of the node each relay listens; one that could not be opened is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ports(BTreeMap<ServiceKey, BTreeMap<RelayKey, u16>>);

impl Ports {
    /// The port of a relay.
    pub(super) fn of(&self, relay: &RelayKey) -> Option<u16> {
        self.0.get(relay.service())?.get(relay).copied()
    }

    /// Whether it says which relays a service has, if only that it has none.
    pub(super) fn knows(&self, key: &ServiceKey) -> bool {
        self.0.contains_key(key)
    }

    /// The relays of a service.
    pub(super) fn service(&self, key: &ServiceKey) -> impl Iterator<Item = (&RelayKey, u16)> {
        self.0.get(key).into_iter().flatten().map(|(relay, port)| (relay, *port))
    }

    /// Every relay.
    pub(super) fn all(&self) -> impl Iterator<Item = (&RelayKey, u16)> {
        self.0.values().flatten().map(|(relay, port)| (relay, *port))
    }

    /// Notes the relays of a service, if only that it has none.
    pub(super) fn note(&mut self, key: &ServiceKey, relays: BTreeMap<RelayKey, u16>) {
        self.0.insert(key.clone(), relays);
    }

    /// Puts the relays of a service in the place of its old ones, and returns those.
    pub(super) fn replace(
        &mut self,
        key: &ServiceKey,
        relays: BTreeMap<RelayKey, u16>,
    ) -> BTreeMap<RelayKey, u16> {
        let old = if relays.is_empty() { self.0.remove(key) } else { self.0.insert(key.clone(), relays) };
        old.unwrap_or_default()
    }
}
