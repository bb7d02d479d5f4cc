use std::collections::{BTreeMap, BTreeSet};

use model::{AddressFamily, Changes, ServiceKey, Snapshot};
use netstate::conntrack::ConntrackPort;
use netstate::nft::{NftPort, diff};
use netstate::relay::{RelayError, RelayPort};

use super::plan::{self, View};
use super::relays::{Ports, RelayKey, impossible, relays_of};
use super::{layout, stale};
use crate::books::{Books, Fragment};
use crate::door_words::FAMILIES;
use crate::doors::{Door, ServicePlan, Slots, plan_service};
use crate::own_tables::OwnTables;
use crate::stale::forget;
use crate::{Dataplane, NodeContext, SyncError, SyncReport};

/// The userspace mode of one node.
///
/// Relays come before the table that leads to them, and go after it. What was committed is remembered, so that a change
/// is compared with that and not with the kernel; after an error, and at the start, the kernel is observed.
#[derive(Debug)]
pub struct UserspaceProxy<N, R, C> {
    context: NodeContext,
    tables: OwnTables<N>,
    relays: R,
    conntrack: C,
    /// `None`: the kernel may hold anything.
    committed: Option<[Committed; 2]>,
    /// Relays that were ever opened and not removed since, whatever came between.
    open: BTreeSet<RelayKey>,
    /// Why the last sync could not open a relay.
    failure: Option<RelayError>,
}

/// What the table of one family holds.
#[derive(Debug)]
struct Committed {
    family: AddressFamily,
    /// Without a service of the family there need be no table: a kernel may lack the family.
    has_table: bool,
    books: Books,
    ports: Ports,
}

impl<N: NftPort, R: RelayPort, C: ConntrackPort> UserspaceProxy<N, R, C> {
    /// A proxy that has not looked at the kernel yet. All ports must belong to the node's network namespace.
    pub fn new(context: NodeContext, nft: N, relays: R, conntrack: C) -> Self {
        Self {
            context,
            tables: OwnTables::new(nft),
            relays,
            conntrack,
            committed: None,
            open: BTreeSet::new(),
            failure: None,
        }
    }

    fn sync_everything(&mut self, snapshot: &Snapshot<'_>) -> Result<SyncReport, SyncError> {
        self.tables.begin()?;
        let mut report = SyncReport::default();
        let [v4, v6] = FAMILIES.map(|family| self.sync_family(snapshot, family, &mut report));
        self.committed = Some([v4?, v6?]);
        Ok(report)
    }

    /// One family from what the kernel holds.
    fn sync_family(
        &mut self,
        snapshot: &Snapshot<'_>,
        family: AddressFamily,
        report: &mut SyncReport,
    ) -> Result<Committed, SyncError> {
        let observed = self.tables.observe(&layout::table(family))?;
        let doors_before = observed.as_ref().map(plan::observed_doors).unwrap_or_default();
        let (mut books, mut ports) = (Books::default(), Ports::default());
        let mut plans = BTreeMap::new();
        for service in snapshot.services() {
            // Which endpoints take turns in which order is nothing to keep over a restart.
            let plan = self.plan(snapshot, &service.key, family, |_| Slots::default());
            ports.replace(&service.key, self.open_relays(plan.as_ref()));
            plans.insert(service.key.clone(), plan);
        }
        books.replace(plans);
        let everything = books.everything();
        books.warn_of_contests(&everything);
        let relays: Vec<(&RelayKey, u16)> = ports.all().collect();
        let view = View { doors: &everything, ports: [&ports; 2], relays: &relays };
        let has_table = observed.is_some() || everything != Fragment::default();
        if has_table {
            let transaction = diff(observed.as_ref(), &plan::desired(&self.context, family, view));
            drop(observed);
            report.changes += self.tables.commit(&transaction)?;
        }
        let of_family = self.open.iter().filter(|relay| relay.family == family);
        let gone = of_family.filter(|relay| ports.of(relay).is_none()).cloned().collect();
        self.remove_relays(gone);
        if has_table {
            let connections = self.conntrack.list(&[stale::udp()])?;
            let own = snapshot.node(&self.context.node).map_or(&[][..], |node| &node.addresses);
            report.connections +=
                forget(&mut self.conntrack, &stale::among(&connections, own, &doors_before, view))?;
        }
        Ok(Committed { family, has_table, books, ports })
    }

    fn sync_services(
        &mut self,
        committed: [Committed; 2],
        snapshot: &Snapshot<'_>,
        keys: &BTreeSet<ServiceKey>,
    ) -> Result<SyncReport, SyncError> {
        let mut report = SyncReport::default();
        let [v4, v6] = committed.map(|family| self.sync_some(family, snapshot, keys, &mut report));
        self.committed = Some([v4?, v6?]);
        Ok(report)
    }

    /// Some services of one family, from what is known of the rest.
    fn sync_some(
        &mut self,
        mut committed: Committed,
        snapshot: &Snapshot<'_>,
        keys: &BTreeSet<ServiceKey>,
        report: &mut SyncReport,
    ) -> Result<Committed, SyncError> {
        let Committed { family, has_table, books, ports } = &mut committed;
        let (mut plans, mut ports_before) = (BTreeMap::new(), Ports::default());
        for key in keys {
            let plan = self.plan(snapshot, key, *family, |door| books.slots(key, door));
            let old = ports.replace(key, self.open_relays(plan.as_ref()));
            ports_before.note(key, old);
            plans.insert(key.clone(), plan);
        }
        let delta = books.replace(plans);
        if !*has_table && delta.after != Fragment::default() {
            return self.sync_family(snapshot, *family, report);
        }
        books.warn_of_contests(&delta.after);
        let relays_before: Vec<(&RelayKey, u16)> = ports_before.all().collect();
        let relays: Vec<(&RelayKey, u16)> = keys.iter().flat_map(|key| ports.service(key)).collect();
        let before = View { doors: &delta.before, ports: [&ports_before, ports], relays: &relays_before };
        let after = View { doors: &delta.after, ports: [ports; 2], relays: &relays };
        report.changes += self.tables.commit(&plan::transaction(*family, before, after))?;
        let gone = relays_before.iter().map(|(relay, _)| *relay).filter(|relay| ports.of(relay).is_none());
        self.remove_relays(gone.cloned().collect());
        report.connections += forget(&mut self.conntrack, &stale::after_change(before, after))?;
        Ok(committed)
    }

    fn plan(
        &self,
        snapshot: &Snapshot<'_>,
        key: &ServiceKey,
        family: AddressFamily,
        slots_before: impl Fn(&Door) -> Slots,
    ) -> Option<ServicePlan> {
        let plan = plan_service(snapshot, key, family, &self.context, slots_before)?;
        for port in impossible(&plan) {
            tracing::warn!(%port, "SCTP cannot be relayed, connections are refused; other proxy modes serve it");
        }
        Some(plan)
    }

    /// Opens what a service needs. What cannot be opened is left out, and the sync fails in the end, when everything
    /// else is done.
    fn open_relays(&mut self, plan: Option<&ServicePlan>) -> BTreeMap<RelayKey, u16> {
        let mut ports = BTreeMap::new();
        for (key, relay) in plan.map(relays_of).unwrap_or_default() {
            match self.relays.set(&key.name(), &relay) {
                Ok(port) => {
                    self.open.insert(key.clone());
                    ports.insert(key, port);
                }
                Err(error) => {
                    self.open.remove(&key);
                    self.failure.get_or_insert(error);
                }
            }
        }
        ports
    }

    fn remove_relays(&mut self, relays: Vec<RelayKey>) {
        for relay in relays {
            self.relays.remove(&relay.name());
            self.open.remove(&relay);
        }
    }
}

impl<N: NftPort + Send, R: RelayPort + Send, C: ConntrackPort + Send> Dataplane for UserspaceProxy<N, R, C> {
    fn sync(&mut self, snapshot: &Snapshot<'_>, changes: &Changes) -> Result<SyncReport, SyncError> {
        self.failure = None;
        // An error on the way leaves nothing remembered.
        let report = match (changes, self.committed.take()) {
            (Changes::Services(keys), Some(committed)) => self.sync_services(committed, snapshot, keys),
            (Changes::Everything, _) | (Changes::Services(_), None) => self.sync_everything(snapshot),
        }?;
        match self.failure.take() {
            None => Ok(report),
            Some(failure) => {
                self.committed = None;
                Err(failure.into())
            }
        }
    }

    fn may_be_disturbed(&mut self) -> Result<bool, SyncError> {
        Ok(self.committed.is_some() && self.tables.is_disturbed()?)
    }

    fn cleanup(&mut self) -> Result<(), SyncError> {
        self.committed = None;
        self.tables.delete(FAMILIES.map(layout::table))?;
        let all = self.open.iter().cloned().collect();
        self.remove_relays(all);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
