//! A set of small numbers to take from: asked for, or any free one at random.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rand::Rng;

/// Offsets `0..size`, each free or taken.
///
/// Picks come from above the band that people use for addresses and ports they choose themselves, as long as there is
/// room (KEP-3070 and KEP-3668); at random, so that a value just given back is not handed out again at once.
#[derive(Debug)]
pub(super) struct Pool {
    size: u64,
    /// Length of the band at the start that picks avoid.
    band: u64,
    /// Offsets below this are never picked, only taken.
    kept: u64,
    taken: HashSet<u64>,
    /// How many of the taken offsets are in the band.
    taken_in_band: u64,
}

impl Pool {
    /// Offset 0 is the first usable address, kept for the API server's own service.
    pub(super) fn addresses(size: u64) -> Self {
        // The bounds of Kubernetes' calculateRangeOffset for addresses.
        Self::new(size, if size <= 16 { 0 } else { (size / 16).clamp(16, 256) }, 1)
    }

    pub(super) fn ports(size: u64) -> Self {
        // The bounds of Kubernetes' calculateRangeOffset for ports.
        Self::new(size, if size <= 16 { 0 } else { (size / 32).clamp(16, 128) }, 0)
    }

    fn new(size: u64, band: u64, kept: u64) -> Self {
        Self { size, band: band.max(kept), kept, taken: HashSet::new(), taken_in_band: 0 }
    }

    /// Marks the offset as taken; false when it was, or when there is no such offset.
    pub(super) fn take(&mut self, offset: u64) -> bool {
        if offset >= self.size || !self.taken.insert(offset) {
            return false;
        }
        self.taken_in_band += u64::from(offset < self.band);
        true
    }

    /// Marks the offset as free.
    pub(super) fn give_back(&mut self, offset: u64) {
        if self.taken.remove(&offset) {
            self.taken_in_band -= u64::from(offset < self.band);
        }
    }

    /// Takes a free offset, `None` when there is none.
    pub(super) fn pick(&mut self, random: &mut impl Rng) -> Option<u64> {
        let above = self.size - self.band - (self.taken.len() as u64 - self.taken_in_band);
        let found = if above > 0 {
            self.probe(self.band, self.size, random)
        } else {
            self.probe(self.kept, self.band, random)
        };
        let found = found?;
        self.take(found);
        Some(found)
    }

    /// The first free offset from a random start in `from..to`, wrapping round.
    fn probe(&self, from: u64, to: u64, random: &mut impl Rng) -> Option<u64> {
        if from >= to {
            return None;
        }
        let start = random.random_range(from..to);
        (start..to).chain(from..start).find(|offset| !self.taken.contains(offset))
    }

    /// Number of usable addresses: not the network's own, for IPv4 not the broadcast address; at most 2^20, as many as
    /// Kubernetes' largest IPv4 range.
    pub(super) fn range_size(range: &IpNet) -> u64 {
        let bits = u32::from(range.max_prefix_len() - range.prefix_len()).min(20);
        let all = 1_u64 << bits;
        all.saturating_sub(if range.addr().is_ipv4() { 2 } else { 1 })
    }

    /// The address at an offset; offset 0 is the network's first host.
    pub(super) fn address(range: &IpNet, offset: u64) -> IpAddr {
        match range.network() {
            IpAddr::V4(network) => {
                let number = u64::from(u32::from(network)) + 1 + offset;
                // An offset is below the size of the range, so the sum stays inside IPv4.
                IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)))
            }
            IpAddr::V6(network) => IpAddr::V6(Ipv6Addr::from(u128::from(network) + 1 + u128::from(offset))),
        }
    }

    /// The offset of an address in its range, `None` for the network's own address.
    pub(super) fn offset(range: &IpNet, address: IpAddr) -> Option<u64> {
        let distance = match (range.network(), address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                u128::from(u32::from(address).checked_sub(u32::from(network))?)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                u128::from(address).checked_sub(u128::from(network))?
            }
            _ => return None,
        };
        u64::try_from(distance).ok()?.checked_sub(1)
    }
}
