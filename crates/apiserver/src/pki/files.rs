//! Certificates and keys on disk.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::{Credentials, PkiError};

pub(super) fn make_directory(path: &Path) -> Result<(), PkiError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| unwritten(path, source))
}

/// The pair of that name; `None` when either file is missing.
pub(super) fn read_pair(directory: &Path, name: &str) -> Result<Option<Credentials>, PkiError> {
    let certificate = read(&directory.join(format!("{name}.crt")))?;
    let key = read(&directory.join(format!("{name}.key")))?;
    Ok(certificate.zip(key).map(|(certificate, key)| Credentials { certificate, key }))
}

/// The key goes first: a certificate without its key is never there, whenever we are stopped.
pub(super) fn write_pair(directory: &Path, name: &str, pair: &Credentials) -> Result<(), PkiError> {
    write_private(&directory.join(format!("{name}.key")), &pair.key)?;
    write_private(&directory.join(format!("{name}.crt")), &pair.certificate)
}

/// Writes a file that only its owner can read, as a whole or not at all.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), PkiError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = Path::new(&temporary);
    let write = || {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(temporary, path)
    };
    write().map_err(|source| unwritten(path, source))
}

pub(super) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::File { path: path.to_owned(), verb: "read", source }),
    }
}

fn unwritten(path: &Path, source: std::io::Error) -> PkiError {
    PkiError::File { path: path.to_owned(), verb: "written", source }
}
