//! Files of an image given by a user: a directory as it is, or a tar unpacked into the store's temporary room.

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag},
    sys::stat::Mode,
};

use super::{
    ImageError, LayerError, blobs,
    layer::{self, LayerOptions},
};

/// A directory of image files. Nothing outside of it is ever read through it.
pub(super) struct Archive {
    /// What the user named, for messages.
    pub given: PathBuf,
    root: OwnedFd,
    unpacked: Option<PathBuf>,
}

impl Archive {
    /// Opens an OCI layout or docker archive, be it a directory or a tar (gzip or plain).
    pub(super) fn open(given: &Path, temporary: &Path) -> Result<Self, ImageError> {
        let failed = |source| ImageError::Io { path: given.to_owned(), source };
        if fs::metadata(given).map_err(failed)?.is_dir() {
            let root = open_root(given).map_err(failed)?;
            return Ok(Self { given: given.to_owned(), root, unpacked: None });
        }
        let file = File::open(given).map_err(failed)?;
        let target = blobs::temporary_name(temporary);
        fs::create_dir(&target).map_err(|source| ImageError::Io { path: target.clone(), source })?;
        // From here on the directory goes when the archive is dropped, whatever happens.
        let root = open_root(&target).map_err(failed)?;
        let archive = Self { given: given.to_owned(), root, unpacked: Some(target.clone()) };
        let unpacked = layer::decompress(file)
            .and_then(|mut tar| layer::unpack(&mut tar, &target, LayerOptions::Archive));
        match unpacked {
            Ok(()) => Ok(archive),
            Err(LayerError::Unreadable { .. }) => Err(ImageError::NotAnImage { path: given.to_owned() }),
            Err(source) => Err(ImageError::Archive { path: given.to_owned(), source }),
        }
    }

    /// Opens a regular file of it; links are followed within the directory.
    pub(super) fn file(&self, name: &str) -> Result<File, ImageError> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let failed = |source| ImageError::Io { path: self.given.join(name), source };
        let file = loop {
            match nix::fcntl::openat2(&self.root, name, how) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                other => break File::from(other.map_err(|error| failed(error.into()))?),
            }
        };
        if file.metadata().map_err(failed)?.is_file() {
            Ok(file)
        } else {
            Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")))
        }
    }

    /// Reads a small file; `None` when there is none of this name.
    pub(super) fn document(&self, name: &str) -> Result<Option<Vec<u8>>, ImageError> {
        let file = match self.file(name) {
            Ok(file) => file,
            Err(ImageError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut content = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, blobs::DOCUMENT_LIMIT), &mut content)
            .map_err(|source| ImageError::Io { path: self.given.join(name), source })?;
        Ok(Some(content))
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        if let Some(directory) = &self.unpacked
            && let Err(error) = fs::remove_dir_all(directory)
        {
            tracing::debug!(path = %directory.display(), %error, "leftover not removed");
        }
    }
}

fn open_root(path: &Path) -> io::Result<OwnedFd> {
    Ok(nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
}
