//! What the long-running commands share: a log, a runtime, and the signal to end.

use std::future::Future;
use std::io::IsTerminal;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// Runs `body` on a runtime with a log on standard error; `body` gets a receiver that turns true on TERM or INT.
///
/// # Errors
/// What `body` says, or that the runtime could not be made.
pub fn serve<F>(body: impl FnOnce(watch::Receiver<bool>) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    // Our own watches say once that the API server is away; the client would say it at each try.
    serve_with_log("info,kube_client=off", body)
}

/// As [`serve`], with what the log says unless the environment says otherwise.
///
/// # Errors
/// As [`serve`].
pub fn serve_with_log<F>(filter: &str, body: impl FnOnce(watch::Receiver<bool>) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let filter = EnvFilter::try_from_env("PORTOLAN_LOG").unwrap_or_else(|_| EnvFilter::new(filter));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    install_tls();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let mut term = signal(SignalKind::terminate()).context("cannot listen for TERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for INT")?;
        tokio::spawn(async move {
            tokio::select! { _ = term.recv() => {} _ = interrupt.recv() => {} }
            // Fails only when nobody listens any more, that is, when the process is ending anyway.
            let _ = stop.send(true);
        });
        body(stopped).await
    })
}

/// Runs a short asynchronous command to its end.
///
/// # Errors
/// What `body` says, or that the runtime could not be made.
pub fn block_on<T>(body: impl Future<Output = Result<T>>) -> Result<T> {
    install_tls();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?
        .block_on(body)
}

/// Resolves when the process is to end.
pub async fn until_stopped(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is the end as well.
    let _ = stopped.wait_for(|stop| *stop).await;
}

fn install_tls() {
    // An error says that a provider is installed already, which is all that is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
