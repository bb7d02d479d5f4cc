//! From what the kernel holds to what it should hold.

use super::{Element, Missing, Name, Op, Ruleset, Set, SetKind, Transaction, Tuple};

/// The changes that turn `observed` into `desired`; empty if they are equal.
///
/// Elements are compared one by one, chains as a whole: a chain whose rules differ gets all its rules anew. The order
/// keeps every reference valid. Elements of dynamic sets are runtime state and left alone. A set whose definition
/// changed, or a chain that is hooked in differently, cannot be changed in place: then the whole table is made anew
/// (still atomically), and dynamic sets start empty. That only happens when a new version of the program changes its layout.
///
/// Both rulesets must be of the same table.
pub fn diff(observed: Option<&Ruleset>, desired: &Ruleset) -> Transaction {
    debug_assert!(observed.is_none_or(|observed| observed.table == desired.table), "two different tables");
    let mut transaction = Transaction::new(desired.table.clone());
    let empty = Ruleset::new(desired.table.clone());
    let base = match observed {
        Some(observed) if can_change_in_place(observed, desired) => observed,
        Some(_) => {
            transaction.ops.extend([Op::DeleteTable, Op::AddTable]);
            &empty
        }
        None => {
            transaction.ops.push(Op::AddTable);
            &empty
        }
    };
    change_in_place(base, desired, &mut transaction.ops);
    transaction
}

fn can_change_in_place(observed: &Ruleset, desired: &Ruleset) -> bool {
    let same_chains = observed
        .chains
        .iter()
        .all(|(name, chain)| desired.chains.get(name).is_none_or(|wanted| wanted.base == chain.base));
    let same_sets = observed
        .sets
        .iter()
        .all(|(name, set)| desired.sets.get(name).is_none_or(|wanted| wanted.definition == set.definition));
    same_chains && same_sets
}

/// Everything that is pointed at comes before what points at it, and goes after it.
fn change_in_place(observed: &Ruleset, desired: &Ruleset, ops: &mut Vec<Op>) {
    for (name, chain) in &desired.chains {
        if !observed.chains.contains_key(name) {
            ops.push(Op::AddChain { chain: name.clone(), base: chain.base });
        }
    }
    for (name, set) in &desired.sets {
        if !observed.sets.contains_key(name) {
            ops.push(Op::AddSet { set: name.clone(), definition: set.definition.clone() });
        }
    }
    for (name, set) in &desired.sets {
        change_elements(name, observed.sets.get(name), set, ops);
    }
    for (name, chain) in &desired.chains {
        let same = observed.chains.get(name).map_or(chain.rules.is_empty(), |old| old.rules == chain.rules);
        if !same {
            ops.push(Op::ReplaceRules { chain: name.clone(), rules: chain.rules.clone() });
        }
    }
    let gone_chains = || observed.chains.iter().filter(|(name, _)| !desired.chains.contains_key(*name));
    for (name, chain) in gone_chains() {
        if !chain.rules.is_empty() {
            ops.push(Op::ReplaceRules { chain: name.clone(), rules: Vec::new() });
        }
    }
    for name in observed.sets.keys().filter(|name| !desired.sets.contains_key(*name)) {
        ops.push(Op::DeleteSet { set: name.clone() });
    }
    for (name, _) in gone_chains() {
        ops.push(Op::DeleteChain { chain: name.clone() });
    }
}

fn change_elements(name: &Name, observed: Option<&Set>, desired: &Set, ops: &mut Vec<Op>) {
    if matches!(desired.definition.kind, SetKind::Dynamic { .. }) {
        return;
    }
    let old = |key: &Tuple| observed.and_then(|set| set.elements.get(key));
    let keys: Vec<Tuple> = observed
        .into_iter()
        .flat_map(|set| &set.elements)
        .filter(|(key, data)| desired.elements.get(*key) != Some(*data))
        .map(|(key, _)| key.clone())
        .collect();
    let elements: Vec<Element> = desired
        .elements
        .iter()
        .filter(|(key, data)| old(key) != Some(*data))
        .map(|(key, data)| Element { key: key.clone(), data: data.clone() })
        .collect();
    if !keys.is_empty() {
        ops.push(Op::DeleteElements {
            set: name.clone(),
            definition: desired.definition.clone(),
            keys,
            missing: Missing::Fail,
        });
    }
    if !elements.is_empty() {
        ops.push(Op::AddElements { set: name.clone(), definition: desired.definition.clone(), elements });
    }
}

#[cfg(test)]
mod tests;
