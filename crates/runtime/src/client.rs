use std::path::{Path, PathBuf};
use std::sync::Arc;

use kube::client::ClientBuilder;
use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};
use kube::{Client, Config};

use crate::requests::Counting;
use crate::{Requests, RuntimeError};

/// Where a pod finds its service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// An API client from a kubeconfig file, with its current context.
///
/// The process must have installed a rustls provider before.
///
/// # Errors
/// [`RuntimeError::Kubeconfig`] when the file cannot be read or does not name a usable cluster and user,
/// [`RuntimeError::Client`] when its certificates cannot be used. The server is not contacted.
pub async fn client(kubeconfig: &Path) -> Result<Client, RuntimeError> {
    client_in_context(kubeconfig, None).await
}

/// As [`client`], with the context of that name.
///
/// # Errors
/// As [`client`].
pub async fn client_in_context(kubeconfig: &Path, context: Option<&str>) -> Result<Client, RuntimeError> {
    let file = Kubeconfig::read_from(kubeconfig).map_err(|source| unusable(kubeconfig, source))?;
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(file, &options)
        .await
        .map_err(|source| unusable(kubeconfig, source))?;
    connect(kubeconfig, config)
}

/// An API client for the server at a URL, with the files of a certificate, its key, and an authority.
///
/// # Errors
/// As [`client`].
pub async fn client_at(url: &str, tls: Option<&[PathBuf; 3]>) -> Result<Client, RuntimeError> {
    connect(Path::new(url), config_at(url, tls).await?)
}

async fn config_at(url: &str, tls: Option<&[PathBuf; 3]>) -> Result<Config, RuntimeError> {
    let text = |file: &PathBuf| Some(file.display().to_string());
    let mut cluster = Cluster { server: Some(url.to_owned()), ..Cluster::default() };
    let mut user = AuthInfo::default();
    if let Some([certificate, key, authority]) = tls {
        cluster.certificate_authority = text(authority);
        user.client_certificate = text(certificate);
        user.client_key = text(key);
    }
    let name = "endpoint".to_owned();
    let context = Context { cluster: name.clone(), user: Some(name.clone()), ..Context::default() };
    let file = Kubeconfig {
        clusters: vec![NamedCluster {
            name: name.clone(),
            cluster: Some(cluster),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: name.clone(),
            auth_info: Some(user),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: name.clone(),
            context: Some(context),
            ..NamedContext::default()
        }],
        current_context: Some(name),
        ..Kubeconfig::default()
    };
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(|source| unusable(Path::new(url), source))
}

/// An API client as kube-proxy makes one: from a kubeconfig, or else with the pod's service account; `server`, where it
/// is given, takes the place of the server's address, and without a kubeconfig it is all that is known. The server's
/// answers are counted.
///
/// # Errors
/// As [`client`], [`client_at`] and [`client_in_cluster`].
pub async fn client_of(
    kubeconfig: Option<&Path>,
    server: Option<&str>,
    requests: Arc<Requests>,
) -> Result<Client, RuntimeError> {
    let (path, config) = match (kubeconfig, server) {
        (None, None) => (Path::new(SERVICE_ACCOUNT), in_cluster()?),
        (None, Some(server)) => (Path::new(server), config_at(server, None).await?),
        (Some(path), server) => {
            let mut file = Kubeconfig::read_from(path).map_err(|source| unusable(path, source))?;
            if let Some(server) = server {
                for cluster in file.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
                    cluster.server = Some(server.to_owned());
                }
            }
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(file, &options).await;
            (path, config.map_err(|source| unusable(path, source))?)
        }
    };
    let host = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
    let builder = ClientBuilder::try_from(config).map_err(|source| no_client(path, source))?;
    Ok(builder.with_layer(&Counting { requests, host }).build())
}

/// An API client of the pod that this process runs in, with its service account.
///
/// # Errors
/// [`RuntimeError::NotInCluster`] outside a pod, [`RuntimeError::Client`] when its certificates cannot be used.
pub fn client_in_cluster() -> Result<Client, RuntimeError> {
    connect(Path::new(SERVICE_ACCOUNT), in_cluster()?)
}

fn in_cluster() -> Result<Config, RuntimeError> {
    Config::incluster().map_err(|source| RuntimeError::NotInCluster(Box::new(source)))
}

fn unusable(path: &Path, source: kube::config::KubeconfigError) -> RuntimeError {
    RuntimeError::Kubeconfig { path: path.to_owned(), source: Box::new(source) }
}

fn connect(path: &Path, config: Config) -> Result<Client, RuntimeError> {
    Client::try_from(config).map_err(|source| no_client(path, source))
}

fn no_client(path: &Path, source: kube::Error) -> RuntimeError {
    RuntimeError::Client { path: path.to_owned(), source: Box::new(source) }
}
