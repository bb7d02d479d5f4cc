//! The documents of an image, as far as they matter here (OCI image specification 1.1; docker's are alike).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Digest, ImageConfig, ImageError};

/// Annotation that holds an image's name in an index.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Where docker and containerd put the full name beside a short one.
pub(super) const CONTAINERD_NAME: &str = "io.containerd.image.name";

pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
pub(super) const LAYER_GZIP_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(super) const DOCKER_MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(super) const DOCKER_LIST_TYPE: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Names one blob.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub(super) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.to_owned(), digest, size, platform: None, annotations: BTreeMap::new() }
    }

    /// True when it names an index of further manifests.
    pub(super) fn is_index(&self) -> bool {
        self.media_type == INDEX_TYPE || self.media_type == DOCKER_LIST_TYPE
    }
}

/// What machines an image is made for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Platform {
    pub os: String,
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// True when this machine runs it.
    pub(super) fn fits(&self) -> bool {
        self.os == "linux" && self.architecture == architecture()
    }
}

/// This machine's architecture in the words of the image specification (Go's).
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// A list of manifests.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    #[serde(default = "schema_version")]
    pub schema_version: u32,
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
}

impl Default for Index {
    fn default() -> Self {
        Self { schema_version: schema_version(), manifests: Vec::new() }
    }
}

/// One image for one platform.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    #[serde(default = "schema_version")]
    pub schema_version: u32,
    #[serde(default)]
    pub media_type: String,
    pub config: Descriptor,
    #[serde(default)]
    pub layers: Vec<Descriptor>,
}

/// The configuration blob.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Configuration {
    #[serde(default)]
    pub created: Option<Timestamp>,
    pub architecture: String,
    pub os: String,
    #[serde(default)]
    pub config: Option<ImageConfig>,
    pub rootfs: LayerList,
}

/// The layers by the digests of their unpacked tars.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct LayerList {
    #[serde(default)]
    pub diff_ids: Vec<Digest>,
}

/// One image of a docker archive's `manifest.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    pub config: String,
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub layers: Vec<String>,
}

/// Decodes one document.
pub(super) fn decode<T: DeserializeOwned>(what: impl Into<String>, content: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(content)
        .map_err(|error| ImageError::Malformed { what: what.into(), reason: error.to_string() })
}

fn schema_version() -> u32 {
    2
}
