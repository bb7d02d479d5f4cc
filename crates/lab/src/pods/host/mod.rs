//! The ports for real: pause processes, the pod network, the container runtime, the image store, probes.

mod containers;
mod images;
mod network;
mod prober;
mod sandboxes;

pub use containers::RuncContainers;
pub use images::StoreImages;
pub use network::{HostNetwork, NetworkConfig};
pub use prober::NetworkProber;
pub use sandboxes::{LiveSandbox, PauseSandboxes};

use super::ports::Failure;

/// Runs what blocks on a thread that may; a panic there becomes a failure of this one thing.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Failure { message: format!("internal error: {error}") }),
    }
}
