//! Ports of a pod: each connection of the client's is a pair of streams, one for bytes and one for a word of failure.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream as StdStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kernel::netns::Netns;
use netstate::link::NamespacePath;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::SessionError;
use super::spdy::{Connection, Piece, Stream, StreamWriter};
use super::target::Target;

/// Longest wait for a port: on loopback it answers or refuses at once, unless its queue is full.
const CONNECT: Duration = Duration::from_secs(10);
/// How much is read at once.
const CHUNK: usize = 32 << 10;
/// Most streams whose partner has not come.
const UNPAIRED: usize = 100;

/// The network namespace that this process lives in.
const OWN_NAMESPACE: &str = "/proc/self/ns/net";

/// Where ports are forwarded to.
#[derive(Debug)]
pub(super) struct Place {
    namespace: PathBuf,
    pod: String,
    uid: String,
}

impl Place {
    /// The pod's own loopback; with its node's network that is the node's.
    pub(super) fn of(target: &Target) -> Result<Self, SessionError> {
        let sandbox = target.sandbox()?;
        let namespace = match sandbox.host_network {
            true => PathBuf::from(OWN_NAMESPACE),
            false => NamespacePath::of_process(sandbox.pause.pid).as_path().to_owned(),
        };
        Ok(Self { namespace, pod: target.name().to_owned(), uid: target.uid().to_owned() })
    }

    #[cfg(test)]
    pub(super) fn here() -> Self {
        Self { namespace: PathBuf::from(OWN_NAMESPACE), pod: "web".to_owned(), uid: "1".to_owned() }
    }

    /// What is said of a port that cannot be reached.
    pub(super) fn failure(&self, port: u16, reason: &io::Error) -> String {
        format!("error forwarding port {port} to pod {}, uid {}: {reason}", self.pod, self.uid)
    }

    /// A connection to a port there.
    pub(super) async fn connect(self: Arc<Self>, port: u16) -> io::Result<TcpStream> {
        let connecting = tokio::task::spawn_blocking(move || {
            let inside = Netns::open_path(&self.namespace).and_then(|namespace| {
                namespace.run(|| {
                    let four = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
                    StdStream::connect_timeout(&four, CONNECT)
                        .or_else(|error| StdStream::connect_timeout(&six, CONNECT).map_err(|_| error))
                })
            });
            inside.map_err(io::Error::other)?
        });
        let stream = connecting.await.map_err(io::Error::other)??;
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    }
}

/// Forwards until the client has gone; then every connection ends.
pub(super) async fn serve(place: Place, io: impl AsyncRead + AsyncWrite + Send + 'static) {
    let place = Arc::new(place);
    let mut connection = Connection::start(io);
    let mut waiting: BTreeMap<String, Stream> = BTreeMap::new();
    let mut running = JoinSet::new();
    loop {
        let stream = tokio::select! {
            stream = connection.next() => stream,
            Some(_) = running.join_next() => continue,
        };
        let Some(stream) = stream else { return };
        let Some(request) = stream.headers.get("requestid").cloned() else { continue };
        match waiting.remove(&request) {
            None if waiting.len() < UNPAIRED => drop(waiting.insert(request, stream)),
            None => {}
            Some(partner) => {
                let is_error =
                    |stream: &Stream| stream.headers.get("streamtype").is_some_and(|kind| kind == "error");
                let (error, data) = if is_error(&partner) { (partner, stream) } else { (stream, partner) };
                running.spawn(forward(Arc::clone(&place), error.output, data));
            }
        }
    }
}

async fn forward(place: Arc<Place>, error: StreamWriter, data: Stream) {
    let output = data.output.clone();
    let port = data.headers.get("port").and_then(|port| port.parse().ok()).filter(|port| *port > 0);
    let done = match port {
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "no such port")),
        Some(port) => match Arc::clone(&place).connect(port).await {
            Ok(stream) => {
                copy(stream, data).await;
                Ok(())
            }
            Err(error) => Err(error),
        },
    };
    if let Err(reason) = done {
        let message = place.failure(port.unwrap_or_default(), &reason);
        let _ = error.send(message.as_bytes()).await;
        // The client looks for the message once there are no more bytes to come.
        let _ = output.finish().await;
    }
    let _ = error.finish().await;
}

/// Copies both ways, until both have ended or the client has given the stream up.
async fn copy(stream: TcpStream, data: Stream) {
    let Stream { mut input, output, .. } = data;
    let (mut reader, mut writer) = stream.into_split();
    let outward = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            if output.send(&buffer[..count]).await.is_err() {
                return;
            }
        }
        let _ = output.finish().await;
    };
    let inward = async {
        loop {
            match input.recv().await {
                Some(Piece::Data(bytes)) => {
                    // The pod's side may have stopped reading and still be answering.
                    let _ = writer.write_all(&bytes).await;
                }
                Some(Piece::End) => {
                    let _ = writer.shutdown().await;
                    // The rest is the pod's to say.
                    return std::future::pending().await;
                }
                None => return,
            }
        }
    };
    tokio::select! {
        () = outward => {}
        () = inward => {}
    }
}
