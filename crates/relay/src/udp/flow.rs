use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

use super::datagram::{self, Path};
use crate::bounds::Bounds;
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
    line: Arc<Line>,
    /// The count of changes after which its endpoint was known to be there.
    knows: AtomicU64,
    number: u64,
    bounds: Arc<Bounds>,
}

/// What carries a flow. It closes when the flow ends, or has to make way for another.
#[derive(Debug)]
pub(crate) struct Line {
    open: Mutex<Option<Open>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Open {
    socket: Arc<UdpSocket>,
    answers: AbortHandle,
}

/// What a line shares with the task that brings its answers.
#[derive(Debug)]
struct Shared {
    begun: Instant,
    /// Milliseconds between the beginning and the last datagram.
    heard: AtomicU64,
    /// The endpoint's host says that nobody listens there.
    refused: AtomicBool,
}

impl Flow {
    /// Begins a flow; its answers go back through `listener` the way that the client came. Whether another one had to make
    /// way for it.
    pub(super) fn begin(
        endpoint: SocketAddr,
        path: Path,
        listener: Arc<UdpSocket>,
        bounds: Arc<Bounds>,
    ) -> io::Result<(Self, bool)> {
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
        let line = Arc::new(Line { open: Mutex::new(Some(Open { socket, answers })), shared });
        let (number, crowded) = bounds.begun(line.clone());
        Ok((Self { endpoint, line, knows: AtomicU64::new(0), number, bounds }, crowded))
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

    /// Whether it has made way for another.
    pub(super) fn is_closed(&self) -> bool {
        self.line.open().is_none()
    }

    /// Sends a datagram to the endpoint. Does not wait.
    pub(super) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        let open = self.line.open();
        let Some(Open { socket, .. }) = open.as_ref() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        if self.line.shared.refused.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        // Past the runtime, which does not know yet of a new socket that it can be written to.
        SockRef::from(&**socket).send(datagram)?;
        self.line.shared.hear();
        Ok(())
    }
}

impl Heard for Flow {
    fn last_heard(&self) -> Instant {
        self.line.last_heard()
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.bounds.ended(self.number);
        self.line.close();
    }
}

impl Line {
    /// No answer comes any more.
    pub(crate) fn close(&self) {
        if let Some(Open { answers, .. }) = self.open().take() {
            answers.abort();
        }
    }

    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard for Arc<Line> {
    fn last_heard(&self) -> Instant {
        self.shared.begun + Duration::from_millis(self.shared.heard.load(Ordering::Relaxed))
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
