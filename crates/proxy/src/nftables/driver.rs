use std::collections::{BTreeMap, BTreeSet};

use model::{AddressFamily, Changes, ServiceKey, Snapshot};
use netstate::conntrack::ConntrackPort;
use netstate::nft::{Missing, NftPort, Op, Transaction, diff};

use super::affinity;
use super::layout::{self, AFFINITY};
use super::plan::{self, Shapes};
use crate::books::{Books, Fragment};
use crate::door_words::FAMILIES;
use crate::doors::{Door, ServicePlan, Slots, plan_service};
use crate::own_tables::OwnTables;
use crate::stale;
use crate::{Dataplane, NodeContext, SyncError, SyncReport};

/// The nftables mode of one node.
///
/// It remembers what it committed, so that a change is compared with that and not with the kernel. After
/// an error, and at the start, it observes the kernel instead.
#[derive(Debug)]
pub struct NftablesProxy<N, C> {
    context: NodeContext,
    tables: OwnTables<N>,
    conntrack: C,
    /// `None`: the kernel may hold anything.
    committed: Option<[Committed; 2]>,
}

/// What the table of one family holds.
#[derive(Debug)]
struct Committed {
    family: AddressFamily,
    /// Without a service of the family there need be no table: a kernel may lack the family.
    has_table: bool,
    books: Books,
    shapes: Shapes,
}

impl<N: NftPort, C: ConntrackPort> NftablesProxy<N, C> {
    /// A proxy that has not looked at the kernel yet. Both ports must belong to the node's network
    /// namespace.
    pub fn new(context: NodeContext, nft: N, conntrack: C) -> Self {
        Self { context, tables: OwnTables::new(nft), conntrack, committed: None }
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
        let slots = observed.as_ref().map(plan::observed_slots).unwrap_or_default();
        let mut books = Books::default();
        let plans = snapshot
            .services()
            .filter_map(|service| {
                let before = |door: &Door| slots.get(door).cloned().unwrap_or_default();
                let plan = self.plan(snapshot, &service.key, family, before)?;
                Some((service.key.clone(), Some(plan)))
            })
            .collect();
        books.replace(plans);
        let everything = books.everything();
        let has_table = observed.is_some() || everything != Fragment::default();
        if has_table {
            let desired = plan::desired(&self.context, family, &everything);
            let transaction = diff(observed.as_ref(), &desired);
            // Each is as large as the table.
            drop((observed, desired));
            books.warn_of_contests(&everything);

            report.changes += self.commit(transaction)?;
            report.connections += self.forget_among_all(snapshot, &slots, &everything)?;
            report.affinities += self.forget_clients(family, &books)?;
        }
        Ok(Committed { family, has_table, books, shapes: Shapes::of(&everything) })
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
        let Committed { family, has_table, books, shapes } = &mut committed;
        let plans = keys
            .iter()
            .map(|key| (key.clone(), self.plan(snapshot, key, *family, |door| books.slots(key, door))))
            .collect();
        let delta = books.replace(plans);
        if !*has_table && delta.after != Fragment::default() {
            return self.sync_family(snapshot, *family, report);
        }
        let transaction = plan::transaction(&self.context, *family, shapes, &delta);
        books.warn_of_contests(&delta.after);

        report.changes += self.commit(transaction)?;
        report.connections += stale::forget(&mut self.conntrack, &stale::after_change(&delta))?;
        if affinity::may_be_stale(&delta) {
            report.affinities += self.forget_clients(*family, books)?;
        }
        Ok(committed)
    }

    fn commit(&mut self, transaction: Transaction) -> Result<usize, SyncError> {
        let mut changes = 0;
        for part in plan::in_two(transaction) {
            changes += self.tables.commit(&part)?;
        }
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

    fn forget_among_all(
        &mut self,
        snapshot: &Snapshot<'_>,
        before: &BTreeMap<Door, Slots>,
        everything: &Fragment,
    ) -> Result<usize, SyncError> {
        let connections = self.conntrack.list(&[stale::udp()])?;
        let own = snapshot.node(&self.context.node).map_or(&[][..], |node| &node.addresses);
        let filters = stale::among(&connections, own, before, &everything.doors);
        Ok(stale::forget(&mut self.conntrack, &filters)?)
    }

    /// After the commit, so that no packet can be led to a vanished endpoint again meanwhile.
    fn forget_clients(&mut self, family: AddressFamily, books: &Books) -> Result<usize, SyncError> {
        let table = layout::table(family);
        let definition = layout::affinity_definition(family);
        let remembered = self.tables.elements(&table, &AFFINITY, &definition)?;
        let keys = affinity::stale(&remembered, books);
        if keys.is_empty() {
            return Ok(0);
        }
        let mut transaction = Transaction::new(table);
        transaction.ops.push(Op::DeleteElements {
            set: AFFINITY,
            definition,
            keys,
            missing: Missing::Ignore,
        });
        Ok(self.tables.commit(&transaction)?)
    }
}

impl<N: NftPort + Send, C: ConntrackPort + Send> Dataplane for NftablesProxy<N, C> {
    fn sync(&mut self, snapshot: &Snapshot<'_>, changes: &Changes) -> Result<SyncReport, SyncError> {
        // An error on the way leaves nothing remembered.
        match (changes, self.committed.take()) {
            (Changes::Services(keys), Some(committed)) => self.sync_services(committed, snapshot, keys),
            (Changes::Everything, _) | (Changes::Services(_), None) => self.sync_everything(snapshot),
        }
    }

    fn may_be_disturbed(&mut self) -> Result<bool, SyncError> {
        Ok(self.committed.is_some() && self.tables.is_disturbed()?)
    }

    fn cleanup(&mut self) -> Result<(), SyncError> {
        self.committed = None;
        self.tables.delete(FAMILIES.map(layout::table))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
