//! What a node's kernel holds of a fleet.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use kernel::iptables::Iptables;
use kernel::netns::Netns;
use kernel::nft::Nftables;
use load::{Doors, Fleet};
use netstate::iptables::{self, Chains, IptablesPort as _, Target};
use netstate::nft::{self, Family, Name, NftPort as _, Table};
use proxy::Mode;

use super::{TABLE, USERSPACE, Variant};

/// Looks at a node's kernel.
pub struct Ruleset<'a> {
    node: &'a Netns,
    variant: Variant,
}

/// All rules that a proxy wrote, as values.
#[derive(Debug, PartialEq, Eq)]
pub struct Everything {
    nftables: Vec<Option<nft::Ruleset>>,
    iptables: Vec<Chains>,
    /// The tables that there are.
    names: String,
}

impl<'a> Ruleset<'a> {
    /// Of one way of proxying.
    pub const fn new(node: &'a Netns, variant: Variant) -> Self {
        Self { node, variant }
    }

    /// Makes sure that every door of a fleet is there, and no other.
    pub fn ensure_whole(&self, fleet: Fleet) -> Result<()> {
        let (found, wanted) = (self.doors()?, self.seen_of(fleet.doors()));
        ensure!(found == wanted, "{}: the kernel holds {found:?} instead of {wanted:?}", self.variant);
        Ok(())
    }

    /// The part of the doors that can be counted in this mode.
    fn seen_of(&self, doors: Doors) -> Doors {
        match self.variant {
            Variant::Plain(Mode::Nftables) => doors,
            Variant::IptablesNft | Variant::IptablesLegacy => Doors { node_endpoints: 0, ..doors },
            // Endpoints are the relays' affair.
            Variant::Plain(_) => Doors { endpoints: 0, node_endpoints: 0, ..doors },
        }
    }

    /// How many doors there are.
    pub fn doors(&self) -> Result<Doors> {
        match self.variant {
            Variant::Plain(Mode::Nftables) => {
                let counts = self.counts(TABLE)?;
                let count = |set| counts.get(&Name::constant(set)).copied().unwrap_or_default();
                Ok(Doors {
                    services: count("services"),
                    endpoints: count("endpoints"),
                    node_ports: count("node-ports"),
                    node_endpoints: count("node-endpoints"),
                })
            }
            Variant::Plain(Mode::Userspace) => {
                let counts = self.counts(USERSPACE)?;
                let count = |set| counts.get(&Name::constant(set)).copied().unwrap_or_default();
                Ok(Doors { services: count("ports"), node_ports: count("node-ports"), ..Doors::default() })
            }
            Variant::IptablesNft => self.chains(iptables::Variant::Nft),
            Variant::IptablesLegacy => self.chains(iptables::Variant::Legacy),
            Variant::Plain(mode) => bail!("{mode} is not measured here"),
        }
    }

    /// How many elements each set of a table of IPv4 has.
    pub fn counts(&self, table: &'static str) -> Result<BTreeMap<Name, usize>> {
        let mut nft = self.node.run(Nftables::open)?.context("nftables")?;
        let table = Table::new(Family::Ip, Name::constant(table));
        Ok(nft.element_counts(&table)?.unwrap_or_default())
    }

    fn chains(&self, variant: iptables::Variant) -> Result<Doors> {
        let chains = self.observe(variant, Family::Ip, iptables::Table::Nat)?;
        let services = chains.0.keys().filter(|name| name.as_str().starts_with("KUBE-SVC-")).count();
        // Not every endpoint has a chain of its own.
        let rules = chains.0.values().flat_map(|chain| &chain.rules);
        let endpoints = rules.filter(|rule| matches!(rule.target, Target::DestinationNat(_))).count();
        let node_ports = chains.0.iter().filter(|(name, _)| name.as_str() == "KUBE-NODEPORTS");
        Ok(Doors {
            services,
            endpoints,
            node_ports: node_ports.map(|(_, chain)| chain.rules.len()).sum(),
            node_endpoints: 0,
        })
    }

    fn observe(&self, variant: iptables::Variant, family: Family, table: iptables::Table) -> Result<Chains> {
        let mut port = self.node.run(|| Iptables::open_variant(family, variant))?.context("iptables")?;
        Ok(port.observe(table)?)
    }

    /// All of it.
    pub fn everything(&self) -> Result<Everything> {
        let mut nft = self.node.run(Nftables::open)?.context("nftables")?;
        let mut nftables = Vec::new();
        for family in [Family::Ip, Family::Ip6] {
            for table in [TABLE, USERSPACE] {
                nftables.push(nft.observe(&Table::new(family, Name::constant(table)))?);
            }
        }
        let variant = match self.variant {
            Variant::IptablesNft => Some(iptables::Variant::Nft),
            Variant::IptablesLegacy => Some(iptables::Variant::Legacy),
            Variant::Plain(_) => None,
        };
        let mut iptables = Vec::new();
        for family in [Family::Ip, Family::Ip6] {
            for table in [iptables::Table::Nat, iptables::Table::Filter] {
                if let Some(variant) = variant {
                    iptables.push(self.observe(variant, family, table)?);
                }
            }
        }
        Ok(Everything { nftables, iptables, names: super::run(self.node, "nft", &["list", "tables"])? })
    }
}
