//! Who is who in a lab: certificates for every process and for the administrator, as kubeconfig files.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use apiserver::pki::{Credentials, Kubeconfig, Pki, ServerName};
use http::header::{HeaderValue, USER_AGENT};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig as KubeconfigFile};

use super::paths::LabPaths;
use super::spec::{API_PORT, LabSpec};
use crate::pods::{API_SERVER, ServerFiles};

/// Makes what is missing of a lab's certificates and kubeconfig files.
///
/// # Errors
/// When files cannot be read or written.
pub fn ensure(spec: &LabSpec, paths: &LabPaths) -> Result<()> {
    let pki = Pki::open(paths.pki())?;
    api_server(spec, &pki)?;
    node_client(&pki)?;
    let inside = format!("https://{}:{API_PORT}", spec.control_plane);
    let write = |path: &Path, server: &str, user: &str, credentials: &Credentials| {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
        }
        let cluster = format!("portolan-{}", spec.name);
        let file = Kubeconfig { cluster: &cluster, user, server, authority: pki.authority(), credentials };
        file.write(path).map_err(anyhow::Error::from)
    };
    let admin = pki.client("admin", "kubernetes-admin", "system:masters")?;
    write(&paths.kubeconfig(), &format!("https://127.0.0.1:{}", spec.api_port), "admin", &admin)?;
    let controllers = pki.client("controllers", "system:portolan-controllers", "system:controllers")?;
    write(&paths.control_plane().kubeconfig(), &inside, "controllers", &controllers)?;
    for node in &spec.nodes {
        pki.node_server(&node.name, &[IpAddr::V4(node.address)])?;
        let user = format!("system:node:{}", node.name);
        let client = pki.client(&format!("node-{}", node.name), &user, "system:nodes")?;
        write(&paths.node(&node.name).kubeconfig(), &inside, &user, &client)?;
    }
    Ok(())
}

/// The API server's own certificate, valid for every name and address that it is reached by.
///
/// # Errors
/// When files cannot be read or written.
pub fn api_server(spec: &LabSpec, pki: &Pki) -> Result<Credentials> {
    let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    let names = names.into_iter().chain(["kubernetes.default.svc.cluster.local"]);
    let addresses = [Ipv4Addr::LOCALHOST, spec.control_plane, spec.kubernetes_service()];
    let names: Vec<ServerName> = names
        .map(|name| ServerName::Dns(name.to_owned()))
        .chain(addresses.map(|address| ServerName::Address(IpAddr::V4(address))))
        .collect();
    Ok(pki.api_server(&names)?)
}

/// What the API server shows to the nodes' agents when it asks them for logs and sessions.
///
/// # Errors
/// When files cannot be read or written.
pub fn node_client(pki: &Pki) -> Result<Credentials> {
    Ok(pki.client("apiserver-kubelet-client", API_SERVER, "system:kubelet-clients")?)
}

/// Where the serving certificate of a node's agent is.
pub fn node_server_files(paths: &LabPaths, node: &str) -> ServerFiles {
    let file = |name: String| -> PathBuf { paths.pki().join(name) };
    ServerFiles {
        certificate: file(format!("kubelet-{node}.crt")),
        private_key: file(format!("kubelet-{node}.key")),
        client_authority: file("ca.crt".to_owned()),
    }
}

/// A client by a kubeconfig file. The API server knows it as `program`: that is who owns the fields it writes.
///
/// # Errors
/// When the file is missing or damaged.
pub async fn client(kubeconfig: &Path, program: &'static str) -> Result<Client> {
    let context = || format!("cannot use {}", kubeconfig.display());
    let file = KubeconfigFile::read_from(kubeconfig).with_context(context)?;
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .with_context(context)?;
    let agent = HeaderValue::from_str(&format!("{program}/{}", env!("CARGO_PKG_VERSION")))?;
    config.headers.push((USER_AGENT, agent));
    Client::try_from(config).with_context(context)
}
