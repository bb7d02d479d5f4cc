//! Servers that lead back to us: a question that nobody else would ask is sent, and whoever it comes back from is
//! left alone. Without that, each such question would run in a circle until its time is over.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::sleep;

use super::resolver::Resolver;
use super::upstream::Upstream;
use crate::{Name, RecordType};

/// Time between two looks. A loop may be somebody else's mistake, made and mended while we run.
const EVERY: Duration = Duration::from_secs(30);

/// The questions on their way.
#[derive(Debug, Default)]
pub(super) struct Probes(Mutex<BTreeMap<Name, Weak<Upstream>>>);

impl Probes {
    fn names(&self) -> std::sync::MutexGuard<'_, BTreeMap<Name, Weak<Upstream>>> {
        // No operation leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolver {
    /// Looks for loops for as long as the resolver is used. Must be called on a runtime.
    pub fn watch_loops(self: &Arc<Self>) {
        for server in &self.upstreams {
            let (this, server) = (Arc::downgrade(self), server.clone());
            tokio::spawn(async move {
                while let Some(this) = this.upgrade() {
                    this.look_for_loop(&server).await;
                    drop(this);
                    sleep(EVERY).await;
                }
            });
        }
    }

    async fn look_for_loop(&self, server: &Arc<Upstream>) {
        let (one, other): (u64, u64) = rand::random();
        let Ok(name) = Name::parse(&format!("{one}.{other}")) else { return };
        self.probes.names().insert(name.clone(), Arc::downgrade(server));
        // Whether and what it answers is not the matter: whether we are asked is.
        let _ = server.send_probe(&name).await;
        let came_back = self.probes.names().remove(&name).is_none();
        if came_back != server.looping.swap(came_back, Ordering::Relaxed) {
            if came_back {
                tracing::error!(server = %server.address, "what is asked of this server comes back to us: it is no longer asked");
            } else {
                tracing::info!(server = %server.address, "what is asked of this server no longer comes back to us");
            }
        }
    }

    /// Whether every server leads back here.
    #[cfg(test)]
    pub(crate) fn leads_nowhere(&self) -> bool {
        self.upstreams.iter().all(|server| server.is_looping())
    }

    /// Whether a query is one of ours come back.
    pub(crate) fn is_own_probe(&self, name: &Name, kind: RecordType) -> bool {
        kind == RecordType::HINFO && self.probes.names().remove(name).is_some()
    }
}
