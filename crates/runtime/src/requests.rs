//! How the API server answers, counted as client-go counts it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::{Layer, Service};

/// Answers by status, method and server.
#[derive(Debug, Default)]
pub struct Requests {
    counts: Mutex<BTreeMap<(String, String, String), u64>>,
}

impl Requests {
    fn count(&self, code: String, host: String, method: String) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((code, host, method)).or_default() += 1;
    }

    /// Labels, as Prometheus writes them, and counts.
    pub(crate) fn rows(&self) -> Vec<(String, u64)> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let row = |((code, host, method), count): (&(String, String, String), &u64)| {
            (format!("{{code=\"{code}\",host=\"{host}\",method=\"{method}\"}}"), *count)
        };
        counts.iter().map(row).collect()
    }
}

/// Puts [`Counted`] around a client.
#[derive(Debug, Clone)]
pub(crate) struct Counting {
    pub(crate) requests: Arc<Requests>,
    /// The server's host and port.
    pub(crate) host: String,
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, counting: self.clone() }
    }
}

/// A client whose answers are counted.
#[derive(Debug, Clone)]
pub(crate) struct Counted<S> {
    inner: S,
    counting: Counting,
}

impl<S, A, B> Service<Request<A>> for Counted<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let method = request.method().to_string();
        let Counting { requests, host } = self.counting.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = match &answer {
                Ok(response) => response.status().as_str().to_owned(),
                // client-go's word for no answer at all.
                Err(_) => "<error>".to_owned(),
            };
            requests.count(code, host, method);
            answer
        })
    }
}
