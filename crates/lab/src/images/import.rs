//! Taking in images from files: OCI layouts and docker archives.

use std::{
    fmt,
    io::{self, Read, Seek},
    path::Path,
};

use super::{
    Digest, Image, ImageError, Reference, Store,
    archive::Archive,
    manifest::{
        self, CONFIG_TYPE, CONTAINERD_NAME, Configuration, Descriptor, DockerImage, Index, LAYER_GZIP_TYPE,
        LAYER_TYPE, MANIFEST_TYPE, Manifest, Platform, REF_NAME,
    },
};

/// Indexes may name indexes; deeper than this nobody goes.
const INDEX_DEPTH: usize = 4;

impl Store {
    /// Takes in every image of an OCI image layout or docker archive: a directory, or a tar, plain or gzip.
    ///
    /// `name` is for an image that has none in the archive, or another one; it needs an archive of one image.
    /// Of an image for several platforms, only this machine's part is kept. All digests are checked.
    ///
    /// # Errors
    /// [`ImageError::NotAnImage`], [`ImageError::Unnamed`], [`ImageError::NoSuchPlatform`],
    /// [`ImageError::WrongDigest`] or [`ImageError::Malformed`]; images before the bad one stay.
    pub fn import(&self, path: &Path, name: Option<&Reference>) -> Result<Vec<Image>, ImageError> {
        let archive = Archive::open(path, &self.temporary())?;
        if let Some(index) = archive.document("index.json")? {
            return self.import_layout(&archive, &manifest::decode("index.json", &index)?, name);
        }
        if let Some(list) = archive.document("manifest.json")? {
            return self.import_docker(
                &archive,
                &manifest::decode::<Vec<DockerImage>>("manifest.json", &list)?,
                name,
            );
        }
        Err(ImageError::NotAnImage { path: path.to_owned() })
    }

    fn import_layout(
        &self,
        archive: &Archive,
        index: &Index,
        name: Option<&Reference>,
    ) -> Result<Vec<Image>, ImageError> {
        only_one(archive, index.manifests.len(), name)?;
        let mut images = Vec::new();
        for descriptor in &index.manifests {
            let reference = match name {
                Some(name) => name.clone(),
                None => layout_name(descriptor)
                    .ok_or_else(|| ImageError::Unnamed { path: archive.given.clone() })??,
            };
            let manifest = self.import_manifest(archive, descriptor, INDEX_DEPTH)?;
            images.push(self.record(&reference, &manifest)?);
        }
        Ok(images)
    }

    /// Stores a manifest and what it names; of an index, this machine's manifest.
    fn import_manifest(
        &self,
        archive: &Archive,
        descriptor: &Descriptor,
        depth: usize,
    ) -> Result<Descriptor, ImageError> {
        let digest = &descriptor.digest;
        if !descriptor.is_index() {
            self.import_blob(archive, "manifest", digest)?;
            let manifest: Manifest = manifest::decode("manifest", &self.blobs.read("manifest", digest)?)?;
            self.import_blob(archive, "configuration", &manifest.config.digest)?;
            for layer in &manifest.layers {
                self.import_blob(archive, "layer", &layer.digest)?;
            }
            return Ok(descriptor.clone());
        }
        if depth == 0 {
            return Err(ImageError::Malformed { what: "index".into(), reason: "nested too deeply".into() });
        }
        let content = archive
            .document(&blob_path(digest))?
            .ok_or_else(|| ImageError::MissingBlob { digest: digest.clone() })?;
        let actual = Digest::of(&content);
        if actual != *digest {
            return Err(ImageError::WrongDigest { what: "index".into(), expected: digest.clone(), actual });
        }
        let index: Index = manifest::decode("index", &content)?;
        self.import_manifest(archive, this_machines(&index)?, depth - 1)
    }

    fn import_blob(&self, archive: &Archive, what: &str, digest: &Digest) -> Result<(), ImageError> {
        if self.blobs.path(digest).exists() {
            return Ok(());
        }
        let mut file = archive.file(&blob_path(digest))?;
        self.blobs.write(what, &mut file, Some(digest)).map(|_| ())
    }

    fn import_docker(
        &self,
        archive: &Archive,
        list: &[DockerImage],
        name: Option<&Reference>,
    ) -> Result<Vec<Image>, ImageError> {
        only_one(archive, list.len(), name)?;
        let mut images = Vec::new();
        for image in list {
            let references = match name {
                Some(name) => vec![name.clone()],
                None => {
                    let tags = image.repo_tags.as_deref().unwrap_or_default();
                    tags.iter().map(|tag| Reference::parse(tag)).collect::<Result<_, _>>()?
                }
            };
            if references.is_empty() {
                return Err(ImageError::Unnamed { path: archive.given.clone() });
            }
            let manifest = self.convert_docker(archive, image)?;
            for reference in &references {
                images.push(self.record(reference, &manifest)?);
            }
        }
        Ok(images)
    }

    /// Stores a docker image's parts and writes the manifest that it does not have.
    fn convert_docker(&self, archive: &Archive, image: &DockerImage) -> Result<Descriptor, ImageError> {
        let (config, size) = self.blobs.write("configuration", &mut archive.file(&image.config)?, None)?;
        let what = "configuration";
        let configuration: Configuration = manifest::decode(what, &self.blobs.read(what, &config)?)?;
        let platform =
            Platform { os: configuration.os, architecture: configuration.architecture, variant: None };
        if !platform.fits() {
            return Err(no_such_platform([&platform]));
        }
        let mut layers = Vec::new();
        for layer in &image.layers {
            let mut file = archive.file(layer)?;
            let failed = |source: io::Error| ImageError::Io { path: archive.given.join(layer), source };
            let mut start = Vec::new();
            file.by_ref().take(2).read_to_end(&mut start).and_then(|_| file.rewind()).map_err(failed)?;
            let media_type = if start == [0x1f, 0x8b] { LAYER_GZIP_TYPE } else { LAYER_TYPE };
            let (digest, size) = self.blobs.write("layer", &mut file, None)?;
            layers.push(Descriptor::new(media_type, digest, size));
        }
        let config = Descriptor::new(CONFIG_TYPE, config, size);
        let manifest = Manifest { schema_version: 2, media_type: MANIFEST_TYPE.to_owned(), config, layers };
        let text = serde_json::to_vec(&manifest)
            .map_err(|error| ImageError::Malformed { what: "manifest".into(), reason: error.to_string() })?;
        let (digest, size) = self.blobs.write("manifest", &mut text.as_slice(), None)?;
        Ok(Descriptor::new(MANIFEST_TYPE, digest, size))
    }
}

/// The manifest for this machine, out of those of one image.
pub(super) fn this_machines(index: &Index) -> Result<&Descriptor, ImageError> {
    let fits = |descriptor: &&Descriptor| descriptor.platform.as_ref().is_some_and(Platform::fits);
    // An index with one entry and no word about platforms is a plain wrapper.
    let only = match index.manifests.as_slice() {
        [only] if only.platform.is_none() => Some(only),
        _ => None,
    };
    index.manifests.iter().find(fits).or(only).ok_or_else(|| {
        no_such_platform(index.manifests.iter().filter_map(|descriptor| descriptor.platform.as_ref()))
    })
}

fn no_such_platform<'a>(found: impl IntoIterator<Item = &'a Platform>) -> ImageError {
    ImageError::NoSuchPlatform {
        wanted: format!("linux/{}", manifest::architecture()),
        found: found.into_iter().map(ToString::to_string).collect(),
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

fn only_one(archive: &Archive, count: usize, name: Option<&Reference>) -> Result<(), ImageError> {
    match (count, name) {
        (0, _) => Err(ImageError::NotAnImage { path: archive.given.clone() }),
        (2.., Some(name)) => Err(ImageError::Malformed {
            what: archive.given.display().to_string(),
            reason: format!("it has {count} images, which cannot all be named {name}"),
        }),
        (1.., _) => Ok(()),
    }
}

/// The image's name in a layout, if it has one. A bare tag (`latest`), as some tools write it, names nothing.
fn layout_name(descriptor: &Descriptor) -> Option<Result<Reference, ImageError>> {
    let annotations = &descriptor.annotations;
    let name = annotations
        .get(CONTAINERD_NAME)
        .or_else(|| annotations.get(REF_NAME).filter(|name| name.contains([':', '/'])))?;
    Some(Reference::parse(name))
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
