//! iptables: tables, chains and rules as typed values.
//!
//! ```text
//! Desired ───────────────┐
//!                        ├─► diff ─► Transaction ─► IptablesPort::restore   (iptables-restore --noflush)
//! IptablesPort::observe ─┘                                                  (iptables-save)
//! ```
//!
//! The tables are everybody's: a planner says which chains are its own by their names, and others' are never touched.
//! Rules are compared as values; their text exists only in the printer and the parser.

mod diff;
mod fake;
mod name;
mod parse;
mod port;
mod rule;
mod ruleset;
mod text;
pub mod trace;
mod transaction;

pub use diff::{Scope, diff};
pub use fake::FakeIptables;
pub use name::{ChainName, InvalidChainName, NAME_MAX, Table};
pub use parse::{ParseError, parse};
pub use port::{IptablesError, IptablesPort, Stamp, TableSize, Variant};
pub use rule::{Chance, Interfaces, Match, Recent, RecentAction, Rule, Sense, Side, Target};
pub use ruleset::{Chain, Chains, Desired, Policy, Wanted};
pub use text::{Words, restore_input, save};
pub use transaction::Transaction;

#[cfg(test)]
mod tests;
