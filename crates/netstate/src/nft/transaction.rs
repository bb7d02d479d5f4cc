//! Changes to one table, all or none of which happen.

use super::{BaseChain, Element, Name, Rule, SetDefinition, Table, Tuple};

/// One change. The order within a [`Transaction`] must keep every reference valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Make the table; nothing happens if it is there.
    AddTable,
    /// Delete the table with everything in it.
    DeleteTable,
    /// Make an empty chain; nothing happens if the same one is there.
    AddChain {
        /// Its name.
        chain: Name,
        /// Where it is hooked in.
        base: Option<BaseChain>,
    },
    /// Delete a chain with its rules; nothing may lead to it any more.
    DeleteChain {
        /// Its name.
        chain: Name,
    },
    /// Replace all rules of a chain.
    ReplaceRules {
        /// The chain.
        chain: Name,
        /// Its rules from now on.
        rules: Vec<Rule>,
    },
    /// Make an empty set or map; nothing happens if the same one is there.
    AddSet {
        /// Its name.
        set: Name,
        /// What it may hold.
        definition: SetDefinition,
    },
    /// Delete a set or map; no rule may use it any more.
    DeleteSet {
        /// Its name.
        set: Name,
    },
    /// Add elements; one that is there with other data is an error.
    AddElements {
        /// The set or map.
        set: Name,
        /// Its definition, which says how keys and data are laid out.
        definition: SetDefinition,
        /// What to add.
        elements: Vec<Element>,
    },
    /// Delete elements.
    DeleteElements {
        /// The set or map.
        set: Name,
        /// Its definition, which says how keys are laid out.
        definition: SetDefinition,
        /// The keys to delete.
        keys: Vec<Tuple>,
        /// What an absent key means.
        missing: Missing,
    },
}

/// What it means when something to delete is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Missing {
    /// An error: the kernel does not hold what we think. For everything that we write ourselves.
    Fail,
    /// Fine. For elements of dynamic sets, which expire on their own. Needs Linux 6.3.
    Ignore,
}

/// Changes to one table, all or none of which happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The table.
    pub table: Table,
    /// The changes in order.
    pub ops: Vec<Op>,
}

impl Transaction {
    /// An empty transaction.
    pub const fn new(table: Table) -> Self {
        Self { table, ops: Vec::new() }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// How many single changes this makes: elements and rules count one each. For tests and logs.
    pub fn weight(&self) -> usize {
        let weigh = |op: &Op| match op {
            Op::AddElements { elements, .. } => elements.len(),
            Op::DeleteElements { keys, .. } => keys.len(),
            Op::ReplaceRules { rules, .. } => rules.len().max(1),
            Op::AddTable
            | Op::DeleteTable
            | Op::AddChain { .. }
            | Op::DeleteChain { .. }
            | Op::AddSet { .. }
            | Op::DeleteSet { .. } => 1,
        };
        self.ops.iter().map(weigh).sum()
    }
}
