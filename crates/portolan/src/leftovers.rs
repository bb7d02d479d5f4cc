//! What the modes of a proxy leave in the kernel, ours and kube-proxy's, and how it is taken away.
//!
//! Our iptables and ipvs modes have kube-proxy's names; the iptables mode puts a chain of its own beside its chains, and
//! those of a kube-proxy are left alone unless somebody asks.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Error, Result};
use kernel::conntrack::Conntrack;
use kernel::ipset::Ipset;
use kernel::iptables::Iptables;
use kernel::ipvs::Ipvs;
use kernel::link::Links;
use kernel::nft::Nftables;
use kernel::sysctl::Sysctls;
use netstate::ipset::IpsetPort;
use netstate::iptables::{ChainName, IptablesPort, Scope, Table as Chained, Variant, diff};
use netstate::namespace::LinkPort;
use netstate::nft::{Family, Name, NftPort, Op, Table, Transaction};
use proxy::iptables::IptablesProxy;
use proxy::ipvs::{Config, IpvsProxy, LINK, Ports};
use proxy::{Dataplane, Mode, NodeContext, nftables, userspace};
use serde::Serialize;

/// kube-proxy's tables of its nftables mode.
const KUBE_PROXY: [Table; 2] = [
    Table::new(Family::Ip, Name::constant("kube-proxy")),
    Table::new(Family::Ip6, Name::constant("kube-proxy")),
];
/// What a kube-proxy in iptables mode watches, to see whether somebody flushed its rules.
const CANARY: ChainName = ChainName::constant("KUBE-PROXY-CANARY");
/// Something that was taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// The mode that it was of.
    pub mode: &'static str,
    /// What it was.
    pub what: String,
}

/// What came of it. One thing that cannot be removed keeps nothing else from going.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is gone.
    pub removed: Vec<Removed>,
    /// What is not, and why.
    pub failures: Vec<Error>,
}

/// Whose objects are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Ours, of every mode but the one given.
    Ours(Option<Mode>),
    /// Ours of every mode, and a kube-proxy's.
    Everybodys,
}

/// Takes everything away that is meant. What is not there is no failure.
pub fn remove(whose: Whose) -> Outcome {
    let mut outcome = Outcome::default();
    let keep = match whose {
        Whose::Ours(keep) => keep,
        Whose::Everybodys => None,
    };
    let mut tables = Vec::new();
    if keep != Some(Mode::Nftables) {
        tables.extend([nftables::TABLE, nftables::TABLE_IPV6].map(|table| (Mode::Nftables, table)));
    }
    if keep != Some(Mode::Userspace) {
        tables.extend([userspace::TABLE, userspace::TABLE_IPV6].map(|table| (Mode::Userspace, table)));
    }
    if whose == Whose::Everybodys {
        tables.extend(KUBE_PROXY.map(|table| (Mode::Nftables, table)));
    }
    for (mode, table) in tables {
        outcome.note(mode, remove_table(&table).with_context(|| format!("table {table}")));
    }
    if keep != Some(Mode::Ipvs) {
        outcome.note(Mode::Ipvs, remove_ipvs());
    }
    if keep != Some(Mode::Iptables) {
        for family in [Family::Ip, Family::Ip6] {
            for variant in [Variant::Nft, Variant::Legacy] {
                outcome.note(Mode::Iptables, remove_chains(family, variant, whose));
            }
        }
    }
    outcome
}

impl Outcome {
    fn note(&mut self, mode: Mode, result: Result<Vec<String>>) {
        match result {
            Ok(removed) => {
                self.removed.extend(removed.into_iter().map(|what| Removed { mode: mode.word(), what }));
            }
            Err(error) => self.failures.push(error.context(mode.word())),
        }
    }
}

fn remove_table(table: &Table) -> Result<Vec<String>> {
    let mut transaction = Transaction::new(table.clone());
    transaction.ops.push(Op::DeleteTable);
    match Nftables::open()?.commit(&transaction) {
        Ok(()) => Ok(vec![format!("table {table}")]),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Without its link and its sets nothing of the mode is there, and the kernel need not even have IPVS.
fn remove_ipvs() -> Result<Vec<String>> {
    let links = Links::in_current()?;
    let has_link = links.observe()?.links.contains_key(&LINK);
    let sets = Ipset::open().and_then(|mut sets| sets.counts("KUBE-")).unwrap_or_default();
    if !has_link && sets.is_empty() {
        return Ok(Vec::new());
    }
    let ports = Ports {
        ipvs: Box::new(Ipvs::open()?),
        sets: Box::new(Ipset::open()?),
        iptables: [Box::new(Iptables::open(Family::Ip)?), Box::new(Iptables::open(Family::Ip6)?)],
        links: Box::new(links),
        settings: Box::new(Sysctls::in_current()),
        conntrack: Box::new(Conntrack::open()?),
    };
    // Nothing of the node matters for taking things away.
    let context = NodeContext::new("".into(), Vec::new());
    IpvsProxy::new(context, Config::default(), ports).cleanup()?;
    let mut removed = Vec::new();
    if has_link {
        removed.push(format!("link {LINK} with its virtual services"));
    }
    if !sets.is_empty() {
        removed.push(format!("{} sets KUBE-…", sets.len()));
    }
    Ok(removed)
}

fn remove_chains(family: Family, variant: Variant, whose: Whose) -> Result<Vec<String>> {
    if variant == Variant::Legacy && !legacy_is_used(family) {
        return Ok(Vec::new());
    }
    // Not installed: then nobody has written with it either.
    let Ok(mut iptables) = Iptables::open_variant(family, variant) else {
        return Ok(Vec::new());
    };
    let before = count_chains(&mut iptables)?;
    if before.is_empty() {
        return Ok(Vec::new());
    }
    let context = NodeContext::new("".into(), Vec::new());
    let port = Iptables::open_variant(family, variant)?;
    let mut mode = IptablesProxy::new(context, [port], Conntrack::open()?);
    match whose {
        Whose::Ours(_) => mode.cleanup()?,
        Whose::Everybodys => {
            mode.cleanup_of_kube_proxy()?;
            remove_canaries(&mut iptables)?;
        }
    }
    let after = count_chains(&mut iptables)?;
    let mut removed = Vec::new();
    for (table, count) in before {
        let gone = count.saturating_sub(after.get(&table).copied().unwrap_or_default());
        if gone > 0 {
            let family = if family == Family::Ip6 { "IPv6" } else { "IPv4" };
            removed.push(format!("{gone} chains of table {}, {family}, {variant} variant", table.word()));
        }
    }
    Ok(removed)
}

/// How many chains that may be a proxy's each table has.
fn count_chains(iptables: &mut Iptables) -> Result<BTreeMap<Chained, usize>> {
    let mut counts = BTreeMap::new();
    for table in Chained::ALL {
        let chains = iptables.observe(table)?;
        let of_proxy =
            |name: &&ChainName| ["KUBE-", "PORTOLAN-"].iter().any(|start| name.as_str().starts_with(start));
        let count = chains.0.keys().filter(of_proxy).count();
        if count > 0 {
            counts.insert(table, count);
        }
    }
    Ok(counts)
}

fn remove_canaries(iptables: &mut Iptables) -> Result<()> {
    let mut transactions = Vec::new();
    for table in Chained::ALL {
        let chains = iptables.observe(table)?;
        transactions.push(diff(table, &chains, BTreeMap::new(), Scope::Whole, |name| name == CANARY));
    }
    transactions.retain(|transaction| !transaction.is_empty());
    Ok(iptables.restore(&transactions)?)
}

/// Whoever asks the legacy programs makes the kernel load their tables, so they are asked only where these are.
fn legacy_is_used(family: Family) -> bool {
    let path = if family == Family::Ip6 { "/proc/net/ip6_tables_names" } else { "/proc/net/ip_tables_names" };
    fs::read_to_string(path).is_ok_and(|names| !names.trim().is_empty())
}
