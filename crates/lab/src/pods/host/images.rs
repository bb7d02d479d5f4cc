//! Images from the store that all labs share.

use crate::images::{Image, Reference, Store};
use crate::pods::ports::{Failure, ImageFailure, ImageFailureKind, Images, Job, ResolvedImage};

/// The store's images.
#[derive(Clone)]
pub struct StoreImages {
    store: Store,
}

impl StoreImages {
    /// Images of that store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

impl Images for StoreImages {
    fn find(&self, name: &str) -> Result<Option<ResolvedImage>, ImageFailure> {
        let found = self.store.resolve(&parse(name)?);
        found.map(|image| image.map(resolved)).map_err(|error| pull_failure(&error))
    }

    fn pull(&self, name: String) -> Job<Result<ResolvedImage, ImageFailure>> {
        let store = self.store.clone();
        Box::pin(async move {
            let reference = parse(&name)?;
            store.pull(&reference).await.map(resolved).map_err(|error| pull_failure(&error))
        })
    }
}

fn parse(name: &str) -> Result<Reference, ImageFailure> {
    name.parse().map_err(|error| ImageFailure {
        kind: ImageFailureKind::InvalidName,
        message: format!("Failed to apply default image tag \"{name}\": {error}"),
    })
}

fn pull_failure(error: &(dyn std::error::Error + 'static)) -> ImageFailure {
    ImageFailure { kind: ImageFailureKind::Pull, message: Failure::of(error).message }
}

fn resolved(image: Image) -> ResolvedImage {
    ResolvedImage {
        reference: image.reference.to_string(),
        digest: image.digest.to_string(),
        stop_signal: image.config.stop_signal().0 as i32,
        size: image.size,
    }
}
