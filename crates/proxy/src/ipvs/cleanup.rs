//! Taking everything away.

use std::net::IpAddr;

use model::AddressFamily;
use netstate::ipset;
use netstate::ipvs::{Op, ServiceId};
use netstate::namespace::LinkOp;

use super::chains;
use super::driver::{FAMILIES, IpvsProxy, SET_PREFIX, index};
use super::kept::family_of;
use super::marks::Marks;
use super::sets;
use super::site::{Addresses, LINK};
use crate::SyncError;

impl IpvsProxy {
    /// Removes everything of this mode, services first. Without the link and without our sets nothing is ours.
    pub(super) fn remove_everything(&mut self) -> Result<(), SyncError> {
        let addresses = Addresses::of(&self.ports.links.observe()?);
        let found = self.ports.sets.observe(SET_PREFIX)?;
        let is_ours = |id: &ServiceId| match id {
            ServiceId::Address { at, .. } => {
                let excluded = self.config.exclude.iter().any(|range| range.contains(&at.ip()));
                !excluded && (addresses.bound.contains(&at.ip()) || sets::hold_door(&found, id))
            }
            ServiceId::Mark { .. } => Marks::observed(&found, id.family()).has(id),
        };
        let services = self.ports.ipvs.services()?;
        let ops: Vec<Op> = services.into_keys().filter(is_ours).map(|id| Op::DeleteService { id }).collect();
        self.write_services(&ops)?;
        if addresses.has_link {
            self.ports.links.commit(&[LinkOp::DeleteLink(LINK)])?;
        }
        for family in FAMILIES {
            let names = sets::empty(family_of(family));
            let ours: Vec<ipset::Op> = found
                .keys()
                .filter(|name| names.contains_key(*name))
                .map(|name| ipset::Op::Destroy { set: name.clone() })
                .collect();
            if ours.is_empty() && !has_family(&addresses, family) {
                continue;
            }
            chains::remove(&mut *self.ports.iptables[index(family)], family_of(family))?;
            self.write_sets(&ours)?;
        }
        Ok(())
    }
}

fn has_family(addresses: &Addresses, family: AddressFamily) -> bool {
    let of_family = |address: &IpAddr| AddressFamily::of(*address) == family;
    addresses.bound.iter().any(of_family)
}
