//! iptables for real: by running `iptables-save` and `iptables-restore --noflush`.
//!
//! ```text
//! Transaction ─► text ─► iptables-restore --noflush -w   (atomic per table)
//! iptables-save -t TABLE ─► text ─► Chains
//! nftables' generation, or the sizes of the legacy tables ─► Stamp
//! ```
//!
//! There are two programs, `nft` and `legacy`, whose rules do not know of each other: see [`Iptables::open`].

mod find;
mod run;
mod size;

use std::collections::BTreeSet;

use netstate::iptables::{
    Chains, IptablesError, IptablesPort, Stamp, Table, TableSize, Transaction, Variant, parse, restore_input,
};
use netstate::nft::{Family, NftError, NftPort};

use crate::SentBytes;
use crate::netns::Netns;
use crate::nft::Nftables;
use find::Programs;

/// Most chains that one run of `iptables-restore` declares; see [`Transaction::split`].
const fn chains_a_run(variant: Variant) -> usize {
    match variant {
        // Each run reads and writes the whole table, so few are best.
        Variant::Legacy => 40_000,
        // A run costs as many milliseconds as the table has thousands of chains.
        Variant::Nft => 1_000,
    }
}

/// iptables of one address family in one network namespace.
pub struct Iptables {
    family: Family,
    programs: Programs,
    netns: Netns,
    facts: Facts,
    /// The tables that were read or written: asking for the size of another would make the kernel have it.
    used: BTreeSet<Table>,
    sent: SentBytes,
}

/// Where the facts come from that change with the rules.
enum Facts {
    Generation(Box<Nftables>),
    Sizes(size::Socket),
}

impl Iptables {
    /// Finds the iptables of the network namespace that the calling thread is in now. It stays that one, whatever thread
    /// uses it later.
    ///
    /// Of the two variants it takes, as Kubernetes' `iptables-wrapper` does, the one that a kubelet's hint is in; else
    /// the one with more rules; and where there are none, the one that is called `iptables` here, unless that is the nft
    /// variant and the kernel has no nftables.
    ///
    /// # Errors
    /// [`IptablesError::NotInstalled`]. Missing rights show only when rules are read.
    pub fn open(family: Family) -> Result<Self, IptablesError> {
        let netns = current_namespace()?;
        let programs = find::preferred(family, &netns)?;
        Self::with(family, netns, programs)
    }

    /// As [`Iptables::open`], but of that variant.
    ///
    /// # Errors
    /// As [`Iptables::open`].
    pub fn open_variant(family: Family, variant: Variant) -> Result<Self, IptablesError> {
        let programs = find::installed(family, variant)?;
        Self::with(family, current_namespace()?, programs)
    }

    fn with(family: Family, netns: Netns, programs: Programs) -> Result<Self, IptablesError> {
        let facts = match programs.variant {
            Variant::Nft => {
                let nftables = Nftables::open().map_err(|error| of_nftables(&error))?;
                Facts::Generation(Box::new(nftables))
            }
            Variant::Legacy => Facts::Sizes(size::Socket::open(family).map_err(failed("open a socket"))?),
        };
        Ok(Self { family, programs, netns, facts, used: BTreeSet::new(), sent: SentBytes::default() })
    }

    /// What transactions have sent to `iptables-restore` until now, and will.
    #[must_use]
    pub fn sent(&self) -> SentBytes {
        self.sent.clone()
    }

    fn restore_one(&self, transactions: &[Transaction]) -> Result<(), IptablesError> {
        let input = restore_input(self.family, transactions);
        if input.is_empty() {
            return Ok(());
        }
        self.sent.add(input.len());
        // The counters that others read are kept by `--noflush`, and ours are nobody's.
        run::run(&self.netns, &self.programs.restore, &["--noflush", "-w", run::LOCK_SECONDS], Some(&input))?;
        Ok(())
    }
}

impl IptablesPort for Iptables {
    fn family(&self) -> Family {
        self.family
    }

    fn variant(&self) -> Variant {
        self.programs.variant
    }

    fn observe(&mut self, table: Table) -> Result<Chains, IptablesError> {
        self.used.insert(table);
        let text = run::run(&self.netns, &self.programs.save, &["-t", table.word()], None)?;
        parse(self.family, table, &text).map_err(|error| IptablesError::Malformed {
            program: self.programs.save.display().to_string(),
            reason: error.to_string(),
        })
    }

    fn restore(&mut self, transactions: &[Transaction]) -> Result<(), IptablesError> {
        self.used.extend(transactions.iter().map(|transaction| transaction.table));
        let most = chains_a_run(self.programs.variant);
        let large = |transaction: &Transaction| transaction.replace.len() > most;
        if !transactions.iter().any(large) {
            return self.restore_one(transactions);
        }
        for transaction in transactions {
            for piece in transaction.clone().split(most) {
                self.restore_one(&[piece])?;
            }
        }
        Ok(())
    }

    fn stamp(&mut self) -> Result<Stamp, IptablesError> {
        match &mut self.facts {
            Facts::Generation(nftables) => {
                Ok(Stamp::Generation(nftables.generation().map_err(|error| of_nftables(&error))?))
            }
            Facts::Sizes(socket) => {
                let size = |table: &Table| -> Result<TableSize, IptablesError> {
                    socket.size(*table).map_err(failed("ask for the size of a table"))
                };
                Ok(Stamp::Sizes(self.used.iter().map(size).collect::<Result<_, _>>()?))
            }
        }
    }
}

fn current_namespace() -> Result<Netns, IptablesError> {
    Netns::current().map_err(|error| IptablesError::System {
        doing: "find the network namespace".to_owned(),
        source: std::io::Error::other(error),
    })
}

fn failed(doing: &'static str) -> impl Fn(std::io::Error) -> IptablesError {
    move |source| IptablesError::System { doing: format!("iptables, {doing}"), source }
}

fn of_nftables(error: &NftError) -> IptablesError {
    let number = match error {
        NftError::Refused { source, .. } | NftError::Kernel { source, .. } => source.raw_os_error(),
        NftError::Malformed { .. } | NftError::Unwritable { .. } => None,
    };
    IptablesError::System {
        doing: "iptables, ask for nftables' generation".to_owned(),
        source: number
            .map_or_else(|| std::io::Error::other(error.to_string()), std::io::Error::from_raw_os_error),
    }
}
