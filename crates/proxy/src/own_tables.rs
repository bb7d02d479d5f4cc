//! nftables tables of our own: written, deleted, and watched for what others write.

use netstate::nft::{Element, Name, NftError, NftPort, Op, Ruleset, SetDefinition, Table, Transaction};

/// A port on nftables that knows how many of the commits in its namespace were ours.
#[derive(Debug)]
pub(crate) struct OwnTables<N> {
    nft: N,
    /// The kernel's, when only we have written since [`OwnTables::begin`].
    generation: u32,
}

impl<N: NftPort> OwnTables<N> {
    /// Nothing is looked at yet.
    pub(crate) fn new(nft: N) -> Self {
        Self { nft, generation: 0 }
    }

    /// To be called before tables are observed: a change meanwhile then shows as one, and is looked at once more.
    pub(crate) fn begin(&mut self) -> Result<(), NftError> {
        self.generation = self.nft.generation()?;
        Ok(())
    }

    /// Whether somebody else has committed since.
    pub(crate) fn is_disturbed(&mut self) -> Result<bool, NftError> {
        Ok(self.nft.generation()? != self.generation)
    }

    pub(crate) fn observe(&mut self, table: &Table) -> Result<Option<Ruleset>, NftError> {
        self.nft.observe(table)
    }

    pub(crate) fn elements(
        &mut self,
        table: &Table,
        set: &Name,
        definition: &SetDefinition,
    ) -> Result<Vec<Element>, NftError> {
        self.nft.elements(table, set, definition)
    }

    /// Writes a transaction, if there is something in it; how many changes that were.
    pub(crate) fn commit(&mut self, transaction: &Transaction) -> Result<usize, NftError> {
        if transaction.is_empty() {
            return Ok(0);
        }
        self.nft.commit(transaction)?;
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        Ok(transaction.weight())
    }

    /// Deletes tables; one that is not there is as good as deleted.
    pub(crate) fn delete(&mut self, tables: impl IntoIterator<Item = Table>) -> Result<(), NftError> {
        for table in tables {
            let mut transaction = Transaction::new(table);
            transaction.ops.push(Op::DeleteTable);
            match self.nft.commit(&transaction) {
                Err(error) if !error.is_not_found() => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}
