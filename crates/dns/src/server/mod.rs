//! The sockets: datagrams, and streams with several questions on their way at once.

mod log;
mod step;
mod streams;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;

use self::log::Failures;
use self::step::Step;
use crate::edns::CookieKey;
use crate::{Metrics, SharedSite};

/// The largest datagram that a query may come in.
const LARGEST_QUERY: usize = 4096;
/// Datagrams taken in before other tasks get their turn.
const BURST: usize = 64;
/// Datagrams whose answers are still being asked for; more are dropped.
const WAITING: usize = 8192;
/// A client that sends nothing, or takes nothing, for so long is gone (RFC 7766, 6.2.3).
const SILENCE: Duration = Duration::from_secs(10);

/// Answers queries as a site says.
#[derive(Debug, Clone)]
pub struct Server {
    site: Arc<SharedSite>,
    metrics: Arc<Metrics>,
    cookies: Arc<CookieKey>,
    failures: Arc<Failures>,
    silence: Duration,
}

/// Who asks, and by what.
#[derive(Debug, Clone, Copy)]
struct Client {
    address: SocketAddr,
    datagram: bool,
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
    pub fn new(site: Arc<SharedSite>, metrics: Arc<Metrics>) -> Self {
        Self {
            site,
            metrics,
            cookies: Arc::new(CookieKey::random()),
            failures: Arc::default(),
            silence: SILENCE,
        }
    }

    /// Clients on streams may be silent for so long, instead of ten seconds.
    #[must_use]
    pub fn with_silence(self, silence: Duration) -> Self {
        Self { silence, ..self }
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
        address: SocketAddr,
        socket: &Arc<UdpSocket>,
        waiting: &Arc<Semaphore>,
    ) {
        match self.step(message, Client { address, datagram: true }) {
            Step::Nothing => {}
            // A full send buffer loses datagrams as the network does: clients ask again.
            Step::Send(reply) => drop(socket.try_send_to(&reply, address)),
            Step::Ask(ask) => {
                let Ok(place) = waiting.clone().try_acquire_owned() else { return };
                let (this, socket) = (self.clone(), socket.clone());
                tokio::spawn(async move {
                    let reply = this.ask(*ask).await;
                    let _ = socket.send_to(&reply, address).await;
                    drop(place);
                });
            }
        }
    }
}

#[cfg(test)]
mod dig;
#[cfg(test)]
mod tests;
