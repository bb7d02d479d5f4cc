//! nftables in memory that refuses what the kernel refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::trace::{DEEPEST, Host, Origin, Outcome, Packet, trace};
use super::{
    Chain, Data, Element, Missing, Name, NatTarget, NftError, NftPort, Op, PacketPriority, Rule, Ruleset,
    Selector, Set, SetContent, SetDefinition, SetKind, Statement, Table, Transaction, Tuple, Type,
    UpdateData, Value, Verdict,
};

const ENOENT: i32 = 2;
const EBUSY: i32 = 16;
const EEXIST: i32 = 17;
const EINVAL: i32 = 22;
const ENOSPC: i32 = 28;
const EMLINK: i32 = 31;

/// nftables of an imaginary network namespace. Clones share it, so a test keeps one while a driver owns the other.
///
/// Deliberately absent: time (elements of dynamic sets stay until they are deleted) and the kernel's rules about which
/// statement may stand at which hook.
#[derive(Debug, Clone, Default)]
pub struct FakeNft {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    tables: BTreeMap<Table, Ruleset>,
    commits: Vec<Transaction>,
    observations: usize,
    generation: u32,
    failures: Vec<i32>,
}

impl FakeNft {
    /// A namespace without tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// A table as it is now.
    pub fn table(&self, table: &Table) -> Option<Ruleset> {
        self.lock().tables.get(table).cloned()
    }

    /// Puts a table there as if somebody else had.
    pub fn put(&self, ruleset: Ruleset) {
        let mut state = self.lock();
        state.tables.insert(ruleset.table.clone(), ruleset);
        state.generation += 1;
    }

    /// Everything that was committed so far, empty transactions left out.
    pub fn commits(&self) -> Vec<Transaction> {
        self.lock().commits.clone()
    }

    /// How often a whole table was read so far.
    pub fn observations(&self) -> usize {
        self.lock().observations
    }

    /// Lets the next commits fail with this error number and change nothing; once for each call.
    pub fn fail_next_commit(&self, errno: i32) {
        self.lock().failures.push(errno);
    }

    /// Walks a packet through all tables; rules that write into dynamic sets do.
    pub fn trace(
        &self,
        host: &Host,
        origin: &Origin,
        packet: Packet,
        random: &mut dyn FnMut(u32) -> u32,
    ) -> Outcome {
        let mut state = self.lock();
        let mut tables: Vec<&mut Ruleset> = state.tables.values_mut().collect();
        trace(&mut tables, host, origin, packet, random)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NftPort for FakeNft {
    fn observe(&mut self, table: &Table) -> Result<Option<Ruleset>, NftError> {
        let mut state = self.lock();
        state.observations += 1;
        Ok(state.tables.get(table).cloned())
    }

    fn elements(&mut self, table: &Table, set: &Name, _: &SetDefinition) -> Result<Vec<Element>, NftError> {
        let state = self.lock();
        let missing =
            || NftError::Kernel { doing: "list elements", source: io::Error::from_raw_os_error(ENOENT) };
        let set = state.tables.get(table).and_then(|table| table.sets.get(set)).ok_or_else(missing)?;
        let element = |(key, data): (&Tuple, &Data)| Element { key: key.clone(), data: data.clone() };
        Ok(set.elements.iter().map(element).collect())
    }

    fn generation(&mut self) -> Result<u32, NftError> {
        Ok(self.lock().generation)
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<(), NftError> {
        if transaction.is_empty() {
            return Ok(());
        }
        let mut state = self.lock();
        if !state.failures.is_empty() {
            let errno = state.failures.remove(0);
            return Err(NftError::Kernel { doing: "commit", source: io::Error::from_raw_os_error(errno) });
        }
        let mut table = state.tables.get(&transaction.table).cloned();
        for (op_number, op) in transaction.ops.iter().enumerate() {
            apply(&mut table, &transaction.table, op).map_err(|errno| NftError::Refused {
                table: transaction.table.clone(),
                op_number,
                op: op.summary(),
                source: io::Error::from_raw_os_error(errno),
            })?;
        }
        if table.as_ref().is_some_and(leads_too_deep) {
            let source = io::Error::from_raw_os_error(EMLINK);
            return Err(NftError::Kernel { doing: "commit", source });
        }
        match table {
            Some(table) => state.tables.insert(transaction.table.clone(), table),
            None => state.tables.remove(&transaction.table),
        };
        state.commits.push(transaction.clone());
        state.generation += 1;
        Ok(())
    }
}

fn apply(table: &mut Option<Ruleset>, name: &Table, op: &Op) -> Result<(), i32> {
    if matches!(op, Op::AddTable) {
        table.get_or_insert_with(|| Ruleset::new(name.clone()));
        return Ok(());
    }
    let ruleset = table.as_mut().ok_or(ENOENT)?;
    match op {
        Op::AddTable => {}
        Op::DeleteTable => *table = None,
        Op::AddChain { chain, base } => {
            let there = ruleset
                .chains
                .entry(chain.clone())
                .or_insert_with(|| Chain { base: *base, rules: Vec::new() });
            if there.base != *base {
                return Err(EEXIST);
            }
        }
        Op::DeleteChain { chain } => {
            let mut without = ruleset.chains.clone();
            without.remove(chain).ok_or(ENOENT)?;
            if leads_to(&without, &ruleset.sets, chain) {
                return Err(EBUSY);
            }
            ruleset.chains = without;
        }
        Op::ReplaceRules { chain, rules } => {
            for rule in rules {
                check_rule(ruleset, rule)?;
            }
            ruleset.chains.get_mut(chain).ok_or(ENOENT)?.rules.clone_from(rules);
        }
        Op::AddSet { set, definition } => {
            let there = ruleset.sets.entry(set.clone()).or_insert_with(|| Set::new(definition.clone()));
            if there.definition != *definition {
                return Err(EEXIST);
            }
        }
        Op::DeleteSet { set } => {
            let uses =
                |rule: &Rule| rule.statements.iter().filter_map(Statement::set).any(|used| used == set);
            if ruleset.chains.values().flat_map(|chain| &chain.rules).any(uses) {
                return Err(EBUSY);
            }
            ruleset.sets.remove(set).ok_or(ENOENT)?;
        }
        Op::AddElements { set, definition, elements } => {
            for element in elements {
                add_element(ruleset, set, definition, element)?;
            }
        }
        Op::DeleteElements { set, definition, keys, missing } => {
            let set = ruleset.sets.get_mut(set).filter(|set| set.definition == *definition).ok_or(ENOENT)?;
            for key in keys {
                if set.elements.remove(key).is_none() && *missing == Missing::Fail {
                    return Err(ENOENT);
                }
            }
        }
    }
    Ok(())
}

/// Whether a packet could be led in a circle, or deeper than the kernel follows it.
fn leads_too_deep(ruleset: &Ruleset) -> bool {
    let mut hooked = ruleset.chains.values().filter(|chain| chain.base.is_some());
    hooked.any(|chain| is_too_deep(ruleset, chain, 1))
}

fn is_too_deep(ruleset: &Ruleset, chain: &Chain, depth: usize) -> bool {
    let statements = || chain.rules.iter().flat_map(|rule| &rule.statements);
    let by_map = statements().filter_map(|statement| match statement {
        Statement::VerdictMap { map, .. } => ruleset.sets.get(map),
        _ => None,
    });
    let verdicts = by_map.flat_map(|map| map.elements.values()).filter_map(|data| match data {
        Data::Verdict(verdict) => verdict.chain(),
        Data::Nothing | Data::Values(_) => None,
    });
    let next: BTreeSet<&Name> = verdicts.chain(statements().filter_map(Statement::chain)).collect();
    let mut next = next.into_iter().filter_map(|name| ruleset.chains.get(name));
    next.any(|next| depth == DEEPEST || is_too_deep(ruleset, next, depth + 1))
}

fn leads_to(chains: &BTreeMap<Name, Chain>, sets: &BTreeMap<Name, Set>, chain: &Name) -> bool {
    let mut statements = chains.values().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements);
    let mut data = sets.values().flat_map(|set| set.elements.values());
    statements.any(|statement| statement.chain() == Some(chain))
        || data.any(|data| matches!(data, Data::Verdict(verdict) if verdict.chain() == Some(chain)))
}

fn add_element(
    ruleset: &mut Ruleset,
    set: &Name,
    definition: &SetDefinition,
    element: &Element,
) -> Result<(), i32> {
    let chain_is_there =
        |verdict: &Verdict| verdict.chain().is_none_or(|chain| ruleset.chains.contains_key(chain));
    match (&element.data, &definition.content) {
        (Data::Nothing, SetContent::Keys) => {}
        (Data::Verdict(verdict), SetContent::Verdicts) if chain_is_there(verdict) => {}
        (Data::Verdict(_), SetContent::Verdicts) => return Err(ENOENT),
        (Data::Values(values), SetContent::Values(types)) if values.types().eq(types.iter().copied()) => {}
        _ => return Err(EINVAL),
    }
    let set = ruleset.sets.get_mut(set).filter(|set| set.definition == *definition).ok_or(ENOENT)?;
    if !element.key.types().eq(definition.key.iter().copied()) || !is_fit(definition.kind, &element.key) {
        return Err(EINVAL);
    }
    match set.elements.get(&element.key) {
        Some(data) if *data == element.data => return Ok(()),
        Some(_) => return Err(EEXIST),
        None => {}
    }
    match definition.kind {
        SetKind::Interval if set.elements.keys().any(|key| overlap(key, &element.key)) => return Err(EEXIST),
        SetKind::Dynamic { size, .. } if set.elements.len() >= size as usize => return Err(ENOSPC),
        SetKind::Plain | SetKind::Interval | SetKind::Dynamic { .. } => {}
    }
    set.elements.insert(element.key.clone(), element.data.clone());
    Ok(())
}

/// Ranges belong into interval sets, and there every address is a range.
fn is_fit(kind: SetKind, key: &Tuple) -> bool {
    let is_range = |value: &Value| matches!(value, Value::Prefix(_));
    match kind {
        SetKind::Interval => !key.fields().any(|value| matches!(value, Value::Address(_))),
        SetKind::Plain | SetKind::Dynamic { .. } => !key.fields().any(|value| is_range(&value)),
    }
}

fn overlap(one: &Tuple, other: &Tuple) -> bool {
    one.fields().zip(other.fields()).all(|(one, other)| match (one, other) {
        (Value::Prefix(one), Value::Prefix(other)) => one.contains(&other) || other.contains(&one),
        _ => one == other,
    })
}

fn check_rule(ruleset: &Ruleset, rule: &Rule) -> Result<(), i32> {
    for statement in &rule.statements {
        if statement.set().is_some_and(|set| !ruleset.sets.contains_key(set)) {
            return Err(ENOENT);
        }
        if statement.chain().is_some_and(|chain| !ruleset.chains.contains_key(chain)) {
            return Err(ENOENT);
        }
        check_statement(ruleset, statement)?;
    }
    Ok(())
}

fn check_statement(ruleset: &Ruleset, statement: &Statement) -> Result<(), i32> {
    let family = ruleset.table.family;
    let address = Selector::SourceAddress.key_type(family);
    let types = |selectors: &[Selector]| -> Option<Vec<Type>> {
        selectors.iter().map(|selector| selector.key_type(family)).collect()
    };
    let fits = |set: &Name, key: &[Selector], wanted: &dyn Fn(&SetContent) -> bool| {
        let definition = ruleset.sets.get(set).map(|set| &set.definition);
        let good = definition.is_some_and(|definition| {
            types(key).as_ref() == Some(&definition.key) && wanted(&definition.content)
        });
        if good { Ok(()) } else { Err(EINVAL) }
    };
    let is_target = |content: &SetContent| match content {
        SetContent::Values(types) => types.len() == 2 && Some(types[0]) == address && types[1] == Type::Port,
        SetContent::Keys | SetContent::Verdicts => false,
    };
    match statement {
        Statement::Lookup { key, set, .. } => fits(set, key, &|_| true),
        Statement::VerdictMap { key, map } => fits(map, key, &|content| *content == SetContent::Verdicts),
        Statement::DestinationNat(NatTarget::Map { key, map }) => fits(map, key, &is_target),
        Statement::Redirect { key, map } => {
            fits(map, key, &|content| *content == SetContent::Values(vec![Type::Port]))
        }
        Statement::SetPriority(PacketPriority::Map { key, map }) => {
            fits(map, key, &|content| *content == SetContent::Values(vec![Type::ClassId]))
        }
        Statement::Update { key, data, set, .. } => fits(set, key, &|content| match (content, data) {
            (SetContent::Keys, UpdateData::Nothing) => true,
            (SetContent::Values(values), UpdateData::Selectors(selectors)) => {
                types(selectors).as_ref() == Some(values)
            }
            _ => false,
        }),
        Statement::Foreign { .. } => Err(EINVAL),
        Statement::Match { .. }
        | Statement::NoTrack
        | Statement::Counter
        | Statement::SetMark { .. }
        | Statement::SetPriority(PacketPriority::Value(_))
        | Statement::DestinationNat(NatTarget::Address { .. })
        | Statement::Masquerade { .. }
        | Statement::Reject(_)
        | Statement::Verdict(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
