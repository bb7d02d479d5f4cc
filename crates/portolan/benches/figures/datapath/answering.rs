//! Endpoints: one socket for all addresses of their pod. An answer names the address that was asked.
//!
//! One thread, for as long as somebody asks. It never looks for who is ready: it takes connections in the order in
//! which clients ask, so that next to nothing but the network is measured.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;
use std::time::Duration;

use nix::cmsg_space;
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::asking::{ANSWER, QUESTION, Sort};
use super::cores;
use super::objects::ENDPOINT_PORT;

/// So often a thread that waits looks whether it is still wanted, in milliseconds.
const LOOK: i64 = 4;
/// Only a run that fails waits so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The sockets.
pub struct Server {
    listener: TcpListener,
    datagrams: UdpSocket,
}

impl Server {
    /// Listens in the calling thread's namespace.
    pub fn listen() -> anyhow::Result<Self> {
        let everywhere = (Ipv4Addr::UNSPECIFIED, ENDPOINT_PORT);
        let (listener, datagrams) = (TcpListener::bind(everywhere)?, UdpSocket::bind(everywhere)?);
        setsockopt(&datagrams, sockopt::Ipv4PacketInfo, &true)?;
        setsockopt(&listener, sockopt::ReceiveTimeout, &TimeVal::milliseconds(LOOK))?;
        setsockopt(&datagrams, sockopt::ReceiveTimeout, &TimeVal::milliseconds(LOOK))?;
        Ok(Self { listener, datagrams })
    }

    /// Answers until `done`. Of connections that are kept there are `abreast`.
    pub fn answer<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        sort: Sort,
        abreast: usize,
        done: &'scope AtomicBool,
    ) {
        scope.spawn(move || {
            cores::pin(cores::Side::Server);
            // A client that misses an answer says so; what this side can say is less.
            let _ = match sort {
                Sort::KeptTcp => self.kept(abreast, done),
                Sort::NewTcp => self.one_each(done),
                Sort::KeptUdp | Sort::NewUdp => self.datagrams(done),
            };
        });
    }

    /// Clients write to all connections before they read from any, so all can be served in turn.
    fn kept(&self, abreast: usize, done: &AtomicBool) -> io::Result<()> {
        let mut connections = Vec::new();
        while connections.len() < abreast {
            let Some(connection) = self.accept(done)? else { return Ok(()) };
            let own = own_address(&connection)?;
            connections.push((connection, own));
        }
        loop {
            for (connection, own) in &mut connections {
                answer(connection, *own)?;
            }
        }
    }

    fn one_each(&self, done: &AtomicBool) -> io::Result<()> {
        while let Some(mut connection) = self.accept(done)? {
            // A client that has gone again is none of the others' business.
            let _ = own_address(&connection).and_then(|own| answer(&mut connection, own));
        }
        Ok(())
    }

    /// The next connection; `None` when it is all over.
    fn accept(&self, done: &AtomicBool) -> io::Result<Option<TcpStream>> {
        while !done.load(Ordering::Relaxed) {
            match self.listener.accept() {
                Ok((connection, _)) => {
                    connection.set_nodelay(true)?;
                    connection.set_read_timeout(Some(PATIENCE))?;
                    return Ok(Some(connection));
                }
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn datagrams(&self, done: &AtomicBool) -> io::Result<()> {
        let mut space = cmsg_space!(libc::in_pktinfo);
        let mut question = [0; QUESTION];
        while !done.load(Ordering::Relaxed) {
            let mut parts = [IoSliceMut::new(&mut question)];
            let socket = self.datagrams.as_raw_fd();
            let got = match recvmsg::<SockaddrIn>(socket, &mut parts, Some(&mut space), MsgFlags::empty()) {
                Ok(got) => got,
                Err(errno) if is_pause(&errno.into()) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let to = got.cmsgs()?.find_map(|message| match message {
                ControlMessageOwned::Ipv4PacketInfo(info) => Some(info.ipi_addr),
                _ => None,
            });
            let (Some(client), Some(own)) = (got.address, to) else { continue };
            let answer = answer_of(Ipv4Addr::from(u32::from_be(own.s_addr)), &question);
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: own, ipi_addr: own };
            let from = [ControlMessage::Ipv4PacketInfo(&info)];
            // A client that has gone again is none of the others' business.
            let _ = sendmsg(socket, &[IoSlice::new(&answer)], &from, MsgFlags::empty(), Some(&client));
        }
        Ok(())
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn own_address(connection: &TcpStream) -> io::Result<Ipv4Addr> {
    match connection.local_addr()? {
        SocketAddr::V4(own) => Ok(*own.ip()),
        SocketAddr::V6(_) => Err(ErrorKind::Unsupported.into()),
    }
}

fn answer(connection: &mut TcpStream, own: Ipv4Addr) -> io::Result<()> {
    let mut question = [0; QUESTION];
    connection.read_exact(&mut question)?;
    connection.write_all(&answer_of(own, &question))
}

/// The endpoint's address, and the question again.
fn answer_of(own: Ipv4Addr, question: &[u8; QUESTION]) -> [u8; ANSWER] {
    let mut answer = [0; ANSWER];
    answer[..4].copy_from_slice(&own.octets());
    answer[4..4 + QUESTION].copy_from_slice(question);
    answer
}
