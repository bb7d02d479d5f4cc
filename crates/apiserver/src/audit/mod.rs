//! A line for every change that somebody asks for: who, what, when, from where, and what became of it.
//!
//! ```text
//! request ─► Observed (what is learned on the way) ─► AuditLog (bounded queue) ─► its thread ─► RotatedFile
//! ```
//!
//! Lines are events of `audit.k8s.io/v1` at the level `Metadata`: neither bodies nor answers are in them. A request never
//! waits for the file. When the queue is full, or the file cannot be written, lines are lost, counted and complained about
//! in the server's own log; requests go on.
//!
//! Deliberately absent: policies (which requests, at which level), the stage `RequestReceived`, webhooks.

mod event;
mod file;
mod log;
mod observed;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub(crate) use log::AuditLog;
pub(crate) use observed::{Observed, is_change};

/// Where audit lines go, and how much of them is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    /// The file, in a folder that exists; kube-apiserver's `--audit-log-path`.
    pub path: PathBuf,
    /// Bytes after which the file is put aside and a new one begun. A batch of lines, up to about 256 KiB, stays together:
    /// a file is larger only when a single batch is. kube-apiserver's `--audit-log-maxsize` times 1,048,576.
    pub max_size: u64,
    /// How many files that were put aside are kept, 0 for all; kube-apiserver's `--audit-log-maxbackup`.
    pub max_backups: usize,
}

/// Why there can be no audit lines.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be opened for writing.
    #[error("audit lines cannot be written to {}: name a file in a folder that exists and may be written", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The thread that writes cannot be started.
    #[error("the thread that writes audit lines cannot be started")]
    Thread(#[source] std::io::Error),
}
