//! The rules in the kernel: written where they differ from what they should be.

use netstate::iptables::{
    ChainName, Chains, IptablesPort, Match, Rule, Scope, Stamp, Table, Transaction, diff,
};
use netstate::nft::Family;

use super::rules;
use super::sets::Role;
use crate::{NodeContext, SyncError};

/// How often the rules are read again because they changed while they were written.
const ATTEMPTS: usize = 3;

/// Makes the rules of one family. Returns how many changes that took, and the stamp of rules that are as they should.
pub(super) fn write(
    port: &mut dyn IptablesPort,
    family: Family,
    context: &NodeContext,
) -> Result<(usize, Stamp), SyncError> {
    let mut changes = 0;
    let mut transactions = missing(port, family, context)?;
    for _ in 0..ATTEMPTS {
        if !transactions.is_empty() {
            port.restore(&transactions)?;
            changes += transactions.iter().map(Transaction::weight).sum::<usize>();
        }
        // What is written changes the stamp, too, so it is taken before a reading that finds nothing to do.
        let stamp = port.stamp()?;
        transactions = missing(port, family, context)?;
        if transactions.is_empty() {
            return Ok((changes, stamp));
        }
    }
    // Somebody writes all the time: the next look will find another stamp, and everything is compared again.
    Ok((changes, port.stamp()?))
}

fn missing(
    port: &mut dyn IptablesPort,
    family: Family,
    context: &NodeContext,
) -> Result<Vec<Transaction>, SyncError> {
    let mut transactions = Vec::new();
    for table in Table::ALL {
        let observed = port.observe(table)?;
        let desired = rules::desired(table, family, context);
        transactions.push(diff(table, &observed, desired, Scope::Whole, rules::is_ours));
    }
    transactions.retain(|transaction| !transaction.is_empty());
    Ok(transactions)
}

/// Removes the rules of one family. Chains that bear the same names in another mode stay when that mode has put its own
/// rules there.
pub(super) fn remove(port: &mut dyn IptablesPort, family: Family) -> Result<(), SyncError> {
    let mut tables = Vec::new();
    for table in Table::ALL {
        tables.push((table, port.observe(table)?));
    }
    let taken_over = tables.iter().any(|(_, chains)| is_of_another_mode(chains, family));
    let ours = |name: ChainName| rules::is_ours(name) && !(taken_over && rules::is_shared(name));
    let remove = |(table, observed): &(Table, Chains)| {
        diff(*table, observed, std::collections::BTreeMap::new(), Scope::Whole, ours)
    };
    let transactions: Vec<Transaction> =
        tables.iter().map(remove).filter(|transaction| !transaction.is_empty()).collect();
    Ok(port.restore(&transactions)?)
}

/// Whether `KUBE-SERVICES` is there without a rule that matches on a set of ours.
fn is_of_another_mode(chains: &Chains, family: Family) -> bool {
    let is_ours = |one: &Match| match one {
        Match::Set(_, set, _) => Role::ALL.iter().any(|role| role.name(family) == *set),
        _ => false,
    };
    let has_ours = |rule: &Rule| rule.matches.iter().any(is_ours);
    chains.0.get(&rules::SERVICES).is_some_and(|chain| !chain.rules.iter().any(has_ours))
}
