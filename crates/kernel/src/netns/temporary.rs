//! A namespace that goes when its owner does, for tests and trials.

use std::ops::Deref;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Netns, NetnsError, create, delete};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A named namespace that is removed when this is dropped. Its name holds the process's number and a counter, so two
/// runs side by side never meet: `ptlt-PID-COUNT-TAG`.
#[derive(Debug)]
pub struct TemporaryNamespace {
    name: String,
    netns: Netns,
}

impl TemporaryNamespace {
    /// Makes one. The tag is for people who look at `ip netns`.
    ///
    /// # Errors
    /// As [`create`].
    pub fn new(tag: &str) -> Result<Self, NetnsError> {
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ptlt-{}-{count}-{tag}", process::id());
        let netns = create(&name)?;
        Ok(Self { name, netns })
    }

    /// Its name, for `ip netns exec` and [`super::open`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Deref for TemporaryNamespace {
    type Target = Netns;

    fn deref(&self) -> &Netns {
        &self.netns
    }
}

impl Drop for TemporaryNamespace {
    fn drop(&mut self) {
        if let Err(error) = delete(&self.name) {
            tracing::warn!(namespace = self.name, %error, "temporary namespace not removed");
        }
    }
}
