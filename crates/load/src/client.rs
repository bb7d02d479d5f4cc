//! Requests, as bytes.

use std::path::Path;

use bytes::Bytes;
use futures::{AsyncBufRead, AsyncBufReadExt};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};

/// Why a request brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig cannot be read or used.
    #[error("the kubeconfig cannot be used")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// No connection, or it broke; or a watch that was refused.
    #[error("the request failed")]
    Request(#[from] kube::Error),
    /// The request cannot be written.
    #[error("the request cannot be made")]
    Http(#[from] http::Error),
    /// The stream broke.
    #[error("the stream broke")]
    Stream(#[from] std::io::Error),
}

/// An answer, whatever its code.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP code.
    pub code: StatusCode,
    /// The body as it came.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// One client of one API server. Clones share its connections; each request that finds none free opens another.
#[derive(Clone)]
pub struct Client(kube::Client);

impl Client {
    /// A client of the current context of a kubeconfig.
    ///
    /// # Errors
    /// When the file cannot be read or names credentials that cannot be used. No connection is made yet.
    pub async fn from_kubeconfig(path: &Path) -> Result<Self, Error> {
        let file = Kubeconfig::read_from(path)?;
        let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        // Each request is sent once, and what became of it is told.
        config.default_retry = false;
        Ok(Self(kube::Client::try_from(config)?))
    }

    /// Sends a request and reads its answer whole.
    ///
    /// # Errors
    /// When there is no answer, or it breaks off.
    pub async fn send(&self, method: Method, path: &str, media: &str, body: Bytes) -> Result<Answer, Error> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, media)
            .header(http::header::ACCEPT, "application/json")
            .body(Body::from(body))?;
        let answer = self.0.send(request).await?;
        let code = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok(Answer { code, body })
    }

    /// Creates an object given as JSON.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn post(&self, path: &str, object: impl Into<Bytes>) -> Result<Answer, Error> {
        self.send(Method::POST, path, "application/json", object.into()).await
    }

    /// Changes an object by a JSON patch (RFC 6902).
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn patch(&self, path: &str, patch: impl Into<Bytes>) -> Result<Answer, Error> {
        self.send(Method::PATCH, path, "application/json-patch+json", patch.into()).await
    }

    /// Reads an object or a list.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn get(&self, path: &str) -> Result<Answer, Error> {
        self.send(Method::GET, path, "application/json", Bytes::new()).await
    }

    /// Opens a watch; `path` says `watch=1` and from where.
    ///
    /// # Errors
    /// When it is refused, or there is no connection.
    pub async fn watch(&self, path: &str) -> Result<Lines, Error> {
        let request = Request::builder().uri(path).body(Vec::new())?;
        let stream = self.0.request_stream(request).await?;
        Ok(Lines { stream: Box::new(Box::pin(stream)), line: Vec::new() })
    }
}

/// The lines of a watch.
pub struct Lines {
    stream: Box<dyn AsyncBufRead + Send + Unpin>,
    line: Vec<u8>,
}

impl Lines {
    /// The next line without its end; `None` when the server has closed the watch.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<Option<&[u8]>, Error> {
        self.line.clear();
        let read = self.stream.read_until(b'\n', &mut self.line).await?;
        Ok((read > 0 && self.line.ends_with(b"\n")).then(|| &self.line[..self.line.len() - 1]))
    }
}
