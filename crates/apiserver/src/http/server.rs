//! Sockets and TLS.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::answer::Answer;
use super::patience::Patient;
use super::slots::{Slot, Slots};
use crate::access::User;
use crate::config::{Config, ServeError};
use crate::pki;

/// Longest TLS handshake, and longest wait for the answer to a ping.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a request's headers, silence between two requests included: more than the 90 s for which Go's and
/// hyper's clients keep idle connections, so that none is closed under a request that is just being sent.
const HEADER_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest time in which nothing of what is to be sent is taken. Long: people pause logs in a pager.
const PATIENCE: Duration = Duration::from_secs(300);
/// Most connections whose TLS handshake is not done, for each that may be open.
const HANDSHAKES_PER_CONNECTION: usize = 4;
/// Most bytes of a request's line and headers; more is answered with 431.
const MAX_HEADERS: usize = 64 << 10;
/// Most bytes that wait to be sent on one HTTP/2 stream.
const SEND_BUFFER: usize = 128 << 10;
/// Most requests at once on one HTTP/2 connection, as Go's servers have it.
const STREAMS: u32 = 250;
/// How long running requests may take to end when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence on an HTTP/2 connection after which it is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// A listener with what its connections need.
pub struct Listening {
    /// The socket.
    pub listener: TcpListener,
    /// TLS.
    pub tls: Arc<rustls::ServerConfig>,
    /// Turns to true when the server stops.
    pub stop: watch::Receiver<bool>,
    /// Bounds its connections, those of other listeners included.
    pub connections: ConnectionSlots,
}

/// Where a request came from: the other end of its connection. Among the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Places of connections, by the address that they come from. Those that have not shown who they are yet have places of
/// their own, and keep nobody from going on who has.
#[derive(Debug, Clone)]
pub struct ConnectionSlots {
    open: Slots,
    handshakes: Slots,
}

impl ConnectionSlots {
    /// So many connections, and a quarter of that in handshakes.
    pub fn new(connections: usize) -> Self {
        let handshakes = Slots::new(connections / HANDSHAKES_PER_CONNECTION);
        Self { open: Slots::new(connections), handshakes }
    }
}

/// What a connection needs.
struct Context<H> {
    acceptor: TlsAcceptor,
    open: Slots,
    handler: H,
    stop: watch::Receiver<bool>,
}

/// TLS as the server speaks it: a client certificate is welcome, and must be signed by the authority when it is shown.
///
/// # Errors
/// When a certificate or key cannot be used.
pub fn server_tls(config: &Config) -> Result<rustls::ServerConfig, ServeError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(pki::der(&config.authority)?)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![config.credentials.certificate_der()?], config.credentials.key_der()?)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

/// Accepts connections until the server stops, then lets those that are open end.
pub async fn accept<H, F>(mut listening: Listening, handler: H)
where
    H: Fn(Option<Arc<User>>, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(Arc::clone(&listening.tls));
    let mut full = false;
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listening.listener.accept() => accepted,
            // Finished ones are collected as they end, so that the set does not grow.
            Some(_) = connections.join_next() => continue,
            _ = listening.stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let slot = listening.connections.handshakes.take(&peer.ip().to_string());
                if slot.is_none() != full {
                    full = !full;
                    tracing::warn!(%peer, full, "handshakes are at their limit, or no longer");
                }
                // Closed at once: nothing can be said before TLS, and waiting would hold up all others.
                let Some(slot) = slot else { continue };
                let context = Context {
                    acceptor: acceptor.clone(),
                    open: listening.connections.open.clone(),
                    handler: handler.clone(),
                    stop: listening.stop.clone(),
                };
                connections.spawn(async move {
                    if let Err(error) = connection(stream, slot, context).await {
                        tracing::debug!(%peer, %error, "connection ended");
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, above all: others may end meanwhile.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    let drained =
        tokio::time::timeout(DRAIN_TIMEOUT, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        connections.abort_all();
    }
}

async fn connection<H, F>(
    stream: TcpStream,
    handshake: Slot,
    context: Context<H>,
) -> Result<(), super::BoxError>
where
    H: Fn(Option<Arc<User>>, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    stream.set_nodelay(true)?;
    let Context { acceptor, open, handler, mut stop } = context;
    let peer = stream.peer_addr()?.ip().to_canonical();
    let stream = Patient::new(stream, PATIENCE);
    let stream = tokio::time::timeout(HELLO_TIMEOUT, acceptor.accept(stream)).await??;
    drop(handshake);
    let _held_until_it_ends = open.take(&peer.to_string()).ok_or("there are too many connections")?;
    let certificates = stream.get_ref().1.peer_certificates();
    let user = certificates.and_then(<[_]>::first).and_then(User::from_certificate).map(Arc::new);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let answer = handler(user.clone(), request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(HELLO_TIMEOUT)
        .max_header_list_size(MAX_HEADERS as u32)
        .max_send_buf_size(SEND_BUFFER)
        .max_concurrent_streams(STREAMS);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}
