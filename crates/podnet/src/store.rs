//! Where the addresses are written down.

use std::collections::BTreeSet;
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

/// A file on disk, replaced whole: a new one beside it, `NAME.8` after `NAME.7`, then the old one is removed. Renaming
/// over the old one would take one to two milliseconds, since ext4 then writes to the disk at once (`auto_da_alloc`).
///
/// Nothing is synced: what it tells of, namespaces and links, does not survive a power failure either.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    /// The number of the newest file, once it is known; 0 before there is one.
    newest: Mutex<Option<u64>>,
}

impl FileStore {
    /// A file by its name without the number. It need not be there yet; its directory is made when needed.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), newest: Mutex::new(None) }
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    fn numbered(&self, number: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(number);
        PathBuf::from(name)
    }

    /// The numbers of the files that are there. A crash between making one and removing the other leaves two.
    fn numbers(&self) -> io::Result<BTreeSet<u64>> {
        let entries = match fs::read_dir(self.directory()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            other => other?,
        };
        let mut numbers = BTreeSet::new();
        for entry in entries {
            let name = entry?.file_name();
            let number = self.path.file_name().and_then(|own| {
                name.to_str()?.strip_prefix(own.to_str()?)?.strip_prefix('.')?.parse::<u64>().ok()
            });
            numbers.extend(number);
        }
        Ok(numbers)
    }

    fn read_newest(&self) -> io::Result<Option<String>> {
        match self.numbers()?.last() {
            Some(number) => fs::read_to_string(self.numbered(&number.to_string())).map(Some),
            None => Ok(None),
        }
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let old = match *newest {
            Some(number) => BTreeSet::from([number]),
            None => {
                fs::create_dir_all(self.directory())?;
                self.numbers()?
            }
        };
        let next = old.last().copied().unwrap_or(0) + 1;
        let new = self.numbered("new");
        fs::write(&new, text)?;
        fs::rename(&new, self.numbered(&next.to_string()))?;
        *newest = Some(next);
        for number in old {
            match fs::remove_file(self.numbered(&number.to_string())) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl AddressStore for FileStore {
    fn load(&self) -> Result<Option<String>, PodnetError> {
        self.read_newest().map_err(|source| PodnetError::Store { path: self.path.clone(), source })
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

    fn files(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_saved_is_loaded_and_nothing_else_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/er/addresses.json");
        let store = FileStore::new(&path);
        assert_eq!(store.load().unwrap(), None);
        store.save("one").unwrap();
        store.save("two").unwrap();
        let again = FileStore::new(&path);
        assert_eq!(again.load().unwrap().as_deref(), Some("two"));
        again.save("three").unwrap();
        assert_eq!(again.load().unwrap().as_deref(), Some("three"));
        assert_eq!(files(&directory.path().join("deep/er")), ["addresses.json.3"]);
    }

    #[test]
    fn what_a_crash_leaves_is_understood_and_cleaned_up() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in
            [("a.9", "old"), ("a.10", "newest"), ("a.new", "half"), ("a.x", ""), ("ab.99", "other")]
        {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let store = FileStore::new(directory.path().join("a"));
        assert_eq!(store.load().unwrap().as_deref(), Some("newest"));
        store.save("next").unwrap();
        assert_eq!(files(directory.path()), ["a.11", "a.x", "ab.99"]);
    }

    #[test]
    fn an_error_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let error = FileStore::new(directory.path().join("file/a")).load().unwrap_err();
        assert!(error.to_string().contains("file/a: Not a directory"), "{error}");
    }
}
