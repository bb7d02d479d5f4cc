//! Whether somebody else wrote over what stands in the kernel.
//!
//! The kernel has no counter of changes here, so everything is looked at that is cheap to list: the virtual services,
//! how many members the sets have, the addresses, the few rules. The destinations of a service take a question for
//! each service, so that with many services a part of them is looked at each time.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use model::EndpointAddress;
use netstate::ipvs::{Destination, ServiceId, Settings};

use super::driver::{IpvsProxy, SET_PREFIX, index};
use super::kept::{Digest, Kept, family_of};
use super::plan::{doors_of, ends};
use super::site::{Addresses, node_ports_at};
use crate::SyncError;
use crate::doors::Behind;

/// Services whose destinations are looked at each time.
const SERVICES_A_LOOK: usize = 1_000;

impl IpvsProxy {
    /// Looks, and lets go of whom has no connection left.
    pub(super) fn look(&mut self) -> Result<bool, SyncError> {
        if self.kept.is_none() {
            return Ok(false);
        }
        self.end_drained()?;
        let found = self.ports.ipvs.services()?;
        let counts = self.ports.sets.counts(SET_PREFIX)?;
        let addresses = Addresses::of(&self.ports.links.observe()?);
        let Self { context, ports, kept: Some(kept), .. } = self else {
            return Ok(false);
        };
        for kept in kept.iter().filter(|kept| kept.active) {
            let family = family_of(kept.family);
            let ours = found.iter().filter(|(id, _)| id.family() == family && kept.owns(id));
            let mut digest = Digest::default();
            ours.for_each(|(id, settings)| digest.add(id, settings));
            let is_counted = kept.counts.iter().all(|(set, count)| counts.get(set) == Some(count));
            let own = addresses.own_of(kept.family == model::AddressFamily::V4);
            let ports_at = node_ports_at(&own, &context.node_port_addresses);
            if digest != kept.digest
                || !is_counted
                || ports_at != kept.node_ports_at
                || !has_addresses(kept, &addresses)
                || Some(ports.iptables[index(kept.family)].stamp()?) != kept.stamp
            {
                return Ok(true);
            }
        }
        self.destinations_differ(found.into_iter().collect())
    }

    /// Goes on where it ended the last time.
    fn destinations_differ(&mut self, services: Vec<(ServiceId, Settings)>) -> Result<bool, SyncError> {
        let Self { ports, kept: Some(kept), draining, looked_at, .. } = self else {
            return Ok(false);
        };
        let first = services.partition_point(|(id, _)| looked_at.is_some_and(|last| *id <= last));
        let round = services[first..].iter().chain(&services[..first]).take(SERVICES_A_LOOK);
        for (id, _) in round {
            *looked_at = Some(*id);
            let Some(wanted) = kept.iter().find_map(|kept| wanted(kept, id)) else {
                continue;
            };
            let found = ports.ipvs.destinations(id)?;
            let serves = |(to, one): (&SocketAddr, &Destination)| {
                (!draining.contains(&(*id, *to))).then_some((*to, one.weight))
            };
            if found.iter().filter_map(serves).collect::<BTreeSet<_>>() != wanted {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn has_addresses(kept: &Kept, found: &Addresses) -> bool {
    let of_family = |address: &&IpAddr| model::AddressFamily::of(**address) == kept.family;
    found.has_link && kept.virtual_addresses().eq(found.bound.iter().filter(of_family).copied())
}

/// The destinations that a service of ours is to have, with their weights.
fn wanted(kept: &Kept, id: &ServiceId) -> Option<BTreeSet<(SocketAddr, u32)>> {
    if let Some(at) = kept.marks.place(id).filter(|_| id.family() == family_of(kept.family)) {
        let at = ServiceId::Address { protocol: at.protocol, at: SocketAddr::new(at.address, at.port) };
        return Some(with_weight(&behind(kept, &at)?.inside().slots));
    }
    kept.owns(id).then(|| behind(kept, id)).flatten().map(|behind| with_weight(&ends(behind).slots))
}

fn behind<'a>(kept: &'a Kept, id: &ServiceId) -> Option<&'a Behind> {
    doors_of(id)?.into_iter().find_map(|door| kept.books.behind(&door)).map(|behind| &**behind)
}

fn with_weight(slots: &[EndpointAddress]) -> BTreeSet<(SocketAddr, u32)> {
    slots.iter().map(|end| (SocketAddr::new(end.address, end.port.number()), 1)).collect()
}
