use std::collections::{BTreeMap, BTreeSet};

use model::{AddressFamily, Changes, ServiceKey, Snapshot};
use netstate::conntrack::{ConntrackPort, Filter};
use netstate::nft::{Missing, NftPort, Op, Transaction, diff};

use super::layout::{self, AFFINITY, TABLE};
use super::plan::{self, Shapes};
use super::{affinity, stale};
use crate::books::{Books, Fragment};
use crate::doors::{Door, ServicePlan, Slots, plan_service};
use crate::{Dataplane, NodeContext, SyncError, SyncReport};

/// The nftables mode of one node.
///
/// It remembers what it committed, so that a change is compared with that and not with the kernel. After
/// an error, and at the start, it observes the kernel instead.
#[derive(Debug)]
pub struct NftablesProxy<N, C> {
    context: NodeContext,
    nft: N,
    conntrack: C,
    /// `None`: the kernel may hold anything.
    committed: Option<Committed>,
    /// The kernel's, when only we have written since it was observed.
    generation: u32,
}

#[derive(Debug, Default)]
struct Committed {
    books: Books,
    shapes: Shapes,
}

impl<N: NftPort, C: ConntrackPort> NftablesProxy<N, C> {
    /// A proxy that has not looked at the kernel yet. Both ports must belong to the node's network
    /// namespace.
    pub fn new(context: NodeContext, nft: N, conntrack: C) -> Self {
        Self { context, nft, conntrack, committed: None, generation: 0 }
    }

    fn sync_everything(&mut self, snapshot: &Snapshot<'_>) -> Result<SyncReport, SyncError> {
        // Before it is observed: a change meanwhile then shows as one, and is looked at once more.
        self.generation = self.nft.generation()?;
        let observed = self.nft.observe(&TABLE)?;
        let slots = observed.as_ref().map(plan::observed_slots).unwrap_or_default();
        let mut books = Books::default();
        let plans = snapshot
            .services()
            .map(|service| {
                let before = |door: &Door| slots.get(door).cloned().unwrap_or_default();
                (service.key.clone(), self.plan(snapshot, &service.key, before))
            })
            .collect();
        books.replace(plans);
        let everything = books.everything();
        let transaction = diff(observed.as_ref(), &plan::desired(&self.context, &everything));
        drop(observed);
        warn_of_contests(&books, &everything);

        let changes = self.commit(&transaction)?;
        let connections = self.forget_among_all(snapshot, &slots, &everything)?;
        let affinities = self.forget_clients(&books)?;
        self.committed = Some(Committed { books, shapes: Shapes::of(&everything) });
        Ok(SyncReport { changes, connections, affinities })
    }

    fn sync_services(
        &mut self,
        mut committed: Committed,
        snapshot: &Snapshot<'_>,
        keys: &BTreeSet<ServiceKey>,
    ) -> Result<SyncReport, SyncError> {
        let Committed { books, shapes } = &mut committed;
        let plans = keys
            .iter()
            .map(|key| (key.clone(), self.plan(snapshot, key, |door| books.slots(key, door))))
            .collect();
        let delta = books.replace(plans);
        let transaction = plan::transaction(&self.context, shapes, &delta);
        warn_of_contests(books, &delta.after);

        let changes = self.commit(&transaction)?;
        let connections = self.forget_connections(&stale::after_change(&delta))?;
        let affinities = if affinity::may_be_stale(&delta) { self.forget_clients(books)? } else { 0 };
        self.committed = Some(committed);
        Ok(SyncReport { changes, connections, affinities })
    }

    fn plan(
        &self,
        snapshot: &Snapshot<'_>,
        key: &ServiceKey,
        slots_before: impl Fn(&Door) -> Slots,
    ) -> Option<ServicePlan> {
        plan_service(snapshot, key, AddressFamily::V4, &self.context, slots_before)
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<usize, SyncError> {
        if transaction.is_empty() {
            return Ok(0);
        }
        self.nft.commit(transaction)?;
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        Ok(transaction.weight())
    }

    fn forget_among_all(
        &mut self,
        snapshot: &Snapshot<'_>,
        before: &BTreeMap<Door, Slots>,
        everything: &Fragment,
    ) -> Result<usize, SyncError> {
        let connections = self.conntrack.list(&[stale::udp()])?;
        let own = snapshot.node(&self.context.node).map_or(&[][..], |node| &node.addresses);
        self.forget_connections(&stale::among(&connections, own, before, &everything.doors))
    }

    fn forget_connections(&mut self, filters: &[Filter]) -> Result<usize, SyncError> {
        if filters.is_empty() {
            return Ok(0);
        }
        Ok(self.conntrack.delete(filters)?)
    }

    /// After the commit, so that no packet can be led to a vanished endpoint again meanwhile.
    fn forget_clients(&mut self, books: &Books) -> Result<usize, SyncError> {
        let definition = layout::affinity_definition();
        let remembered = self.nft.elements(&TABLE, &AFFINITY, &definition)?;
        let keys = affinity::stale(&remembered, books);
        if keys.is_empty() {
            return Ok(0);
        }
        let mut transaction = Transaction::new(TABLE);
        transaction.ops.push(Op::DeleteElements {
            set: AFFINITY,
            definition,
            keys,
            missing: Missing::Ignore,
        });
        self.commit(&transaction)
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
        Ok(self.committed.is_some() && self.nft.generation()? != self.generation)
    }

    fn cleanup(&mut self) -> Result<(), SyncError> {
        self.committed = None;
        let mut transaction = Transaction::new(TABLE);
        transaction.ops.push(Op::DeleteTable);
        match self.nft.commit(&transaction) {
            Err(error) if !error.is_not_found() => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn warn_of_contests(books: &Books, fragment: &Fragment) {
    for (door, claims) in books.contested(fragment) {
        let [holder, others @ ..] = claims else {
            continue;
        };
        for other in others {
            tracing::warn!(%door, service = %other, %holder, "another service has this address and port already");
        }
    }
}

#[cfg(test)]
mod tests;
