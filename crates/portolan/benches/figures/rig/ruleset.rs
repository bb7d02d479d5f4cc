//! How much of a fleet a node's kernel holds.

use anyhow::{Context as _, Result};
use kernel::netns::Netns;
use kernel::nft::Nftables;
use load::{Doors, Fleet};
use netstate::nft::{Family, Name, Table};

use super::TABLE;

/// Asks a node's kernel what it holds, without reading it all.
pub struct Ruleset {
    nft: Nftables,
    wanted: Doors,
}

impl Ruleset {
    /// On a node, to be compared with a fleet.
    pub fn open(node: &Netns, fleet: Fleet) -> Result<Self> {
        let nft = node.run(Nftables::open)?.context("nftables")?;
        Ok(Self { nft, wanted: fleet.doors() })
    }

    /// Whether every door of the fleet is there, and no other.
    pub fn is_whole(&mut self) -> Result<bool> {
        Ok(self.doors()? == self.wanted)
    }

    fn doors(&mut self) -> Result<Doors> {
        let table = Table::new(Family::Ip, Name::constant(TABLE));
        let counts = self.nft.element_counts(&table)?.unwrap_or_default();
        let count = |set| counts.get(&Name::constant(set)).copied().unwrap_or_default();
        Ok(Doors {
            services: count("services"),
            endpoints: count("endpoints"),
            node_ports: count("node-ports"),
            node_endpoints: count("node-endpoints"),
        })
    }
}
