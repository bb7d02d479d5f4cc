//! Clients: questions one after another, or several abreast, and what came of them.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use load::Samples;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::answering::PATIENCE;
use super::cores;
use super::objects::Asked;
use super::site::{Asker, Site};

/// Bytes of a question: its number, and as much besides as a short request has.
pub const QUESTION: usize = 96;
/// Bytes of an answer: the endpoint's address, the question, and as much besides as a short answer has.
pub const ANSWER: usize = 256;

/// How it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// Many requests on one TCP connection.
    KeptTcp,
    /// A TCP connection for each request.
    NewTcp,
    /// Many requests from one UDP socket.
    KeptUdp,
    /// A UDP socket for each request, as resolvers do.
    NewUdp,
}

impl Sort {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::KeptTcp, Self::NewTcp, Self::KeptUdp, Self::NewUdp];

    /// The words for it.
    pub fn words(self) -> &'static str {
        match self {
            Self::KeptTcp => "TCP kept alive",
            Self::NewTcp => "TCP, a connection each",
            Self::KeptUdp => "UDP, one socket",
            Self::NewUdp => "UDP, a socket each",
        }
    }
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// To the endpoints in turn.
    Straight,
    /// To the Service.
    Service,
}

/// Requests of one kind, for some time.
pub struct Phase<'a> {
    /// Where.
    pub site: &'a Site,
    /// Who asks.
    pub from: Asker,
    /// How.
    pub sort: Sort,
    /// Which way.
    pub via: Via,
    /// So many requests are under way at a time; each of one alone is timed.
    pub abreast: usize,
    /// For how long.
    pub length: Duration,
}

/// What came of a phase.
pub struct Outcome {
    /// Requests answered.
    pub requests: u32,
    /// In that time.
    pub elapsed: Duration,
    /// With so much processor time of both ends and all between.
    pub processor: Duration,
    /// From question to answer, if they were asked alone; with a connection for each, from its beginning.
    pub times: Samples,
}

impl Phase<'_> {
    /// Asks.
    ///
    /// # Errors
    /// When a request is not answered, or by somebody who is no endpoint of the Service.
    pub fn run(&self) -> anyhow::Result<Outcome> {
        let &Self { site, from, sort, via, abreast, length } = self;
        let asked = site.asked();
        let doors = match via {
            Via::Straight => asked.endpoints.clone(),
            Via::Service => vec![Site::door(from, &asked)],
        };
        let mut client = Client::new(from, sort, doors, &asked);
        let outcome = while_answered(site, from, sort, abreast, || match sort {
            Sort::KeptTcp | Sort::KeptUdp => client.ask_kept(abreast, length),
            Sort::NewTcp | Sort::NewUdp => client.ask_anew(abreast, length),
        });
        outcome.with_context(|| format!("{}, {}, {via:?}", sort.words(), from.words()))
    }
}

/// Does something in a client's place while the endpoints answer. Connections that are kept are that many.
pub fn while_answered<T: Send>(
    site: &Site,
    from: Asker,
    sort: Sort,
    abreast: usize,
    act: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // Also when this panics.
        let _end = SetOnDrop(&done);
        site.server.answer(scope, sort, abreast, &done);
        site.place(from).run(|| {
            cores::pin(cores::Side::Client);
            act()
        })?
    })
}

/// Who asks, and what must come of it.
pub struct Client {
    from: Asker,
    sort: Sort,
    doors: Vec<SocketAddrV4>,
    answerers: BTreeSet<Ipv4Addr>,
    asked: u64,
}

impl Client {
    /// One that asks the doors in turn, behind which are the Service's endpoints.
    pub fn new(from: Asker, sort: Sort, doors: Vec<SocketAddrV4>, asked: &Asked) -> Self {
        Self { from, sort, doors, answerers: asked.answerers(), asked: 0 }
    }

    fn ask_kept(&mut self, abreast: usize, length: Duration) -> anyhow::Result<Outcome> {
        let mut connections =
            (0..abreast).map(|_| self.open()?.connect()).collect::<anyhow::Result<Vec<_>>>()?;
        // Buffers, routes and the other side's caches are warm after some.
        for _ in 0..WARM_UP {
            self.ask_all(&mut connections)?;
        }
        Outcome::of(abreast, length, || self.ask_all(&mut connections))
    }

    fn ask_anew(&mut self, abreast: usize, length: Duration) -> anyhow::Result<Outcome> {
        for _ in 0..WARM_UP {
            self.ask_new(abreast)?;
        }
        Outcome::of(abreast, length, || self.ask_new(abreast))
    }

    /// One question on each connection, and then the answers.
    fn ask_all(&mut self, connections: &mut [Connection]) -> anyhow::Result<()> {
        connections.iter_mut().try_for_each(|connection| self.ask(connection))?;
        connections.iter_mut().try_for_each(|connection| self.hear(connection))
    }

    /// The same on new ones, which end with a reset: nobody keeps their ports.
    fn ask_new(&mut self, abreast: usize) -> anyhow::Result<()> {
        let mut connections = Vec::with_capacity(abreast);
        for _ in 0..abreast {
            let mut connection = self.open()?.connect()?;
            self.ask(&mut connection)?;
            connections.push(connection);
        }
        connections.iter_mut().try_for_each(|connection| self.hear(connection))
    }

    /// A socket for the next door, of another address than the last one's.
    pub fn open(&self) -> anyhow::Result<Unconnected> {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let door = self.doors[turn as usize % self.doors.len()];
        let own = SocketAddrV4::new(self.from.address(turn), 0);
        let opened = match self.sort {
            Sort::KeptTcp | Sort::NewTcp => stream(own).map(TcpStream::from).map(Socket::Stream),
            Sort::KeptUdp | Sort::NewUdp => datagrams(own).map(Socket::Datagrams),
        };
        Ok(Unconnected { socket: opened.with_context(|| format!("a socket at {own}"))?, door })
    }

    /// Sends the next question.
    pub fn ask(&mut self, connection: &mut Connection) -> anyhow::Result<()> {
        self.asked += 1;
        connection.asked = self.asked;
        let mut question = [0; QUESTION];
        question[..8].copy_from_slice(&self.asked.to_be_bytes());
        match &mut connection.socket {
            Socket::Stream(stream) => stream.write_all(&question)?,
            Socket::Datagrams(socket) => ensure!(socket.send(&question)? == QUESTION, "sent in part"),
        }
        Ok(())
    }

    /// Takes the answer to the question that the connection was asked last.
    pub fn hear(&self, connection: &mut Connection) -> anyhow::Result<()> {
        let mut answer = [0; ANSWER];
        match &mut connection.socket {
            Socket::Stream(stream) => stream.read_exact(&mut answer).context("no answer")?,
            Socket::Datagrams(socket) => {
                ensure!(socket.recv(&mut answer).context("no answer")? == ANSWER, "half an answer");
            }
        }
        let [a, b, c, d, rest @ ..] = answer;
        let by = Ipv4Addr::new(a, b, c, d);
        ensure!(self.answerers.contains(&by), "{by} answered, which is no endpoint of the Service");
        let number = connection.asked;
        ensure!(rest.starts_with(&number.to_be_bytes()), "{by} answered another question than {number}");
        Ok(())
    }
}

/// Rounds before the clock starts.
const WARM_UP: usize = 8;

/// Counts the connections of the whole run: the addresses and endpoints that one phase used are used again last.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A connection, or what connection tracking takes for one.
pub struct Connection {
    socket: Socket,
    /// The number of the last question.
    asked: u64,
}

enum Socket {
    Stream(TcpStream),
    Datagrams(UdpSocket),
}

impl Outcome {
    fn of(
        abreast: usize,
        length: Duration,
        mut ask: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let mut times = Samples::default();
        let mut requests = 0;
        let (used, begin) = (cores::used(), Instant::now());
        let mut now = begin;
        while now - begin < length {
            ask()?;
            let before = std::mem::replace(&mut now, Instant::now());
            requests += u32::try_from(abreast)?;
            if abreast == 1 {
                times.push(now - before);
            }
        }
        let processor = cores::used().saturating_sub(used);
        Ok(Self { requests, elapsed: now - begin, processor, times })
    }

    /// Requests a second.
    pub fn rate(&self) -> f64 {
        f64::from(self.requests) / self.elapsed.as_secs_f64()
    }

    /// Processor time of a request, in microseconds.
    pub fn processor_each(&self) -> f64 {
        self.processor.as_secs_f64() * 1e6 / f64::from(self.requests)
    }
}

/// A socket of some address of its own.
pub struct Unconnected {
    socket: Socket,
    door: SocketAddrV4,
}

impl Unconnected {
    /// Connects.
    pub fn connect(self) -> anyhow::Result<Connection> {
        let descriptor = match &self.socket {
            Socket::Stream(stream) => stream.as_raw_fd(),
            Socket::Datagrams(socket) => socket.as_raw_fd(),
        };
        connect(descriptor, &SockaddrIn::from(self.door)).with_context(|| format!("to {}", self.door))?;
        Ok(Connection { socket: self.socket, asked: 0 })
    }
}

/// The standard library cannot choose the source of a connection.
fn stream(own: SocketAddrV4) -> anyhow::Result<OwnedFd> {
    let descriptor = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&descriptor, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
    setsockopt(&descriptor, sockopt::TcpNoDelay, &true)?;
    let patience = TimeVal::seconds(i64::try_from(PATIENCE.as_secs())?);
    setsockopt(&descriptor, sockopt::SendTimeout, &patience)?;
    setsockopt(&descriptor, sockopt::ReceiveTimeout, &patience)?;
    bind(descriptor.as_raw_fd(), &SockaddrIn::from(own))?;
    Ok(descriptor)
}

fn datagrams(own: SocketAddrV4) -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind(own)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Sets a flag when dropped.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
