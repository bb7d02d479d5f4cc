use std::collections::BTreeMap;
use std::io;

use super::{Op, SetName, Sets};

/// The sets of one network namespace, real or fake. Calls block.
pub trait IpsetPort {
    /// The sets whose names begin so, with their members.
    ///
    /// # Errors
    /// [`IpsetError`], in particular [`IpsetError::Missing`] on a kernel without ipset.
    fn observe(&mut self, prefix: &str) -> Result<Sets, IpsetError>;

    /// How many members each set has whose name begins so. Cheap, so it may be asked every few seconds.
    ///
    /// # Errors
    /// [`IpsetError`].
    fn counts(&mut self, prefix: &str) -> Result<BTreeMap<SetName, usize>, IpsetError>;

    /// Makes the changes in their order. One that is refused does not keep the others from being made.
    ///
    /// # Errors
    /// The first refusal. Of its members some may have been put in or taken out.
    fn commit(&mut self, ops: &[Op]) -> Result<(), IpsetError>;
}

/// Why sets could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum IpsetError {
    /// The kernel has no ipset, or may not load its modules here.
    #[error("the kernel has no ipset: load the module ip_set (`modprobe ip_set`), or use another proxy mode")]
    Missing,
    /// The kernel refused a change.
    #[error("the kernel refused `ipset {op}`: {source}{}", explain(source))]
    Refused {
        /// The change in ipset's words, shortened.
        op: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel refused something else.
    #[error("ipset, {doing}: {source}{}", explain(source))]
    Kernel {
        /// What was tried.
        doing: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A change that cannot be written, such as an IPv6 address into a set of IPv4 ones.
    #[error("`ipset {op}` cannot be written: {reason}")]
    Unwritable {
        /// The change in ipset's words, shortened.
        op: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl IpsetError {
    /// A set that is named is not there. Observe again.
    pub fn is_not_found(&self) -> bool {
        self.errno() == Some(2)
    }

    /// The same call may succeed later without any change of ours: the kernel was busy or out of memory, or a rule
    /// still matches on a set that is to go (`IPSET_ERR_BUSY`).
    pub fn is_transient(&self) -> bool {
        matches!(self.errno(), Some(4 | 11 | 12 | 16 | 105 | 4100))
    }

    fn errno(&self) -> Option<i32> {
        match self {
            Self::Missing | Self::Unwritable { .. } => None,
            Self::Refused { source, .. } | Self::Kernel { source, .. } => source.raw_os_error(),
        }
    }
}

/// ipset's own error numbers (linux/netfilter/ipset/ip_set.h), which the C library does not know.
fn explain(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(4097) => " (protocol error)",
        Some(4098) => " (the kernel does not have this type of set)",
        Some(4099) => " (too many sets)",
        Some(4100) => " (a rule still matches on the set)",
        Some(4101) => " (a set of another type has this name)",
        Some(4103) => " (there already)",
        Some(4104 | 4105) => " (not a prefix length)",
        Some(4106) => " (another address family)",
        Some(4352) => " (the set is full)",
        _ => "",
    }
}
