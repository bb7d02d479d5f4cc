use std::collections::{BTreeMap, BTreeSet};

use model::{AddressFamily, Changes, Port, ServiceKey, Snapshot};
use netstate::conntrack::ConntrackPort;
use netstate::iptables::{
    ChainName, Chains, Desired, IptablesError, IptablesPort, Match, Scope, Stamp, Table, Transaction,
    Variant, diff,
};
use netstate::nft::Family;

use super::names::{self, MARKER, SERVICES};
use super::plan::{self, Detail, Draft, Source};
use super::view;
use crate::books::{Books, Delta, Fragment};
use crate::doors::{ServicePlan, Slots, plan_service};
use crate::stale;
use crate::{Dataplane, NodeContext, SyncError, SyncReport};

/// The tables that the mode writes to.
pub(super) const TABLES: [Table; 2] = [Table::Nat, Table::Filter];

/// How many looks at the legacy variant's sizes there are before everything is compared: a rule in the place of another
/// of the same size does not show in them.
const SIZES_TRUSTED: u32 = 60;

/// The iptables mode of one node.
///
/// It remembers what it committed, so that a change is compared with that and not with the kernel. After an error, and
/// at the start, it observes the kernel instead.
#[derive(Debug)]
pub struct IptablesProxy<P, C> {
    context: NodeContext,
    halves: Vec<Half<P>>,
    conntrack: C,
}

/// The mode for one address family.
#[derive(Debug)]
struct Half<P> {
    family: AddressFamily,
    port: P,
    /// `None`: the kernel may hold anything.
    committed: Option<Committed>,
    /// The kernel's, when only we have written since it was observed.
    stamp: Option<Stamp>,
    /// The last sync observed the kernel.
    is_fresh: bool,
    /// How often the stamp was looked at since everything was compared.
    looks: u32,
}

#[derive(Debug)]
struct Committed {
    /// Without a service of the family there need be no rules: a kernel may lack the family.
    has_rules: bool,
    books: Books,
    health: BTreeMap<ServiceKey, Port>,
    /// How many endpoints there are, of each service port.
    endpoints: usize,
    detail: Detail,
}

impl<P: IptablesPort, C: ConntrackPort> IptablesProxy<P, C> {
    /// A proxy that has not looked at the kernel yet, with a port for each family that it is to serve. All ports must
    /// belong to the node's network namespace.
    pub fn new(context: NodeContext, ports: impl IntoIterator<Item = P>, conntrack: C) -> Self {
        let half = |port: P| {
            let family = match port.family() {
                Family::Ip => AddressFamily::V4,
                Family::Ip6 => AddressFamily::V6,
            };
            Half { family, port, committed: None, stamp: None, is_fresh: false, looks: 0 }
        };
        Self { context, halves: ports.into_iter().map(half).collect(), conntrack }
    }

    /// Removes also chains that a kube-proxy has left in this mode, as `kube-proxy --cleanup` does.
    ///
    /// # Errors
    /// [`SyncError`]; chains of the other families are tried all the same.
    pub fn cleanup_of_kube_proxy(&mut self) -> Result<(), SyncError> {
        self.remove(|_| true)
    }

    fn remove(&mut self, is_meant: impl Fn(&Chains) -> bool) -> Result<(), SyncError> {
        let removed: Vec<Result<(), SyncError>> =
            self.halves.iter_mut().map(|half| half.remove(&is_meant)).collect();
        removed.into_iter().collect()
    }
}

impl<P: IptablesPort> Half<P> {
    fn sync(
        &mut self,
        context: &NodeContext,
        conntrack: &mut impl ConntrackPort,
        snapshot: &Snapshot<'_>,
        changes: &Changes,
    ) -> Result<SyncReport, SyncError> {
        // An error on the way leaves nothing remembered.
        match (changes, self.committed.take()) {
            (Changes::Services(keys), Some(committed)) => {
                self.sync_some(context, conntrack, snapshot, keys, committed)
            }
            (Changes::Everything, _) | (Changes::Services(_), None) => {
                self.sync_all(context, conntrack, snapshot)
            }
        }
    }

    /// From what the kernel holds.
    fn sync_all(
        &mut self,
        context: &NodeContext,
        conntrack: &mut impl ConntrackPort,
        snapshot: &Snapshot<'_>,
    ) -> Result<SyncReport, SyncError> {
        self.is_fresh = true;
        self.looks = 0;
        let mut books = Books::default();
        let plans = snapshot.services().filter_map(|service| {
            Some((service.key.clone(), Some(self.plan(context, snapshot, &service.key)?)))
        });
        books.replace(plans.collect());
        let everything = books.everything();
        let health =
            snapshot.services().filter_map(|service| self.health_of(snapshot, &service.key)).collect();
        let observed = match self.observe() {
            Ok(found) => found,
            // Such as a kernel without IPv6: as long as nobody needs it, that is no error.
            Err(error) if everything == Fragment::default() && !error.is_transient() => {
                tracing::debug!(family = ?self.family, %error, "no services of this family, and no iptables");
                self.committed = Some(Committed::nothing());
                return Ok(SyncReport::default());
            }
            Err(error) => return Err(error.into()),
        };
        let has_rules = self.family == AddressFamily::V4
            || everything != Fragment::default()
            || observed.iter().any(|(_, chains)| chains.0.keys().any(|name| names::is_ours(*name)));
        let endpoints = view::endpoints(&everything);
        let detail = Detail::for_endpoints(endpoints);
        let committed = Committed { has_rules, books, health, endpoints, detail };
        let mut report = SyncReport::default();
        if has_rules {
            let doors = observed.iter().flat_map(|(_, chains)| plan::observed_doors(chains));
            let before = doors.map(|door| (door, Slots::default())).collect();
            let transactions = self.whole(context, &committed, &everything, observed);
            committed.books.warn_of_contests(&everything);
            report.changes = self.restore(transactions)?;
            let connections = conntrack.list(&[stale::udp()])?;
            let own = snapshot.node(&context.node).map_or(&[][..], |node| &node.addresses);
            report.connections =
                stale::forget(conntrack, &stale::among(&connections, own, &before, &everything.doors))?;
        }
        self.committed = Some(committed);
        Ok(report)
    }

    fn observe(&mut self) -> Result<[(Table, Chains); 2], IptablesError> {
        let [nat, filter] = TABLES.map(|table| Ok((table, self.port.observe(table)?)));
        Ok([nat?, filter?])
    }

    fn whole(
        &self,
        context: &NodeContext,
        committed: &Committed,
        everything: &Fragment,
        observed: [(Table, Chains); 2],
    ) -> Vec<Transaction> {
        let draft = plan::draft(&Source {
            context,
            family: self.family,
            detail: committed.detail,
            fragment: everything,
            services: None,
            health: &committed.health,
        });
        let desired = draft.whole(context, self.family, committed.books.cover());
        let tables = observed.into_iter().zip(desired);
        tables
            .map(|((table, observed), (_, desired))| {
                diff(table, &observed, desired, Scope::Whole, names::is_ours)
            })
            .collect()
    }

    /// Some services, from what is known of the rest.
    fn sync_some(
        &mut self,
        context: &NodeContext,
        conntrack: &mut impl ConntrackPort,
        snapshot: &Snapshot<'_>,
        keys: &BTreeSet<ServiceKey>,
        mut committed: Committed,
    ) -> Result<SyncReport, SyncError> {
        let plans = keys.iter().map(|key| (key.clone(), self.plan(context, snapshot, key))).collect();
        let plans = committed.books.with_rivals(plans);
        let touched: BTreeSet<ServiceKey> = plans.keys().cloned().collect();
        let cover = committed.books.cover();
        let delta = committed.books.replace(plans);
        // The rule that leads to the virtual addresses stands between others, and changes seldom.
        if committed.has_rules && committed.books.cover() != cover {
            return self.sync_all(context, conntrack, snapshot);
        }
        if !committed.has_rules && delta.after != Fragment::default() {
            return self.sync_all(context, conntrack, snapshot);
        }
        let of_these = |health: &BTreeMap<ServiceKey, Port>| -> BTreeMap<ServiceKey, Port> {
            touched.iter().filter_map(|key| Some((key.clone(), *health.get(key)?))).collect()
        };
        let health_before = of_these(&committed.health);
        for key in keys {
            committed.health.remove(key);
            committed.health.extend(self.health_of(snapshot, key));
        }
        let health = of_these(&committed.health);
        let detail = committed.detail;
        let draft = |fragment, health| {
            let services = Some(&touched);
            plan::draft(&Source { context, family: self.family, detail, fragment, services, health })
        };
        let (before, after) = (draft(&delta.before, &health_before), draft(&delta.after, &health));
        committed.endpoints = committed.endpoints + after.endpoints - before.endpoints;
        if Detail::for_endpoints(committed.endpoints) != detail {
            return self.sync_all(context, conntrack, snapshot);
        }
        committed.books.warn_of_contests(&delta.after);
        let mut report = SyncReport::default();
        if committed.has_rules {
            report = self.write_part(conntrack, &delta, before, after)?;
        }
        self.committed = Some(committed);
        Ok(report)
    }

    fn write_part(
        &mut self,
        conntrack: &mut impl ConntrackPort,
        delta: &Delta,
        before: Draft,
        after: Draft,
    ) -> Result<SyncReport, SyncError> {
        let tables = before.part().into_iter().zip(after.part());
        let transactions: Vec<Transaction> = tables
            .map(|((table, before), (_, after)): ((Table, Desired), (Table, Desired))| {
                diff(table, &plan::achieved(before), after, Scope::Part, names::is_ours)
            })
            .collect();
        let changes = self.restore(transactions)?;
        let connections = stale::forget(conntrack, &stale::after_change(delta))?;
        Ok(SyncReport { changes, connections, affinities: 0 })
    }

    /// What refuses comes before what led elsewhere goes, and what leads comes before what refused goes: whoever knocks
    /// in between is served or refused, and not sent into the void.
    fn restore(&mut self, transactions: Vec<Transaction>) -> Result<usize, SyncError> {
        let weight = transactions.iter().map(Transaction::weight).sum();
        if weight > 0 {
            let mut ordered = Vec::new();
            let mut last = Vec::new();
            for transaction in transactions {
                if transaction.table == Table::Filter {
                    let (growing, shrinking) = transaction.growing_and_shrinking();
                    ordered.insert(0, growing);
                    last.push(shrinking);
                } else {
                    ordered.push(transaction);
                }
            }
            ordered.append(&mut last);
            self.port.restore(&ordered)?;
        }
        Ok(weight)
    }

    /// What the stamp is before a sync, and so before anything is observed.
    fn before(&mut self) -> Before {
        self.is_fresh = false;
        let now = self.port.stamp().ok();
        Before { is_known: now.is_some() && self.stamp.take() == now, stamp: now }
    }

    /// Remembers the stamp of what is there now, when nobody else can have changed it unseen.
    fn after(&mut self, before: Before, is_written: bool) {
        self.stamp = match (before.is_known || self.is_fresh, is_written) {
            (false, _) => None,
            (true, false) => before.stamp,
            (true, true) => self.port.stamp().ok(),
        };
    }

    fn plan(&self, context: &NodeContext, snapshot: &Snapshot<'_>, key: &ServiceKey) -> Option<ServicePlan> {
        // Chains are written whole: slots that stay would save nothing, and doors of one port have to agree.
        plan_service(snapshot, key, self.family, context, |_| Slots::default())
    }

    fn health_of(&self, snapshot: &Snapshot<'_>, key: &ServiceKey) -> Option<(ServiceKey, Port)> {
        let service = snapshot.service(key).filter(|service| service.is_proxied())?;
        service.cluster_address(self.family)?;
        Some((key.clone(), service.health_check_port?))
    }

    fn may_be_disturbed(&mut self) -> Result<bool, SyncError> {
        let Some(committed) = &self.committed else {
            return Ok(false);
        };
        if !committed.has_rules {
            return Ok(false);
        }
        self.looks += 1;
        let trusted = match self.port.variant() {
            Variant::Nft => true,
            Variant::Legacy => self.looks < SIZES_TRUSTED,
        };
        let now = self.port.stamp()?;
        Ok(!trusted || self.stamp.as_ref() != Some(&now))
    }

    fn remove(&mut self, is_meant: impl Fn(&Chains) -> bool) -> Result<(), SyncError> {
        self.committed = None;
        self.stamp = None;
        let nat = match self.port.observe(Table::Nat) {
            Ok(chains) => chains,
            Err(error) if error.is_transient() => return Err(error.into()),
            Err(error) => {
                tracing::debug!(family = ?self.family, %error, "no iptables here, nothing to remove");
                return Ok(());
            }
        };
        if !is_meant(&nat) {
            return Ok(());
        }
        // The ipvs mode has some chains of the same names; its own match on sets.
        let taken_over = nat
            .rules(SERVICES)
            .iter()
            .flat_map(|rule| &rule.matches)
            .any(|one| matches!(one, Match::Set(..)));
        let ours: fn(ChainName) -> bool = if taken_over { names::is_ours_alone } else { names::is_ours };
        let filter = self.port.observe(Table::Filter)?;
        let transactions: Vec<Transaction> = [(Table::Filter, filter), (Table::Nat, nat)]
            .into_iter()
            .map(|(table, chains)| diff(table, &chains, Desired::new(), Scope::Whole, ours))
            .filter(|transaction| !transaction.is_empty())
            .collect();
        Ok(self.port.restore(&transactions)?)
    }
}

/// The stamp before a sync.
#[derive(Debug)]
struct Before {
    /// It is what it was after the last sync.
    is_known: bool,
    stamp: Option<Stamp>,
}

impl Committed {
    fn nothing() -> Self {
        Self {
            has_rules: false,
            books: Books::default(),
            health: BTreeMap::new(),
            endpoints: 0,
            detail: Detail::Full,
        }
    }
}

impl<P: IptablesPort + Send, C: ConntrackPort + Send> Dataplane for IptablesProxy<P, C> {
    fn sync(&mut self, snapshot: &Snapshot<'_>, changes: &Changes) -> Result<SyncReport, SyncError> {
        let Self { context, halves, conntrack } = self;
        let mut report = SyncReport::default();
        let mut failed = None;
        let before: Vec<Before> = halves.iter_mut().map(Half::before).collect();
        // One family's failure does not keep the other from being served.
        for half in halves.iter_mut() {
            match half.sync(context, conntrack, snapshot, changes) {
                Ok(done) => {
                    report.changes += done.changes;
                    report.connections += done.connections;
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        // At last, as what is written for one family may change the stamp of the other, too.
        let is_written = report.changes > 0 || failed.is_some();
        halves.iter_mut().zip(before).for_each(|(half, before)| half.after(before, is_written));
        failed.map_or(Ok(report), Err)
    }

    fn may_be_disturbed(&mut self) -> Result<bool, SyncError> {
        for half in &mut self.halves {
            if half.may_be_disturbed()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn cleanup(&mut self) -> Result<(), SyncError> {
        self.remove(|nat| nat.0.contains_key(&MARKER))
    }
}
