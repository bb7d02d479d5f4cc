//! Audit lines of a lab's API server, as `lab up` is asked for them.

use std::path::PathBuf;

use apiserver::AuditConfig;
use serde::{Deserialize, Serialize};

/// Where they go and how much of them is kept; in the units of kube-apiserver's options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLogSpec {
    /// The file, as an absolute path; `--audit-log-path`.
    pub path: PathBuf,
    /// Megabytes (1,048,576 bytes) after which it is put aside, at least 1; `--audit-log-maxsize`.
    pub max_size: u32,
    /// Files that were put aside and are kept, 0 for all; `--audit-log-maxbackup`.
    pub max_backups: u32,
}

impl AuditLogSpec {
    /// [`AuditLogSpec::max_size`] when nobody says; kube-apiserver's.
    pub const MAX_SIZE: u32 = 100;
    /// [`AuditLogSpec::max_backups`] when nobody says. kube-apiserver keeps all; a lab is left running and forgotten.
    pub const MAX_BACKUPS: u32 = 10;

    /// What the API server is told.
    pub fn config(&self) -> AuditConfig {
        AuditConfig {
            path: self.path.clone(),
            max_size: u64::from(self.max_size) << 20,
            // As large as any number of files: a usize has 32 bits at least.
            max_backups: usize::try_from(self.max_backups).unwrap_or(usize::MAX),
        }
    }
}
