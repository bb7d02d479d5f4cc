//! The volumes of a pod: made before its containers, kept up to date while they run, unmounted after them.

mod payload;
mod write;

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::objects::Objects;
use super::quantity::Amounts;
use super::record::PodDirectory;
use super::spec::{HostPathKind, PodSpec, VolumeSource, VolumeSpec};

/// Makes or updates all volumes of the pod. Blocks.
///
/// # Errors
/// For the first that cannot be had, in the kubelet's words.
pub fn set_up(
    pod: &PodSpec,
    directory: &PodDirectory,
    objects: &Objects,
    capacity: Amounts,
) -> Result<(), String> {
    for volume in &pod.volumes {
        set_up_one(volume, pod, directory, objects, capacity).map_err(|problem| {
            format!("MountVolume.SetUp failed for volume {:?} : {problem}", volume.name)
        })?;
    }
    Ok(())
}

fn set_up_one(
    volume: &VolumeSpec,
    pod: &PodSpec,
    directory: &PodDirectory,
    objects: &Objects,
    capacity: Amounts,
) -> Result<(), String> {
    let path = directory.volume(&volume.name);
    match &volume.source {
        VolumeSource::EmptyDir { memory, limit } => {
            empty_dir(&path, *memory, *limit, pod.volume_group).map_err(|error| error.to_string())
        }
        VolumeSource::HostPath { path, kind } => host_path(Path::new(path), *kind),
        VolumeSource::Files { parts, mode } => {
            let files = payload::files(parts, *mode, pod, objects, capacity)?;
            write::replace(&path, &files, pod.volume_group).map(drop).map_err(|error| error.to_string())
        }
    }
}

/// Where the volume is on the node.
#[must_use]
pub fn path(volume: &VolumeSpec, directory: &PodDirectory) -> PathBuf {
    match &volume.source {
        VolumeSource::HostPath { path, .. } => PathBuf::from(path),
        VolumeSource::EmptyDir { .. } | VolumeSource::Files { .. } => directory.volume(&volume.name),
    }
}

/// A place inside a volume, made as a directory when there is nothing; symbolic links may not lead out of it.
///
/// # Errors
/// When it leaves the volume or cannot be made.
pub fn sub_path(volume: &Path, relative: &str) -> Result<PathBuf, String> {
    let refused = || format!("subPath {relative:?} leaves the volume");
    let wanted = Path::new(relative);
    let plain = |part| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir);
    if !wanted.components().all(plain) {
        return Err(refused());
    }
    let failed = |error: io::Error| format!("cannot prepare subPath {relative:?}: {error}");
    let base = volume.canonicalize().map_err(failed)?;
    let mut found = base.clone();
    for part in wanted.components().filter(|part| matches!(part, std::path::Component::Normal(_))) {
        let next = found.join(part);
        if !next.exists() {
            fs::create_dir(&next).map_err(failed)?;
            // Whoever may write to the volume may write to what was made in it.
            let mode = fs::metadata(&found).map_err(failed)?.permissions();
            fs::set_permissions(&next, mode).map_err(failed)?;
        }
        found = next.canonicalize().map_err(failed)?;
        if !found.starts_with(&base) {
            return Err(refused());
        }
    }
    Ok(found)
}

fn empty_dir(path: &Path, memory: bool, limit: Option<u64>, group: Option<u32>) -> io::Result<()> {
    fs::create_dir_all(path)?;
    if memory && !is_mount_point(path)? {
        let size = limit.map(|limit| format!("size={limit}"));
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), path, Some("tmpfs"), flags, size.as_deref())?;
    }
    // The group's members may write, and what they make belongs to the group too.
    let mode = match group {
        Some(_) => 0o2777,
        None => 0o777,
    };
    if group.is_some() {
        chown(path, None, group)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn is_mount_point(path: &Path) -> io::Result<bool> {
    let parent = path.parent().unwrap_or(path);
    Ok(fs::metadata(path)?.dev() != fs::metadata(parent)?.dev())
}

/// The checks of the kubelet's hostPath plugin.
fn host_path(path: &Path, kind: HostPathKind) -> Result<(), String> {
    let made = |result: io::Result<()>| result.map_err(|error| format!("{}: {error}", path.display()));
    let found = fs::metadata(path).ok();
    match (kind, &found) {
        (HostPathKind::Any | HostPathKind::DirectoryOrCreate, None) => {
            return made(fs::create_dir_all(path));
        }
        (HostPathKind::FileOrCreate, None) => return made(fs::write(path, "")),
        _ => {}
    }
    let is = |right: fn(&fs::FileType) -> bool| found.as_ref().is_some_and(|found| right(&found.file_type()));
    let (fits, what) = match kind {
        HostPathKind::Any => (true, ""),
        HostPathKind::DirectoryOrCreate | HostPathKind::Directory => (is(fs::FileType::is_dir), "directory"),
        HostPathKind::FileOrCreate | HostPathKind::File => (is(fs::FileType::is_file), "file"),
        HostPathKind::Socket => (is(fs::FileType::is_socket), "socket file"),
        HostPathKind::CharDevice => (is(fs::FileType::is_char_device), "character device"),
        HostPathKind::BlockDevice => (is(fs::FileType::is_block_device), "block device"),
    };
    if fits {
        return Ok(());
    }
    Err(format!("hostPath type check failed: {} is not a {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_path_stays_in_its_volume() {
        let directory = tempfile::tempdir().unwrap();
        let volume = directory.path();
        assert!(sub_path(volume, "a/b").unwrap().is_dir());
        assert!(sub_path(volume, "../x").is_err());
        std::os::unix::fs::symlink("/etc", volume.join("out")).unwrap();
        assert!(sub_path(volume, "out/passwd").is_err());
        std::os::unix::fs::symlink("a/b", volume.join("in")).unwrap();
        assert_eq!(sub_path(volume, "in").unwrap(), volume.canonicalize().unwrap().join("a/b"));
    }

    #[test]
    fn host_paths_are_what_the_manifest_says() {
        let directory = tempfile::tempdir().unwrap();
        let (file, made) = (directory.path().join("file"), directory.path().join("made/deep"));
        host_path(&file, HostPathKind::FileOrCreate).unwrap();
        host_path(&file, HostPathKind::File).unwrap();
        host_path(&made, HostPathKind::DirectoryOrCreate).unwrap();
        let refused = host_path(&file, HostPathKind::Directory).unwrap_err();
        assert_eq!(refused, format!("hostPath type check failed: {} is not a directory", file.display()));
    }
}
