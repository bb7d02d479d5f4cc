use std::path::Path;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::RuntimeError;

/// An API client from a kubeconfig file, with its current context.
///
/// The process must have installed a rustls provider before.
///
/// # Errors
/// [`RuntimeError::Kubeconfig`] when the file cannot be read or does not name a usable cluster and user,
/// [`RuntimeError::Client`] when its certificates cannot be used. The server is not contacted.
pub async fn client(kubeconfig: &Path) -> Result<Client, RuntimeError> {
    let unusable =
        |source| RuntimeError::Kubeconfig { path: kubeconfig.to_owned(), source: Box::new(source) };
    let file = Kubeconfig::read_from(kubeconfig).map_err(unusable)?;
    let config =
        Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(unusable)?;
    Client::try_from(config)
        .map_err(|source| RuntimeError::Client { path: kubeconfig.to_owned(), source: Box::new(source) })
}
