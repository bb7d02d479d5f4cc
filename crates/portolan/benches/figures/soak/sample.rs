//! What a proxy and its node hold at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context as _, Result, ensure};
use kernel::netns::Netns;
use kernel::sysctl::Sysctls;
use netstate::nft::Name;
use netstate::sysctl::{SysctlKey, SysctlPort as _};

use crate::rig::{Proxy, Ruleset, TABLE, Usage, run};

use super::VARIANT;

/// So much more memory is no growth: pages that the allocator keeps.
const SHARE: f64 = 1.1;
const SOME_MEGABYTES: f64 = 4.0;
/// So many more files or connections may be open just now: the watches' old connections, which the kernel remembers for
/// two minutes.
const SOME_FILES: usize = 4;
const SOME_CONNECTIONS: u64 = 200;

/// Everything.
pub struct Sample {
    /// Of the node whose proxy lives through it all.
    pub steady: NodeSample,
    /// Of the node whose proxy is killed.
    pub mortal: NodeSample,
    /// Of the API server; nothing is asked of it here.
    pub control_plane: Usage,
}

/// Of a node.
pub struct NodeSample {
    /// What the proxy takes.
    pub usage: Usage,
    /// Chains and sets as `nft` shows them, without elements.
    parts: BTreeSet<String>,
    sets: BTreeMap<Name, usize>,
    connections: u64,
}

impl NodeSample {
    /// Looks.
    pub fn take(node: &Netns, proxy: &Proxy) -> Result<Self> {
        let ruleset = Ruleset::new(node, VARIANT);
        let key = SysctlKey::new("net.netfilter.nf_conntrack_count");
        let connections = Sysctls::in_namespace(Netns::open_path(node.path())?).read(&key)?;
        Ok(Self {
            usage: Usage::of(proxy.pid())?,
            // While the table is away there is nothing to be shown.
            parts: run(node, "nft", &["-s", "-t", "list", "table", "ip", TABLE])
                .map(|text| parts(&text))
                .unwrap_or_default(),
            sets: ruleset.counts(TABLE)?,
            connections: connections.context("the kernel tracks connections")?.trim().parse()?,
        })
    }

    /// Elements of all sets.
    pub fn elements(&self) -> usize {
        self.sets.values().sum()
    }

    fn lines(&self) -> usize {
        self.parts.iter().map(|part| part.lines().count()).sum()
    }

    fn ensure_no_growth(&self, begin: &Self) -> Result<()> {
        ensure!(self.sets == begin.sets, "elements were {:?} and are {:?}", begin.sets, self.sets);
        let differ: Vec<&String> = self.parts.symmetric_difference(&begin.parts).collect();
        ensure!(differ.is_empty(), "chains were there before or are now, but not both: {differ:#?}");
        let (files, connections) = (self.usage.descriptors, self.connections);
        let before = (begin.usage.descriptors, begin.connections);
        ensure!(files <= before.0 + SOME_FILES, "{} files were open and {files} are", before.0);
        ensure!(
            connections <= before.1 + SOME_CONNECTIONS,
            "{} connections were remembered and {connections} are",
            before.1
        );
        let most = begin.usage.resident * SHARE + SOME_MEGABYTES;
        ensure!(
            self.usage.resident <= most,
            "memory has grown from {:.1} to {:.1} MB",
            begin.usage.resident,
            self.usage.resident
        );
        Ok(())
    }
}

/// The chains and sets in a listing of a table. They come in the order in which they were made.
fn parts(listing: &str) -> BTreeSet<String> {
    let inside = listing.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}'));
    let parts = inside.unwrap_or_default().0.split("\n\n");
    parts.map(|part| part.trim().to_owned()).collect()
}

impl Sample {
    /// Makes sure that nothing has become more.
    pub fn ensure_no_growth(&self, begin: &Self) -> Result<()> {
        self.steady.ensure_no_growth(&begin.steady).context("node1, whose proxy lived through it all")?;
        self.mortal.ensure_no_growth(&begin.mortal).context("node2, whose proxy was killed")
    }
}

impl fmt::Display for NodeSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} MB (most {:.1}), {} files, {} lines of chains, {} elements, {} connections",
            self.usage.resident,
            self.usage.peak,
            self.usage.descriptors,
            self.lines(),
            self.elements(),
            self.connections
        )
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steady, mortal, control_plane } = self;
        write!(f, "node1 {steady}; node2 {mortal}; API server {:.0} MB", control_plane.resident)
    }
}
