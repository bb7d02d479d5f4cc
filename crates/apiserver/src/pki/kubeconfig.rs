//! Kubeconfig files, for kubectl and for our own processes.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Credentials, PkiError, files};

/// What a kubeconfig with one cluster, one user and one context says.
#[derive(Debug, Clone)]
pub struct Kubeconfig<'a> {
    /// Name of the cluster, and of the context. Letters, digits, `-`, `.`, `:`.
    pub cluster: &'a str,
    /// Name of the user entry.
    pub user: &'a str,
    /// `https://127.0.0.1:6443`.
    pub server: &'a str,
    /// The authority's certificate as PEM.
    pub authority: &'a str,
    /// The user's certificate and key.
    pub credentials: &'a Credentials,
}

impl Kubeconfig<'_> {
    /// The file's text.
    pub fn to_yaml(&self) -> String {
        let Self { cluster, user, server, authority, credentials } = self;
        let authority = STANDARD.encode(authority);
        let certificate = STANDARD.encode(&credentials.certificate);
        let key = STANDARD.encode(&credentials.key);
        format!(
            "apiVersion: v1
kind: Config
clusters:
- name: \"{cluster}\"
  cluster:
    server: \"{server}\"
    certificate-authority-data: {authority}
users:
- name: \"{user}\"
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: \"{cluster}\"
  context:
    cluster: \"{cluster}\"
    user: \"{user}\"
current-context: \"{cluster}\"
"
        )
    }

    /// Writes the file; only its owner can read it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), PkiError> {
        files::write_private(path, &self.to_yaml())
    }
}
