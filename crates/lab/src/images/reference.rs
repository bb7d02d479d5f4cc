//! Names of images, written out the way Docker reads them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::ImageError;

/// The full name of an image: registry, repository, and a tag, a digest or both.
///
/// A short name is completed as Docker and Kubernetes complete it: `httpd` is
/// `docker.io/library/httpd:latest`. Two references are equal when their full names are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference(String);

impl Reference {
    /// Reads a name as a user writes it.
    ///
    /// # Errors
    /// [`ImageError::InvalidReference`] when it is no image name (upper case, bad tag, bad digest).
    pub fn parse(name: &str) -> Result<Self, ImageError> {
        let parsed = oci_client::Reference::from_str(name).map_err(|error| ImageError::InvalidReference {
            name: name.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self(parsed.whole()))
    }

    /// The full name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Name of the registry and repository, without tag and digest.
    pub fn repository(&self) -> &str {
        let name = self.0.split('@').next().unwrap_or(&self.0);
        match name.rfind(':') {
            // A colon before the last slash belongs to the registry's port.
            Some(colon) if !name[colon..].contains('/') => &name[..colon],
            Some(_) | None => name,
        }
    }

    /// The digest that the name demands, if it names one.
    pub(super) fn digest(&self) -> Option<&str> {
        self.0.split_once('@').map(|(_, digest)| digest)
    }

    /// The name as the registry client takes it.
    pub(super) fn for_client(&self) -> Result<oci_client::Reference, ImageError> {
        oci_client::Reference::from_str(&self.0)
            .map_err(|error| ImageError::InvalidReference { name: self.0.clone(), reason: error.to_string() })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Reference {
    type Err = ImageError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::parse(name)
    }
}

impl TryFrom<String> for Reference {
    type Error = ImageError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed_as_docker_does() {
        for (given, full) in [
            ("httpd", "docker.io/library/httpd:latest"),
            ("httpd:2.4", "docker.io/library/httpd:2.4"),
            ("library/httpd", "docker.io/library/httpd:latest"),
            ("team/app:1", "docker.io/team/app:1"),
            ("localhost/app", "localhost/app:latest"),
            ("registry.example:5000/app", "registry.example:5000/app:latest"),
            ("docker.io/httpd", "docker.io/library/httpd:latest"),
        ] {
            assert_eq!(Reference::parse(given).unwrap().as_str(), full, "{given}");
        }
    }

    #[test]
    fn a_full_name_reads_as_itself() {
        let digest = "a".repeat(64);
        for name in ["httpd", "a.b:1/c/d:e", &format!("httpd@sha256:{digest}")] {
            let once = Reference::parse(name).unwrap();
            assert_eq!(Reference::parse(once.as_str()).unwrap(), once);
        }
    }

    #[test]
    fn the_repository_drops_tag_and_digest_but_not_the_port() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (given, repository) in [
            ("httpd:2.4".to_owned(), "docker.io/library/httpd"),
            ("r.example:5000/app:1".to_owned(), "r.example:5000/app"),
            (format!("r.example:5000/app@{digest}"), "r.example:5000/app"),
        ] {
            assert_eq!(Reference::parse(&given).unwrap().repository(), repository);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", "HTTPD", "a b", "a:b c", "httpd@sha256:12", "-", "../x"] {
            assert!(Reference::parse(name).is_err(), "{name}");
        }
    }
}
