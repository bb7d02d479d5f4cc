//! Destinations that leave: with weight 0 until their connections have ended.

use std::collections::BTreeMap;

use netstate::ipvs::{Forwarding, Op, ServiceId, Table};
use netstate::nft::L4Protocol;

use super::driver::IpvsProxy;
use super::marks;
use crate::SyncError;

impl IpvsProxy {
    /// Remembers whom a comparison with the kernel leaves or finds draining.
    pub(super) fn note_leaving(&mut self, found: &Table, wanted: &Table) {
        for (id, service) in wanted {
            let there = found.get(id).into_iter().flat_map(|found| &found.destinations);
            let leaving = there.filter(|(to, one)| {
                is_drained(id)
                    && one.forwarding == Forwarding::Masquerade
                    && !service.destinations.contains_key(to)
            });
            self.draining.extend(leaving.map(|(to, _)| (*id, *to)));
        }
    }

    /// Changes that were planned without a thought of those that drain: whoever comes back is still there.
    pub(super) fn mind_draining(&mut self, op: &mut Op) {
        match *op {
            Op::SetWeight { id, to, weight: 0 } if is_drained(&id) => {
                self.draining.insert((id, to));
            }
            // The comparison takes a mark's service for one of TCP.
            Op::SetWeight { id, to, weight: 0 } => *op = Op::DeleteDestination { id, to },
            Op::AddDestination { id, to, weight } => {
                if self.draining.remove(&(id, to)) {
                    *op = Op::SetWeight { id, to, weight };
                }
            }
            Op::DeleteService { id } => self.draining.retain(|(service, _)| *service != id),
            Op::AddService { .. }
            | Op::SetService { .. }
            | Op::SetWeight { .. }
            | Op::DeleteDestination { .. } => {}
        }
    }

    /// Removes those whose connections have ended. Returns how many.
    pub(super) fn end_drained(&mut self) -> Result<usize, SyncError> {
        let mut by_service: BTreeMap<ServiceId, Vec<_>> = BTreeMap::new();
        for (id, to) in &self.draining {
            by_service.entry(*id).or_default().push(*to);
        }
        let mut gone = Vec::new();
        for (id, leaving) in by_service {
            let there = self.ports.ipvs.destinations(&id)?;
            for to in leaving {
                match there.get(&to) {
                    Some(one) if one.connections() > 0 => {}
                    Some(_) => {
                        gone.push(Op::DeleteDestination { id, to });
                        self.draining.remove(&(id, to));
                    }
                    None => {
                        self.draining.remove(&(id, to));
                    }
                }
            }
        }
        self.write_services(&gone)
    }
}

/// Whether destinations of a service are drained: those of datagrams go at once.
fn is_drained(id: &ServiceId) -> bool {
    match id {
        ServiceId::Address { protocol, .. } => *protocol == L4Protocol::TCP,
        ServiceId::Mark { mark, .. } => marks::is_tcp(*mark),
    }
}
