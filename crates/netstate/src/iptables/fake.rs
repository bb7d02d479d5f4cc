use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::trace::{Outcome, RecentLists, Rules, trace};
use super::{
    Chain, ChainName, Chains, IptablesError, IptablesPort, Rule, Stamp, Table, Target, Transaction, Variant,
    Words,
};
use crate::ipset::Sets;
use crate::nft::Family;
use crate::trace::{Host, Origin, Packet};

const MISSING: &str = "No chain/target/match by that name.";

/// iptables of an imaginary network namespace that refuses what the real one refuses. Clones share it, so a test keeps
/// one while a driver owns the other.
///
/// Deliberately absent: which target is allowed in which table, and time.
#[derive(Debug, Clone)]
pub struct FakeIptables {
    family: Family,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    tables: BTreeMap<Table, Chains>,
    sets: Sets,
    recent: RecentLists,
    restores: Vec<Vec<Transaction>>,
    observations: usize,
    generation: u32,
    lock_held: usize,
}

impl FakeIptables {
    /// A namespace that nobody has written to.
    pub fn new(family: Family) -> Self {
        let tables = Table::ALL.into_iter().map(|table| (table, Chains::fresh(table))).collect();
        Self { family, state: Arc::new(Mutex::new(State { tables, ..State::default() })) }
    }

    /// A table as it is now.
    pub fn table(&self, table: Table) -> Chains {
        self.lock().tables.get(&table).cloned().unwrap_or_default()
    }

    /// Changes a table as if somebody else had.
    pub fn change(&self, table: Table, change: impl FnOnce(&mut Chains)) {
        let mut state = self.lock();
        change(state.tables.entry(table).or_default());
        state.generation += 1;
    }

    /// The sets that rules match on.
    pub fn put_sets(&self, sets: Sets) {
        self.lock().sets = sets;
    }

    /// The transactions of every restore so far, empty ones left out.
    pub fn restores(&self) -> Vec<Vec<Transaction>> {
        self.lock().restores.clone()
    }

    /// How often a table was read so far.
    pub fn observations(&self) -> usize {
        self.lock().observations
    }

    /// Lets the next restores find the lock held; once for each call.
    pub fn hold_lock(&self) {
        self.lock().lock_held += 1;
    }

    /// Walks a packet through all tables; rules that remember addresses do. `random` is asked for a number below its
    /// argument.
    pub fn trace(
        &self,
        host: &Host,
        origin: &Origin,
        packet: Packet,
        random: &mut dyn FnMut(u32) -> u32,
    ) -> Outcome {
        let mut state = self.lock();
        let State { tables, sets, recent, .. } = &mut *state;
        trace(&mut Rules { family: self.family, tables, sets, recent, random }, host, origin, packet)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self, command: &str, chain: ChainName, rule: Option<&Rule>, message: &str) -> IptablesError {
        let words = rule.map(|rule| Words(self.family, rule).to_string()).unwrap_or_default();
        IptablesError::Refused {
            program: "iptables-restore".to_owned(),
            line_number: 1,
            line: format!("{command} {chain} {words}"),
            message: message.to_owned(),
        }
    }

    fn apply(&self, chains: &mut Chains, transaction: &Transaction) -> Result<(), IptablesError> {
        let Transaction { replace, delete, insert, delete_chains, .. } = transaction;
        for name in replace.keys() {
            chains.0.entry(*name).or_default().rules.clear();
        }
        for (name, rules) in replace {
            for rule in rules {
                self.put(chains, "-A", *name, rule, |rules, rule| rules.push(rule))?;
            }
        }
        for (name, rule) in delete {
            let rules = chains.0.get_mut(name).map(|chain| &mut chain.rules);
            let place = rules.as_ref().and_then(|rules| rules.iter().position(|one| one == rule));
            let (Some(rules), Some(place)) = (rules, place) else {
                let message = "Bad rule (does a matching rule exist in that chain?).";
                return Err(self.refused("-D", *name, Some(rule), message));
            };
            rules.remove(place);
        }
        for (name, rule) in insert.iter().rev() {
            self.put(chains, "-I", *name, rule, |rules, rule| rules.insert(0, rule))?;
        }
        for name in delete_chains {
            let gone = || self.refused("-F", *name, None, MISSING);
            chains.0.get_mut(name).ok_or_else(gone)?.rules.clear();
        }
        for name in delete_chains {
            let used =
                chains.0.values().flat_map(|chain| &chain.rules).any(|rule| rule.chain() == Some(*name));
            if used {
                return Err(self.refused("-X", *name, None, "Too many links."));
            }
            chains.0.remove(name);
        }
        Ok(())
    }

    fn put(
        &self,
        chains: &mut Chains,
        command: &str,
        name: ChainName,
        rule: &Rule,
        put: impl FnOnce(&mut Vec<Rule>, Rule),
    ) -> Result<(), IptablesError> {
        let leads_nowhere = match rule.target {
            Target::Jump(target) | Target::Goto(target) => !chains.0.contains_key(&target),
            _ => false,
        };
        match chains.0.get_mut(&name) {
            Some(Chain { rules, .. }) if !leads_nowhere => {
                put(rules, rule.clone());
                Ok(())
            }
            _ => Err(self.refused(command, name, Some(rule), MISSING)),
        }
    }
}

impl IptablesPort for FakeIptables {
    fn family(&self) -> Family {
        self.family
    }

    fn variant(&self) -> Variant {
        Variant::Nft
    }

    fn observe(&mut self, table: Table) -> Result<Chains, IptablesError> {
        self.lock().observations += 1;
        Ok(self.table(table))
    }

    fn restore(&mut self, transactions: &[Transaction]) -> Result<(), IptablesError> {
        let mut state = self.lock();
        if state.lock_held > 0 {
            state.lock_held -= 1;
            return Err(IptablesError::LockHeld {
                program: "iptables-restore".to_owned(),
                message: "Another app is currently holding the xtables lock.".to_owned(),
            });
        }
        let mut done = Vec::new();
        for transaction in transactions.iter().filter(|transaction| !transaction.is_empty()) {
            let mut chains = state.tables.get(&transaction.table).cloned().unwrap_or_default();
            self.apply(&mut chains, transaction)?;
            state.tables.insert(transaction.table, chains);
            state.generation += 1;
            done.push(transaction.clone());
        }
        if !done.is_empty() {
            state.restores.push(done);
        }
        Ok(())
    }

    fn stamp(&mut self) -> Result<Stamp, IptablesError> {
        Ok(Stamp::Generation(self.lock().generation))
    }
}

#[cfg(test)]
mod tests;
