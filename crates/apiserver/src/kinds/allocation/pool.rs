//! A set of small numbers to take from: asked for, or any free one at random.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use ipnet::IpNet;
use rand::Rng;

/// Offsets `0..size`, each free, taken, or reserved: never given out.
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
    /// Ascending, apart from each other, below `size`.
    reserved: Vec<Range<u64>>,
    taken: HashSet<u64>,
    /// How many of the taken offsets are in the band.
    taken_in_band: u64,
}

impl Pool {
    /// Offset 0 is the first usable address, kept for the API server's own service. The reserved ranges may overlap and
    /// reach beyond the pool.
    pub(super) fn addresses(size: u64, reserved: Vec<Range<u64>>) -> Self {
        // The bounds of Kubernetes' calculateRangeOffset for addresses.
        Self::new(size, if size <= 16 { 0 } else { (size / 16).clamp(16, 256) }, 1, reserved)
    }

    pub(super) fn ports(size: u64) -> Self {
        // The bounds of Kubernetes' calculateRangeOffset for ports.
        Self::new(size, if size <= 16 { 0 } else { (size / 32).clamp(16, 128) }, 0, Vec::new())
    }

    fn new(size: u64, band: u64, kept: u64, mut reserved: Vec<Range<u64>>) -> Self {
        reserved.sort_by_key(|range| range.start);
        let mut apart: Vec<Range<u64>> = Vec::new();
        for range in reserved {
            let range = range.start..range.end.min(size);
            match apart.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ if range.is_empty() => {}
                _ => apart.push(range),
            }
        }
        Self { size, band: band.max(kept), kept, reserved: apart, taken: HashSet::new(), taken_in_band: 0 }
    }

    /// Whether the offset is never given out.
    pub(super) fn is_reserved(&self, offset: u64) -> bool {
        self.reserved.iter().any(|range| range.contains(&offset))
    }

    /// How many offsets are not reserved.
    pub(super) fn usable(&self) -> u64 {
        self.size - self.reserved_in(0, self.size)
    }

    fn reserved_in(&self, from: u64, to: u64) -> u64 {
        let inside = |range: &Range<u64>| range.end.min(to).saturating_sub(range.start.max(from));
        self.reserved.iter().map(inside).sum()
    }

    /// Marks the offset as taken; false when it was, when it is reserved, or when there is no such offset.
    pub(super) fn take(&mut self, offset: u64) -> bool {
        if offset >= self.size || self.is_reserved(offset) || !self.taken.insert(offset) {
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
        let usable = self.size - self.band - self.reserved_in(self.band, self.size);
        let found = if usable > self.taken.len() as u64 - self.taken_in_band {
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
        self.first_free(start, to).or_else(|| self.first_free(from, start))
    }

    fn first_free(&self, from: u64, to: u64) -> Option<u64> {
        let mut offset = from;
        while offset < to {
            if let Some(range) = self.reserved.iter().find(|range| range.contains(&offset)) {
                offset = range.end;
            } else if self.taken.contains(&offset) {
                offset += 1;
            } else {
                return Some(offset);
            }
        }
        None
    }

    /// Number of usable addresses: not the network's own, for IPv4 not the broadcast address; at most 2^20, as many as
    /// Kubernetes' largest IPv4 range.
    pub(super) fn range_size(range: &IpNet) -> u64 {
        let bits = u32::from(range.max_prefix_len() - range.prefix_len()).min(20);
        let all = 1_u64 << bits;
        all.saturating_sub(if range.addr().is_ipv4() { 2 } else { 1 })
    }

    /// The offsets of `range` whose addresses are in `other`; `None` when they have nothing in common.
    pub(super) fn overlap(range: &IpNet, other: &IpNet) -> Option<Range<u64>> {
        if other.contains(range) {
            return Some(0..Self::range_size(range));
        }
        if !range.contains(other) {
            return None;
        }
        // The network's own address has no offset, but then the next one is the first.
        let first = Self::offset(range, other.network()).unwrap_or(0);
        let last = Self::offset(range, other.broadcast())?;
        Some(first..last.saturating_add(1))
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
