//! nftables for real, over netlink.
//!
//! ```text
//! Transaction ─► batch (lower ─► bytecode, layout) ─► one send, atomic
//! dumps ─► observe (bytecode ─► lift, layout) ─► Ruleset
//! ```
//!
//! A transaction is one netlink batch in one `send`; the kernel works it off before `send` returns and answers only
//! what it refuses. Everything written is fit for `nft list ruleset` to show.

mod batch;
mod bytecode;
mod events;
mod layout;
mod lift;
mod lower;
mod observe;

pub use events::{Events, Heard};
pub(crate) use lower::family_number;
pub(crate) use observe::listing;

/// The messages of a transaction.
#[cfg(test)]
pub(crate) fn messages(transaction: &Transaction) -> Vec<u8> {
    batch::Batch::new(transaction, false, |_| 1000).expect("a transaction that can be written").bytes
}

use std::collections::BTreeMap;
use std::io;

use netstate::nft::{Element, Name, NftError, NftPort, Ruleset, SetDefinition, Table, Transaction};

use crate::SentBytes;
use crate::nfnetlink::{Refusal, Socket};

/// nftables of one network namespace.
pub struct Nftables {
    socket: Socket,
    /// Tables that it makes are its own.
    owner: bool,
    sent: SentBytes,
}

impl Nftables {
    /// Opens nftables of the network namespace that the calling thread is in now. It stays that one, whatever thread
    /// uses it later.
    ///
    /// # Errors
    /// [`NftError::Kernel`] if the kernel gives no netfilter socket. Missing rights show only at the first commit.
    pub fn open() -> Result<Self, NftError> {
        let socket = Socket::open().map_err(|source| NftError::Kernel { doing: "open a socket", source })?;
        Ok(Self { socket, owner: false, sent: SentBytes::default() })
    }

    /// As [`Nftables::open`], but the tables that it makes are its own: nobody else may change them, not even
    /// `nft flush ruleset`, and the kernel removes them when this is dropped or the process ends, in whatever way
    /// (`NFT_TABLE_F_OWNER`).
    ///
    /// # Errors
    /// As [`Nftables::open`].
    pub fn open_owner() -> Result<Self, NftError> {
        Ok(Self { owner: true, ..Self::open()? })
    }

    /// What transactions have sent until now, and will.
    #[must_use]
    pub fn sent(&self) -> SentBytes {
        self.sent.clone()
    }

    /// How many elements each set of a table has, by the kernel's own count; a set of a kernel that does not count (before
    /// Linux 6.14) is missing. `None` if there is no such table. Costs the same whatever there is in the sets.
    ///
    /// While a commit goes on, its elements count already: ask for the [generation](NftPort::generation) too.
    ///
    /// # Errors
    /// [`NftError`].
    pub fn element_counts(&mut self, table: &Table) -> Result<Option<BTreeMap<Name, usize>>, NftError> {
        observe::element_counts(&mut self.socket, table)
    }

    fn refused(transaction: &Transaction, batch: &batch::Batch, mut refusals: Vec<Refusal>) -> NftError {
        refusals.sort_by_key(|refusal| refusal.sequence);
        // The first refused change is the cause; the batch's own messages are asked last.
        let first =
            refusals.iter().find_map(|refusal| Some((batch.op_number(refusal.sequence)?, refusal.errno)));
        match first {
            Some((op_number, errno)) => NftError::Refused {
                table: transaction.table.clone(),
                op_number,
                op: transaction.ops.get(op_number).map(netstate::nft::Op::summary).unwrap_or_default(),
                source: io::Error::from_raw_os_error(errno),
            },
            None => NftError::Kernel {
                doing: "commit",
                source: io::Error::from_raw_os_error(refusals.first().map_or(0, |refusal| refusal.errno)),
            },
        }
    }
}

impl NftPort for Nftables {
    fn observe(&mut self, table: &Table) -> Result<Option<Ruleset>, NftError> {
        observe::table(&mut self.socket, table)
    }

    fn elements(
        &mut self,
        table: &Table,
        set: &Name,
        definition: &SetDefinition,
    ) -> Result<Vec<Element>, NftError> {
        match observe::elements(&mut self.socket, table, set, definition)? {
            Some(elements) => Ok(elements),
            None => Err(NftError::Malformed {
                doing: "list elements",
                reason: format!("set {set} holds elements that do not fit its definition"),
            }),
        }
    }

    fn generation(&mut self) -> Result<u32, NftError> {
        observe::generation(&mut self.socket)
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<(), NftError> {
        if transaction.is_empty() {
            return Ok(());
        }
        let batch = batch::Batch::new(transaction, self.owner, |count| self.socket.sequences(count))?;
        self.sent.add(batch.bytes.len());
        let refusals = self
            .socket
            .transact(&batch.bytes, batch.first)
            .map_err(|source| NftError::Kernel { doing: "send a batch", source })?;
        if refusals.is_empty() { Ok(()) } else { Err(Self::refused(transaction, &batch, refusals)) }
    }
}

#[cfg(test)]
mod tests;
