//! What is answered how: server blocks with their zones, and who is asked in which order.

use std::sync::{Arc, PoisonError, RwLock};

use crate::corefile::QueryLog;
use crate::{HostsTable, Name, Resolver, Rewrite, SharedZone};

/// Everything that the sockets of one port answer.
#[derive(Debug, Default)]
pub struct Site {
    blocks: Vec<Arc<Block>>,
}

/// A table of hosts that changes with its file.
pub type SharedHosts = Arc<RwLock<HostsTable>>;

/// One server block: a query passes through it from top to bottom.
#[derive(Debug, Default)]
pub struct Block {
    /// The names that it answers for; the longest that fits decides between blocks.
    pub zones: Vec<Name>,
    /// How names are changed first.
    pub rewrites: Vec<Rewrite>,
    /// Names from files.
    pub hosts: Option<SharedHosts>,
    /// Names of clusters.
    pub clusters: Vec<Arc<SharedZone>>,
    /// Who is asked for everything else; the first that fits has the last word.
    pub forwards: Vec<Forward>,
    /// Which queries are logged.
    pub log: Option<QueryLog>,
    /// Whether failures are.
    pub errors: bool,
}

/// Names that somebody else is asked for.
#[derive(Debug, Clone)]
pub struct Forward {
    /// Names below it,
    pub from: Name,
    /// but not below these.
    pub except: Vec<Name>,
    /// Who asks.
    pub resolver: Arc<Resolver>,
}

impl Site {
    /// Blocks in any order.
    pub fn new(blocks: Vec<Arc<Block>>) -> Self {
        Self { blocks }
    }

    /// One cluster, and one resolver for everything else; every query is logged, or none.
    pub fn of(zone: Arc<SharedZone>, resolver: Arc<Resolver>, log: Option<QueryLog>) -> Self {
        Self::new(vec![Arc::new(Block {
            zones: vec![Name::root()],
            clusters: vec![zone],
            forwards: vec![Forward { from: Name::root(), except: Vec::new(), resolver }],
            log,
            ..Block::default()
        })])
    }

    /// The block that answers for a name.
    pub(crate) fn block(&self, name: &Name) -> Option<&Block> {
        let length = |block: &Block| {
            let fitting = block.zones.iter().filter(|zone| name.is_within(zone));
            fitting.map(|zone| zone.wire().len()).max()
        };
        if let [only] = self.blocks.as_slice() {
            return length(only).map(|_| &**only);
        }
        let fitting = self.blocks.iter().filter(|block| length(block).is_some());
        fitting.max_by_key(|block| length(block)).map(|block| &**block)
    }

    /// Whether a query is a resolver's own, sent to see whether it comes back.
    pub(crate) fn is_own_probe(&self, name: &Name, kind: crate::RecordType) -> bool {
        let mut forwards = self.blocks.iter().flat_map(|block| &block.forwards);
        forwards.any(|forward| forward.resolver.is_own_probe(name, kind))
    }
}

impl Block {
    /// Who asks for a name.
    pub(crate) fn resolver(&self, name: &Name) -> Option<&Arc<Resolver>> {
        let fits = |forward: &&Forward| {
            name.is_within(&forward.from) && !forward.except.iter().any(|zone| name.is_within(zone))
        };
        self.forwards.iter().find(fits).map(|forward| &forward.resolver)
    }
}

/// A site that is answered from while it is replaced: each query sees the old one or the new one.
#[derive(Debug)]
pub struct SharedSite(RwLock<Arc<Site>>);

impl SharedSite {
    /// Shares a site.
    pub fn new(site: Site) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(site))))
    }

    /// Puts another one in its place. Queries that are being answered end as they began.
    pub fn replace(&self, site: Site) {
        // An Arc is whole at every moment.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(site);
    }

    pub(crate) fn now(&self) -> Arc<Site> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
