//! What one family holds after a sync, so that a change is compared with that and not with the kernel.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;

use model::{AddressFamily, Snapshot};
use netstate::ipset::{self, Member, SetName, Sets};
use netstate::iptables::Stamp;
use netstate::ipvs::{ServiceId, Settings, Table};
use netstate::nft::Family;

use super::marks::Marks;
use super::plan::{Needs, Shared, Site};
use super::sets::{self, Role};
use crate::books::{Books, Fragment};

/// The family's name in netfilter.
pub(super) const fn family_of(family: AddressFamily) -> Family {
    match family {
        AddressFamily::V4 => Family::Ip,
        AddressFamily::V6 => Family::Ip6,
    }
}

/// What was written for one family.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) family: AddressFamily,
    /// Without a service of the family nothing need be written: a kernel may lack the family.
    pub(super) active: bool,
    pub(super) books: Books,
    /// How many doors need what may be shared.
    uses: BTreeMap<Shared, usize>,
    /// The node's own addresses, and those of them where node ports are served, when it was written.
    pub(super) own: BTreeSet<IpAddr>,
    pub(super) node_ports_at: BTreeSet<IpAddr>,
    /// The marks for those inside the cluster.
    pub(super) marks: Marks,
    pub(super) digest: Digest,
    /// The stamp of the rules as they should be; `None` before they were written.
    pub(super) stamp: Option<Stamp>,
    /// How many members each set has.
    pub(super) counts: BTreeMap<SetName, usize>,
}

/// What appears in the kernel and vanishes from it when some doors change.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) before: Table,
    pub(super) after: Table,
    pub(super) appearing: Vec<(Role, Member)>,
    pub(super) vanishing: Vec<(Role, Member)>,
    pub(super) bind: Vec<IpAddr>,
    pub(super) release: Vec<IpAddr>,
}

impl Kept {
    pub(super) fn new(
        family: AddressFamily,
        active: bool,
        books: Books,
        own: BTreeSet<IpAddr>,
        node_ports_at: BTreeSet<IpAddr>,
    ) -> Self {
        Self {
            family,
            active,
            books,
            uses: BTreeMap::new(),
            own,
            node_ports_at,
            marks: Marks::default(),
            digest: Digest::default(),
            stamp: None,
            counts: BTreeMap::new(),
        }
    }

    /// Takes in everything that is needed, of a family of which nothing was kept before. Returns the sets as they are to
    /// be.
    pub(super) fn take_all(&mut self, needs: &Needs) -> Sets {
        self.uses.clone_from(&needs.shared);
        self.digest = Digest::of(&needs.services);
        let family = family_of(self.family);
        let mut sets = sets::empty(family);
        let nodes = self.node_ports_at.iter().map(|address| (Role::NodeIp, Member::Ip(*address)));
        let shared = needs.shared.keys().map(member_of);
        for (role, member) in needs.members.iter().copied().chain(shared).chain(nodes) {
            if let Some(set) = sets.get_mut(&role.name(family)) {
                set.members.insert(member);
            }
        }
        self.counts = sets.iter().map(|(name, set)| (name.clone(), set.members.len())).collect();
        sets
    }

    /// Puts the needs of some doors in the place of what they needed before.
    pub(super) fn replace(&mut self, before: Needs, after: Needs) -> Change {
        let mut change = Change::default();
        change.appearing.extend(after.members.difference(&before.members));
        change.vanishing.extend(before.members.difference(&after.members));
        let touched: BTreeSet<Shared> = before.shared.keys().chain(after.shared.keys()).copied().collect();
        for shared in touched {
            let count = |needs: &Needs| needs.shared.get(&shared).copied().unwrap_or(0);
            match self.use_again(shared, count(&before), count(&after)) {
                (false, true) => change.note(&shared, true),
                (true, false) => change.note(&shared, false),
                _ => {}
            }
        }
        self.count(&change);
        self.digest.replace(&before.services, &after.services);
        Change { before: before.services, after: after.services, ..change }
    }

    /// Whether it was used before, and is after.
    fn use_again(&mut self, shared: Shared, less: usize, more: usize) -> (bool, bool) {
        match self.uses.entry(shared) {
            Entry::Vacant(place) => {
                if more > 0 {
                    place.insert(more);
                }
                (false, more > 0)
            }
            Entry::Occupied(mut count) => {
                *count.get_mut() = count.get().saturating_sub(less) + more;
                let stays = *count.get() > 0;
                if !stays {
                    count.remove();
                }
                (true, stays)
            }
        }
    }

    fn count(&mut self, change: &Change) {
        let family = family_of(self.family);
        for (role, _) in &change.appearing {
            *self.counts.entry(role.name(family)).or_default() += 1;
        }
        for (role, _) in &change.vanishing {
            if let Some(count) = self.counts.get_mut(&role.name(family)) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// The addresses that `kube-ipvs0` is to have.
    pub(super) fn virtual_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.uses.keys().filter_map(|shared| match shared {
            Shared::Address(address) => Some(*address),
            Shared::LoopBack(_) => None,
        })
    }

    /// Whether a virtual service at this place would be ours: at an address that we bound, or at one of the node's own
    /// with a port that is a door.
    pub(super) fn owns(&self, id: &ServiceId) -> bool {
        if self.marks.has(id) {
            return id.family() == family_of(self.family);
        }
        let ServiceId::Address { at, .. } = id else {
            return false;
        };
        let is_door = || {
            let Some([at_address, at_node]) = super::plan::doors_of(id) else {
                return false;
            };
            let is_open = |door| self.books.behind(door).is_some();
            is_open(&at_address) || self.node_ports_at.contains(&at.ip()) && is_open(&at_node)
        };
        self.uses.contains_key(&Shared::Address(at.ip())) || is_door()
    }
}

impl Change {
    fn note(&mut self, shared: &Shared, appears: bool) {
        let (members, addresses) = if appears {
            (&mut self.appearing, &mut self.bind)
        } else {
            (&mut self.vanishing, &mut self.release)
        };
        members.push(member_of(shared));
        if let Shared::Address(address) = shared {
            addresses.push(*address);
        }
    }

    /// The operations on sets: what is put in, what is taken out.
    pub(super) fn set_ops(&self, family: Family) -> [Vec<ipset::Op>; 2] {
        let by_set = |members: &[(Role, Member)]| {
            let mut sets: BTreeMap<Role, Vec<Member>> = BTreeMap::new();
            for (role, member) in members {
                sets.entry(*role).or_default().push(*member);
            }
            sets
        };
        let add = |(role, members): (Role, _)| ipset::Op::Add { set: role.name(family), members };
        let delete = |(role, members): (Role, _)| ipset::Op::Delete { set: role.name(family), members };
        [
            by_set(&self.appearing).into_iter().map(add).collect(),
            by_set(&self.vanishing).into_iter().map(delete).collect(),
        ]
    }
}

/// The member that stands for what is shared.
fn member_of(shared: &Shared) -> (Role, Member) {
    match shared {
        Shared::Address(address) => (Role::VirtualIp, Member::Ip(*address)),
        Shared::LoopBack(end) => (Role::LoopBack, Member::IpPortIp(*end, end.address)),
    }
}

/// A number for virtual services and their settings, whatever their order, that changes by what changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Digest(u64);

impl Digest {
    pub(super) fn of(table: &Table) -> Self {
        let mut digest = Self::default();
        table.iter().for_each(|(id, service)| digest.add(id, &service.settings));
        digest
    }

    pub(super) fn add(&mut self, id: &ServiceId, settings: &Settings) {
        self.0 = self.0.wrapping_add(part(id, settings));
    }

    fn replace(&mut self, before: &Table, after: &Table) {
        for (id, service) in before {
            self.0 = self.0.wrapping_sub(part(id, &service.settings));
        }
        after.iter().for_each(|(id, service)| self.add(id, &service.settings));
    }
}

fn part(id: &ServiceId, settings: &Settings) -> u64 {
    let mut hasher = DefaultHasher::new();
    (id, settings.scheduler.as_str(), settings.persistence).hash(&mut hasher);
    hasher.finish()
}

/// All that the node serves in one family.
pub(super) fn needs(site: &Site<'_>, books: &Books) -> (Fragment, Needs) {
    let everything = books.everything();
    let needs = Needs::of(site, &everything);
    (everything, needs)
}

/// Whether the snapshot has a service of the family that is ours to serve.
pub(super) fn has_services(snapshot: &Snapshot<'_>, family: AddressFamily) -> bool {
    snapshot.services().any(|service| service.is_proxied() && service.cluster_address(family).is_some())
}
