//! The sockets: datagrams, and streams with several questions on their way at once.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::forward::Found;
use crate::message::{Data, Owner, Section};
use crate::{Metrics, Name, Query, Refusal, Reply, Resolver, Verdict, Zone, answer};

/// The largest datagram that a query may come in.
const LARGEST_QUERY: usize = 4096;
/// Datagrams taken in before other tasks get their turn.
const BURST: usize = 64;
/// Datagrams whose answers are still being asked for; more are dropped.
const WAITING: usize = 8192;
/// Streams at once; more wait to be accepted.
const STREAMS: usize = 512;
/// Questions of one stream on their way.
const PIPELINE: usize = 32;
/// A client that sends nothing, or takes nothing, for so long is gone (RFC 7766, 6.2.3).
const SILENCE: Duration = Duration::from_secs(10);

/// A zone that is answered from while it changes. Each change is seen whole or not at all.
#[derive(Debug)]
pub struct SharedZone(RwLock<Zone>);

impl SharedZone {
    /// Shares a zone.
    pub fn new(zone: Zone) -> Arc<Self> {
        Arc::new(Self(RwLock::new(zone)))
    }

    /// The zone as it is now. Hold it briefly: changes wait.
    pub fn read(&self) -> RwLockReadGuard<'_, Zone> {
        // Changes are made of calls that each leave the zone consistent.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the zone.
    pub fn change(&self, change: impl FnOnce(&mut Zone)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Answers queries: from the zone, and through the resolver.
#[derive(Debug, Clone)]
pub struct Server {
    zone: Arc<SharedZone>,
    resolver: Arc<Resolver>,
    metrics: Arc<Metrics>,
}

/// What to do with a message.
enum Step {
    Nothing,
    Send(Vec<u8>),
    /// Somebody else has to be asked first.
    Ask(Ask),
}

struct Ask {
    query: Query,
    limit: usize,
    /// The reply so far and the alias that it ends with; without one, the name itself is asked for.
    alias: Option<(Reply, Name)>,
}

/// Sockets of one address, opened.
#[derive(Debug)]
pub struct Sockets {
    datagrams: UdpSocket,
    streams: TcpListener,
}

impl Sockets {
    /// Opens both sockets of an address. With port 0 both get the same free one.
    ///
    /// # Errors
    /// When the address is not this machine's, the port is taken, or may not be taken.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let streams = TcpListener::bind(address).await?;
        let datagrams = UdpSocket::bind(streams.local_addr()?).await?;
        Ok(Self { datagrams, streams })
    }

    /// Where they listen.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.datagrams.local_addr()
    }
}

impl Server {
    /// A server without sockets.
    pub fn new(zone: Arc<SharedZone>, resolver: Arc<Resolver>, metrics: Arc<Metrics>) -> Self {
        Self { zone, resolver, metrics }
    }

    /// Serves the sockets for ever.
    pub async fn serve(self, sockets: Sockets) {
        let Sockets { datagrams, streams } = sockets;
        tokio::join!(self.serve_datagrams(Arc::new(datagrams)), self.serve_streams(streams));
    }

    async fn serve_datagrams(&self, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; LARGEST_QUERY];
        let waiting = Arc::new(Semaphore::new(WAITING));
        loop {
            if let Err(error) = socket.readable().await {
                tracing::warn!(%error, "cannot wait for queries");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            for _ in 0..BURST {
                match socket.try_recv_from(&mut buffer) {
                    Ok((length, client)) => self.datagram(&buffer[..length], client, &socket, &waiting),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // An error that a former reply brought back; the socket goes on.
                    Err(_) => {}
                }
            }
            tokio::task::yield_now().await;
        }
    }

    fn datagram(
        &self,
        message: &[u8],
        client: SocketAddr,
        socket: &Arc<UdpSocket>,
        waiting: &Arc<Semaphore>,
    ) {
        match self.step(message, true) {
            Step::Nothing => {}
            // A full send buffer loses datagrams as the network does: clients ask again.
            Step::Send(reply) => drop(socket.try_send_to(&reply, client)),
            Step::Ask(ask) => {
                let Ok(place) = waiting.clone().try_acquire_owned() else { return };
                let (this, socket) = (self.clone(), socket.clone());
                tokio::spawn(async move {
                    let reply = this.ask(ask).await;
                    let _ = socket.send_to(&reply, client).await;
                    drop(place);
                });
            }
        }
    }

    async fn serve_streams(&self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(STREAMS));
        let mut tasks = JoinSet::new();
        loop {
            // Never closed, so it never fails.
            let place = places.clone().acquire_owned().await;
            match listener.accept().await {
                Ok((stream, _)) => {
                    let this = self.clone();
                    tasks.spawn(async move {
                        this.stream(stream).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a stream");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            while tasks.try_join_next().is_some() {}
        }
    }

    /// Answers go back in the order in which they are found (RFC 7766, 7).
    async fn stream(&self, stream: TcpStream) {
        let (reader, writer) = stream.into_split();
        let (replies, sent) = mpsc::channel(PIPELINE);
        let writing = write_replies(writer, sent);
        // A client that takes nothing ends the writer, and with it the stream.
        tokio::select! {
            () = async { self.read_queries(reader, replies).await; std::future::pending().await } => {}
            () = writing => {}
        }
    }

    /// Ends when the client does, when it is silent for long, or when nobody takes the replies.
    async fn read_queries(&self, mut reader: OwnedReadHalf, replies: mpsc::Sender<Vec<u8>>) {
        loop {
            let message = async {
                let mut message = vec![0; reader.read_u16().await?.into()];
                reader.read_exact(&mut message).await?;
                Ok::<_, io::Error>(message)
            };
            let Ok(Ok(message)) = timeout(SILENCE, message).await else { return };
            let Ok(place) = replies.clone().reserve_owned().await else { return };
            match self.step(&message, false) {
                Step::Nothing => return,
                Step::Send(reply) => drop(place.send(reply)),
                Step::Ask(ask) => {
                    let this = self.clone();
                    tokio::spawn(async move { drop(place.send(this.ask(ask).await)) });
                }
            }
        }
    }

    fn step(&self, message: &[u8], datagram: bool) -> Step {
        let step = self.decide(message, datagram);
        match &step {
            Step::Nothing => self.metrics.silent(),
            Step::Send(reply) => self.metrics.replied(reply),
            Step::Ask(_) => {}
        }
        step
    }

    fn decide(&self, message: &[u8], datagram: bool) -> Step {
        let query = match Query::parse(message) {
            Ok(query) => query,
            Err(Refusal::Silence) => return Step::Nothing,
            Err(Refusal::Reply(_, reply)) => {
                self.metrics.asked(datagram, None);
                return Step::Send(reply);
            }
        };
        self.metrics.asked(datagram, Some(query.kind));
        let limit = if datagram { query.datagram_limit() } else { usize::from(u16::MAX) };
        let mut reply = Reply::to(&query, Some(limit));
        let verdict = answer(&self.zone.read(), &query, &mut reply);
        match verdict {
            Verdict::Done => Step::Send(reply.finish()),
            Verdict::Elsewhere => match self.resolver.at_hand(&query, limit) {
                Some(reply) => Step::Send(reply),
                None => Step::Ask(Ask { query, limit, alias: None }),
            },
            Verdict::Alias(target) => Step::Ask(Ask { query, limit, alias: Some((reply, target)) }),
        }
    }

    async fn ask(&self, ask: Ask) -> Vec<u8> {
        let reply = match ask.alias {
            None => self.resolver.reply(&ask.query, ask.limit).await,
            Some((mut reply, target)) => {
                let (code, found) = self.resolver.addresses(target, ask.query.kind).await;
                reply.set_code(code);
                for (owner, ttl, what) in &found {
                    let data = match what {
                        Found::Address(address) => Data::Address(*address),
                        Found::Alias(name) => Data::Alias(name),
                    };
                    reply.push(Section::Answer, Owner::Name(owner), *ttl, data);
                }
                reply.finish()
            }
        };
        self.metrics.replied(&reply);
        reply
    }
}

/// Ends when there are no more replies to come, or the client does not take them.
async fn write_replies(mut writer: OwnedWriteHalf, mut replies: mpsc::Receiver<Vec<u8>>) {
    while let Some(reply) = replies.recv().await {
        let Ok(length) = u16::try_from(reply.len()) else { return };
        let framed = [&length.to_be_bytes()[..], &reply].concat();
        match timeout(SILENCE, writer.write_all(&framed)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests;
