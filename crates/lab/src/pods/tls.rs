//! TLS of the kubelet API and of HTTPS probes.

use std::io;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::config::ServerFiles;

/// The kubelet API's side: our certificate, and clients only with one of the cluster's authority.
///
/// # Errors
/// When a file cannot be read or is not what it should be.
pub fn server(files: &ServerFiles) -> anyhow::Result<TlsAcceptor> {
    use anyhow::Context;
    let certificates = |path: &std::path::Path| -> anyhow::Result<Vec<CertificateDer<'static>>> {
        CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .with_context(|| format!("cannot read certificates from {}", path.display()))
    };
    let key = PrivateKeyDer::from_pem_file(&files.private_key)
        .with_context(|| format!("cannot read a private key from {}", files.private_key.display()))?;
    let mut authorities = RootCertStore::empty();
    for authority in certificates(&files.client_authority)? {
        authorities.add(authority).context("unusable client authority")?;
    }
    let provider = Arc::new(ring::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(&provider)).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates(&files.certificate)?, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The API server as a client of agents: the common name of its certificate.
pub const API_SERVER: &str = "kube-apiserver-kubelet-client";

/// Whether a client's certificate, which TLS has verified, is the API server's. Everybody else of the same authority goes
/// through the API, where it is decided who may see logs and enter containers.
#[must_use]
pub fn is_api_server(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let mut names = certificate.subject().iter_common_name();
    names.next().is_some_and(|name| name.as_str().is_ok_and(|name| name == API_SERVER))
}

/// A client that takes any certificate: a probe asks whether a pod answers, not who it is (as in the kubelet).
#[must_use]
pub fn unverified_client() -> TlsConnector {
    TlsConnector::from(Arc::new(apiserver::pki::unverified_client()))
}

/// Whether an error of accepting a connection is about that one connection alone.
#[must_use]
pub fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
