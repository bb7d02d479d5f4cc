//! Where the addresses are written down.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::PodnetError;

/// Keeps one text. Saving replaces it whole or not at all.
pub trait AddressStore: Send + Sync {
    /// The text saved last; `None` before the first time.
    ///
    /// # Errors
    /// [`PodnetError::Store`].
    fn load(&self) -> Result<Option<String>, PodnetError>;

    /// Replaces the text.
    ///
    /// # Errors
    /// [`PodnetError::Store`]; the old text is still there then.
    fn save(&self, text: &str) -> Result<(), PodnetError>;
}

/// A file, replaced by renaming. It is not synced to the disk: what it tells of, namespaces and links, does not survive
/// a power failure either.
#[derive(Debug, Clone)]
pub struct FileStore {
    path: PathBuf,
}

impl FileStore {
    /// A file, which need not be there yet; its directory is made when needed.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        fs::create_dir_all(self.path.parent().unwrap_or(Path::new(".")))?;
        let new = self.path.with_extension("new");
        fs::write(&new, text)?;
        fs::rename(&new, &self.path)
    }
}

impl AddressStore for FileStore {
    fn load(&self) -> Result<Option<String>, PodnetError> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PodnetError::Store { path: self.path.clone(), source }),
        }
    }

    fn save(&self, text: &str) -> Result<(), PodnetError> {
        self.replace(text).map_err(|source| PodnetError::Store { path: self.path.clone(), source })
    }
}

/// A text in memory, for tests. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    text: Arc<Mutex<Option<String>>>,
}

impl AddressStore for MemoryStore {
    fn load(&self) -> Result<Option<String>, PodnetError> {
        Ok(self.text.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn save(&self, text: &str) -> Result<(), PodnetError> {
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_loaded_and_nothing_else_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/er/addresses.json");
        let store = FileStore::new(&path);
        assert_eq!(store.load().unwrap(), None);
        store.save("one").unwrap();
        store.save("two").unwrap();
        assert_eq!(FileStore::new(&path).load().unwrap().as_deref(), Some("two"));
        let files = fs::read_dir(directory.path().join("deep/er")).unwrap().count();
        assert_eq!(files, 1);
    }

    #[test]
    fn an_error_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let error = FileStore::new(directory.path()).load().unwrap_err();
        assert!(error.to_string().contains(&directory.path().display().to_string()), "{error}");
    }
}
