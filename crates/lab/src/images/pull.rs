//! Fetching images from registries.

use std::{io::Write, net::IpAddr, time::Duration};

use futures::TryStreamExt;
use oci_client::{
    Client,
    client::{ClientConfig, ClientProtocol},
    errors::OciDistributionError,
    secrets::RegistryAuth,
};
use serde::Deserialize;

use super::{
    Digest, Image, ImageError, Reference, Store,
    import::this_machines,
    manifest::{
        self, DOCKER_LIST_TYPE, DOCKER_MANIFEST_TYPE, Descriptor, INDEX_TYPE, Index, MANIFEST_TYPE, Manifest,
    },
};

/// A registry that does not take the connection in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// A registry that sends nothing for this long is gone.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

const ACCEPTED: [&str; 4] = [MANIFEST_TYPE, INDEX_TYPE, DOCKER_MANIFEST_TYPE, DOCKER_LIST_TYPE];

impl Store {
    /// Fetches an image from its registry, without credentials, and records it under its name. Of an image for
    /// several platforms only this machine's part is fetched; blobs that the store has are not fetched again.
    /// A registry on the own machine (`localhost:5000/app`) is asked without TLS.
    ///
    /// The process must have installed a rustls crypto provider.
    ///
    /// # Errors
    /// [`ImageError::Pull`] with the registry client's words when the registry cannot be reached or refuses
    /// ([`ImageError::is_not_found`] tells a missing image), [`ImageError::WrongDigest`] for damaged content.
    pub async fn pull(&self, reference: &Reference) -> Result<Image, ImageError> {
        let named = reference.for_client()?;
        let config = ClientConfig {
            protocol: protocol(named.resolve_registry()),
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|source| failed(reference, source))?;
        Pull { store: self, client, reference, named }.run().await
    }
}

/// One fetch under way.
struct Pull<'a> {
    store: &'a Store,
    client: Client,
    reference: &'a Reference,
    named: oci_client::Reference,
}

impl Pull<'_> {
    async fn run(&self) -> Result<Image, ImageError> {
        let mut content = self.manifest(&self.named).await?;
        let kind: Kind = manifest::decode("manifest", &content)?;
        if kind.is_index() {
            let index: Index = manifest::decode("index", &content)?;
            let chosen = this_machines(&index)?.digest.clone();
            content = self.manifest(&self.named.clone_with_digest(chosen.to_string())).await?;
            let actual = Digest::of(&content);
            if actual != chosen {
                return Err(ImageError::WrongDigest { what: "manifest".into(), expected: chosen, actual });
            }
        }
        let manifest: Manifest = manifest::decode("manifest", &content)?;
        self.blob("configuration", &manifest.config).await?;
        for layer in &manifest.layers {
            self.blob("layer", layer).await?;
        }
        let store = self.store.clone();
        let reference = self.reference.clone();
        let recorded = tokio::task::spawn_blocking(move || {
            let (digest, size) = store.blobs.write("manifest", &mut content.as_slice(), None)?;
            store.record(&reference, &Descriptor::new(MANIFEST_TYPE, digest, size))
        });
        recorded.await.unwrap_or_else(|error| {
            // Cancelled only while the async runtime shuts down, when nobody reads the answer.
            Err(ImageError::Malformed { what: "pull".into(), reason: error.to_string() })
        })
    }

    async fn manifest(&self, named: &oci_client::Reference) -> Result<Vec<u8>, ImageError> {
        let (content, _digest) = self
            .client
            .pull_manifest_raw(named, &RegistryAuth::Anonymous, &ACCEPTED)
            .await
            .map_err(|source| failed(self.reference, source))?;
        Ok(content.to_vec())
    }

    /// Fetches one blob piece by piece into the store, unless it is there.
    async fn blob(&self, what: &str, descriptor: &Descriptor) -> Result<(), ImageError> {
        let digest = &descriptor.digest;
        if self.store.blobs.path(digest).exists() {
            return Ok(());
        }
        let mut blob = self
            .client
            .pull_blob_stream(&self.named, digest.as_str())
            .await
            .map_err(|source| failed(self.reference, source))?
            .stream;
        let mut writer = self.store.blobs.writer()?;
        while let Some(piece) = blob
            .try_next()
            .await
            .map_err(|source| failed(self.reference, OciDistributionError::IoError(source)))?
        {
            writer
                .write_all(&piece)
                .map_err(|source| ImageError::Io { path: self.store.blobs.path(digest), source })?;
        }
        writer.finish(what, Some(digest)).map(|_| ())
    }
}

/// TLS, but for a registry on this very machine, to which Docker speaks plain HTTP too.
fn protocol(registry: &str) -> ClientProtocol {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let is_loopback = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if host == "localhost" || is_loopback { ClientProtocol::Http } else { ClientProtocol::Https }
}

/// What a registry's answer is: old registries give no media type inside an index.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    manifests: Option<serde_json::Value>,
}

impl Kind {
    fn is_index(&self) -> bool {
        self.media_type == INDEX_TYPE || self.media_type == DOCKER_LIST_TYPE || self.manifests.is_some()
    }
}

fn failed(reference: &Reference, source: OciDistributionError) -> ImageError {
    ImageError::Pull { reference: reference.clone(), source: Box::new(source) }
}
