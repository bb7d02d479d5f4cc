//! Waiting for kernel objects that are file descriptors but no sockets: process handles, inotify.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor with the runtime, to wait until it can be read.
///
/// # Errors
/// When the kernel does not take it, or no descriptors are left.
#[expect(
    deprecated,
    reason = "the newer call is unsafe because of types that change their descriptor; this one cannot"
)]
pub fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}
