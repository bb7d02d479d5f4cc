//! What we need from the kernel's nftables.

use std::io;

use super::{Element, Name, Ruleset, SetDefinition, Table, Transaction};

/// nftables of one network namespace, real or fake. Calls block.
pub trait NftPort {
    /// Everything in a table; `None` if there is no such table.
    ///
    /// # Errors
    /// [`NftError`]; nothing is changed.
    fn observe(&mut self, table: &Table) -> Result<Option<Ruleset>, NftError>;

    /// The elements of one set, without reading the rest of the table.
    ///
    /// # Errors
    /// [`NftError`], [`is_not_found`](NftError::is_not_found) if there is no such set.
    fn elements(
        &mut self,
        table: &Table,
        set: &Name,
        definition: &SetDefinition,
    ) -> Result<Vec<Element>, NftError>;

    /// A number that every commit in this namespace, by whomever and of whatever table, counts up by one; after
    /// 2^32 - 1 comes 1. So whoever knows the number from before, and how often they committed since, can tell
    /// whether somebody else has.
    ///
    /// # Errors
    /// [`NftError`]; nothing is changed.
    fn generation(&mut self) -> Result<u32, NftError>;

    /// Makes all changes or, on an error, none.
    ///
    /// # Errors
    /// [`NftError::Refused`] names the change that the kernel did not take.
    fn commit(&mut self, transaction: &Transaction) -> Result<(), NftError>;
}

/// Why nftables could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The kernel refused a change; nothing was changed.
    #[error("the kernel refused change {op_number} of the transaction on table {table}, {op}: {source}")]
    Refused {
        /// The table.
        table: Table,
        /// Index into [`Transaction::ops`].
        op_number: usize,
        /// The change in nft's words, shortened.
        op: String,
        /// The kernel's error number.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the batch as a whole, or a dump.
    #[error("nftables, {doing}: {source}")]
    Kernel {
        /// What was tried.
        doing: &'static str,
        /// The kernel's error number.
        #[source]
        source: io::Error,
    },
    /// The kernel sent something that we cannot read.
    #[error("nftables, {doing}: cannot read the kernel's answer: {reason}")]
    Malformed {
        /// What was tried.
        doing: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A change that cannot be written, such as a prefix in a set without intervals.
    #[error("change {op_number} of the transaction on table {table} cannot be written: {reason}")]
    Unwritable {
        /// The table.
        table: Table,
        /// Index into [`Transaction::ops`].
        op_number: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl NftError {
    /// Something named is not there: the kernel does not hold what we think it does. Observe again.
    pub fn is_not_found(&self) -> bool {
        self.errno_kind() == Some(io::ErrorKind::NotFound)
    }

    /// The kernel has no nftables for this family, or lacks a part of it (`EOPNOTSUPP`).
    pub fn is_unsupported(&self) -> bool {
        self.errno_kind() == Some(io::ErrorKind::Unsupported)
    }

    /// The same call may succeed later without any change of ours.
    ///
    /// `EINTR`, `EAGAIN`, `EBUSY`, `ENOBUFS` and `ENOMEM` are; a malformed request is not.
    pub fn is_transient(&self) -> bool {
        const TRANSIENT: [i32; 5] = [4, 11, 12, 16, 105];
        match self {
            Self::Refused { source, .. } | Self::Kernel { source, .. } => {
                source.raw_os_error().is_some_and(|number| TRANSIENT.contains(&number))
            }
            Self::Malformed { .. } | Self::Unwritable { .. } => false,
        }
    }

    fn errno_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Refused { source, .. } | Self::Kernel { source, .. } => Some(source.kind()),
            Self::Malformed { .. } | Self::Unwritable { .. } => None,
        }
    }
}
