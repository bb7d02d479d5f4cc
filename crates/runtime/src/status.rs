use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How the proxy of a node fares. Written by its loop, read by whoever reports it.
#[derive(Debug, Default)]
pub struct ProxyStatus {
    in_sync: AtomicBool,
    syncs: AtomicU64,
    failures: AtomicU64,
    bad_parts: AtomicU64,
}

impl ProxyStatus {
    /// Whether the kernel has been brought in line once, and the last attempt to succeeded.
    pub fn is_in_sync(&self) -> bool {
        self.in_sync.load(Ordering::Relaxed)
    }

    /// Syncs that succeeded.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Syncs that failed and were tried again.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Parts of objects that made no sense and were skipped, counted at each event.
    pub fn bad_parts(&self) -> u64 {
        self.bad_parts.load(Ordering::Relaxed)
    }

    pub(crate) fn synced(&self) {
        self.in_sync.store(true, Ordering::Relaxed);
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.in_sync.store(false, Ordering::Relaxed);
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn skipped(&self, parts: usize) {
        self.bad_parts.fetch_add(u64::try_from(parts).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
