//! How big the tables of the legacy variant are: the one question about them that costs nothing.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use netstate::iptables::{Table, TableSize};
use netstate::nft::Family;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

/// `IPT_SO_GET_INFO` and `IP6T_SO_GET_INFO` (`XT_BASE_CTL` in the kernel's x_tables.h).
const GET_INFO: libc::c_int = 64;

/// `struct ipt_getinfo`, which IPv6 has alike.
#[repr(C)]
#[derive(Clone, Copy)]
struct Info {
    name: [u8; 32],
    valid_hooks: u32,
    hook_entry: [u32; 5],
    underflow: [u32; 5],
    entries: u32,
    bytes: u32,
}

/// A raw socket of one network namespace.
pub(super) struct Socket {
    descriptor: OwnedFd,
    level: libc::c_int,
}

impl Socket {
    /// Opens one in the namespace of the calling thread.
    pub fn open(family: Family) -> io::Result<Self> {
        let (domain, level) = match family {
            Family::Ip => (AddressFamily::Inet, libc::SOL_IP),
            Family::Ip6 => (AddressFamily::Inet6, libc::SOL_IPV6),
        };
        let descriptor = socket(domain, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
        Ok(Self { descriptor, level })
    }

    /// How big a table is; a table that is not there has no entries.
    #[expect(unsafe_code, reason = "no crate wraps this option")]
    pub fn size(&self, table: Table) -> io::Result<TableSize> {
        let mut info = Info {
            name: [0; 32],
            valid_hooks: 0,
            hook_entry: [0; 5],
            underflow: [0; 5],
            entries: 0,
            bytes: 0,
        };
        let word = table.word().as_bytes();
        info.name[..word.len()].copy_from_slice(word);
        // The size of the struct is 84 bytes.
        let mut length = size_of::<Info>() as libc::socklen_t;
        // SAFETY: the kernel reads and writes at most `length` bytes, which is the size of `info`, and any bytes are a
        // valid `Info`; both pointers live through the call.
        let answer = unsafe {
            libc::getsockopt(
                self.descriptor.as_raw_fd(),
                self.level,
                GET_INFO,
                (&raw mut info).cast(),
                &raw mut length,
            )
        };
        if answer < 0 {
            let error = io::Error::last_os_error();
            // Whoever answers comes with the first rule of the family: until then there is no table.
            return match error.raw_os_error() {
                Some(libc::ENOPROTOOPT | libc::ENOENT) => Ok(TableSize { table, entries: 0, bytes: 0 }),
                _ => Err(error),
            };
        }
        Ok(TableSize { table, entries: info.entries, bytes: info.bytes })
    }
}
