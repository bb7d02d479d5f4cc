//! What the server is told by whoever starts it.

use crate::access::TokenKeyError;
use crate::audit::{AuditConfig, AuditError};
use crate::kinds::{AllocationConfig, AllocationConfigError};
use crate::pki::{Credentials, PkiError};
use crate::store::{ListError, OpenError, StoreConfig, WriteError};

/// How the API server runs. Everything is read once, at the start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the objects live.
    pub store: StoreConfig,
    /// The server's certificate; must name every address that clients connect to.
    pub credentials: Credentials,
    /// The authority (PEM) that signs client certificates, and the serving certificates of the nodes' agents.
    pub authority: String,
    /// The client certificate that the server shows to the nodes' agents (logs, sessions).
    pub node_client: Credentials,
    /// Signs tokens of ServiceAccounts: a private key of the curve P-256 as PEM, [`crate::pki::Pki::token_key`].
    pub token_key: String,
    /// Ranges that cluster IPs and node ports are taken from.
    pub allocation: AllocationConfig,
    /// How much may be under way at once.
    pub limits: Limits,
    /// Where a line goes for every change that is asked for; `None` for no lines.
    pub audit: Option<AuditConfig>,
}

/// How much may be under way at once. Of each, one user (of connections: one address) gets at most three quarters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests that read; kube-apiserver's `--max-requests-inflight`.
    pub reads: usize,
    /// Requests that write; kube-apiserver's `--max-mutating-requests-inflight`.
    pub writes: usize,
    /// Watches and logs.
    pub watches: usize,
    /// Connections. Sessions (exec, attach, port-forward) have one each.
    pub connections: usize,
}

impl Default for Limits {
    /// kube-apiserver's 400 and 200; 5,000 watches, 4,096 connections.
    fn default() -> Self {
        Self { reads: 400, writes: 200, watches: 5000, connections: 4096 }
    }
}

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The first objects cannot be written.
    #[error("the first objects cannot be written")]
    FirstObjects(#[from] WriteError),
    /// One of the first objects is refused or cannot be read.
    #[error("{name} cannot be made or read: {detail}")]
    FirstObject {
        /// Kind and name.
        name: String,
        /// Why.
        detail: String,
    },
    /// The key of tokens cannot be used.
    #[error(transparent)]
    TokenKey(#[from] TokenKeyError),
    /// The stored roles and bindings cannot be read.
    #[error("the stored roles and bindings cannot be read")]
    Roles(#[from] ListError),
    /// A stored object cannot be read.
    #[error("the stored services cannot be read: {0}")]
    Services(String),
    /// The kinds of stored CustomResourceDefinitions cannot be served.
    #[error("the stored CustomResourceDefinitions cannot be served: {0}")]
    Definitions(String),
    /// Audit lines are wanted and cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The ranges do not work.
    #[error(transparent)]
    Allocation(#[from] AllocationConfigError),
    /// A certificate or key cannot be read.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A certificate or key cannot be used.
    #[error("the certificates cannot be used")]
    Tls(#[from] rustls::Error),
    /// The authority cannot be used to check clients.
    #[error("the authority cannot be used to check client certificates")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// A listener cannot be used.
    #[error("a listening socket cannot be used")]
    Listener(#[source] std::io::Error),
}
