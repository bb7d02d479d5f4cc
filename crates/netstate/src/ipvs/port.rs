use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use super::{Destination, Op, ServiceId, Settings, Table, VirtualService};

/// IPVS of one network namespace, real or fake. Calls block.
pub trait IpvsPort {
    /// All virtual services, without their destinations.
    ///
    /// # Errors
    /// [`IpvsError`], in particular [`IpvsError::Missing`] on a kernel without IPVS.
    fn services(&mut self) -> Result<BTreeMap<ServiceId, Settings>, IpvsError>;

    /// The destinations of one service; none if there is no such service.
    ///
    /// # Errors
    /// [`IpvsError`].
    fn destinations(&mut self, id: &ServiceId) -> Result<BTreeMap<SocketAddr, Destination>, IpvsError>;

    /// Makes the changes in their order. One that is refused does not keep the others from being made.
    ///
    /// # Errors
    /// The first refusal; what was not refused is done.
    fn commit(&mut self, ops: &[Op]) -> Result<(), IpvsError>;

    /// Everything.
    ///
    /// # Errors
    /// As [`services`](Self::services).
    fn observe(&mut self) -> Result<Table, IpvsError> {
        let mut table = Table::new();
        for (id, settings) in self.services()? {
            let destinations = self.destinations(&id)?;
            table.insert(id, VirtualService { settings, destinations });
        }
        Ok(table)
    }
}

/// Why IPVS could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum IpvsError {
    /// The kernel has no IPVS, or may not load its module here.
    #[error("the kernel has no IPVS: load the module ip_vs (`modprobe ip_vs`), or use another proxy mode")]
    Missing,
    /// The kernel refused a change.
    #[error("the kernel refused `ipvsadm {op}`: {source}")]
    Refused {
        /// The change in ipvsadm's words.
        op: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel refused something else.
    #[error("IPVS, {doing}: {source}")]
    Kernel {
        /// What was tried.
        doing: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl IpvsError {
    /// Something named is not there. Observe again.
    pub fn is_not_found(&self) -> bool {
        // ENOENT: no such destination; ESRCH: no such service. A scheduler that is missing is ENOENT too.
        matches!(self.errno(), Some(2 | 3))
    }

    /// Something is there already. Observe again.
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(17)
    }

    /// The same call may succeed later without any change of ours.
    pub fn is_transient(&self) -> bool {
        // EINTR, EAGAIN, ENOMEM, EBUSY, ENOBUFS.
        matches!(self.errno(), Some(4 | 11 | 12 | 16 | 105))
    }

    fn errno(&self) -> Option<i32> {
        match self {
            Self::Missing => None,
            Self::Refused { source, .. } | Self::Kernel { source, .. } => source.raw_os_error(),
        }
    }
}
