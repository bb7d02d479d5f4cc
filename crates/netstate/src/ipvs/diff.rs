use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{Destination, Forwarding, ServiceId, Settings, Table, VirtualService};
use crate::nft::L4Protocol;

/// One change of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Makes a virtual service without destinations.
    AddService {
        /// Which packets it is for.
        id: ServiceId,
        /// How it chooses.
        settings: Settings,
    },
    /// Changes how one chooses.
    SetService {
        /// Which service.
        id: ServiceId,
        /// How it is to choose.
        settings: Settings,
    },
    /// Removes a service with its destinations.
    DeleteService {
        /// Which service.
        id: ServiceId,
    },
    /// Gives a service a destination, by translation of addresses.
    AddDestination {
        /// Which service.
        id: ServiceId,
        /// Where it leads.
        to: SocketAddr,
        /// Its share.
        weight: u32,
    },
    /// Changes a destination's share.
    SetWeight {
        /// Which service.
        id: ServiceId,
        /// Which destination.
        to: SocketAddr,
        /// Its share; 0 drains it.
        weight: u32,
    },
    /// Takes a destination from a service.
    DeleteDestination {
        /// Which service.
        id: ServiceId,
        /// Which destination.
        to: SocketAddr,
    },
}

/// What happens to a destination that is no longer wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// It goes at once.
    AtOnce,
    /// A TCP one gets the weight 0 and stays, for somebody to remove it when its connections have ended. Others go at
    /// once: the kernel cannot know when a conversation of datagrams is over.
    Drained,
}

/// The operations that lead from what is to what is wanted: services go, then come or change.
pub fn diff(observed: &Table, desired: &Table, departure: Departure) -> Vec<Op> {
    let mut ops: Vec<Op> = observed
        .keys()
        .filter(|id| !desired.contains_key(id))
        .map(|id| Op::DeleteService { id: *id })
        .collect();
    for (id, wanted) in desired {
        diff_service(*id, observed.get(id), wanted, departure, &mut ops);
    }
    ops
}

/// The same for one service that is wanted. New destinations come before old ones go.
pub fn diff_service(
    id: ServiceId,
    observed: Option<&VirtualService>,
    wanted: &VirtualService,
    departure: Departure,
    ops: &mut Vec<Op>,
) {
    let none = BTreeMap::new();
    match observed {
        None => ops.push(Op::AddService { id, settings: wanted.settings.clone() }),
        Some(found) if found.settings != wanted.settings => {
            ops.push(Op::SetService { id, settings: wanted.settings.clone() });
        }
        Some(_) => {}
    }
    let found = observed.map_or(&none, |service| &service.destinations);
    for (to, destination) in &wanted.destinations {
        let (to, weight) = (*to, destination.weight);
        match found.get(&to) {
            None => ops.push(Op::AddDestination { id, to, weight }),
            Some(found) if found.forwarding != Forwarding::Masquerade => {
                ops.push(Op::DeleteDestination { id, to });
                ops.push(Op::AddDestination { id, to, weight });
            }
            Some(found) if found.weight != weight => ops.push(Op::SetWeight { id, to, weight }),
            Some(_) => {}
        }
    }
    for (to, found) in found.iter().filter(|(to, _)| !wanted.destinations.contains_key(to)) {
        ops.extend(farewell(id, *to, found, departure));
    }
}

fn farewell(id: ServiceId, to: SocketAddr, found: &Destination, departure: Departure) -> Option<Op> {
    let has_connections = match id {
        ServiceId::Address { protocol, .. } => protocol == L4Protocol::TCP,
        ServiceId::Mark { .. } => true,
    };
    match departure {
        Departure::Drained if has_connections => {
            (found.weight != 0).then_some(Op::SetWeight { id, to, weight: 0 })
        }
        Departure::Drained | Departure::AtOnce => Some(Op::DeleteDestination { id, to }),
    }
}
