//! Clients: sockets inside the namespaces.

use std::fmt;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use model::Protocol;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, getsockopt, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use crate::world::World;

/// Long enough for the busiest machine; only a failing test ever waits for it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A pod of node1 that serves nothing.
    Pod,
    /// A pod of node1 that serves.
    Endpoint,
    /// Another one.
    OtherEndpoint,
    /// node1 itself.
    Node,
    /// node1 itself, by its loopback address.
    Loopback,
    /// A pod of node2.
    RemotePod,
    /// A machine beyond the router.
    Outside,
    /// Another one.
    Elsewhere,
}

impl Asker {
    /// The address it asks from, of the same family as the one it asks for.
    pub fn address(self, to: IpAddr) -> IpAddr {
        let (v4, v6) = match self {
            Self::Pod => ("10.244.1.4", "fd00:10:244:1::4"),
            Self::Endpoint => ("10.244.1.2", "fd00:10:244:1::2"),
            Self::OtherEndpoint => ("10.244.1.3", "fd00:10:244:1::3"),
            Self::Node => ("10.100.0.2", "fd00:10:100::2"),
            Self::Loopback => ("127.0.0.1", "::1"),
            Self::RemotePod => ("10.244.2.3", "fd00:10:244:2::3"),
            Self::Outside => ("192.0.2.2", "2001:db8:2::2"),
            Self::Elsewhere => ("192.0.2.3", "2001:db8:2::3"),
        };
        if to.is_ipv4() { v4 } else { v6 }.parse().unwrap()
    }
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reply {
    /// Somebody answered.
    Answer {
        /// The endpoint, by its own address.
        by: SocketAddr,
        /// The client's address as the endpoint sees it.
        seen: IpAddr,
    },
    /// Refused: a reset, or port unreachable.
    Refused,
    /// A router on the way has no route there.
    NoRoute,
    /// Nothing, for as long as one waited.
    Silence,
    /// Anything else.
    Failed(ErrorKind),
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer { by, seen } => write!(f, "{by} sees {seen}"),
            Self::Refused => f.write_str("refused"),
            Self::NoRoute => f.write_str("no route"),
            Self::Silence => f.write_str("silence"),
            Self::Failed(why) => write!(f, "{why}"),
        }
    }
}

/// A client with its socket, and so with one connection (or what conntrack takes for one).
pub enum Client {
    Stream(TcpStream),
    Datagram(UdpSocket),
}

impl Client {
    /// Asks once more on the same connection.
    pub fn ask(&mut self) -> Reply {
        reply(self.try_ask())
    }

    /// Sends a datagram that nobody may answer.
    pub fn send(&mut self) {
        if let Self::Datagram(socket) = self {
            socket.send(b"?").unwrap();
        }
    }

    /// Ends a TCP connection with a reset.
    pub fn reset(self) {
        if let Self::Stream(stream) = self {
            setsockopt(&stream, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
        }
    }

    /// The endpoint that answers.
    pub fn endpoint(&mut self) -> SocketAddr {
        match self.ask() {
            Reply::Answer { by, .. } => by,
            other => panic!("{other} instead of an answer"),
        }
    }

    fn try_ask(&mut self) -> io::Result<Reply> {
        let mut answer = [0; 64];
        let length = match self {
            Self::Stream(stream) => {
                stream.write_all(b"?")?;
                persist(|| stream.read(&mut answer))?
            }
            Self::Datagram(socket) => {
                match socket.send(b"?") {
                    // Refused on the own machine: the kernel says so at once, and by ICMP like to anybody else.
                    Err(error) if error.kind() == ErrorKind::PermissionDenied => 0,
                    sent => sent?,
                };
                persist(|| socket.recv(&mut answer))?
            }
        };
        let text = std::str::from_utf8(&answer[..length]).unwrap();
        let (by, seen) = text.split_once(' ').ok_or(ErrorKind::UnexpectedEof)?;
        Ok(Reply::Answer { by: by.parse().unwrap(), seen: seen.parse().unwrap() })
    }
}

impl World {
    /// Connects and asks once.
    pub fn ask(&self, from: Asker, protocol: Protocol, to: &str) -> Reply {
        self.ask_within(PATIENCE, from, protocol, to)
    }

    /// The same with another patience.
    pub fn ask_within(&self, patience: Duration, from: Asker, protocol: Protocol, to: &str) -> Reply {
        reply(self.try_client(patience, from, protocol, to).and_then(|mut client| client.try_ask()))
    }

    /// Connects. A UDP client has not sent anything yet.
    pub fn client(&self, from: Asker, protocol: Protocol, to: &str) -> Client {
        self.try_client(PATIENCE, from, protocol, to).unwrap()
    }

    fn try_client(
        &self,
        patience: Duration,
        from: Asker,
        protocol: Protocol,
        to: &str,
    ) -> io::Result<Client> {
        let to: SocketAddr = to.parse().unwrap();
        let own = SocketAddr::new(from.address(to.ip()), 0);
        let open = || match protocol {
            Protocol::Udp => {
                let socket = UdpSocket::bind(own)?;
                socket.connect(to)?;
                socket.set_read_timeout(Some(patience))?;
                Ok(Client::Datagram(socket))
            }
            Protocol::Tcp | Protocol::Sctp => stream(patience, own, to).map(Client::Stream),
        };
        self.place(from).run(open).unwrap()
    }
}

/// The standard library cannot choose the source of a connection.
fn stream(patience: Duration, own: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let family = if own.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let descriptor = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(descriptor.as_raw_fd(), &SockaddrStorage::from(own))?;
    // A connection attempt is given up by the timeout for sending.
    setsockopt(
        &descriptor,
        sockopt::SendTimeout,
        &TimeVal::milliseconds(i64::try_from(patience.as_millis()).unwrap()),
    )?;
    match connect(descriptor.as_raw_fd(), &SockaddrStorage::from(to)) {
        // The attempt goes on; how it ends is asked for.
        Err(Errno::EINTR) => connected(&descriptor, patience)?,
        outcome => outcome?,
    }
    let stream = TcpStream::from(descriptor);
    stream.set_read_timeout(Some(patience))?;
    Ok(stream)
}

/// Waits for the end of an attempt that goes on by itself.
fn connected(socket: &OwnedFd, patience: Duration) -> io::Result<()> {
    let timeout = PollTimeout::try_from(patience).map_err(|_| ErrorKind::InvalidInput)?;
    let mut asked = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    match persist(|| poll(&mut asked, timeout).map_err(io::Error::from))? {
        0 => Err(ErrorKind::TimedOut.into()),
        _ => match getsockopt(socket, sockopt::SocketError)? {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        },
    }
}

/// Calls again what a signal interrupted: a socket with a timeout is never resumed by the kernel, whatever the signal, and
/// a machine that is stopped for a moment interrupts it too (signal(7)).
fn persist<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

fn reply(outcome: io::Result<Reply>) -> Reply {
    outcome.unwrap_or_else(|error| match error.kind() {
        ErrorKind::ConnectionRefused => Reply::Refused,
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => Reply::NoRoute,
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Reply::Silence,
        // A connection attempt that was given up.
        _ if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => Reply::Silence,
        other => Reply::Failed(other),
    })
}

/// Waits until something is so.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sets a flag when dropped, so that the threads which wait for it end also when the test fails.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
