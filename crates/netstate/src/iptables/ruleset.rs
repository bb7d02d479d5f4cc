use std::collections::BTreeMap;

use super::{ChainName, Rule, Table};

/// The chains of one table, as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chains(pub BTreeMap<ChainName, Chain>);

impl Chains {
    /// A table that nobody has written to.
    pub fn fresh(table: Table) -> Self {
        let chain = || Chain { policy: Some(Policy::Accept), rules: Vec::new() };
        Self(table.built_in().iter().map(|name| (*name, chain())).collect())
    }

    /// The rules of a chain; none when there is no such chain.
    pub fn rules(&self, name: ChainName) -> &[Rule] {
        self.0.get(&name).map_or(&[], |chain| &chain.rules)
    }
}

/// A chain as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// What becomes of packets that no rule decides; built-in chains alone have one.
    pub policy: Option<Policy>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

/// What a built-in chain does with packets that no rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// They pass.
    Accept,
    /// They are thrown away.
    Drop,
}

/// A chain as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Exactly these rules in this order.
    Exactly(Vec<Rule>),
    /// These rules in any order: no packet matches two of them. Single rules are put in and taken out, so that a long
    /// chain need not be written anew for one of them.
    AnyOrder {
        /// Those whose order does not matter.
        rules: Vec<Rule>,
        /// Those that follow, in this order.
        last: Vec<Rule>,
    },
    /// A built-in chain, which is everybody's: these rules, which all lead to chains of ours, stand somewhere in it,
    /// each once.
    Hooked(Vec<Rule>),
}

/// The chains of one table as they should be. Whatever else is ours goes.
pub type Desired = BTreeMap<ChainName, Wanted>;
