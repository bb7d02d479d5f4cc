//! The cluster's own certificate authority and the certificates it gives: to the server, to its clients, to the nodes.
//!
//! A [`Pki`] is a folder: `ca.crt`, `ca.key` and a pair `NAME.crt`, `NAME.key` for each certificate. What is there is used
//! again; what is missing, about to expire or no longer fits is made anew. Keys can be read by their owner alone.

mod files;
mod kubeconfig;
mod unverified;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

pub use kubeconfig::Kubeconfig;
pub use unverified::unverified_client;

/// A certificate with its private key, both as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The certificate.
    pub certificate: String,
    /// Its key, PKCS #8.
    pub key: String,
}

/// A name that a server certificate is valid for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerName {
    /// A DNS name.
    Dns(String),
    /// An address.
    Address(IpAddr),
}

/// Why a certificate cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("{} cannot be {verb}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        verb: &'static str,
        /// The refusal.
        #[source]
        source: std::io::Error,
    },
    /// The authority's own files are not usable.
    #[error("the certificate authority in {} is damaged ({detail}): remove the folder to make a new one", path.display())]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A certificate cannot be made.
    #[error("a certificate for {name} cannot be made")]
    Issue {
        /// For whom.
        name: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A PEM text holds no certificate or key.
    #[error("{what} cannot be read as PEM")]
    Pem {
        /// Which text.
        what: &'static str,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
}

/// The certificate authority of one cluster.
pub struct Pki {
    directory: PathBuf,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// A certificate with less life than this is replaced.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a certificate is for.
enum Purpose<'a> {
    Client { common_name: &'a str, organization: &'a str },
    Server { common_name: &'a str, organization: Option<&'a str>, names: &'a [ServerName] },
}

impl Pki {
    /// Opens the folder, which is made when it is not there, as is the authority in it.
    ///
    /// # Errors
    /// When files cannot be read or written, or hold something else.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, PkiError> {
        let directory = directory.into();
        files::make_directory(&directory)?;
        let pair = match files::read_pair(&directory, "ca")? {
            Some(pair) => pair,
            None => {
                let pair = new_authority()?;
                files::write_pair(&directory, "ca", &pair)?;
                pair
            }
        };
        let damaged =
            |detail: rcgen::Error| PkiError::Damaged { path: directory.clone(), detail: detail.to_string() };
        let key = KeyPair::from_pem(&pair.key).map_err(damaged)?;
        let issuer = Issuer::from_ca_cert_pem(&pair.certificate, key).map_err(damaged)?;
        Ok(Self { certificate: pair.certificate, issuer, directory })
    }

    /// The authority's certificate as PEM.
    pub fn authority(&self) -> &str {
        &self.certificate
    }

    /// The folder.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A certificate for the API server, kept as `apiserver`; made anew when a name is missing in the one there is.
    ///
    /// # Errors
    /// As [`PkiError`] says.
    pub fn api_server(&self, names: &[ServerName]) -> Result<Credentials, PkiError> {
        self.pair("apiserver", &Purpose::Server { common_name: "kube-apiserver", organization: None, names })
    }

    /// A certificate that a node's agent serves its API with, kept as `kubelet-NODE`.
    ///
    /// # Errors
    /// As [`PkiError`] says.
    pub fn node_server(&self, node: &str, addresses: &[IpAddr]) -> Result<Credentials, PkiError> {
        let mut names = vec![ServerName::Dns(node.to_owned())];
        names.extend(addresses.iter().copied().map(ServerName::Address));
        let common_name = format!("system:node:{node}");
        let purpose =
            Purpose::Server { common_name: &common_name, organization: Some("system:nodes"), names: &names };
        self.pair(&format!("kubelet-{node}"), &purpose)
    }

    /// A client certificate, kept as `file`: the common name is the user, the organization its group. Who is in several
    /// groups has no certificate here: rcgen keeps one value per attribute of a name.
    ///
    /// # Errors
    /// As [`PkiError`] says.
    pub fn client(&self, file: &str, user: &str, group: &str) -> Result<Credentials, PkiError> {
        self.pair(file, &Purpose::Client { common_name: user, organization: group })
    }

    /// The key that signs tokens of ServiceAccounts, of the curve P-256, as PEM (PKCS #8); kept as
    /// `service-accounts.key`, made when it is not there.
    ///
    /// # Errors
    /// As [`PkiError`] says.
    pub fn token_key(&self) -> Result<String, PkiError> {
        let path = self.directory.join("service-accounts.key");
        if let Some(key) = files::read(&path)? {
            return Ok(key);
        }
        let issue = |source| PkiError::Issue { name: "the tokens".to_owned(), source };
        let key = KeyPair::generate().map_err(issue)?.serialize_pem();
        files::write_private(&path, &key)?;
        Ok(key)
    }

    fn pair(&self, file: &str, purpose: &Purpose<'_>) -> Result<Credentials, PkiError> {
        if let Some(pair) = files::read_pair(&self.directory, file)?
            && self.still_fits(&pair, purpose)
        {
            return Ok(pair);
        }
        let pair = self.issue(purpose).map_err(|source| PkiError::Issue { name: file.to_owned(), source })?;
        files::write_pair(&self.directory, file, &pair)?;
        Ok(pair)
    }

    fn issue(&self, purpose: &Purpose<'_>) -> Result<Credentials, rcgen::Error> {
        let mut params = CertificateParams::default();
        let (common_name, organization) = match purpose {
            Purpose::Client { common_name, organization } => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                (common_name, Some(*organization))
            }
            Purpose::Server { common_name, organization, names } => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                for name in *names {
                    params.subject_alt_names.push(match name {
                        ServerName::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
                        ServerName::Address(address) => SanType::IpAddress(*address),
                    });
                }
                (common_name, *organization)
            }
        };
        params.distinguished_name = distinguished_name(common_name, organization);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        set_life(&mut params, LIFE);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Credentials { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Signed by this authority, not about to expire, and with the names that are wanted.
    fn still_fits(&self, pair: &Credentials, purpose: &Purpose<'_>) -> bool {
        let (Ok(own), Ok(authority)) = (pair.certificate_der(), der(&self.certificate)) else { return false };
        let (Ok((_, own)), Ok((_, authority))) =
            (X509Certificate::from_der(&own), X509Certificate::from_der(&authority))
        else {
            return false;
        };
        let left = own.validity().not_after.timestamp() - Timestamp::now().as_second();
        if left < RENEW_BEFORE.as_secs().cast_signed()
            || own.verify_signature(Some(authority.public_key())).is_err()
        {
            return false;
        }
        match purpose {
            Purpose::Client { common_name, organization } => {
                has_subject(&own, common_name, Some(organization))
            }
            Purpose::Server { common_name, organization, names } => {
                has_subject(&own, common_name, *organization) && has_names(&own, names)
            }
        }
    }
}

impl Credentials {
    /// The certificate, decoded.
    ///
    /// # Errors
    /// When the text is not PEM.
    pub fn certificate_der(&self) -> Result<CertificateDer<'static>, PkiError> {
        der(&self.certificate)
    }

    /// The key, decoded.
    ///
    /// # Errors
    /// When the text is not PEM.
    pub fn key_der(&self) -> Result<PrivateKeyDer<'static>, PkiError> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes())
            .map_err(|source| PkiError::Pem { what: "a private key", source })
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the key: it would end up in a log.
        out.debug_struct("Credentials").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Pki {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Pki").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// A certificate's PEM text, decoded.
///
/// # Errors
/// When the text is not PEM.
pub fn der(certificate: &str) -> Result<CertificateDer<'static>, PkiError> {
    CertificateDer::from_pem_slice(certificate.as_bytes())
        .map_err(|source| PkiError::Pem { what: "a certificate", source })
}

fn new_authority() -> Result<Credentials, PkiError> {
    let issue = |source| PkiError::Issue { name: "the authority".to_owned(), source };
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name("portolan-ca", None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_life(&mut params, AUTHORITY_LIFE);
    let key = KeyPair::generate().map_err(issue)?;
    let certificate = params.self_signed(&key).map_err(issue)?;
    Ok(Credentials { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn distinguished_name(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name
}

/// From a day ago, so that a clock that is a little behind accepts it.
fn set_life(params: &mut CertificateParams, life: Duration) {
    let now = std::time::SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + life).into();
}

fn has_subject(certificate: &X509Certificate<'_>, common_name: &str, organization: Option<&str>) -> bool {
    let subject = certificate.subject();
    let names = subject.iter_common_name().filter_map(|name| name.as_str().ok());
    let groups = subject.iter_organization().filter_map(|name| name.as_str().ok());
    names.eq([common_name]) && groups.eq(organization)
}

fn has_names(certificate: &X509Certificate<'_>, names: &[ServerName]) -> bool {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return names.is_empty() };
    let found: Vec<ServerName> = extension.value.general_names.iter().filter_map(server_name).collect();
    names.iter().all(|name| found.contains(name))
}

fn server_name(name: &GeneralName<'_>) -> Option<ServerName> {
    match name {
        GeneralName::DNSName(name) => Some(ServerName::Dns((*name).to_owned())),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(ServerName::Address)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
