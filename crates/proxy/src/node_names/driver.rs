use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use netstate::nft::{NftError, NftPort, Op, Ruleset, Table, Transaction, diff};

use super::plan::{HERE, OTHERS, here, others};

/// Keeps the two tables of one node. Calls block.
#[derive(Debug)]
pub struct NodeNames<N> {
    address: Ipv4Addr,
    /// For the table that stays.
    nft: N,
    /// For the table that goes with us: makes tables that are its own.
    owner: N,
    /// What was wanted last, and the kernel's generation when it was there.
    settled: Option<(bool, BTreeSet<Ipv4Addr>, u32)>,
}

impl<N: NftPort> NodeNames<N> {
    /// For the cluster's DNS address. Both ports must belong to the node's network namespace, and `owner` must make
    /// tables that are removed with it.
    pub fn new(address: Ipv4Addr, nft: N, owner: N) -> Self {
        Self { address, nft, owner, settled: None }
    }

    /// Brings the kernel in line: `answering` says whether queries are to stay here, `servers` who else answers them.
    /// Costs one question to the kernel when nothing changed. Returns the number of changes.
    ///
    /// # Errors
    /// When the kernel refuses; the next call observes it anew.
    pub fn sync(&mut self, answering: bool, servers: &BTreeSet<Ipv4Addr>) -> Result<usize, NftError> {
        let generation = self.nft.generation()?;
        if self
            .settled
            .as_ref()
            .is_some_and(|(was, before, at)| *was == answering && before == servers && *at == generation)
        {
            return Ok(0);
        }
        self.settled = None;
        // The way past us comes first: it must be there when we are not.
        let mut changes = settle(&mut self.nft, &OTHERS, Some(&others(self.address, servers)))?;
        let wanted = answering.then(|| here(self.address));
        changes += settle(&mut self.owner, &HERE, wanted.as_ref())?;
        if changes == 0 {
            self.settled = Some((answering, servers.clone(), generation));
        }
        Ok(changes)
    }
}

fn settle<N: NftPort>(nft: &mut N, table: &Table, wanted: Option<&Ruleset>) -> Result<usize, NftError> {
    let observed = nft.observe(table)?;
    let transaction = match (&observed, wanted) {
        (_, Some(wanted)) => diff(observed.as_ref(), wanted),
        (Some(_), None) => Transaction { table: table.clone(), ops: vec![Op::DeleteTable] },
        (None, None) => return Ok(0),
    };
    nft.commit(&transaction)?;
    Ok(transaction.weight())
}
