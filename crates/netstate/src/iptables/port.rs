use std::fmt;
use std::io;

use super::{Chains, Table, Transaction};
use crate::nft::Family;

/// Which of the two programs that call themselves iptables is at work. Their rules do not know of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    /// `iptables-nft`: the rules are nftables' behind the scenes.
    Nft,
    /// `iptables-legacy`: the rules are one block per table, which the kernel takes as a whole.
    Legacy,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nft => "nft",
            Self::Legacy => "legacy",
        })
    }
}

/// Facts of the kernel that change when somebody changes rules, cheap to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stamp {
    /// The nft variant: nftables' own count of changes, by whomever and to whatever.
    Generation(u32),
    /// The legacy variant, which counts nothing: how many entries each table has, and how many bytes, of the tables that
    /// were observed or written. A rule in the place of another of the same size does not show.
    Sizes(Vec<TableSize>),
}

/// How big a table of the legacy variant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSize {
    /// Which table.
    pub table: Table,
    /// Rules, and two for each chain.
    pub entries: u32,
    /// In bytes.
    pub bytes: u32,
}

/// iptables of one address family in one network namespace, real or fake. Calls block.
pub trait IptablesPort {
    /// Whose packets its rules are for.
    fn family(&self) -> Family;

    /// Which program it is.
    fn variant(&self) -> Variant;

    /// All chains of a table, also of others. Of one that nobody has used, the built-in chains may be missing.
    ///
    /// # Errors
    /// [`IptablesError`]; nothing is changed.
    fn observe(&mut self, table: Table) -> Result<Chains, IptablesError>;

    /// Makes the changes of each transaction or none of them; transactions one after the other, until one fails.
    ///
    /// # Errors
    /// [`IptablesError`]; [`is_not_found`](IptablesError::is_not_found) when what should be changed is not there.
    fn restore(&mut self, transactions: &[Transaction]) -> Result<(), IptablesError>;

    /// What to compare later, to see whether somebody else has written since.
    ///
    /// # Errors
    /// [`IptablesError`].
    fn stamp(&mut self) -> Result<Stamp, IptablesError>;
}

/// Why iptables could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum IptablesError {
    /// Neither variant is installed.
    #[error("there is no {program} here: install iptables, or use another proxy mode")]
    NotInstalled {
        /// What was looked for.
        program: String,
    },
    /// Somebody else is changing rules, and did not end in time.
    #[error("{program}: somebody else holds the lock of iptables: {message}")]
    LockHeld {
        /// What was run.
        program: String,
        /// What it said.
        message: String,
    },
    /// It refused a line of its input.
    #[error("{program} refused line {line_number}, `{line}`: {message}")]
    Refused {
        /// What was run.
        program: String,
        /// Counted from 1.
        line_number: usize,
        /// The line, shortened.
        line: String,
        /// What it said.
        message: String,
    },
    /// It failed in another way.
    #[error("{program} failed ({status}): {message}")]
    Failed {
        /// What was run.
        program: String,
        /// How it ended.
        status: String,
        /// What it said.
        message: String,
    },
    /// It could not be run, or the kernel could not be asked.
    #[error("{doing}: {source}")]
    System {
        /// What was tried.
        doing: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It printed something that is not to be understood.
    #[error("the answer of {program} cannot be read: {reason}")]
    Malformed {
        /// What was run.
        program: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl IptablesError {
    /// What should be changed is not there, or not as it was thought: observe again.
    pub fn is_not_found(&self) -> bool {
        const WORDS: [&str; 5] = [
            "does a matching rule exist",
            "No chain/target/match by that name",
            "does not exist",
            "No such file or directory",
            "Couldn't load target",
        ];
        match self {
            // The legacy variant does not say why it refused. What it deletes is not there, then.
            Self::Refused { line, message, .. } => {
                line.starts_with("-D ") || WORDS.iter().any(|words| message.contains(words))
            }
            Self::Failed { message, .. } => WORDS.iter().any(|words| message.contains(words)),
            Self::NotInstalled { .. }
            | Self::LockHeld { .. }
            | Self::System { .. }
            | Self::Malformed { .. } => false,
        }
    }

    /// The same call may succeed later without any change of ours.
    pub fn is_transient(&self) -> bool {
        const WORDS: [&str; 3] =
            ["Resource temporarily unavailable", "Device or resource busy", "Interrupted"];
        const NUMBERS: [i32; 5] = [4, 11, 12, 16, 105];
        match self {
            Self::LockHeld { .. } => true,
            Self::Refused { message, .. } | Self::Failed { message, .. } => {
                WORDS.iter().any(|words| message.contains(words))
            }
            Self::System { source, .. } => {
                source.raw_os_error().is_some_and(|number| NUMBERS.contains(&number))
            }
            Self::NotInstalled { .. } | Self::Malformed { .. } => false,
        }
    }
}
