use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use model::{AddressFamily, Changes, EndpointAddress, Port, ServiceKey, Snapshot};
use netstate::conntrack::ConntrackPort;
use netstate::ipset::{self, IpPort, IpsetPort, Sets};
use netstate::iptables::{IptablesPort, Stamp};
use netstate::ipvs::{self, Departure, IpvsPort, Op, Scheduler, ServiceId, Table};
use netstate::link::{Link, LinkKind};
use netstate::namespace::{LinkOp, LinkPort};
use netstate::sysctl::SysctlPort;

use super::kept::{Change, Kept, family_of, has_services, needs};
use super::marks::Marks;
use super::plan::{Needs, Site, doors_of, marked};
use super::site::{Addresses, LINK, node_ports_at};
use super::{chains, sets, settings};
use crate::books::{Books, Fragment};
use crate::doors::{Door, ServicePlan, Slots, plan_service};
use crate::stale;
use crate::{Dataplane, NodeContext, SyncError, SyncReport};

pub(super) const FAMILIES: [AddressFamily; 2] = [AddressFamily::V4, AddressFamily::V6];
/// What the names of all sets of this mode begin with.
pub(super) const SET_PREFIX: &str = "KUBE-";

/// How the mode is to work, beyond what every mode must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// By which rule virtual services choose (`--ipvs-scheduler`).
    pub scheduler: Scheduler,
    /// The node answers and announces by ARP only addresses of the link in question, never those of `kube-ipvs0`
    /// (`--ipvs-strict-arp`); load balancers that announce addresses by ARP need that.
    pub strict_arp: bool,
    /// Virtual services at addresses in these ranges are somebody else's (`--ipvs-exclude-cidrs`).
    pub exclude: Vec<IpNet>,
}

impl Default for Config {
    /// Round robin, as kube-proxy.
    fn default() -> Self {
        Self { scheduler: Scheduler::ROUND_ROBIN, strict_arp: false, exclude: Vec::new() }
    }
}

/// What the mode works on, all of the node's network namespace.
pub struct Ports {
    /// The kernel's load balancer.
    pub ipvs: Box<dyn IpvsPort + Send>,
    /// Sets of addresses and ports.
    pub sets: Box<dyn IpsetPort + Send>,
    /// iptables for IPv4 and for IPv6.
    pub iptables: [Box<dyn IptablesPort + Send>; 2],
    /// Links and addresses.
    pub links: Box<dyn LinkPort>,
    /// Kernel settings.
    pub settings: Box<dyn SysctlPort>,
    /// Connection tracking.
    pub conntrack: Box<dyn ConntrackPort + Send>,
}

/// The ipvs mode of one node.
///
/// It remembers what it committed, so that a change is compared with that and not with the kernel. After an error, and
/// at the start, it observes the kernel instead.
pub struct IpvsProxy {
    pub(super) context: NodeContext,
    pub(super) config: Config,
    pub(super) ports: Ports,
    /// `None`: the kernel may hold anything.
    pub(super) kept: Option<[Kept; 2]>,
    /// Destinations of weight 0 that go when their connections have ended.
    pub(super) draining: BTreeSet<(ServiceId, SocketAddr)>,
    /// Where the next look at destinations begins.
    pub(super) looked_at: Option<ServiceId>,
}

impl IpvsProxy {
    /// A proxy that has not looked at the kernel yet.
    pub fn new(context: NodeContext, config: Config, ports: Ports) -> Self {
        Self { context, config, ports, kept: None, draining: BTreeSet::new(), looked_at: None }
    }

    fn sync_everything(&mut self, snapshot: &Snapshot<'_>) -> Result<SyncReport, SyncError> {
        let mut report = SyncReport::default();
        report.changes += settings::apply(&*self.ports.settings, self.config.strict_arp)?;
        let addresses = Addresses::of(&self.ports.links.observe()?);
        if !addresses.has_link {
            let link = Link { up: false, ..Link::new(LINK, LinkKind::Dummy) };
            self.ports.links.commit(&[LinkOp::CreateLink(link)])?;
            report.changes += 1;
        }
        let found = Found {
            table: self.ports.ipvs.observe()?,
            sets: self.ports.sets.observe(SET_PREFIX)?,
            addresses,
        };
        self.draining.clear();
        let [v4, v6] = FAMILIES.map(|family| self.sync_family(snapshot, family, &found, &mut report));
        self.kept = Some([v4?, v6?]);
        report.changes += self.end_drained()?;
        Ok(report)
    }

    /// One family from what the kernel holds.
    fn sync_family(
        &mut self,
        snapshot: &Snapshot<'_>,
        family: AddressFamily,
        found: &Found,
        report: &mut SyncReport,
    ) -> Result<Kept, SyncError> {
        let own = found.addresses.own_of(family == AddressFamily::V4);
        let ports_at = node_ports_at(&own, &self.context.node_port_addresses);
        let before = found.slots(family);
        let mut books = Books::default();
        let plans = snapshot
            .services()
            .filter_map(|service| {
                let slots = |door: &Door| before.get(door).cloned().unwrap_or_default();
                let plan = self.plan(snapshot, &service.key, family, slots)?;
                Some((service.key.clone(), Some(plan)))
            })
            .collect();
        books.replace(plans);
        let observed_sets = found.sets_of(family);
        let active = has_services(snapshot, family) || !observed_sets.is_empty();
        let mut kept = Kept::new(family, active, books, own, ports_at);
        if active {
            kept.books.warn_of_contests(&kept.books.everything());
            let marked: BTreeSet<IpPort> = marked(&kept.node_ports_at, &kept.books.everything()).collect();
            kept.marks = Marks::observed(&found.sets, family_of(family));
            kept.marks.retain(|at| marked.contains(at));
            marked.into_iter().for_each(|at| kept.marks.allot(at));
            let site = site(&self.context, &self.config.scheduler, &kept);
            let (everything, needs) = needs(&site, &kept.books);
            let wanted_sets = kept.take_all(&needs);
            let (changes, stamp) = self.write_all(&kept, found, &observed_sets, &wanted_sets, &needs)?;
            report.changes += changes;
            kept.stamp = Some(stamp);
            report.connections += self.forget_among_all(&before, &everything, &kept.own)?;
        }
        Ok(kept)
    }

    /// Sets come before the rules that match on them, rules before the services whose packets they are for, addresses
    /// before services, by which the services are known for ours; what goes, goes the other way round.
    fn write_all(
        &mut self,
        kept: &Kept,
        found: &Found,
        observed_sets: &Sets,
        wanted_sets: &Sets,
        needs: &Needs,
    ) -> Result<(usize, Stamp), SyncError> {
        let family = kept.family;
        let mut set_ops = ipset::diff(observed_sets, wanted_sets);
        let is_deletion = |op: &ipset::Op| matches!(op, ipset::Op::Delete { .. });
        let first_deletion = set_ops.iter().position(is_deletion).unwrap_or(set_ops.len());
        let deletions = set_ops.split_off(first_deletion);
        let bound: BTreeSet<IpAddr> =
            found.addresses.bound.iter().copied().filter(|one| AddressFamily::of(*one) == family).collect();
        let wanted: BTreeSet<IpAddr> = kept.virtual_addresses().collect();
        let services = self.ours(found, &bound, kept);
        let mut ops = ipvs::diff(&services, &needs.services, Departure::Drained);
        ops.iter_mut().for_each(|op| self.mind_draining(op));
        self.note_leaving(&services, &needs.services);

        let mut changes = self.write_sets(&set_ops)?;
        let rules = &mut *self.ports.iptables[index(family)];
        let (rule_changes, stamp) = chains::write(rules, family_of(family), &self.context)?;
        changes += rule_changes;
        changes += self.bind(wanted.difference(&bound).copied())?;
        changes += self.write_services(&ops)?;
        changes += self.release(bound.difference(&wanted).copied())?;
        changes += self.write_sets(&deletions)?;
        Ok((changes, stamp))
    }

    fn sync_services(
        &mut self,
        kept: [Kept; 2],
        snapshot: &Snapshot<'_>,
        keys: &BTreeSet<ServiceKey>,
    ) -> Result<SyncReport, SyncError> {
        let news = |kept: &Kept| {
            !kept.active
                && keys
                    .iter()
                    .filter_map(|key| snapshot.service(key))
                    .any(|service| service.is_proxied() && service.cluster_address(kept.family).is_some())
        };
        if kept.iter().any(news) {
            return self.sync_everything(snapshot);
        }
        let mut report = SyncReport::default();
        let [v4, v6] = kept.map(|family| self.sync_some(family, snapshot, keys, &mut report));
        self.kept = Some([v4?, v6?]);
        if !self.draining.is_empty() {
            report.changes += self.end_drained()?;
        }
        Ok(report)
    }

    /// Some services of one family, from what is known of the rest.
    fn sync_some(
        &mut self,
        mut kept: Kept,
        snapshot: &Snapshot<'_>,
        keys: &BTreeSet<ServiceKey>,
        report: &mut SyncReport,
    ) -> Result<Kept, SyncError> {
        if !kept.active {
            return Ok(kept);
        }
        let slots = |key: &ServiceKey, door: &Door| kept.books.slots(key, door);
        let plans = keys
            .iter()
            .map(|key| (key.clone(), self.plan(snapshot, key, kept.family, |door| slots(key, door))))
            .collect();
        let delta = kept.books.replace(plans);
        kept.books.warn_of_contests(&delta.after);
        let marked_before: BTreeSet<IpPort> = marked(&kept.node_ports_at, &delta.before).collect();
        let marked_after: BTreeSet<IpPort> = marked(&kept.node_ports_at, &delta.after).collect();
        marked_after.iter().for_each(|at| kept.marks.allot(*at));
        let site = site(&self.context, &self.config.scheduler, &kept);
        let (before, after) = (Needs::of(&site, &delta.before), Needs::of(&site, &delta.after));
        let change = kept.replace(before, after);
        if !marked_before.is_subset(&marked_after) {
            kept.marks.retain(|at| !marked_before.contains(at) || marked_after.contains(at));
        }
        report.changes += self.write_some(kept.family, change)?;
        report.connections += stale::forget(&mut *self.ports.conntrack, &stale::after_change(&delta))?;
        Ok(kept)
    }

    fn write_some(&mut self, family: AddressFamily, change: Change) -> Result<usize, SyncError> {
        let mut ops = ipvs::diff(&change.before, &change.after, Departure::Drained);
        ops.iter_mut().for_each(|op| self.mind_draining(op));
        let [additions, deletions] = change.set_ops(family_of(family));
        let mut changes = self.write_sets(&additions)?;
        changes += self.bind(change.bind.into_iter())?;
        changes += self.write_services(&ops)?;
        changes += self.release(change.release.into_iter())?;
        changes += self.write_sets(&deletions)?;
        Ok(changes)
    }

    fn plan(
        &self,
        snapshot: &Snapshot<'_>,
        key: &ServiceKey,
        family: AddressFamily,
        slots_before: impl Fn(&Door) -> Slots,
    ) -> Option<ServicePlan> {
        plan_service(snapshot, key, family, &self.context, slots_before)
    }

    /// The virtual services of one family that the kernel holds and that are ours: at an address that was or is to be
    /// bound, or at one of the node's own with a port that is a door of ours, by the sets.
    fn ours(&self, found: &Found, bound: &BTreeSet<IpAddr>, kept: &Kept) -> Table {
        let marks_before = Marks::observed(&found.sets, family_of(kept.family));
        let is_ours = |id: &ServiceId| match id {
            ServiceId::Address { at, .. } => {
                let excluded = self.config.exclude.iter().any(|range| range.contains(&at.ip()));
                let is_of_family = AddressFamily::of(at.ip()) == kept.family;
                let known = bound.contains(&at.ip()) || kept.owns(id) || sets::hold_door(&found.sets, id);
                is_of_family && known && !excluded
            }
            ServiceId::Mark { .. } => {
                id.family() == family_of(kept.family) && (kept.marks.has(id) || marks_before.has(id))
            }
        };
        let ours = found.table.iter().filter(|(id, _)| is_ours(id));
        ours.map(|(id, service)| (*id, service.clone())).collect()
    }

    pub(super) fn write_sets(&mut self, ops: &[ipset::Op]) -> Result<usize, SyncError> {
        self.ports.sets.commit(ops)?;
        let weight = |op: &ipset::Op| match op {
            ipset::Op::Create { .. } | ipset::Op::Destroy { .. } => 1,
            ipset::Op::Add { members, .. } | ipset::Op::Delete { members, .. } => members.len(),
        };
        Ok(ops.iter().map(weight).sum())
    }

    pub(super) fn write_services(&mut self, ops: &[Op]) -> Result<usize, SyncError> {
        self.ports.ipvs.commit(ops)?;
        Ok(ops.len())
    }

    fn bind(&mut self, addresses: impl Iterator<Item = IpAddr>) -> Result<usize, SyncError> {
        let add = |address| LinkOp::AddAddress { link: LINK, address: IpNet::from(address) };
        self.write_addresses(addresses.map(add), |error| error.is_exists())
    }

    fn release(&mut self, addresses: impl Iterator<Item = IpAddr>) -> Result<usize, SyncError> {
        let delete = |address| LinkOp::DeleteAddress { link: LINK, address: IpNet::from(address) };
        self.write_addresses(addresses.map(delete), |error| error.is_not_found())
    }

    /// One by one, since the link's port stops at the first that fails.
    fn write_addresses(
        &mut self,
        ops: impl Iterator<Item = LinkOp>,
        done: impl Fn(&netstate::namespace::LinkError) -> bool,
    ) -> Result<usize, SyncError> {
        let mut count = 0;
        for op in ops {
            match self.ports.links.commit(&[op]) {
                Err(error) if !done(&error) => return Err(error.into()),
                Ok(()) | Err(_) => count += 1,
            }
        }
        Ok(count)
    }

    fn forget_among_all(
        &mut self,
        before: &BTreeMap<Door, Slots>,
        everything: &Fragment,
        own: &BTreeSet<IpAddr>,
    ) -> Result<usize, SyncError> {
        let connections = self.ports.conntrack.list(&[stale::udp()])?;
        let own: Vec<IpAddr> = own.iter().copied().collect();
        let filters = stale::among(&connections, &own, before, &everything.doors);
        Ok(stale::forget(&mut *self.ports.conntrack, &filters)?)
    }
}

impl Dataplane for IpvsProxy {
    fn sync(&mut self, snapshot: &Snapshot<'_>, changes: &Changes) -> Result<SyncReport, SyncError> {
        // An error on the way leaves nothing remembered.
        match (changes, self.kept.take()) {
            (Changes::Services(keys), Some(kept)) => self.sync_services(kept, snapshot, keys),
            (Changes::Everything, _) | (Changes::Services(_), None) => self.sync_everything(snapshot),
        }
    }

    fn may_be_disturbed(&mut self) -> Result<bool, SyncError> {
        self.look()
    }

    fn cleanup(&mut self) -> Result<(), SyncError> {
        self.kept = None;
        self.draining.clear();
        self.remove_everything()
    }
}

/// What the kernel holds at the start.
struct Found {
    table: Table,
    sets: Sets,
    addresses: Addresses,
}

impl Found {
    /// The sets of this mode in one family.
    fn sets_of(&self, family: AddressFamily) -> Sets {
        let names = sets::empty(family_of(family));
        let of_family = self.sets.iter().filter(|(name, _)| names.contains_key(*name));
        of_family.map(|(name, set)| (name.clone(), set.clone())).collect()
    }

    /// Whom each door led to, as far as that tells which connections may be stale.
    fn slots(&self, family: AddressFamily) -> BTreeMap<Door, Slots> {
        let mut slots: BTreeMap<Door, Slots> = BTreeMap::new();
        for (id, service) in self.table.iter().filter(|(id, _)| id.family() == family_of(family)) {
            let Some([at_address, at_node]) = doors_of(id) else {
                continue;
            };
            let end = |to: &SocketAddr| {
                Some(EndpointAddress { address: to.ip(), port: Port::try_from(i64::from(to.port())).ok()? })
            };
            let cluster = service.destinations.keys().filter_map(end).collect();
            let door = if sets::hold_node_port(&self.sets, id) { at_node } else { at_address };
            slots.insert(door, Slots { cluster, local: Vec::new() });
        }
        slots
    }
}

fn site<'a>(context: &'a NodeContext, scheduler: &'a Scheduler, kept: &'a Kept) -> Site<'a> {
    Site { context, scheduler, own: &kept.own, node_ports_at: &kept.node_ports_at, marks: &kept.marks }
}

pub(super) const fn index(family: AddressFamily) -> usize {
    match family {
        AddressFamily::V4 => 0,
        AddressFamily::V6 => 1,
    }
}
