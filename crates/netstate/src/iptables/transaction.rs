use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{ChainName, Rule, Table};

/// Changes to one table, made all or not at all: what one `COMMIT` of `iptables-restore --noflush` carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Which table.
    pub table: Table,
    /// First these chains are made, or emptied, and get exactly these rules.
    pub replace: BTreeMap<ChainName, Vec<Rule>>,
    /// Then these rules go; each takes the first that is equal.
    pub delete: Vec<(ChainName, Rule)>,
    /// Then these rules are put in front of their chains, the first of the list ends up first.
    pub insert: Vec<(ChainName, Rule)>,
    /// At last these chains are emptied and go. Nothing else may lead there.
    pub delete_chains: BTreeSet<ChainName>,
}

impl Transaction {
    /// No change.
    pub fn new(table: Table) -> Self {
        Self {
            table,
            replace: BTreeMap::new(),
            delete: Vec::new(),
            insert: Vec::new(),
            delete_chains: BTreeSet::new(),
        }
    }

    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.weight() == 0
    }

    /// How many changes it makes: chains and rules count one each.
    pub fn weight(&self) -> usize {
        let replaced: usize = self.replace.values().map(|rules| rules.len() + 1).sum();
        replaced + self.delete.len() + self.insert.len() + self.delete_chains.len()
    }

    /// In two: what adds, and what takes away.
    #[must_use]
    pub fn growing_and_shrinking(self) -> (Self, Self) {
        let Self { table, replace, delete, insert, delete_chains } = self;
        let shrinking = Self { delete, delete_chains, ..Self::new(table) };
        (Self { replace, insert, ..Self::new(table) }, shrinking)
    }

    /// In pieces that replace about `chains` chains each, to be carried out one after the other.
    ///
    /// Chains come before those that lead there, and near to them; everything else is in the last piece. So nothing
    /// leads into a piece that is not there yet.
    ///
    /// Why: `iptables-restore` of the legacy variant looks every target up among all chains of its input, in a hash
    /// table of 512 lists. With 110,000 chains that takes longer than everything else together. That of the nft variant
    /// looks the chain of every line and every target up in one list of all that it has seen (`cache_chain_list_insert`
    /// in 1.8.9's nft-cache.c), which takes time as rules times chains.
    #[must_use]
    pub fn split(mut self, chains: usize) -> Vec<Self> {
        if self.replace.len() <= chains.saturating_mul(3) / 2 {
            return vec![self];
        }
        let table = self.table;
        let mut replace = std::mem::take(&mut self.replace);
        let mut pieces = Vec::new();
        let mut piece = Self::new(table);
        let mut placed = BTreeSet::new();
        // Backwards, as then the chains of services come before those of their endpoints. Any order would be right.
        let roots: Vec<ChainName> = replace.keys().rev().copied().collect();
        for root in roots {
            let mut order = Vec::new();
            visit(root, &replace, &mut placed, &mut order);
            piece.replace.extend(order.into_iter().filter_map(|name| replace.remove_entry(&name)));
            if piece.replace.len() >= chains {
                pieces.push(std::mem::replace(&mut piece, Self::new(table)));
            }
        }
        self.replace = piece.replace;
        pieces.push(self);
        pieces
    }

    /// The chains to be replaced in the order in which they are best declared: backwards, as then libiptc finds their
    /// places at once, and those that most rules lead to at the end, as libxtables then finds them first.
    pub(super) fn declarations(&self) -> Vec<ChainName> {
        let mut uses: HashMap<ChainName, usize> = HashMap::new();
        for target in self.replace.values().flatten().filter_map(Rule::chain) {
            *uses.entry(target).or_default() += 1;
        }
        let often = |name: &ChainName| uses.get(name).copied().unwrap_or_default() / 1_000;
        let mut names: Vec<ChainName> = self.replace.keys().rev().copied().collect();
        names.sort_by_key(often);
        names
    }
}

/// Puts a chain behind all that it leads to.
fn visit(
    root: ChainName,
    chains: &BTreeMap<ChainName, Vec<Rule>>,
    placed: &mut BTreeSet<ChainName>,
    order: &mut Vec<ChainName>,
) {
    let Some(rules) = chains.get(&root).filter(|_| placed.insert(root)) else {
        return;
    };
    for chain in rules.iter().filter_map(Rule::chain) {
        visit(chain, chains, placed, order);
    }
    order.push(root);
}
