//! HTTP and TCP checks, made from the node's network namespace, in which the agent lives.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::pods::ports::{Failure, Job, Prober};
use crate::pods::spec::Handler;

/// Checks over the network.
#[derive(Debug, Clone, Copy, Default)]
pub struct NetworkProber;

impl Prober for NetworkProber {
    fn check(&self, handler: Handler, address: Ipv4Addr, timeout: Duration) -> Job<Result<(), Failure>> {
        Box::pin(async move {
            let late = timed_out(&handler, address);
            let work = async {
                match handler {
                    Handler::Http { host, port, path, tls, headers } => {
                        let host = host.unwrap_or_else(|| address.to_string());
                        let url = url(tls, &host, port, &path);
                        http_check(&host, port, &path, tls, &headers).await.map_err(|problem| match problem {
                            Problem::Transport(text) => format!("Get {url:?}: {text}"),
                            Problem::Status(code) => format!("HTTP probe failed with statuscode: {code}"),
                        })
                    }
                    Handler::Tcp { host, port } => {
                        let host = host.unwrap_or_else(|| address.to_string());
                        let connected = TcpStream::connect((host.as_str(), port)).await;
                        connected.map(drop).map_err(|error| dial_error(&host, port, &error))
                    }
                    // These do not go over the network; whoever asks has run them in the container.
                    Handler::Exec { .. } | Handler::Sleep { .. } => Ok(()),
                }
            };
            match tokio::time::timeout(timeout, work).await {
                Ok(result) => result.map_err(|message| Failure { message }),
                Err(_) => Err(Failure { message: late }),
            }
        })
    }
}

enum Problem {
    Transport(String),
    Status(u16),
}

fn url(tls: bool, host: &str, port: u16, path: &str) -> String {
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{host}:{port}{path}")
}

/// What a kubelet says when the answer does not come in time; people search for these words.
fn timed_out(handler: &Handler, address: Ipv4Addr) -> String {
    let host = |host: &Option<String>| host.clone().unwrap_or_else(|| address.to_string());
    match handler {
        Handler::Http { host: named, port, path, tls, .. } => format!(
            "Get {:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
            url(*tls, &host(named), *port, path)
        ),
        Handler::Tcp { host: named, port } => format!("dial tcp {}:{port}: i/o timeout", host(named)),
        Handler::Exec { .. } | Handler::Sleep { .. } => "command timed out".to_owned(),
    }
}

/// A failure to connect in the words of a kubelet.
fn dial_error(host: &str, port: u16, error: &std::io::Error) -> String {
    let reason = match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        ErrorKind::ConnectionReset => "connect: connection reset by peer".to_owned(),
        ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {host}:{port}: {reason}")
}

async fn http_check(
    host: &str,
    port: u16,
    path: &str,
    tls: bool,
    headers: &[(String, String)],
) -> Result<(), Problem> {
    let transport = |error: &dyn std::fmt::Display| Problem::Transport(error.to_string());
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|error| Problem::Transport(dial_error(host, port, &error)))?;
    let mut request = hyper::Request::builder()
        .uri(path)
        .header("User-Agent", "kube-probe/1.33")
        .header("Accept", "*/*")
        .header("Connection", "close");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header("Host", format!("{host}:{port}"));
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| transport(&error))?;
    let status = if tls {
        let name =
            rustls_pki_types::ServerName::try_from(host.to_owned()).map_err(|error| transport(&error))?;
        let stream = super::super::tls::unverified_client()
            .connect(name, stream)
            .await
            .map_err(|error| transport(&error))?;
        exchange(stream, request).await
    } else {
        exchange(stream, request).await
    };
    match status.map_err(|error| transport(&error))? {
        200..=399 => Ok(()),
        code => Err(Problem::Status(code)),
    }
}

async fn exchange(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    request: hyper::Request<Empty<Bytes>>,
) -> hyper::Result<u16> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await;
    driver.abort();
    Ok(response?.status().as_u16())
}
