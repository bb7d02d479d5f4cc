use std::path::PathBuf;

use kube::config::KubeconfigError;

/// Why something of the runtime did not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The kubeconfig file cannot be used.
    #[error("kubeconfig {} cannot be used: {source}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<KubeconfigError>,
    },
    /// No client could be made of a kubeconfig that could be read.
    #[error("no API client can be made of kubeconfig {}: {source}", path.display())]
    Client {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
    /// There is no service account to reach an API server with.
    #[error("this is no pod with a service account; say by --kubeconfig how the API server is reached: {0}")]
    NotInCluster(#[source] Box<kube::config::InClusterError>),
    /// A dataplane or a watch panicked: a bug, with nothing sensible left to do but to start afresh.
    #[error("part of the proxy panicked: {0}")]
    Panicked(#[source] tokio::task::JoinError),
    /// A watch ended, which it does only when it is told to.
    #[error("a watch of the API server ended by itself")]
    WatchEnded,
}
