//! The store: names, documents, blobs.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    Digest, ImageConfig, ImageError, Reference,
    archive::Archive,
    blobs::{self, Blobs},
    manifest::{self, Configuration, Descriptor, Index, Manifest, REF_NAME},
};

/// The images of this machine. Cloning is cheap; any number of processes may open the same directory.
///
/// Methods block on files and locks, except [`Store::pull`].
#[derive(Clone, Debug)]
pub struct Store {
    directory: Arc<Path>,
    pub(super) blobs: Blobs,
}

/// One image of the store, all that is needed to run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its full name.
    pub reference: Reference,
    /// Digest of its manifest, as in `httpd@sha256:…`.
    pub digest: Digest,
    /// Digest of its configuration: what docker calls the image's id.
    pub id: Digest,
    /// How it wants to be run.
    pub config: ImageConfig,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
    /// Bytes of its blobs.
    pub size: u64,
    /// When it was made, if it says.
    pub created: Option<Timestamp>,
}

impl Image {
    /// The name by content, as Kubernetes shows it in `imageID`: `docker.io/library/httpd@sha256:…`.
    pub fn name_by_digest(&self) -> String {
        format!("{}@{}", self.reference.repository(), self.digest)
    }
}

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the file in the store.
    pub blob: Digest,
    /// Digest of the tar inside, uncompressed.
    pub diff_id: Digest,
}

impl Store {
    /// Opens the store in this directory; makes it when there is none. Only root can look inside, since image
    /// trees hold set-user-id programs.
    ///
    /// # Errors
    /// [`ImageError::Io`] when the directory cannot be made or read.
    pub fn open(directory: &Path) -> Result<Self, ImageError> {
        let failed = |source| ImageError::Io { path: directory.to_owned(), source };
        for (name, mode) in [("", 0o700), ("blobs/sha256", 0o755), ("rootfs", 0o755), ("tmp", 0o700)] {
            fs::DirBuilder::new().recursive(true).mode(mode).create(directory.join(name)).map_err(failed)?;
        }
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        let directory: Arc<Path> = fs::canonicalize(directory).map_err(failed)?.into();
        let store = Self { blobs: Blobs::new(&directory, &directory.join("tmp")), directory };
        store.sweep();
        let layout = store.directory.join("oci-layout");
        if !layout.exists() {
            store.replace(&layout, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        Ok(store)
    }

    /// The image of this name, if the store has it.
    ///
    /// A name with a digest is found under any tag of its repository.
    ///
    /// # Errors
    /// [`ImageError::Io`], [`ImageError::MissingBlob`] or [`ImageError::Malformed`] when the store is damaged.
    pub fn resolve(&self, reference: &Reference) -> Result<Option<Image>, ImageError> {
        let index = self.index()?;
        let named = |descriptor: &&Descriptor| match reference.digest() {
            None => descriptor.annotations.get(REF_NAME).map(String::as_str) == Some(reference.as_str()),
            Some(digest) => {
                descriptor.digest.as_str() == digest
                    && name_of(descriptor).is_some_and(|name| name.repository() == reference.repository())
            }
        };
        match index.manifests.iter().find(named) {
            Some(descriptor) => self.image(reference.clone(), descriptor).map(Some),
            None => Ok(None),
        }
    }

    /// Every image, by name.
    ///
    /// # Errors
    /// As [`Store::resolve`].
    pub fn list(&self) -> Result<Vec<Image>, ImageError> {
        let mut images = Vec::new();
        for descriptor in &self.index()?.manifests {
            if let Some(reference) = name_of(descriptor) {
                images.push(self.image(reference, descriptor)?);
            }
        }
        images.sort_by(|one, other| one.reference.cmp(&other.reference));
        Ok(images)
    }

    /// Directory of the store.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A small text file of an unpacked tree, empty when there is none; links are followed inside the tree only.
    pub(crate) fn text_of(&self, tree: &Path, name: &str) -> Result<String, ImageError> {
        let content = Archive::open(tree, &self.temporary())?.document(name)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&content).into_owned())
    }

    /// Directory for unfinished things.
    pub(super) fn temporary(&self) -> PathBuf {
        self.directory.join("tmp")
    }

    /// Makes the manifest known under this name; an earlier image of that name loses it.
    pub(super) fn record(&self, reference: &Reference, manifest: &Descriptor) -> Result<Image, ImageError> {
        let mut descriptor = manifest.clone();
        descriptor.annotations = [(REF_NAME.to_owned(), reference.as_str().to_owned())].into();
        descriptor.platform = None;
        let image = self.image(reference.clone(), &descriptor)?;
        let _lock = self.lock()?;
        let mut index = self.index()?;
        index
            .manifests
            .retain(|known| known.annotations.get(REF_NAME).map(String::as_str) != Some(reference.as_str()));
        index.manifests.push(descriptor);
        index
            .manifests
            .sort_by(|one, other| one.annotations.get(REF_NAME).cmp(&other.annotations.get(REF_NAME)));
        let text = serde_json::to_vec_pretty(&index).map_err(|error| ImageError::Malformed {
            what: "index.json".into(),
            reason: error.to_string(),
        })?;
        self.replace(&self.directory.join("index.json"), &text)?;
        Ok(image)
    }

    /// Excludes other writers, in this process and in others, until the file is dropped.
    pub(super) fn lock(&self) -> Result<File, ImageError> {
        let path = self.directory.join("lock");
        File::options()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|source| ImageError::Io { path, source })
    }

    fn index(&self) -> Result<Index, ImageError> {
        let path = self.directory.join("index.json");
        match fs::read(&path) {
            Ok(content) => manifest::decode(path.display().to_string(), &content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Index::default()),
            Err(source) => Err(ImageError::Io { path, source }),
        }
    }

    fn image(&self, reference: Reference, descriptor: &Descriptor) -> Result<Image, ImageError> {
        let what = format!("manifest of {reference}");
        let manifest: Manifest = manifest::decode(&what, &self.blobs.read(&what, &descriptor.digest)?)?;
        let what = format!("configuration of {reference}");
        let configuration: Configuration =
            manifest::decode(&what, &self.blobs.read(&what, &manifest.config.digest)?)?;
        if configuration.os != "linux" || configuration.architecture != manifest::architecture() {
            return Err(ImageError::NoSuchPlatform {
                wanted: format!("linux/{}", manifest::architecture()),
                found: vec![format!("{}/{}", configuration.os, configuration.architecture)],
            });
        }
        let diff_ids = configuration.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            return Err(ImageError::Malformed {
                what,
                reason: format!("{} diff_ids for {} layers", diff_ids.len(), manifest.layers.len()),
            });
        }
        let size =
            manifest.layers.iter().map(|layer| layer.size).fold(manifest.config.size, u64::saturating_add);
        let layers = manifest.layers.into_iter().zip(diff_ids);
        Ok(Image {
            reference,
            digest: descriptor.digest.clone(),
            id: manifest.config.digest,
            config: configuration.config.unwrap_or_default(),
            layers: layers.map(|(layer, diff_id)| Layer { blob: layer.digest, diff_id }).collect(),
            size: size.saturating_add(descriptor.size),
            created: configuration.created,
        })
    }

    /// Writes a file so that readers see the old content or the new one.
    fn replace(&self, path: &Path, content: &[u8]) -> Result<(), ImageError> {
        let temporary = blobs::temporary_name(&self.temporary());
        File::create_new(&temporary)
            .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_data()))
            .and_then(|()| fs::rename(&temporary, path))
            .map_err(|source| ImageError::Io { path: path.to_owned(), source })
    }

    /// Removes what processes that no longer exist left unfinished.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(self.temporary()) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let owner = name.to_str().and_then(|name| name.split('.').next()).unwrap_or_default();
            if Path::new("/proc").join(owner).join("stat").exists() && owner.parse::<u32>().is_ok() {
                continue;
            }
            let path = entry.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            if let Err(error) = removed {
                tracing::debug!(path = %path.display(), %error, "leftover not removed");
            }
        }
    }
}

fn name_of(descriptor: &Descriptor) -> Option<Reference> {
    // Another tool may have written names of its own into our index; those are not ours to list.
    descriptor.annotations.get(REF_NAME).and_then(|name| Reference::parse(name).ok())
}
