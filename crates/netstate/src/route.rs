//! Routes of the main table as values.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::link::LinkName;

/// Who put a route there (`rtm_protocol`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteProtocol(pub u8);

impl RouteProtocol {
    /// Put there by the kernel with an address.
    pub const KERNEL: Self = Self(2);
    /// Put there by an administrator.
    pub const STATIC: Self = Self(4);
    /// Ours. No entry of iproute2's `rt_protos` has 112; by it we know our routes from all others.
    pub const PORTOLAN: Self = Self(112);
}

/// What tells routes of one table apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// Where it leads; a prefix of length 0 is the default route.
    pub destination: IpNet,
    /// The lower, the better; 0 is what the kernel gives a route without one (1024 with IPv6).
    pub metric: u32,
}

/// A unicast route of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Destination and metric.
    pub key: RouteKey,
    /// The next hop; `None`: the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The link it leaves by; `None` in a wanted route: the kernel finds it from the gateway.
    pub device: Option<LinkName>,
    /// Who put it there.
    pub protocol: RouteProtocol,
}

impl Route {
    /// A route of ours through a gateway; the kernel finds the link.
    #[must_use]
    pub fn via(destination: IpNet, gateway: IpAddr) -> Self {
        Self {
            key: RouteKey { destination: destination.trunc(), metric: 0 },
            gateway: Some(gateway),
            device: None,
            protocol: RouteProtocol::PORTOLAN,
        }
    }

    /// A route of ours to what is on a link.
    #[must_use]
    pub fn on_link(destination: IpNet, device: LinkName) -> Self {
        Self {
            key: RouteKey { destination: destination.trunc(), metric: 0 },
            gateway: None,
            device: Some(device),
            protocol: RouteProtocol::PORTOLAN,
        }
    }
}
