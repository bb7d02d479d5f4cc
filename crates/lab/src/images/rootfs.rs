//! Image trees unpacked for use as the lower, read-only half of a container's root.

use std::{fs, path::PathBuf};

use super::{
    Digest, Image, ImageError, Store,
    blobs::{self, HashingReader},
    layer::{self, LayerOptions},
    store::Layer,
};

impl Store {
    /// Directory that holds the image's files with all its layers applied; unpacked at the first call, shared by
    /// all containers of all images with the same layers. Nobody may write into it.
    ///
    /// A tree is kept per stack of layers, not per layer: one lower directory keeps mount options short whatever
    /// the number of layers, at the price of storing a base again for each image built on it.
    ///
    /// # Errors
    /// [`ImageError::Layer`] when a layer is refused, [`ImageError::WrongDigest`] when it is damaged.
    pub fn root_filesystem(&self, image: &Image) -> Result<PathBuf, ImageError> {
        let place = self.directory().join("rootfs").join(chain_id(&image.layers).hex());
        if place.is_dir() {
            return Ok(place);
        }
        let _lock = self.lock()?;
        if place.is_dir() {
            return Ok(place);
        }
        let temporary = blobs::temporary_name(&self.temporary());
        let unpacked = self.unpack_all(image, &temporary).and_then(|()| {
            fs::rename(&temporary, &place).map_err(|source| ImageError::Io { path: place.clone(), source })
        });
        if let Err(error) = unpacked {
            if let Err(error) = fs::remove_dir_all(&temporary) {
                tracing::debug!(path = %temporary.display(), %error, "leftover not removed");
            }
            return Err(error);
        }
        Ok(place)
    }

    fn unpack_all(&self, image: &Image, target: &std::path::Path) -> Result<(), ImageError> {
        fs::create_dir(target).map_err(|source| ImageError::Io { path: target.to_owned(), source })?;
        for Layer { blob, diff_id } in &image.layers {
            let failed = |source| ImageError::Layer { layer: blob.clone(), source };
            let tar = layer::decompress(self.blobs.open(blob)?).map_err(failed)?;
            let mut tar = HashingReader::new(tar);
            layer::unpack(&mut tar, target, LayerOptions::ImageLayer).map_err(failed)?;
            let actual =
                tar.finish().map_err(|source| ImageError::Io { path: self.blobs.path(blob), source })?;
            if actual != *diff_id {
                return Err(ImageError::WrongDigest {
                    what: format!("layer {blob}"),
                    expected: diff_id.clone(),
                    actual,
                });
            }
        }
        Ok(())
    }
}

/// Name of a stack of layers: the chain ID of the OCI image specification.
fn chain_id(layers: &[Layer]) -> Digest {
    let mut layers = layers.iter();
    let lowest = layers.next().map_or_else(|| Digest::of(b""), |layer| layer.diff_id.clone());
    layers.fold(lowest, |below, layer| Digest::of(format!("{below} {}", layer.diff_id).as_bytes()))
}
