//! One upstream server: asked over UDP, then TCP when it does not fit; left alone for a while when it fails.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::cache::Question;
use super::response::{Response, question};

/// How long a server may take. With a second attempt elsewhere a client waits no longer than a second.
const PATIENCE: Duration = Duration::from_millis(450);
/// Failures in a row after which a server is asked only when no other is left.
const FAILURES: u32 = 2;
/// How long it is then left alone, doubled with each further failure.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A server and how it has fared.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    failures: u32,
    until: Option<Instant>,
}

impl Upstream {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, health: Mutex::default() }
    }

    /// Whether it is being left alone.
    pub(crate) fn is_resting(&self, now: Instant) -> bool {
        self.health().until.is_some_and(|until| until > now)
    }

    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        // Two numbers are whole at every moment.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, result: &io::Result<Response>) {
        let mut health = self.health();
        match result {
            Ok(_) => *health = Health::default(),
            Err(_) => {
                health.failures = health.failures.saturating_add(1);
                if let Some(beyond) = health.failures.checked_sub(FAILURES) {
                    let pause = (FIRST_PAUSE * 2_u32.pow(beyond.min(4))).min(LONGEST_PAUSE);
                    health.until = Some(Instant::now() + pause);
                }
            }
        }
    }

    /// Asks the server.
    ///
    /// # Errors
    /// When it does not answer in time or cannot be reached.
    pub(crate) async fn ask(&self, asked: &Question) -> io::Result<Response> {
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        let result = match timeout(PATIENCE, self.datagram(asked)).await.unwrap_or_else(|_| Err(late())) {
            Ok(response) if response.truncated => {
                timeout(PATIENCE, self.stream(asked)).await.unwrap_or_else(|_| Err(late()))
            }
            other => other,
        };
        self.note(&result);
        result
    }

    /// A socket and a number of its own for each question: whoever forges an answer has to guess both.
    async fn datagram(&self, asked: &Question) -> io::Result<Response> {
        let any: IpAddr =
            if self.address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(self.address).await?;
        let id = rand::random();
        socket.send(&question(id, &asked.name, asked.kind, asked.dnssec, asked.checking_disabled)).await?;
        let mut buffer = vec![0; 4096];
        loop {
            let length = socket.recv(&mut buffer).await?;
            if let Some(response) = Response::parse(buffer[..length].to_vec(), id, &asked.name, asked.kind) {
                return Ok(response);
            }
        }
    }

    async fn stream(&self, asked: &Question) -> io::Result<Response> {
        let mut stream = TcpStream::connect(self.address).await?;
        let id = rand::random();
        let query = question(id, &asked.name, asked.kind, asked.dnssec, asked.checking_disabled);
        let length = u16::try_from(query.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        stream.write_all(&[&length.to_be_bytes()[..], &query].concat()).await?;
        let length = stream.read_u16().await?;
        let mut bytes = vec![0; length.into()];
        stream.read_exact(&mut bytes).await?;
        Response::parse(bytes, id, &asked.name, asked.kind).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}
