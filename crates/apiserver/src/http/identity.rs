//! Who is calling: the subject of the client certificate.

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate's common name.
    pub user: String,
    /// Its organizations.
    pub groups: Vec<String>,
}

impl Identity {
    /// Reads a certificate that TLS has verified; `None` when it has no common name.
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let subject = certificate.subject();
        let user = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let groups = subject.iter_organization().filter_map(|name| name.as_str().ok());
        Some(Self { user, groups: groups.map(str::to_owned).collect() })
    }
}
