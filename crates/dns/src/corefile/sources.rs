use std::io;
use std::path::{Path, PathBuf};

/// What a Corefile may refer to.
pub trait Sources {
    /// The text of a file.
    ///
    /// # Errors
    /// When there is none, or it cannot be read as text.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// The files that a pattern names, in order; `*` stands for any part of the last component.
    ///
    /// # Errors
    /// When the directory cannot be read. One that is not there holds no files.
    fn matching(&self, pattern: &Path) -> io::Result<Vec<PathBuf>>;

    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;
}

/// The machine's files and environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileSources;

impl Sources for FileSources {
    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn matching(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let Some(last) = pattern.file_name().and_then(|name| name.to_str()) else {
            return Ok(Vec::new());
        };
        let directory = pattern.parent().filter(|parent| !parent.as_os_str().is_empty());
        let entries = match std::fs::read_dir(directory.unwrap_or(Path::new("."))) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let fits = entry.file_name().to_str().is_some_and(|name| fits(name, last));
            if fits && entry.path().is_file() {
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// Whether a name fits a pattern in which `*` stands for anything.
pub(super) fn fits(name: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
