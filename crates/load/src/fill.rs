//! Many requests at a time.

use std::sync::atomic::{AtomicU32, Ordering};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::{Method, StatusCode};

use crate::client::{Answer, Client, Error};
use crate::fleet::Fleet;
use crate::objects;

/// Requests under way at a time.
const IN_FLIGHT: usize = 64;
/// Progress is told every so many Services.
const STEP: u32 = 5_000;

/// Why a fleet could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// A request brought no answer.
    #[error(transparent)]
    Client(#[from] Error),
    /// The server refused an object.
    #[error("{method} {path} was answered with {code}: {body}")]
    Refused {
        /// What was asked.
        method: Method,
        /// Of what.
        path: String,
        /// The HTTP code.
        code: StatusCode,
        /// What the server says.
        body: String,
    },
}

impl Fleet {
    /// Makes all of it, many requests at a time. What is there already stays as it is. `progress` hears how many
    /// Services are done, now and then.
    ///
    /// # Errors
    /// The first request that failed or was refused; what was made stays.
    pub async fn create(self, client: &Client, progress: impl Fn(u32)) -> Result<(), FillError> {
        for namespace in objects::namespaces() {
            create(client, "/api/v1/namespaces", namespace.to_string()).await?;
        }
        let make = |number| async move {
            create(client, &Fleet::services_path(number), self.service(number).to_string()).await?;
            for slice in self.slices(number) {
                create(client, &Fleet::slices_path(number), slice.to_string()).await?;
            }
            Ok::<(), FillError>(())
        };
        self.each(make, progress).await
    }

    /// Removes it; what is gone already is no error. The namespaces stay.
    ///
    /// # Errors
    /// The first request that failed or was refused.
    pub async fn delete(self, client: &Client, progress: impl Fn(u32)) -> Result<(), FillError> {
        let remove = |number| async move {
            delete(client, Fleet::service_path(number)).await?;
            for slice in 0..self.slices_each() {
                delete(client, Fleet::slice_path(number, slice)).await?;
            }
            Ok::<(), FillError>(())
        };
        self.each(remove, progress).await
    }

    async fn each<F>(self, act: impl Fn(u32) -> F, progress: impl Fn(u32)) -> Result<(), FillError>
    where
        F: Future<Output = Result<(), FillError>>,
    {
        let done = AtomicU32::new(0);
        stream::iter(0..self.services)
            .map(act)
            .buffer_unordered(IN_FLIGHT)
            .try_for_each(|()| {
                let now = done.fetch_add(1, Ordering::Relaxed) + 1;
                if now.is_multiple_of(STEP) || now == self.services {
                    progress(now);
                }
                std::future::ready(Ok(()))
            })
            .await
    }
}

async fn create(client: &Client, path: &str, object: String) -> Result<(), FillError> {
    let answer = client.post(path, object).await?;
    match answer.code {
        StatusCode::CREATED | StatusCode::CONFLICT => Ok(()),
        _ => Err(refused(Method::POST, path.to_owned(), &answer)),
    }
}

async fn delete(client: &Client, path: String) -> Result<(), FillError> {
    let answer = client.send(Method::DELETE, &path, "application/json", bytes::Bytes::new()).await?;
    match answer.code {
        StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NOT_FOUND => Ok(()),
        _ => Err(refused(Method::DELETE, path, &answer)),
    }
}

fn refused(method: Method, path: String, answer: &Answer) -> FillError {
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    FillError::Refused { method, path, code: answer.code, body }
}
