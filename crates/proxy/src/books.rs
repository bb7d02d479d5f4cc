//! What was planned for every service, kept so that one change is compared with what it replaces only.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use model::ServiceKey;

use crate::doors::{Behind, Door, ServicePlan, Slots};

/// Part of what a node serves: all of it, or what one change touches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// Open doors.
    pub(crate) doors: BTreeMap<Door, Arc<Behind>>,
    /// Virtual addresses, of which ports without a service refuse.
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// Endpoints on this node, which may meet themselves.
    pub(crate) local: BTreeSet<IpAddr>,
}

/// The same doors and addresses before and after a change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Delta {
    pub(crate) before: Fragment,
    pub(crate) after: Fragment,
}

/// The plans of all services, and who holds what is not one service's alone.
///
/// The API server gives a virtual address and a node port to one service at a time. Should two claim the
/// same door all the same, the first in order of names has it, whatever the order of events: one bad
/// object must neither block the others nor make the kernel refuse a transaction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    services: BTreeMap<ServiceKey, ServicePlan>,
    /// Who claims a door; never empty, in order, the first has it.
    claims: BTreeMap<Door, Vec<ServiceKey>>,
    addresses: Uses,
    local: Uses,
}

impl Books {
    /// In which slots the endpoints behind a service's door are.
    pub(crate) fn slots(&self, key: &ServiceKey, door: &Door) -> Slots {
        self.services
            .get(key)
            .and_then(|plan| plan.behind(door))
            .map(|behind| behind.slots())
            .unwrap_or_default()
    }

    /// Puts plans in the place of the old ones of the same services, and says what that touches.
    /// `None` takes a service out.
    pub(crate) fn replace(&mut self, plans: BTreeMap<ServiceKey, Option<ServicePlan>>) -> Delta {
        let mut touched = Fragment::default();
        for (key, plan) in &plans {
            touched.mention(self.services.get(key));
            touched.mention(plan.as_ref());
        }
        let before = self.state_of(&touched);
        for (key, plan) in plans {
            self.put(key, plan);
        }
        let after = self.state_of(&touched);
        Delta { before, after }
    }

    /// These plans, and those that the services have now which claim one of the same doors. When a door changes
    /// hands, the chains of both its holders do.
    pub(crate) fn with_rivals(
        &self,
        mut plans: BTreeMap<ServiceKey, Option<ServicePlan>>,
    ) -> BTreeMap<ServiceKey, Option<ServicePlan>> {
        let before = plans.keys().filter_map(|key| self.services.get(key));
        let doors = before.chain(plans.values().flatten()).flat_map(|plan| &plan.doors);
        let claims = doors.filter_map(|(door, _)| self.claims.get(door)).filter(|claims| {
            // Nearly always it is its own alone.
            !matches!(claims.as_slice(), [only] if plans.contains_key(only))
        });
        let rivals: BTreeSet<ServiceKey> = claims.flatten().cloned().collect();
        for key in rivals {
            if let (Entry::Vacant(place), Some(plan)) = (plans.entry(key.clone()), self.services.get(&key)) {
                place.insert(Some(plan.clone()));
            }
        }
        plans
    }

    /// The smallest range that holds all virtual addresses, which are of one family.
    pub(crate) fn cover(&self) -> Option<IpNet> {
        let (first, _) = self.addresses.0.first_key_value()?;
        let (last, _) = self.addresses.0.last_key_value()?;
        let common = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => (first.to_bits() ^ last.to_bits()).leading_zeros(),
            (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits() ^ last.to_bits()).leading_zeros(),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => 0,
        };
        IpNet::new(*first, u8::try_from(common).ok()?).ok().map(|net| net.trunc())
    }

    /// All that the node serves.
    pub(crate) fn everything(&self) -> Fragment {
        Fragment {
            doors: self.claims.keys().filter_map(|door| Some((*door, self.behind(door)?.clone()))).collect(),
            addresses: self.addresses.0.keys().copied().collect(),
            local: self.local.0.keys().copied().collect(),
        }
    }

    /// Doors that more than one service claims, with all that claim it, the holder first.
    fn contested<'a>(&'a self, doors: &'a Fragment) -> impl Iterator<Item = (&'a Door, &'a [ServiceKey])> {
        doors.doors.keys().filter_map(|door| {
            let claims = self.claims.get(door)?;
            (claims.len() > 1).then_some((door, claims.as_slice()))
        })
    }

    /// Tells of doors that more than one service claims.
    pub(crate) fn warn_of_contests(&self, doors: &Fragment) {
        for (door, claims) in self.contested(doors) {
            let [holder, others @ ..] = claims else {
                continue;
            };
            for other in others {
                tracing::warn!(%door, service = %other, %holder, "another service has this address and port already");
            }
        }
    }

    fn state_of(&self, touched: &Fragment) -> Fragment {
        Fragment {
            doors: touched
                .doors
                .keys()
                .filter_map(|door| Some((*door, self.behind(door)?.clone())))
                .collect(),
            addresses: touched
                .addresses
                .iter()
                .copied()
                .filter(|address| self.addresses.has(*address))
                .collect(),
            local: touched.local.iter().copied().filter(|address| self.local.has(*address)).collect(),
        }
    }

    /// What stands behind a door now; `None` when it is closed.
    pub(crate) fn behind(&self, door: &Door) -> Option<&Arc<Behind>> {
        let holder = self.claims.get(door)?.first()?;
        self.services.get(holder)?.behind(door)
    }

    fn put(&mut self, key: ServiceKey, plan: Option<ServicePlan>) {
        if let Some(old) = self.services.remove(&key) {
            self.addresses.less(old.address);
            old.here().for_each(|address| self.local.less(address));
            for (door, _) in &old.doors {
                if let Some(claims) = self.claims.get_mut(door) {
                    claims.retain(|claim| *claim != key);
                    if claims.is_empty() {
                        self.claims.remove(door);
                    }
                }
            }
        }
        let Some(plan) = plan else {
            return;
        };
        self.addresses.more(plan.address);
        plan.here().for_each(|address| self.local.more(address));
        for (door, _) in &plan.doors {
            match self.claims.entry(*door) {
                Entry::Vacant(door) => {
                    // Room for one, which nearly all doors need.
                    door.insert(vec![key.clone()]);
                }
                Entry::Occupied(mut claims) => {
                    if let Err(place) = claims.get().binary_search(&key) {
                        claims.get_mut().insert(place, key.clone());
                    }
                }
            }
        }
        self.services.insert(key, plan);
    }
}

impl Fragment {
    fn mention(&mut self, plan: Option<&ServicePlan>) {
        let Some(plan) = plan else {
            return;
        };
        self.doors.extend(plan.doors.iter().cloned());
        self.addresses.insert(plan.address);
        self.local.extend(plan.here());
    }
}

/// How often each address is used; an address not in it is used by nobody.
#[derive(Debug, Clone, Default)]
struct Uses(BTreeMap<IpAddr, usize>);

impl Uses {
    fn has(&self, address: IpAddr) -> bool {
        self.0.contains_key(&address)
    }

    fn more(&mut self, address: IpAddr) {
        *self.0.entry(address).or_default() += 1;
    }

    fn less(&mut self, address: IpAddr) {
        if let Some(count) = self.0.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests;
