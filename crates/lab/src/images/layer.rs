//! Unpacking tars from strangers into a directory, never outside of it.
//!
//! Every parent directory is opened by `openat2(RESOLVE_IN_ROOT)`: the kernel itself resolves symbolic links as if
//! the target were `/`, so a link that points out leads back in, as it will in the container. The last part of a
//! name is made relative to that descriptor and never followed. Names with `..` are refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    ops::Bound,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag},
    sys::{
        stat::{self, FchmodatFlags, Mode, SFlag, UtimensatFlags},
        time::TimeSpec,
    },
    unistd::{self, Gid, Uid, UnlinkatFlags},
};
use tar::{Entry, EntryType};

use super::LayerError;

/// What the tar is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LayerOptions {
    /// A layer: owners are set, and `.wh.` files remove what lower layers have.
    ImageLayer,
    /// An archive that holds an image: only files and links matter, and all belong to us.
    Archive,
}

/// The tar inside, whatever it is packed with.
pub(super) fn decompress<'a>(packed: impl Read + 'a) -> Result<Box<dyn Read + 'a>, LayerError> {
    let mut packed = BufReader::with_capacity(64 << 10, packed);
    let start = packed.fill_buf().map_err(|source| LayerError::Unreadable { source })?;
    match start {
        [0x1f, 0x8b, ..] => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(packed))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Err(LayerError::Zstd),
        _ => Ok(Box::new(packed)),
    }
}

/// Unpacks a tar over the directory `target`, which exists and which nobody else uses meanwhile.
pub(super) fn unpack(tar: &mut dyn Read, target: &Path, options: LayerOptions) -> Result<(), LayerError> {
    let unreadable = |source| LayerError::Unreadable { source };
    let root = nix::fcntl::open(target, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|error| LayerError::Create { path: target.display().to_string(), source: error.into() })?;
    let mut tree =
        Tree { root, parent: None, written: BTreeSet::new(), directory_times: BTreeMap::new(), options };
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries().map_err(unreadable)? {
        tree.add(entry.map_err(unreadable)?)?;
    }
    tree.set_directory_times()
}

/// The directory being filled.
struct Tree {
    root: OwnedFd,
    /// The last parent used: entries mostly come directory by directory.
    parent: Option<(PathBuf, OwnedFd)>,
    /// What this tar wrote, which its own whiteouts must leave alone.
    written: BTreeSet<PathBuf>,
    /// Set last, since every file made in a directory changes its time.
    directory_times: BTreeMap<PathBuf, u64>,
    options: LayerOptions,
}

/// Owner, mode and time of an entry.
struct Attributes {
    uid: u32,
    gid: u32,
    mode: Mode,
    mtime: u64,
}

impl Tree {
    fn add<R: Read>(&mut self, mut entry: Entry<'_, R>) -> Result<(), LayerError> {
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            return Ok(());
        }
        let raw = entry.path_bytes().into_owned();
        let shown = String::from_utf8_lossy(&raw).into_owned();
        let path =
            inside(OsStr::from_bytes(&raw)).ok_or_else(|| LayerError::PathEscapes { path: shown.clone() })?;
        let failed = |source: io::Error| LayerError::Create { path: shown.clone(), source };
        let attributes = attributes(&entry).map_err(|source| LayerError::Unreadable { source })?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            return self.set_root(kind, &attributes).map_err(failed);
        };
        let parent_path = path.parent().unwrap_or(Path::new("")).to_owned();
        if self.options == LayerOptions::ImageLayer && name.as_bytes().starts_with(b".wh.") {
            return self.white_out(&parent_path, &name).map_err(failed);
        }
        let link = entry.link_name_bytes().map(|target| target.into_owned());
        self.open_parent(&parent_path).map_err(failed)?;
        match kind {
            EntryType::Directory => self.make_directory(&path, &name, &attributes).map_err(failed)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.make_file(&name, &attributes, &mut entry).map_err(failed)?;
            }
            EntryType::Symlink => {
                let target = link.unwrap_or_default();
                self.make_symlink(&name, OsStr::from_bytes(&target), &attributes).map_err(failed)?;
            }
            EntryType::Link => self.make_hard_link(&name, &shown, &link.unwrap_or_default())?,
            EntryType::Fifo | EntryType::Char | EntryType::Block => {
                let header = entry.header();
                let number =
                    header.device_major().and_then(|major| header.device_minor().map(|minor| (major, minor)));
                let number = number.map_err(|source| LayerError::Unreadable { source })?;
                self.make_node(&name, kind, number, &attributes).map_err(failed)?;
            }
            other => {
                return Err(LayerError::UnknownKind { path: shown, kind: char::from(other.as_byte()) });
            }
        }
        self.written.insert(path);
        Ok(())
    }

    /// Opens a directory by its path inside the tree and makes what is missing of it.
    fn open_parent(&mut self, path: &Path) -> io::Result<()> {
        if self.parent.as_ref().is_some_and(|(open, _)| open == path) {
            return Ok(());
        }
        let directory = match self.open_directory(path) {
            Err(Errno::ENOENT) => self.make_missing(path)?,
            other => other?,
        };
        self.parent = Some((path.to_owned(), directory));
        Ok(())
    }

    fn make_missing(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut so_far = PathBuf::new();
        let mut directory = self.open_directory(Path::new(""))?;
        for part in path.components() {
            so_far.push(part);
            directory = match self.open_directory(&so_far) {
                Err(Errno::ENOENT) => {
                    stat::mkdirat(&directory, Path::new(part.as_os_str()), Mode::from_bits_truncate(0o755))?;
                    self.open_directory(&so_far)?
                }
                other => other?,
            };
        }
        Ok(directory)
    }

    fn open_directory(&self, path: &Path) -> nix::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        loop {
            match nix::fcntl::openat2(&self.root, path, how) {
                // The kernel saw a rename somewhere on the machine and asks to try again (openat2(2)).
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                other => return other,
            }
        }
    }

    /// The parent that `open_parent` opened last.
    fn parent(&self) -> BorrowedFd<'_> {
        self.parent.as_ref().map_or(self.root.as_fd(), |(_, directory)| directory.as_fd())
    }

    /// Removes whatever has this name in the open parent.
    fn clear(&mut self, name: &OsStr) -> io::Result<()> {
        remove(self.parent(), name)
    }

    fn make_directory(&mut self, path: &Path, name: &OsStr, attributes: &Attributes) -> io::Result<()> {
        match stat::mkdirat(self.parent(), name, Mode::S_IRWXU) {
            Err(Errno::EEXIST) => {
                let there = stat::fstatat(self.parent(), name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
                if SFlag::from_bits_truncate(there.st_mode) & SFlag::S_IFMT != SFlag::S_IFDIR {
                    self.clear(name)?;
                    stat::mkdirat(self.parent(), name, Mode::S_IRWXU)?;
                }
            }
            other => other?,
        }
        self.set_owner(name, attributes)?;
        stat::fchmodat(self.parent(), name, attributes.mode, FchmodatFlags::FollowSymlink)?;
        self.directory_times.insert(path.to_owned(), attributes.mtime);
        Ok(())
    }

    fn make_file<R: Read>(
        &mut self,
        name: &OsStr,
        attributes: &Attributes,
        entry: &mut Entry<'_, R>,
    ) -> io::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = match nix::fcntl::openat(self.parent(), name, flags, mode) {
            Err(Errno::EEXIST) => {
                self.clear(name)?;
                nix::fcntl::openat(self.parent(), name, flags, mode)?
            }
            other => other?,
        };
        let mut file = File::from(file);
        io::copy(entry, &mut file)?;
        if self.options == LayerOptions::Archive {
            return Ok(());
        }
        unistd::fchown(&file, Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))?;
        stat::fchmod(&file, attributes.mode)?;
        for (name, value) in extended_attributes(entry)? {
            rustix::fs::fsetxattr(&file, &name, &value, rustix::fs::XattrFlags::empty())?;
        }
        let time = time_spec(attributes.mtime);
        stat::futimens(&file, &time, &time)?;
        Ok(())
    }

    fn make_symlink(&mut self, name: &OsStr, target: &OsStr, attributes: &Attributes) -> io::Result<()> {
        match unistd::symlinkat(target, self.parent(), name) {
            Err(Errno::EEXIST) => {
                self.clear(name)?;
                unistd::symlinkat(target, self.parent(), name)?;
            }
            other => other?,
        }
        self.set_owner(name, attributes)?;
        let time = time_spec(attributes.mtime);
        stat::utimensat(self.parent(), name, &time, &time, UtimensatFlags::NoFollowSymlink)?;
        Ok(())
    }

    fn make_hard_link(&mut self, name: &OsStr, shown: &str, target: &[u8]) -> Result<(), LayerError> {
        let shown_target = String::from_utf8_lossy(target).into_owned();
        let missing = || LayerError::HardLinkTarget { path: shown.to_owned(), target: shown_target.clone() };
        let failed = |source: io::Error| LayerError::Create { path: shown.to_owned(), source };
        let inside = inside(OsStr::from_bytes(target))
            .ok_or_else(|| LayerError::PathEscapes { path: shown_target.clone() })?;
        let target_name = inside.file_name().ok_or_else(missing)?;
        let directory = self
            .open_directory(inside.parent().unwrap_or(Path::new("")))
            .map_err(|error| if error == Errno::ENOENT { missing() } else { failed(error.into()) })?;
        let found =
            stat::fstatat(&directory, target_name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(|_| missing())?;
        match stat::fstatat(self.parent(), name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            // A link to itself: clearing the name first would destroy its target.
            Ok(there) if (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino) => return Ok(()),
            Ok(_) => self.clear(name).map_err(failed)?,
            Err(_) => {}
        }
        unistd::linkat(&directory, target_name, self.parent(), name, AtFlags::empty())
            .map_err(|error| failed(error.into()))
    }

    fn make_node(
        &mut self,
        name: &OsStr,
        kind: EntryType,
        number: (Option<u32>, Option<u32>),
        attributes: &Attributes,
    ) -> io::Result<()> {
        let flag = match kind {
            EntryType::Char => SFlag::S_IFCHR,
            EntryType::Block => SFlag::S_IFBLK,
            _ => SFlag::S_IFIFO,
        };
        let device = stat::makedev(number.0.unwrap_or(0).into(), number.1.unwrap_or(0).into());
        match stat::mknodat(self.parent(), name, flag, attributes.mode, device) {
            Err(Errno::EEXIST) => {
                self.clear(name)?;
                stat::mknodat(self.parent(), name, flag, attributes.mode, device)?;
            }
            other => other?,
        }
        self.set_owner(name, attributes)?;
        stat::fchmodat(self.parent(), name, attributes.mode, FchmodatFlags::FollowSymlink)?;
        Ok(())
    }

    /// An entry for the tree's own directory.
    fn set_root(&mut self, kind: EntryType, attributes: &Attributes) -> io::Result<()> {
        if kind != EntryType::Directory || self.options == LayerOptions::Archive {
            return Ok(());
        }
        let root = format!("/proc/self/fd/{}", self.root.as_raw_fd());
        unistd::chown(
            root.as_str(),
            Some(Uid::from_raw(attributes.uid)),
            Some(Gid::from_raw(attributes.gid)),
        )?;
        stat::fchmodat(AT_FDCWD, root.as_str(), attributes.mode, FchmodatFlags::FollowSymlink)?;
        Ok(())
    }

    /// Removes what lower layers have (OCI image specification, "Whiteouts").
    fn white_out(&mut self, parent: &Path, name: &OsStr) -> io::Result<()> {
        let directory = match self.open_directory(parent) {
            // Nothing there, nothing to hide.
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            other => other?,
        };
        self.parent = None;
        let hidden = &name.as_bytes()[b".wh.".len()..];
        if hidden == b".wh..opq" {
            let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
            for entry in fs::read_dir(path)? {
                let name = entry?.file_name();
                if !self.wrote_below(&parent.join(&name)) {
                    remove(directory.as_fd(), &name)?;
                }
            }
            return Ok(());
        }
        let hidden = OsStr::from_bytes(hidden);
        let is_name = Path::new(hidden).components().eq([Component::Normal(hidden)]);
        if !is_name || self.wrote_below(&parent.join(hidden)) {
            return Ok(());
        }
        remove(directory.as_fd(), hidden)
    }

    /// True when this tar wrote the path or something below it.
    fn wrote_below(&self, path: &Path) -> bool {
        self.written
            .range::<Path, _>((Bound::Included(path), Bound::Unbounded))
            .next()
            .is_some_and(|written| written.starts_with(path))
    }

    fn set_owner(&self, name: &OsStr, attributes: &Attributes) -> io::Result<()> {
        if self.options == LayerOptions::Archive {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
        unistd::fchownat(self.parent(), name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    fn set_directory_times(&self) -> Result<(), LayerError> {
        for (path, mtime) in &self.directory_times {
            // A later entry may have replaced the directory.
            let Ok(directory) = self.open_directory(path) else { continue };
            let time = time_spec(*mtime);
            let through = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
            stat::utimensat(AT_FDCWD, &through, &time, &time, UtimensatFlags::FollowSymlink).map_err(
                |error| LayerError::Create { path: path.display().to_string(), source: error.into() },
            )?;
        }
        Ok(())
    }
}

/// A name of the archive as a path below its root, or nothing when it would leave the root.
fn inside(name: &OsStr) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for component in Path::new(name).components() {
        match component {
            // Absolute names are below the root of the image, as docker reads them.
            Component::RootDir | Component::CurDir => {}
            Component::Normal(part) if !part.as_bytes().contains(&0) => path.push(part),
            Component::Normal(_) | Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

fn attributes<R: Read>(entry: &Entry<'_, R>) -> io::Result<Attributes> {
    let header = entry.header();
    let id = |id: u64| {
        u32::try_from(id).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "owner out of range"))
    };
    Ok(Attributes {
        uid: id(header.uid()?)?,
        gid: id(header.gid()?)?,
        mode: Mode::from_bits_truncate(header.mode()? & 0o7777),
        mtime: header.mtime()?,
    })
}

/// Attributes worth keeping: file capabilities and the user's own. `trusted.overlay.*` from a stranger would
/// redirect overlayfs and is left out with all others.
fn extended_attributes<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let mut found = Vec::new();
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            let Some(name) = extension.key_bytes().strip_prefix(b"SCHILY.xattr.".as_slice()) else {
                continue;
            };
            if name == b"security.capability" || name.starts_with(b"user.") {
                found.push((OsStr::from_bytes(name).to_owned(), extension.value_bytes().to_vec()));
            }
        }
    }
    Ok(found)
}

/// Removes one name, with everything below it, without following links.
fn remove(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match unistd::unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(Errno::EISDIR) => {
            // The standard library walks by descriptors and does not follow links either.
            fs::remove_dir_all(Path::new(&format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name))
        }
        Err(error) => Err(error.into()),
    }
}

fn time_spec(seconds: u64) -> TimeSpec {
    TimeSpec::new(i64::try_from(seconds).unwrap_or(i64::MAX), 0)
}

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;
