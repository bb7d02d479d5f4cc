//! nftables: tables, chains, rules, sets and maps as typed values.
//!
//! ```text
//! desired Ruleset ──┐
//!                   ├─► diff ─► Transaction ─► NftPort::commit
//! NftPort::observe ─┘
//! ```
//!
//! Pure but for the port trait. Rules are compared as values; their text exists only in the printer.

mod diff;
mod fake;
mod name;
mod port;
mod rule;
mod ruleset;
mod text;
pub mod trace;
mod transaction;
mod tuple;
mod value;

pub use diff::diff;
pub use fake::FakeNft;
pub use name::{Family, InvalidName, NAME_MAX, Name, Table};
pub use port::{NftError, NftPort};
pub use rule::{
    AddressType, Comparison, ConnectionState, ConnectionStatus, NatTarget, Operand, PacketPriority, Reject,
    Rule, Selector, Statement, UpdateData, UpdateMode, Verdict,
};
pub use ruleset::{
    BaseChain, Chain, ChainKind, Data, Element, Hook, Policy, Ruleset, Set, SetContent, SetDefinition,
    SetKind, priority,
};
pub use transaction::{Missing, Op, Transaction};
pub use tuple::{Fields, Tuple};
pub use value::{InterfaceName, InvalidInterfaceName, L4Protocol, Type, Value};
