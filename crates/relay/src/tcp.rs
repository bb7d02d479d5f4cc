//! Connections: accepted, led to an endpoint, carried.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

use crate::carry;
use crate::relays::Served;

/// How long each endpoint that is tried has to answer: kube-proxy's `endpointDialTimeouts`.
const PATIENCE: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// A peer that is gone without a word is noticed after a minute and three questions, ten seconds apart.
const SILENCE: Duration = Duration::from_secs(60);
const QUESTION: Duration = Duration::from_secs(10);

/// A pause when the system cannot give us a connection: it lacks descriptors or memory.
const RECOVERY: Duration = Duration::from_millis(100);

/// Accepts connections until it is dropped. They live on.
pub(crate) async fn serve(listener: TcpListener, served: Arc<Served>) {
    loop {
        match listener.accept().await {
            Ok((client, from)) => {
                served.bounds.accepted();
                let permit = place(&served).await;
                tokio::spawn(connection(client, from.ip(), served.clone(), permit));
            }
            // The client gave up before we came to it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if served.bounds.may_warn(Instant::now()) {
                    tracing::warn!(relay = %served.name, %error, "cannot accept connections, trying again");
                }
                sleep(RECOVERY).await;
            }
        }
    }
}

/// Waits for a place among the connections. Meanwhile further ones wait in the system's queue.
async fn place(served: &Served) -> Option<OwnedSemaphorePermit> {
    let places = &served.bounds.connections;
    if let Ok(permit) = places.clone().try_acquire_owned() {
        return Some(permit);
    }
    if served.bounds.may_warn(Instant::now()) {
        tracing::warn!(relay = %served.name, "too many connections at a time, new ones wait for others to end");
    }
    // The semaphore is never closed.
    places.clone().acquire_owned().await.ok()
}

async fn connection(
    client: TcpStream,
    from: IpAddr,
    served: Arc<Served>,
    _place: Option<OwnedSemaphorePermit>,
) {
    let Some(endpoint) = connect(from, &served).await else {
        served.bounds.refused();
        carry::reset(&client);
        return;
    };
    for stream in [&client, &endpoint] {
        prepare(stream);
    }
    if let Err(error) = carry::both_ways(&client, &endpoint).await {
        tracing::trace!(relay = %served.name, %error, "connection broken off");
    }
}

/// Connects to the endpoint whose turn it is, or to the next one when it does not answer.
async fn connect(client: IpAddr, served: &Served) -> Option<TcpStream> {
    for (attempt, patience) in PATIENCE.into_iter().enumerate() {
        let endpoint = {
            let mut balancer = served.balancer();
            let now = Instant::now();
            if attempt == 0 { balancer.choose(client, now)? } else { balancer.choose_another(client, now)? }
        };
        let reason = match timeout(patience, TcpStream::connect(endpoint)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        tracing::debug!(relay = %served.name, %endpoint, error = %reason, "an endpoint does not answer");
    }
    None
}

/// Options without which the connection works as well, so a refusal is none of our business.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(SILENCE).with_interval(QUESTION);
    #[cfg(unix)]
    let keepalive = keepalive.with_retries(3);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}
