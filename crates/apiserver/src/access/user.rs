//! Users: names, groups, and what else their credentials say.

use std::collections::BTreeMap;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// May do everything (`user.SystemPrivilegedGroup`).
pub(crate) const MASTERS: &str = "system:masters";
/// Everybody who showed valid credentials.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// Everybody who showed none.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of who showed no credentials.
pub(crate) const ANONYMOUS: &str = "system:anonymous";
/// What the names of ServiceAccounts as users begin with; namespace and name follow.
pub(crate) const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
/// All ServiceAccounts; with a colon and a namespace, those of the namespace.
pub(crate) const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

/// Somebody who calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct User {
    /// Name; the common name of a certificate.
    pub(crate) name: String,
    /// Distinguishes users of one name over time; empty when nobody says.
    pub(crate) uid: String,
    /// Groups; the organizations of a certificate.
    pub(crate) groups: Vec<String>,
    /// What else the credentials say.
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Who shows no credentials.
    pub(crate) fn anonymous() -> Self {
        Self { name: ANONYMOUS.to_owned(), groups: vec![UNAUTHENTICATED.to_owned()], ..Self::default() }
    }

    /// Reads a certificate that TLS has verified; `None` when it has no common name.
    pub(crate) fn from_certificate(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let subject = certificate.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let organizations = subject.iter_organization().filter_map(|name| name.as_str().ok());
        let mut groups: Vec<String> = organizations.map(str::to_owned).collect();
        groups.push(AUTHENTICATED.to_owned());
        Some(Self { name, groups, ..Self::default() })
    }

    /// A ServiceAccount as a user.
    pub(crate) fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            name: format!("{SERVICE_ACCOUNT}{namespace}:{name}"),
            uid: uid.to_owned(),
            groups: vec![
                SERVICE_ACCOUNTS.to_owned(),
                format!("{SERVICE_ACCOUNTS}:{namespace}"),
                AUTHENTICATED.to_owned(),
            ],
            extra: BTreeMap::new(),
        }
    }

    /// Namespace and name of the ServiceAccount that this is.
    pub(crate) fn as_service_account(&self) -> Option<(&str, &str)> {
        self.name.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')
    }

    /// Whether the user is in the group.
    pub(crate) fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// `"ann" (groups=["a" "b"])`, as Kubernetes prints users.
    pub(crate) fn quoted(&self) -> String {
        format!("{:?} (groups={})", self.name, quoted_list(&self.groups))
    }
}

/// A list as Go's `%q` prints it: `["a" "b"]`.
pub(crate) fn quoted_list(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", quoted.join(" "))
}
