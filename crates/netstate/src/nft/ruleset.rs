//! A table with everything in it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Name, Rule, Table, Tuple, Type, Verdict};

/// One table: what we want the kernel to hold, or what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// Which table.
    pub table: Table,
    /// Its chains.
    pub chains: BTreeMap<Name, Chain>,
    /// Its sets and maps.
    pub sets: BTreeMap<Name, Set>,
}

impl Ruleset {
    /// An empty table.
    pub const fn new(table: Table) -> Self {
        Self { table, chains: BTreeMap::new(), sets: BTreeMap::new() }
    }

    /// A table with these sets, all empty, and without chains.
    pub fn of_sets(table: Table, sets: impl IntoIterator<Item = (Name, SetDefinition)>) -> Self {
        let sets = sets.into_iter().map(|(name, definition)| (name, Set::new(definition))).collect();
        Self { sets, ..Self::new(table) }
    }
}

/// A list of rules, called from others or hooked into the packet's path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain {
    /// Where it is hooked in; `None`: only reached by jump and goto.
    pub base: Option<BaseChain>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

impl Chain {
    /// A chain reached by jump and goto.
    pub fn regular(rules: impl Into<Vec<Rule>>) -> Self {
        Self { base: None, rules: rules.into() }
    }

    /// A chain hooked into the packet's path.
    pub fn base(base: BaseChain, rules: impl Into<Vec<Rule>>) -> Self {
        Self { base: Some(base), rules: rules.into() }
    }
}

/// How a chain is hooked into the packet's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BaseChain {
    /// What it may do.
    pub kind: ChainKind,
    /// Where it is.
    pub hook: Hook,
    /// Its place among the chains of the hook, lowest first. See [`priority`].
    pub priority: i32,
    /// What happens to packets that fall off its end.
    pub policy: Policy,
}

/// The customary priorities of chains (`nft` prints them by these names).
pub mod priority {
    /// `raw`: in front of connection tracking.
    pub const RAW: i32 = -300;
    /// `dstnat`: where destinations are translated, at prerouting and output.
    pub const DESTINATION_NAT: i32 = -100;
    /// `filter`.
    pub const FILTER: i32 = 0;
    /// `srcnat`: where sources are translated, at postrouting and input.
    pub const SOURCE_NAT: i32 = 100;
}

/// What a base chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainKind {
    /// See every packet.
    Filter,
    /// See the first packet of each connection and translate its addresses.
    Nat,
    /// See the node's own packets and route them again when marks or addresses change.
    Route,
}

/// A place on the packet's path through the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Just arrived, not yet routed.
    Prerouting,
    /// For this node.
    Input,
    /// Passing through.
    Forward,
    /// Made on this node, already routed.
    Output,
    /// About to leave.
    Postrouting,
}

/// What a base chain does with packets that no rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// Let them pass.
    Accept,
    /// Throw them away.
    Drop,
}

/// A set or map with its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// What it may hold.
    pub definition: SetDefinition,
    /// What it holds. Of a dynamic set this is runtime state, written by rules: [`diff()`](super::diff()) leaves it alone.
    pub elements: BTreeMap<Tuple, Data>,
}

impl Set {
    /// An empty set or map.
    pub const fn new(definition: SetDefinition) -> Self {
        Self { definition, elements: BTreeMap::new() }
    }
}

/// What a set or map may hold. It cannot be changed later, only deleted and made again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetDefinition {
    /// The fields of the key.
    pub key: Vec<Type>,
    /// What an element holds.
    pub content: SetContent,
    /// Who writes it.
    pub kind: SetKind,
}

impl SetDefinition {
    /// A set of keys.
    pub fn set(key: impl Into<Vec<Type>>) -> Self {
        Self { key: key.into(), content: SetContent::Keys, kind: SetKind::Plain }
    }

    /// A map from keys to verdicts.
    pub fn verdict_map(key: impl Into<Vec<Type>>) -> Self {
        Self { key: key.into(), content: SetContent::Verdicts, kind: SetKind::Plain }
    }

    /// A map from keys to values.
    pub fn map(key: impl Into<Vec<Type>>, data: impl Into<Vec<Type>>) -> Self {
        Self { key: key.into(), content: SetContent::Values(data.into()), kind: SetKind::Plain }
    }

    /// The same with ranges of addresses as key fields.
    #[must_use]
    pub fn interval(mut self) -> Self {
        self.kind = SetKind::Interval;
        self
    }

    /// The same, written by rules, with at most `size` elements.
    #[must_use]
    pub fn dynamic(mut self, size: u32, timeout: Option<Duration>) -> Self {
        self.kind = SetKind::Dynamic { size, timeout };
        self
    }
}

/// What the elements of a set hold beside their key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetContent {
    /// Nothing: a set.
    Keys,
    /// A verdict.
    Verdicts,
    /// One or more values.
    Values(Vec<Type>),
}

/// Who writes a set, and what its keys may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetKind {
    /// We do, with exact keys.
    Plain,
    /// We do; keys may be ranges of addresses, which must not overlap.
    Interval,
    /// Rules do (`flags dynamic,timeout`); we may list and delete elements.
    Dynamic {
        /// Most elements at a time, at least 1.
        size: u32,
        /// Life of an element whose rule says nothing else, in whole seconds (less would not survive the
        /// kernel's own clock unchanged); `None`: for ever.
        timeout: Option<Duration>,
    },
}

/// What an element holds beside its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Data {
    /// Nothing: it is in a set.
    Nothing,
    /// A verdict.
    Verdict(Verdict),
    /// Values.
    Values(Tuple),
}

/// One element on its way into a set or out of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// Its key.
    pub key: Tuple,
    /// What it holds.
    pub data: Data,
}

impl Element {
    /// An element of a set.
    pub fn key(key: impl Into<Tuple>) -> Self {
        Self { key: key.into(), data: Data::Nothing }
    }

    /// An element of a verdict map.
    pub fn verdict(key: impl Into<Tuple>, verdict: Verdict) -> Self {
        Self { key: key.into(), data: Data::Verdict(verdict) }
    }

    /// An element of a map.
    pub fn values(key: impl Into<Tuple>, values: impl Into<Tuple>) -> Self {
        Self { key: key.into(), data: Data::Values(values.into()) }
    }
}
