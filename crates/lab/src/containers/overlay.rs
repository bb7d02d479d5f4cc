//! The root file system of a container: the image below, a writable layer of its own above.

use std::{
    fs, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};

use super::ContainerError;

/// Mounts `lower` with the writable layer below `directory` at `directory/rootfs`.
pub(super) fn mount_root(lower: &Path, directory: &Path) -> Result<(), ContainerError> {
    for name in ["upper", "work", "rootfs"] {
        let path = directory.join(name);
        fs::create_dir(&path).map_err(|source| ContainerError::io("make", &path, source))?;
    }
    // volatile: a container's files need not survive a crash of the machine, and without it each unmount would
    // write out the whole disk's backlog.
    let mut options = b"lowerdir=".to_vec();
    options.extend(lower.as_os_str().as_bytes());
    for (option, name) in [(",upperdir=", "upper"), (",workdir=", "work")] {
        options.extend(option.as_bytes());
        options.extend(directory.join(name).as_os_str().as_bytes());
    }
    options.extend(b",volatile");
    let root = directory.join("rootfs");
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_slice()))
        .map_err(|error| ContainerError::io("mount overlayfs at", root, error))
}

/// Reason why overlayfs cannot work on this path, if there is one: its mount options have no way to write `,` and `:`.
pub(super) fn unusable(path: &Path) -> Option<&'static str> {
    let special = path.as_os_str().as_bytes().iter().any(|byte| matches!(byte, b',' | b':' | b'\\'));
    special.then_some("the path holds a comma, a colon or a backslash, which overlayfs cannot take")
}

/// Unmounts one mount point; nothing mounted there is no error.
pub(super) fn unmount(path: &Path) -> Result<(), ContainerError> {
    match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(error) => Err(ContainerError::io("unmount", path, error)),
    }
}

/// Unmounts everything that is mounted at or below a directory, newest first.
///
/// For the end of a lab whose processes are dead: afterwards the directory can be removed.
///
/// # Errors
/// All that could not be unmounted, after trying each; [`ContainerError::Io`] when the mounts cannot be listed.
pub fn unmount_below(directory: &Path) -> Result<(), ContainerError> {
    let directory = match fs::canonicalize(directory) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ContainerError::io("find", directory, source)),
    };
    let list = Path::new("/proc/self/mountinfo");
    let text = fs::read(list).map_err(|source| ContainerError::io("read", list, source))?;
    let mut errors = Vec::new();
    for line in text.split(|byte| *byte == b'\n').rev() {
        // Field 5 is the mount point (proc_pid_mountinfo(5)).
        let Some(point) = line.split(|byte| *byte == b' ').nth(4).map(unescape) else { continue };
        if !point.starts_with(&directory) {
            continue;
        }
        errors.extend(unmount(&point).err());
    }
    ContainerError::collect(errors)
}

/// Undoes the kernel's `\040` spelling of blanks and the like.
fn unescape(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                path.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            _ => path.push(*first),
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_spelling_of_paths_is_undone() {
        assert_eq!(unescape(br"/a\040b\134c/d"), Path::new(r"/a b\c/d"));
        assert_eq!(unescape(br"/a\9\04"), Path::new(r"/a\9\04"));
    }

    #[test]
    fn paths_that_overlayfs_cannot_take_are_told() {
        assert!(unusable(Path::new("/var/lib/portolan")).is_none());
        assert!(unusable(Path::new("/srv/a,b")).is_some());
        assert!(unusable(Path::new("/srv/a:b")).is_some());
    }
}
