//! The server as a whole: store, API and sockets.

use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::access::keep_aggregated;
use crate::api::Api;
use crate::audit::AuditLog;
use crate::config::{Config, ServeError};
use crate::http::{ConnectionSlots, Listening, accept, server_tls};
use crate::store::Store;

/// Runs the API server on the given sockets until `shutdown` is done, then lets running requests end for a few seconds.
///
/// The sockets are bound by the caller: they may belong to several network namespaces. The store is opened, and its first
/// objects are written, before the first connection is accepted; connections made earlier wait in the sockets' backlogs.
///
/// # Errors
/// When the store, the certificates or the sockets cannot be used. Later errors are answers to requests, or logged.
pub async fn serve(
    config: Config,
    listeners: Vec<TcpListener>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let tls = Arc::new(server_tls(&config)?);
    let mut sockets = Vec::with_capacity(listeners.len());
    for listener in listeners {
        listener.set_nonblocking(true).map_err(ServeError::Listener)?;
        sockets.push(tokio::net::TcpListener::from_std(listener).map_err(ServeError::Listener)?);
    }
    let path = config.store.clone();
    // A task that is not cancelled ends with a value or a panic, which goes on here.
    let store = match tokio::task::spawn_blocking(move || Store::open(&path)).await {
        Ok(store) => store?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    let audit = config.audit.as_ref().map(AuditLog::open).transpose()?;
    let (stopper, stop) = watch::channel(false);
    let api = Arc::new(Api::start(&config, store, audit.clone(), stop.clone()).await?);
    let connections = ConnectionSlots::new(config.limits.connections);
    let mut running = JoinSet::new();
    for listener in sockets {
        let (api, tls, stop) = (Arc::clone(&api), Arc::clone(&tls), stop.clone());
        let connections = connections.clone();
        let handler = move |user, request| Arc::clone(&api).handle(user, request);
        running.spawn(accept(Listening { listener, tls, stop, connections }, handler));
    }
    tracing::info!(listeners = running.len(), "API server ready");
    running.spawn(keep_aggregated(api.store(), stop));
    running.spawn(Arc::clone(&api).clean_definitions());
    shutdown.await;
    stopper.send_replace(true);
    while running.join_next().await.is_some() {}
    if let Some(audit) = audit
        && let Err(error) = tokio::task::spawn_blocking(move || audit.close()).await
    {
        std::panic::resume_unwind(error.into_panic());
    }
    tracing::info!("API server stopped");
    Ok(())
}
