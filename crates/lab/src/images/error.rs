//! What can go wrong with images.

use std::{io, path::PathBuf};

use super::{Digest, Reference};

/// Why the image store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The text is not the name of an image.
    #[error("couldn't parse image name \"{name}\": {reason}")]
    InvalidReference {
        /// The text as given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The registry could not be asked or did not give the image.
    #[error("failed to pull image \"{reference}\"")]
    Pull {
        /// The image asked for.
        reference: Reference,
        /// What the registry client says.
        #[source]
        source: Box<oci_client::errors::OciDistributionError>,
    },
    /// A file of the store or of an archive could not be read or written.
    #[error("cannot use {path}", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// The file is neither an OCI layout nor a docker archive.
    #[error(
        "{path}: not an image: neither an OCI image layout (oci-layout, index.json) nor a docker archive (manifest.json)",
        path = path.display()
    )]
    NotAnImage {
        /// The file or directory given.
        path: PathBuf,
    },
    /// The archive could not be unpacked.
    #[error("{path}: cannot unpack the archive", path = path.display())]
    Archive {
        /// The file given.
        path: PathBuf,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// The archive holds an image without saying its name.
    #[error("{path}: the image has no name in it; give it one (--tag NAME)", path = path.display())]
    Unnamed {
        /// The file or directory given.
        path: PathBuf,
    },
    /// A document of the image is not what the format says.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// The document.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The image is made for other machines only.
    #[error("the image is not made for {wanted}; it has {}", found.join(", "))]
    NoSuchPlatform {
        /// This machine, as `os/architecture`.
        wanted: String,
        /// What the image has.
        found: Vec<String>,
    },
    /// The content is not what its digest says.
    #[error("{what} should have digest {expected} but has {actual}; it is damaged")]
    WrongDigest {
        /// The blob or layer.
        what: String,
        /// What the image says.
        expected: Digest,
        /// What was computed.
        actual: Digest,
    },
    /// A blob that the image names is missing.
    #[error("blob {digest} is missing")]
    MissingBlob {
        /// The missing blob.
        digest: Digest,
    },
    /// A layer could not be unpacked.
    #[error("layer {layer}")]
    Layer {
        /// The layer's digest.
        layer: Digest,
        /// Why.
        #[source]
        source: LayerError,
    },
}

impl ImageError {
    /// True when the registry answered that it has no such image (or will not say).
    pub fn is_not_found(&self) -> bool {
        use oci_client::errors::{OciDistributionError, OciErrorCode};
        let Self::Pull { source, .. } = self else { return false };
        match source.as_ref() {
            OciDistributionError::ImageManifestNotFoundError(_) => true,
            OciDistributionError::ServerError { code, .. } => *code == 404,
            OciDistributionError::RegistryError { envelope, .. } => envelope.errors.iter().any(|error| {
                matches!(
                    error.code,
                    OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound
                )
            }),
            _ => false,
        }
    }

    /// True when the name itself is wrong, so that trying again is of no use.
    pub fn is_invalid_name(&self) -> bool {
        matches!(self, Self::InvalidReference { .. })
    }
}

/// Why an archive was not unpacked. Nothing outside the target directory was touched.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The archive ended early or is no tar.
    #[error("not a readable tar")]
    Unreadable {
        /// What the reader says.
        #[source]
        source: io::Error,
    },
    /// The layer is packed with zstd.
    #[error("packed with zstd, which is not supported; use gzip or no compression")]
    Zstd,
    /// A name climbs out of the tree or is no name at all.
    #[error("refused: the path {path:?} would leave the image's directory")]
    PathEscapes {
        /// The name as the archive has it.
        path: String,
    },
    /// A hard link names something that is not there.
    #[error("refused: {path:?} is a hard link to {target:?}, which the image does not have")]
    HardLinkTarget {
        /// The link.
        path: String,
        /// What it names.
        target: String,
    },
    /// An entry of a kind that a layer must not have.
    #[error("refused: {path:?} is of the unknown kind {kind:?}")]
    UnknownKind {
        /// The entry.
        path: String,
        /// The kind's character in the header.
        kind: char,
    },
    /// An entry could not be made.
    #[error("cannot make {path:?}")]
    Create {
        /// The entry.
        path: String,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
}
