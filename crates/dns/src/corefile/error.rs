use std::path::{Path, PathBuf};

/// Why a Corefile was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {reason}", file.display())]
pub struct CorefileError {
    /// The file, the Corefile itself or one that it imports.
    pub file: PathBuf,
    /// The line, from 1 on.
    pub line: usize,
    /// What is wrong there, and what would be right.
    pub reason: String,
}

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: std::sync::Arc<Path>,
    pub(super) line: usize,
}

impl Place {
    pub(super) fn error(&self, reason: impl Into<String>) -> CorefileError {
        CorefileError { file: self.file.to_path_buf(), line: self.line, reason: reason.into() }
    }
}
