use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;

use super::datagram::{self, Path};
use crate::flows::Heard;

/// The longest datagram there is, in bytes.
pub(super) const LONGEST: usize = 65_535;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; LONGEST]);
}

/// A client port and its endpoint. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Flow {
    endpoint: SocketAddr,
    socket: Arc<UdpSocket>,
    shared: Arc<Shared>,
    answers: AbortHandle,
    /// The count of changes after which its endpoint was known to be there.
    knows: AtomicU64,
    _place: OwnedSemaphorePermit,
}

/// What a flow shares with the task that brings its answers.
#[derive(Debug)]
struct Shared {
    begun: Instant,
    /// Milliseconds between the beginning and the last datagram.
    heard: AtomicU64,
    /// The endpoint's host says that nobody listens there.
    refused: AtomicBool,
}

impl Flow {
    /// Begins a flow; its answers go back through `listener` the way that the client came.
    pub(super) fn begin(
        endpoint: SocketAddr,
        path: Path,
        listener: Arc<UdpSocket>,
        place: OwnedSemaphorePermit,
    ) -> io::Result<Self> {
        let any: IpAddr =
            if endpoint.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = std::net::UdpSocket::bind((any, 0))?;
        socket.set_nonblocking(true)?;
        // Now the kernel lets in only what this endpoint sends, and tells when nobody listens there.
        socket.connect(endpoint)?;
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            heard: AtomicU64::new(0),
            refused: AtomicBool::new(false),
        });
        let answers =
            tokio::spawn(bring_answers(socket.clone(), listener, path, shared.clone())).abort_handle();
        Ok(Self { endpoint, socket, shared, answers, knows: AtomicU64::new(0), _place: place })
    }

    pub(super) const fn endpoint(&self) -> SocketAddr {
        self.endpoint
    }

    /// Whether its endpoint was there after so many changes.
    pub(super) fn knows(&self, changes: u64) -> bool {
        self.knows.load(Ordering::Relaxed) == changes
    }

    /// Its endpoint was there after so many changes.
    pub(super) fn learn(&self, changes: u64) {
        self.knows.store(changes, Ordering::Relaxed);
    }

    /// Sends a datagram to the endpoint. Does not wait.
    pub(super) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        if self.shared.refused.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        // Past the runtime, which does not know yet of a new socket that it can be written to.
        SockRef::from(&*self.socket).send(datagram)?;
        self.shared.hear();
        Ok(())
    }
}

impl Heard for Flow {
    fn last_heard(&self) -> Instant {
        self.shared.begun + Duration::from_millis(self.shared.heard.load(Ordering::Relaxed))
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

impl Shared {
    fn hear(&self) {
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.fetch_max(since, Ordering::Relaxed);
    }
}

async fn bring_answers(socket: Arc<UdpSocket>, listener: Arc<UdpSocket>, path: Path, shared: Arc<Shared>) {
    while socket.readable().await.is_ok() {
        // The buffer is the thread's: a flow that waits holds none.
        let result = BUFFER.with_borrow_mut(|buffer| {
            loop {
                let length = socket.try_recv(buffer)?;
                shared.hear();
                // Like a full queue anywhere on the way, a full buffer loses the datagram.
                let _ = datagram::send(&listener, &buffer[..length], &path);
            }
        });
        let error: io::Error = match result {
            Ok(never) => never,
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::WouldBlock => {}
            io::ErrorKind::ConnectionRefused => shared.refused.store(true, Ordering::Relaxed),
            // A router's complaint about one datagram.
            _ => tracing::trace!(%error, "an answer could not be received"),
        }
    }
}
