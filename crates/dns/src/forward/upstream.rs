//! One upstream server: asked over UDP, then TCP when it does not fit; left alone when it fails, until it answers a
//! probe.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

use super::cache::Question;
use super::config::{Probe, ResolverConfig};
use super::response::{Response, question};
use crate::metrics::{Metrics, UpstreamMetrics};
use crate::{Name, RecordType};

/// How long a server may take. With a second attempt elsewhere a client waits no longer than a second.
const PATIENCE: Duration = Duration::from_millis(450);

/// A server and how it has fared.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    force_tcp: bool,
    max_fails: u32,
    /// Failures in a row.
    failures: AtomicU32,
    /// Left alone: a probe is on its way from time to time.
    resting: AtomicBool,
    /// What we ask it comes back to us.
    pub(super) looping: AtomicBool,
    counts: Arc<UpstreamMetrics>,
}

impl Upstream {
    pub(super) fn new(address: SocketAddr, config: &ResolverConfig, metrics: &Metrics) -> Arc<Self> {
        Arc::new(Self {
            address,
            force_tcp: config.force_tcp,
            max_fails: config.max_fails,
            failures: AtomicU32::new(0),
            resting: AtomicBool::new(false),
            looping: AtomicBool::new(false),
            counts: metrics.upstream(address),
        })
    }

    /// Whether it is being left alone.
    pub(super) fn is_resting(&self) -> bool {
        self.resting.load(Ordering::Relaxed)
    }

    pub(super) fn is_looping(&self) -> bool {
        self.looping.load(Ordering::Relaxed)
    }

    /// After a failure too many, probes until the server says anything at all.
    fn note(self: &Arc<Self>, failed: bool, probe: &Probe) {
        if !failed {
            self.failures.store(0, Ordering::Relaxed);
            self.resting.store(false, Ordering::Relaxed);
            return;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let too_many = self.max_fails > 0 && failures >= self.max_fails;
        if too_many && !self.resting.swap(true, Ordering::Relaxed) {
            tracing::warn!(server = %self.address, failures, "an upstream server does not answer and is left alone");
            tokio::spawn(Self::look_after(Arc::downgrade(self), probe.clone()));
        }
    }

    /// Ends when the server answers, or when nobody needs it any more.
    async fn look_after(this: std::sync::Weak<Self>, probe: Probe) {
        loop {
            sleep(probe.interval).await;
            let Some(this) = this.upgrade() else { return };
            if !this.is_resting() {
                return;
            }
            let id = rand::random();
            let mut message = question(id, &probe.name, RecordType::NS, false, false);
            message[2] &= if probe.recursion { 0xff } else { 0xfe };
            let answer =
                this.exchange(&message, |bytes| (bytes.get(..2) == Some(&message[..2])).then_some(()));
            if timeout(PATIENCE, answer).await.is_ok_and(|answer| answer.is_ok()) {
                tracing::info!(server = %this.address, "an upstream server answers again");
                this.failures.store(0, Ordering::Relaxed);
                this.resting.store(false, Ordering::Relaxed);
                return;
            }
            this.counts.probe_failed();
        }
    }

    /// Asks the server.
    ///
    /// # Errors
    /// When it does not answer in time or cannot be reached.
    pub(super) async fn ask(self: &Arc<Self>, asked: &Question, probe: &Probe) -> io::Result<Response> {
        let id = rand::random();
        let message = question(id, &asked.name, asked.kind, asked.dnssec, asked.checking_disabled);
        let read = |bytes: &[u8]| Response::parse(bytes.to_vec(), id, &asked.name, asked.kind);
        let begin = Instant::now();
        self.counts.asked();
        let result = match self.patiently(self.exchange(&message, read)).await {
            Ok(response) if response.truncated && !self.force_tcp => {
                self.patiently(self.stream(&message, read)).await
            }
            other => other,
        };
        match &result {
            Ok(response) => self.counts.answered(response.code, begin.elapsed()),
            Err(_) => self.counts.failed(),
        }
        self.note(result.is_err(), probe);
        result
    }

    /// Sends a question that is meant to come back if this server leads here.
    pub(super) async fn send_probe(&self, name: &Name) -> io::Result<()> {
        let message = question(rand::random(), name, RecordType::HINFO, false, false);
        let answer = self.exchange(&message, |bytes| (bytes.get(..2) == Some(&message[..2])).then_some(()));
        self.patiently(answer).await
    }

    async fn patiently<T>(&self, answer: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        timeout(PATIENCE, answer).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn exchange<T>(&self, message: &[u8], read: impl Fn(&[u8]) -> Option<T>) -> io::Result<T> {
        if self.force_tcp { self.stream(message, read).await } else { self.datagram(message, read).await }
    }

    /// A socket and a number of its own for each question: whoever forges an answer has to guess both.
    async fn datagram<T>(&self, message: &[u8], read: impl Fn(&[u8]) -> Option<T>) -> io::Result<T> {
        let any: IpAddr =
            if self.address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(self.address).await?;
        socket.send(message).await?;
        let mut buffer = vec![0; 4096];
        loop {
            let length = socket.recv(&mut buffer).await?;
            if let Some(answer) = read(&buffer[..length]) {
                return Ok(answer);
            }
        }
    }

    async fn stream<T>(&self, message: &[u8], read: impl Fn(&[u8]) -> Option<T>) -> io::Result<T> {
        let mut stream = TcpStream::connect(self.address).await?;
        let length =
            u16::try_from(message.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        stream.write_all(&[&length.to_be_bytes()[..], message].concat()).await?;
        let length = stream.read_u16().await?;
        let mut bytes = vec![0; length.into()];
        stream.read_exact(&mut bytes).await?;
        read(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}
