//! From the chains that are there to those that should be.

use std::collections::{BTreeMap, BTreeSet};

use super::{ChainName, Chains, Desired, Rule, Table, Transaction, Wanted};

/// How much of a table is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of it: a chain in which much differs is written anew.
    Whole,
    /// A part, cut out of both sides in the same way: long chains hold more than is told, so single rules of theirs
    /// are put in and taken out.
    Part,
}

/// The changes that turn `observed` into `desired`; empty if they are equal. `ours` says which chains are ours by their
/// names.
///
/// Chains of others stay as they are, and so do chains of ours that those of others lead to. In built-in chains, the
/// rules that lead to chains of ours are ours.
pub fn diff(
    table: Table,
    observed: &Chains,
    desired: Desired,
    scope: Scope,
    ours: impl Fn(ChainName) -> bool,
) -> Transaction {
    let mut transaction = Transaction::new(table);
    let others = || observed.0.iter().filter(|(name, chain)| chain.policy.is_none() && !ours(**name));
    let used: BTreeSet<ChainName> =
        others().flat_map(|(_, chain)| &chain.rules).filter_map(Rule::chain).collect();
    for (name, chain) in observed.0.iter().filter(|(name, _)| !desired.contains_key(*name)) {
        if chain.policy.is_some() {
            let stray = chain.rules.iter().filter(|rule| rule.chain().is_some_and(&ours));
            transaction.delete.extend(stray.map(|rule| (*name, rule.clone())));
        } else if ours(*name) && !used.contains(name) {
            transaction.delete_chains.insert(*name);
        }
    }
    for (name, wanted) in desired {
        match wanted {
            Wanted::Exactly(rules) => exactly(&mut transaction, observed, name, rules),
            Wanted::AnyOrder { rules, last } => {
                any_order(&mut transaction, observed, scope, name, rules, last)
            }
            Wanted::Hooked(rules) => hooked(&mut transaction, observed, name, rules, &ours),
        }
    }
    transaction
}

fn exactly(transaction: &mut Transaction, observed: &Chains, name: ChainName, rules: Vec<Rule>) {
    if observed.0.get(&name).is_none_or(|chain| chain.rules != rules) {
        transaction.replace.insert(name, rules);
    }
}

fn any_order(
    transaction: &mut Transaction,
    observed: &Chains,
    scope: Scope,
    name: ChainName,
    rules: Vec<Rule>,
    last: Vec<Rule>,
) {
    let there = observed.rules(name);
    let head = match there.strip_suffix(last.as_slice()) {
        Some(head) if scope == Scope::Part || observed.0.contains_key(&name) => head,
        _ => {
            transaction.replace.insert(name, [rules, last].concat());
            return;
        }
    };
    let mut counts: BTreeMap<&Rule, isize> = BTreeMap::new();
    rules.iter().for_each(|rule| *counts.entry(rule).or_default() += 1);
    head.iter().for_each(|rule| *counts.entry(rule).or_default() -= 1);
    let changes: usize = counts.values().map(|count| count.unsigned_abs()).sum();
    if scope == Scope::Whole && changes > rules.len() / 2 {
        transaction.replace.insert(name, [rules, last].concat());
        return;
    }
    for (rule, count) in counts {
        let many = (0..count.unsigned_abs()).map(|_| (name, rule.clone()));
        if count > 0 {
            transaction.insert.extend(many);
        } else {
            transaction.delete.extend(many);
        }
    }
}

fn hooked(
    transaction: &mut Transaction,
    observed: &Chains,
    name: ChainName,
    rules: Vec<Rule>,
    ours: impl Fn(ChainName) -> bool,
) {
    let mut missing: Vec<Option<Rule>> = rules.into_iter().map(Some).collect();
    for rule in observed.rules(name).iter().filter(|rule| rule.chain().is_some_and(&ours)) {
        match missing.iter_mut().find(|wanted| wanted.as_ref() == Some(rule)) {
            Some(wanted) => *wanted = None,
            None => transaction.delete.push((name, rule.clone())),
        }
    }
    transaction.insert.extend(missing.into_iter().flatten().map(|rule| (name, rule)));
}
