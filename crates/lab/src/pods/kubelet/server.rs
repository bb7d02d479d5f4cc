//! HTTPS in front of the logs and sessions.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::logs::{self, LogError, LogQuery};
use super::sessions::Sessions;
use crate::containers::Runtime;
use crate::pods::catalog::Catalog;
use crate::pods::record::Records;
use crate::pods::tls;

/// A TLS handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// What the kubelet API answers from.
#[derive(Debug, Clone)]
pub struct Server {
    /// Which pod a name means.
    pub catalog: Catalog,
    /// Where its logs are, and what runs in it.
    pub records: Records,
    /// Its containers.
    pub runtime: Arc<Runtime>,
}

/// Answers for ever.
pub async fn serve(listener: TcpListener, acceptor: TlsAcceptor, server: Server) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, acceptor.clone(), server.clone()));
            }
            Err(error) if tls::is_of_one_connection(&error) => {}
            Err(error) => {
                // Out of file descriptors, most likely: give others the time to return some.
                warn!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, server: Server) {
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "TLS handshake failed"),
        Err(_) => return debug!("TLS handshake took too long"),
    };
    let is_api_server =
        stream.get_ref().1.peer_certificates().and_then(<[_]>::first).is_some_and(tls::is_api_server);
    let service = hyper::service::service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(answer(&server, is_api_server, request)) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(HANDSHAKE);
    if let Err(error) = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        debug!(error, "connection ended");
    }
}

fn answer(server: &Server, is_api_server: bool, request: Request<Incoming>) -> Response<Body> {
    if !is_api_server && request.uri().path() != "/healthz" {
        return text(StatusCode::FORBIDDEN, "this is for the API server only: ask there");
    }
    let path = request.uri().path().to_owned();
    let path: Vec<_> = path.trim_matches('/').split('/').collect();
    if let ["exec" | "attach" | "portForward", ..] = path.as_slice() {
        return session(server, &path, request);
    }
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is allowed");
    }
    match path.as_slice() {
        ["healthz"] => text(StatusCode::OK, "ok"),
        ["containerLogs", namespace, pod, container] => {
            let query = match LogQuery::parse(request.uri().query().unwrap_or_default()) {
                Ok(query) => query,
                Err(error) => return refusal(&error),
            };
            match logs::open(&server.catalog, &server.records, (namespace, pod, container), &query) {
                Ok(source) => {
                    let frames =
                        logs::stream(source, query, jiff::Timestamp::now()).map(|part| part.map(Frame::data));
                    let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)));
                    let plain = hyper::header::HeaderValue::from_static("text/plain");
                    response.headers_mut().insert(hyper::header::CONTENT_TYPE, plain);
                    response
                }
                Err(error) => refusal(&error),
            }
        }
        _ => text(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

fn session(server: &Server, path: &[&str], request: Request<Incoming>) -> Response<Body> {
    let Server { catalog, records, runtime } = server.clone();
    match (Sessions { catalog, records, runtime }).begin(path, request) {
        Ok(answer) => answer.map(|()| Empty::new().map_err(|never| match never {}).boxed_unsync()),
        Err(error) => text(error.status(), &error.to_string()),
    }
}

fn refusal(error: &LogError) -> Response<Body> {
    let status = if error.is_not_found() { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
    text(status, &error.to_string())
}

fn text(status: StatusCode, message: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(message.to_owned())).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
}
