//! Who has which address of the node's range. Pure: [`Pool::record`] and [`Pool::from_record`] are what is kept.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::PodnetError;

/// Names a sandbox for as long as it lives; another attempt for the same pod is another sandbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SandboxId(String);

impl SandboxId {
    /// A sandbox by any text that is unique on the node.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is written down of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The node's range.
    pub range: Ipv4Net,
    /// Who has what.
    pub allocated: BTreeMap<SandboxId, Ipv4Addr>,
    /// Addresses that were given back, longest ago first.
    pub freed: Vec<Ipv4Addr>,
}

/// The addresses of one node's range.
///
/// The first address is the bridge's; the network and the broadcast address are nobody's. Addresses never used are
/// given first, in order; then the one that was given back longest ago, so that nobody who still knows a pod that has
/// gone meets its successor soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    range: Ipv4Net,
    allocated: BTreeMap<SandboxId, Ipv4Addr>,
    freed: VecDeque<Ipv4Addr>,
    /// Allocated and freed ones.
    used: BTreeSet<Ipv4Addr>,
    /// Addresses from the second up to here are all in `used`.
    next: u32,
}

impl Pool {
    /// A pool with every address free.
    ///
    /// # Errors
    /// [`PodnetError::RangeTooSmall`] for a prefix longer than 30.
    pub fn new(range: Ipv4Net) -> Result<Self, PodnetError> {
        let range = range.trunc();
        if range.prefix_len() > 30 {
            return Err(PodnetError::RangeTooSmall { range });
        }
        let next = u32::from(range.network()) + 2;
        Ok(Self { range, allocated: BTreeMap::new(), freed: VecDeque::new(), used: BTreeSet::new(), next })
    }

    /// A pool as it was written down.
    ///
    /// # Errors
    /// [`PodnetError`] when the record contradicts itself.
    pub fn from_record(record: &Record) -> Result<Self, PodnetError> {
        let mut pool = Self::new(record.range)?;
        for (sandbox, address) in &record.allocated {
            pool.claim(sandbox, *address)?;
        }
        for address in &record.freed {
            pool.check(*address)?;
            pool.used.insert(*address);
            pool.freed.push_back(*address);
        }
        Ok(pool)
    }

    /// What is to be written down.
    #[must_use]
    pub fn record(&self) -> Record {
        Record {
            range: self.range,
            allocated: self.allocated.clone(),
            freed: self.freed.iter().copied().collect(),
        }
    }

    /// The node's range.
    #[must_use]
    pub fn range(&self) -> Ipv4Net {
        self.range
    }

    /// How many pods the range can hold.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        u32::from(self.range.broadcast()) - u32::from(self.range.network()) - 2
    }

    /// Who has what.
    #[must_use]
    pub fn allocated(&self) -> &BTreeMap<SandboxId, Ipv4Addr> {
        &self.allocated
    }

    /// Gives a sandbox an address, the same when it has one.
    ///
    /// # Errors
    /// [`PodnetError::Exhausted`].
    pub fn allocate(&mut self, sandbox: &SandboxId) -> Result<Ipv4Addr, PodnetError> {
        if let Some(address) = self.allocated.get(sandbox) {
            return Ok(*address);
        }
        while self.used.contains(&Ipv4Addr::from(self.next)) {
            self.next += 1;
        }
        let address = if self.next < u32::from(self.range.broadcast()) {
            Ipv4Addr::from(self.next)
        } else {
            self.freed
                .pop_front()
                .ok_or(PodnetError::Exhausted { range: self.range, capacity: self.capacity() })?
        };
        self.used.insert(address);
        self.allocated.insert(sandbox.clone(), address);
        Ok(address)
    }

    /// Notes that a sandbox has an address already.
    ///
    /// # Errors
    /// [`PodnetError::Unusable`] when it cannot have it.
    pub fn claim(&mut self, sandbox: &SandboxId, address: Ipv4Addr) -> Result<(), PodnetError> {
        match self.allocated.get(sandbox) {
            Some(held) if *held == address => return Ok(()),
            Some(_) => return Err(self.unusable(address, "its sandbox has another one")),
            None => {}
        }
        if let Some(position) = self.freed.iter().position(|freed| *freed == address) {
            self.freed.remove(position);
        } else {
            self.check(address)?;
            self.used.insert(address);
        }
        self.allocated.insert(sandbox.clone(), address);
        Ok(())
    }

    /// Takes a sandbox's address back; which it was.
    pub fn release(&mut self, sandbox: &SandboxId) -> Option<Ipv4Addr> {
        let address = self.allocated.remove(sandbox)?;
        self.freed.push_back(address);
        Some(address)
    }

    /// Whether an address never used can be a pod's.
    fn check(&self, address: Ipv4Addr) -> Result<(), PodnetError> {
        let (first, last) = (u32::from(self.range.network()) + 2, u32::from(self.range.broadcast()) - 1);
        if !(first..=last).contains(&u32::from(address)) {
            return Err(self.unusable(address, "it is not one of the pods' addresses"));
        }
        if self.used.contains(&address) {
            return Err(self.unusable(address, "it is taken"));
        }
        Ok(())
    }

    fn unusable(&self, address: Ipv4Addr, reason: &'static str) -> PodnetError {
        PodnetError::Unusable { address, range: self.range, reason }
    }
}

#[cfg(test)]
mod tests;
