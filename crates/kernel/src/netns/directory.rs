//! The directory of named namespaces: a file per namespace, kept by a bind mount.
//!
//! The steps are those of iproute2's `ipnetns.c`, so that `ip netns` and we can be used on the same namespaces.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{DIRECTORY, Netns, NetnsError, run_in_new};

const NO_SOURCE: Option<&str> = None;

/// The file of a named namespace, whether it exists or not.
///
/// # Errors
/// [`NetnsError::InvalidName`] when it cannot be a file name.
pub fn path_of(name: &str) -> Result<PathBuf, NetnsError> {
    let refused = |c: char| c == '/' || c.is_control() || c.is_whitespace();
    if name.is_empty() || name.len() > 255 || name == "." || name == ".." || name.contains(refused) {
        return Err(NetnsError::InvalidName { name: name.to_owned() });
    }
    Ok(Path::new(DIRECTORY).join(name))
}

/// Makes a named namespace that stays until [`delete`].
///
/// # Errors
/// `is_exists` when there is one with that name; otherwise the step that failed, and nothing is left behind.
pub fn create(name: &str) -> Result<Netns, NetnsError> {
    let path = path_of(name)?;
    share_directory()?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(|source| NetnsError::step(&path, "create", source))?;
    keep_new(&path).and_then(|()| Netns::open_path(&path)).inspect_err(|_| {
        let _ = umount2(&path, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(&path);
    })
}

/// Opens a named namespace and makes it when there is none. A file that a crash left without a namespace behind it is
/// replaced.
///
/// # Errors
/// The step that failed.
pub fn ensure(name: &str) -> Result<Netns, NetnsError> {
    match create(name) {
        Err(error) if error.is_exists() => {}
        other => return other,
    }
    let path = path_of(name)?;
    if is_namespace(&path) {
        return Netns::open_path(&path);
    }
    fs::remove_file(&path).map_err(|source| NetnsError::step(&path, "remove a stale file", source))?;
    create(name)
}

/// Opens a named namespace.
///
/// # Errors
/// `is_not_found` when there is none.
pub fn open(name: &str) -> Result<Netns, NetnsError> {
    Netns::open_path(&path_of(name)?)
}

/// The names of all namespaces that start with a prefix, in order.
///
/// # Errors
/// When the directory cannot be read; that it is not there is no error.
pub fn list(prefix: &str) -> Result<Vec<String>, NetnsError> {
    let directory = Path::new(DIRECTORY);
    let failed = |source| NetnsError::step(directory, "list", source);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string()
            && name.starts_with(prefix)
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Removes a named namespace. The kernel removes its links once the last process in it has ended.
///
/// # Errors
/// `is_not_found` when there is none; otherwise the step that failed.
pub fn delete(name: &str) -> Result<(), NetnsError> {
    let path = path_of(name)?;
    // EINVAL: a crash left the file without a mount; ENOENT is told by the removal.
    match umount2(&path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(errno) => return Err(NetnsError::step(&path, "unmount", errno)),
    }
    fs::remove_file(&path).map_err(|source| NetnsError::step(&path, "remove", source))
}

fn keep_new(path: &Path) -> Result<(), NetnsError> {
    run_in_new(path, || {
        mount(Some("/proc/thread-self/ns/net"), path, NO_SOURCE, MsFlags::MS_BIND, NO_SOURCE)
    })?
    .map_err(|errno| NetnsError::step(path, "mount", errno))
}

/// Whether a namespace is mounted there: only those files are on `nsfs`.
fn is_namespace(path: &Path) -> bool {
    nix::sys::statfs::statfs(path).is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::NSFS_MAGIC)
}

/// Makes the directory a shared mount point, so that namespaces unmounted here are unmounted in other mount
/// namespaces too and do not live on there unseen.
fn share_directory() -> Result<(), NetnsError> {
    let directory = Path::new(DIRECTORY);
    let failed = |step, source: io::Error| NetnsError::step(directory, step, source);
    fs::create_dir_all(directory).map_err(|source| failed("create", source))?;
    let handle = File::open(directory).map_err(|source| failed("open", source))?;
    // Two at once would each bind the directory over the other's, hiding the names made in between.
    let _lock =
        Flock::lock(handle, FlockArg::LockExclusive).map_err(|(_, errno)| failed("lock", errno.into()))?;
    let share = || mount(Some(""), directory, Some("none"), MsFlags::MS_SHARED | MsFlags::MS_REC, NO_SOURCE);
    match share() {
        // EINVAL: not a mount point yet.
        Err(Errno::EINVAL) => {
            mount(Some(directory), directory, Some("none"), MsFlags::MS_BIND | MsFlags::MS_REC, NO_SOURCE)
                .map_err(|errno| failed("bind", errno.into()))?;
            share().map_err(|errno| failed("share", errno.into()))
        }
        other => other.map_err(|errno| failed("share", errno.into())),
    }
}
