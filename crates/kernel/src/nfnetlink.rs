//! The netfilter and the generic netlink: a socket, and messages of attributes, written and read by hand.
//!
//! No crate writes the nftables messages that we need, nor IPVS's and ipset's. Nothing that the kernel sends can make this panic: what cannot
//! be read is missing.

mod attributes;
mod message;

pub(crate) use attributes::{Attributes, Writer};
pub(crate) use message::{Message, Messages, kind};

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use netlink_sys::protocols::{NETLINK_GENERIC, NETLINK_NETFILTER};
use netlink_sys::{Socket as NetlinkSocket, SocketAddr};
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike as _};

/// The kernel makes dump messages of at most 32 kB; a longer one would be cut off.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// How long a dump may be silent. The kernel answers at once; this only keeps a bug from hanging us for ever.
const SILENCE_SECONDS: i64 = 30;
/// How often a dump is repeated that was disturbed by a change meanwhile.
const DUMP_ATTEMPTS: usize = 10;

/// A netlink socket of the network namespace in which its thread was when it was opened.
pub(crate) struct Socket {
    inner: NetlinkSocket,
    sequence: u32,
    send_buffer: usize,
    receive: Vec<u8>,
}

/// An error number that the kernel sent for one message.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub sequence: u32,
    pub errno: i32,
}

impl Socket {
    /// For nftables, connection tracking and ipset.
    pub fn open() -> io::Result<Self> {
        Self::open_protocol(NETLINK_NETFILTER)
    }

    /// For what has a family name, such as IPVS.
    pub fn open_generic() -> io::Result<Self> {
        Self::open_protocol(NETLINK_GENERIC)
    }

    fn open_protocol(protocol: isize) -> io::Result<Self> {
        let mut inner = NetlinkSocket::new(protocol)?;
        inner.bind_auto()?;
        inner.connect(&SocketAddr::new(0, 0))?;
        // Errors then come without a copy of the request.
        inner.set_cap_ack(true)?;
        setsockopt(&inner.as_fd(), sockopt::ReceiveTimeout, &TimeVal::seconds(SILENCE_SECONDS))?;
        Ok(Self { inner, sequence: 0, send_buffer: 0, receive: vec![0; RECEIVE_BUFFER] })
    }

    /// Reserves `count` sequence numbers and returns the first.
    pub fn sequences(&mut self, count: u32) -> u32 {
        // 0 is what the kernel uses for messages nobody asked for.
        if self.sequence.checked_add(count).is_none() {
            self.sequence = 0;
        }
        let first = self.sequence + 1;
        self.sequence += count;
        first
    }

    /// Sends messages in one piece and returns the errors that they met, in the order of arrival.
    ///
    /// The kernel works a message off before `send` returns, so errors are waiting already and no answer is success.
    pub fn transact(&mut self, bytes: &[u8], first: u32) -> io::Result<Vec<Refusal>> {
        self.make_room(bytes.len())?;
        let sent = self.inner.send(bytes, 0)?;
        if sent != bytes.len() {
            return Err(io::Error::new(io::ErrorKind::WriteZero, "netlink took only a part of the batch"));
        }
        let mut refusals = Vec::new();
        loop {
            let length = match recv(self.inner.as_raw_fd(), &mut self.receive, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => length,
                Err(nix::errno::Errno::EAGAIN) => return Ok(refusals),
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for message in Messages::new(&self.receive[..length]) {
                if message.kind == kind::ERROR && message.sequence >= first {
                    let errno = message.error();
                    if errno != 0 {
                        refusals.push(Refusal { sequence: message.sequence, errno });
                    }
                }
            }
        }
    }

    /// Sends a dump request, made by `request` for a sequence number, and hands every message of the answer to `each`.
    /// A question for one thing is a dump to us, when it asks for an acknowledgement too.
    ///
    /// A dump that a change disturbed is repeated from the start: `restart` is called before each attempt.
    pub fn dump<T>(
        &mut self,
        request: impl Fn(u32) -> Vec<u8>,
        start: impl Fn() -> T,
        mut each: impl FnMut(&mut T, &Message<'_>),
    ) -> io::Result<T> {
        for _ in 0..DUMP_ATTEMPTS {
            let sequence = self.sequences(1);
            let mut found = start();
            self.inner.send(&request(sequence), 0)?;
            if self.receive_dump(sequence, &mut found, &mut each)? {
                return Ok(found);
            }
        }
        Err(io::Error::from_raw_os_error(nix::errno::Errno::EINTR as i32))
    }

    /// Returns whether the dump was undisturbed.
    fn receive_dump<T>(
        &mut self,
        sequence: u32,
        found: &mut T,
        each: &mut impl FnMut(&mut T, &Message<'_>),
    ) -> io::Result<bool> {
        let mut undisturbed = true;
        loop {
            let length = match recv(self.inner.as_raw_fd(), &mut self.receive, MsgFlags::empty()) {
                Ok(length) => length,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(nix::errno::Errno::EAGAIN) => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the kernel stopped answering a dump",
                    ));
                }
                Err(error) => return Err(error.into()),
            };
            for message in Messages::new(&self.receive[..length]) {
                if message.sequence != sequence {
                    continue;
                }
                undisturbed &= !message.disturbed();
                match message.kind {
                    kind::DONE => return Ok(undisturbed),
                    kind::ERROR => match message.error() {
                        0 => return Ok(undisturbed),
                        errno => return Err(io::Error::from_raw_os_error(errno)),
                    },
                    _ => each(found, &message),
                }
            }
        }
    }

    fn make_room(&mut self, length: usize) -> io::Result<()> {
        // The kernel counts its own bookkeeping too.
        let wanted = length.saturating_add(64 * 1024);
        if wanted <= self.send_buffer {
            return Ok(());
        }
        let descriptor = self.inner.as_fd();
        if setsockopt(&descriptor, sockopt::SndBufForce, &wanted).is_err() {
            // Not allowed in a user namespace: take what the limit gives, the send will say if it was too little.
            setsockopt(&descriptor, sockopt::SndBuf, &wanted)?;
        }
        self.send_buffer = wanted;
        Ok(())
    }
}
