//! What the kernel tells everybody of the changes of nftables: the listener of its multicast group.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};

use super::batch::message;
use crate::nfnetlink::Messages;

/// `NFNLGRP_NFTABLES`.
const GROUP: u32 = 7;
/// How much may wait to be read. A limit, not a reservation: 350,000 elements in one commit are some 100 MB of it.
const BACKLOG: usize = 512 << 20;
/// The kernel gathers events into messages of at most a page's size; a single one may be as long as 64 kB.
const RECEIVE_BUFFER: usize = 128 * 1024;

/// A listener of the changes that anybody makes to nftables in one network namespace, the nft variant of iptables
/// included. The kernel tells of a change once it is in force, all changes of one commit together.
///
/// While somebody listens, each commit takes the kernel longer: it writes an event for every object.
#[derive(Debug)]
pub struct Events {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Events {
    /// Listens in the network namespace that the calling thread is in now, whatever thread reads later.
    ///
    /// # Errors
    /// When the kernel gives no socket or does not let us listen, mostly for want of rights.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        setsockopt(&socket.as_fd(), sockopt::RcvBufForce, &BACKLOG)?;
        socket.add_membership(GROUP)?;
        Ok(Self { socket, buffer: vec![0; RECEIVE_BUFFER] })
    }

    /// Waits for the next events, at most for `timeout`; `None` when there were none.
    ///
    /// # Errors
    /// `ENOBUFS` when events were lost because they were not read in time, and what else the kernel says.
    pub fn receive(&mut self, timeout: Duration) -> io::Result<Option<Heard<'_>>> {
        let deadline = Instant::now() + timeout;
        loop {
            match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => return Ok(Some(Heard(&self.buffer[..length]))),
                Err(Errno::EAGAIN) => {}
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            // What is left of less than a millisecond is waited for as one; a minute more or less at the other end.
            let milliseconds = u16::try_from(left.as_millis()).unwrap_or(u16::MAX).max(1);
            let mut watched = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut watched, PollTimeout::from(milliseconds)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Some events.
#[derive(Debug, Clone, Copy)]
pub struct Heard<'a>(&'a [u8]);

impl<'a> Heard<'a> {
    /// Whether these bytes are somewhere in it. Keys and values are there as rules compare them: in network byte
    /// order, each field padded to four bytes.
    #[must_use]
    pub fn holds(&self, bytes: &[u8]) -> bool {
        !bytes.is_empty() && self.0.windows(bytes.len()).any(|window| window == bytes)
    }

    /// How many tables, chains, rules, sets and elements of the table of this name, of whatever family, were made or
    /// taken away.
    #[must_use]
    pub fn changes_of(&self, table: &str) -> usize {
        /// `NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE` and so on are all the first attribute.
        const TABLE: u16 = 1;
        // The number of a generation is told of every commit, and its first attribute is no name.
        let is_object = |kind| kind != message::NEW_GENERATION;
        Messages::new(self.0)
            .filter(|message| is_object(message.kind) && message.attributes().text(TABLE) == Some(table))
            .count()
    }

    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}
