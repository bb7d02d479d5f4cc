use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::Zone;

/// A zone that is answered from while it changes. Each change is seen whole or not at all.
#[derive(Debug)]
pub struct SharedZone(RwLock<Zone>);

impl SharedZone {
    /// Shares a zone.
    pub fn new(zone: Zone) -> Arc<Self> {
        Arc::new(Self(RwLock::new(zone)))
    }

    /// The zone as it is now. Hold it briefly: changes wait.
    pub fn read(&self) -> RwLockReadGuard<'_, Zone> {
        // Changes are made of calls that each leave the zone consistent.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the zone.
    pub fn change(&self, change: impl FnOnce(&mut Zone)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}
