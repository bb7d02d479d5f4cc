//! Connections to pods.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::place::Place;
use crate::pki;

/// Longest wait for a connection; what comes after takes as long as it likes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Opens connections to pods, one for each request.
pub(in crate::api) struct Upstream {
    connector: TlsConnector,
}

/// Why a pod does not answer, in the words of Go's HTTP client.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreachable {
    /// No connection.
    #[error("dial tcp {address}: {reason}")]
    Dial { address: SocketAddr, reason: String },
    /// No TLS.
    #[error("tls: {0}")]
    Tls(#[source] io::Error),
    /// The connection ended without an answer.
    #[error("EOF")]
    Closed,
    /// The answer is not HTTP.
    #[error("{0}")]
    Http(#[source] hyper::Error),
}

impl Upstream {
    pub(in crate::api) fn new() -> Self {
        // Pods show certificates that nobody signed for their addresses: like Kubernetes' API server, this one looks at
        // none.
        Self { connector: TlsConnector::from(Arc::new(pki::unverified_client())) }
    }

    /// Sends the request; the connection lives as long as the answer's body, or as what it is switched over to.
    pub(super) async fn send(
        &self,
        place: &Place,
        request: Request<Incoming>,
    ) -> Result<Response<Incoming>, Unreachable> {
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, self.connect(place));
        let timed_out = |_| Unreachable::Dial { address: place.address, reason: "i/o timeout".to_owned() };
        let mut sender = connecting.await.map_err(timed_out)??;
        sender.send_request(request).await.map_err(broken)
    }

    async fn connect(&self, place: &Place) -> Result<http1::SendRequest<Incoming>, Unreachable> {
        let refused =
            |error: io::Error| Unreachable::Dial { address: place.address, reason: go_text(&error) };
        let stream = TcpStream::connect(place.address).await.map_err(refused)?;
        stream.set_nodelay(true).map_err(refused)?;
        if !place.secure {
            return open(stream).await;
        }
        let name = ServerName::IpAddress(place.address.ip().into());
        open(self.connector.connect(name, stream).await.map_err(Unreachable::Tls)?).await
    }
}

async fn open(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<http1::SendRequest<Incoming>, Unreachable> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "the connection to a pod broke");
        }
    });
    Ok(sender)
}

fn broken(error: hyper::Error) -> Unreachable {
    if error.is_incomplete_message() { Unreachable::Closed } else { Unreachable::Http(error) }
}

/// `connect: connection refused`: the system's words without Rust's number behind them.
fn go_text(error: &io::Error) -> String {
    let text = error.to_string().to_lowercase();
    format!("connect: {}", text.split(" (os error").next().unwrap_or_default())
}
