//! The links and routes of one network namespace: what is, what is wanted, and the way from one to the other.

mod diff;
mod fake;
mod port;
mod print;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::link::{Link, LinkName};
use crate::route::{Route, RouteKey, RouteProtocol};

pub use diff::{LinkOp, diff};
pub use fake::FakeLinks;
pub use port::{LinkError, LinkPort, NamespacePorts};

/// The links and routes of one namespace, observed or wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkState {
    /// The links by name.
    pub links: BTreeMap<LinkName, Link>,
    /// The unicast routes of the main table.
    pub routes: BTreeMap<RouteKey, Route>,
}

impl NetworkState {
    /// Adds or replaces a link.
    pub fn insert_link(&mut self, link: Link) {
        self.links.insert(link.name.clone(), link);
    }

    /// Adds or replaces a route.
    pub fn insert_route(&mut self, route: Route) {
        self.routes.insert(route.key, route);
    }
}

/// What in a namespace is ours to remove when it is no longer wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ownership {
    /// Links whose name starts so are ours.
    pub link_prefix: Option<String>,
    /// Routes with this protocol are ours.
    pub route_protocol: Option<RouteProtocol>,
}

impl Ownership {
    /// Whether a link that is not wanted is to be removed.
    #[must_use]
    pub fn owns_link(&self, name: &LinkName) -> bool {
        self.link_prefix.as_deref().is_some_and(|prefix| name.as_str().starts_with(prefix))
    }

    /// Whether a route that is not wanted is to be removed.
    #[must_use]
    pub fn owns_route(&self, route: &Route) -> bool {
        self.route_protocol == Some(route.protocol)
    }
}
