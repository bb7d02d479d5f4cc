//! Replacing all files of a volume at once, as the kubelet's `AtomicWriter` does.
//!
//! ```text
//! <volume>/..data -> ..1763757600123456789     replaced by renaming: readers see all old or all new files
//!         /key    -> ..data/key
//!         /..1763757600123456789/key
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;

use super::payload::{File, Files};

/// The link that all files are seen through.
const DATA: &str = "..data";

/// Makes the volume hold exactly these files; nothing is touched when it does already. Whether anything changed.
///
/// # Errors
/// When a file cannot be written, or a path leaves the volume.
pub fn replace(volume: &Path, files: &Files, group: Option<u32>) -> io::Result<bool> {
    fs::create_dir_all(volume)?;
    let before = fs::read_link(volume.join(DATA)).ok();
    if let Some(before) = &before
        && holds(&volume.join(before), files)
    {
        return Ok(false);
    }
    let name = format!("..{}", Timestamp::now().as_nanosecond());
    let fresh = volume.join(&name);
    fs::create_dir(&fresh)?;
    permit(&fresh, 0o755, group)?;
    for (path, file) in files {
        write(&fresh, path, file, group)?;
    }
    let link = volume.join("..data_tmp");
    match fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => symlink(&name, &link)?,
    }
    fs::rename(&link, volume.join(DATA))?;
    show(volume, files)?;
    if let Some(before) = before {
        fs::remove_dir_all(volume.join(before))?;
    }
    Ok(true)
}

/// A path of the API, as one below the volume.
fn below(path: &str) -> io::Result<PathBuf> {
    let path = Path::new(path);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if path.components().all(plain) && path.components().next().is_some() {
        return Ok(path.to_owned());
    }
    Err(io::Error::other(format!("{} leaves the volume", path.display())))
}

fn write(directory: &Path, path: &str, file: &File, group: Option<u32>) -> io::Result<()> {
    let path = directory.join(below(path)?);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&path, &file.content)?;
    // Members of the volume's group may read what its owner may.
    let mode = if group.is_some() { file.mode | 0o440 } else { file.mode };
    permit(&path, mode, group)
}

fn permit(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    if group.is_some() {
        chown(path, None, group)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Whether the directory has exactly these files with this content.
fn holds(directory: &Path, files: &Files) -> bool {
    let same = |(path, file): (&String, &File)| {
        below(path).is_ok_and(|path| fs::read(directory.join(path)).is_ok_and(|found| found == file.content))
    };
    files.iter().all(same) && count(directory).is_ok_and(|count| count == files.len())
}

fn count(directory: &Path) -> io::Result<usize> {
    let mut files = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        files += if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 };
    }
    Ok(files)
}

/// Links for everything that the volume has now, and none for what it had.
fn show(volume: &Path, files: &Files) -> io::Result<()> {
    let first = |path: &String| Path::new(path).iter().next().map(std::ffi::OsStr::to_owned);
    let wanted: BTreeSet<_> = files.keys().filter_map(first).collect();
    for entry in fs::read_dir(volume)? {
        let name = entry?.file_name();
        let ours = name.to_string_lossy().starts_with("..");
        if !ours && !wanted.contains(&name) {
            fs::remove_file(volume.join(name))?;
        }
    }
    for name in wanted {
        match symlink(Path::new(DATA).join(&name), volume.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(pairs: &[(&str, &str)]) -> Files {
        let file = |content: &str| File { content: content.as_bytes().to_vec(), mode: 0o644 };
        pairs.iter().map(|(path, content)| ((*path).to_owned(), file(content))).collect()
    }

    fn seen(volume: &Path) -> Vec<String> {
        let entries = fs::read_dir(volume).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with(".."));
        names.sort();
        names
    }

    #[test]
    fn all_files_change_at_once_and_only_when_they_do() {
        let directory = tempfile::tempdir().unwrap();
        let volume = directory.path();
        assert!(replace(volume, &files(&[("a", "1"), ("d/b", "2")]), None).unwrap());
        assert!(!replace(volume, &files(&[("a", "1"), ("d/b", "2")]), None).unwrap());
        assert_eq!(seen(volume), ["a", "d"]);
        assert_eq!(fs::read_to_string(volume.join("d/b")).unwrap(), "2");
        assert!(replace(volume, &files(&[("a", "3")]), None).unwrap());
        assert_eq!(seen(volume), ["a"]);
        assert_eq!(fs::read_to_string(volume.join("a")).unwrap(), "3");
        assert!(replace(volume, &files(&[]), None).unwrap());
        assert_eq!(seen(volume), [] as [String; 0]);
        let kept = fs::read_dir(volume).unwrap().count();
        assert_eq!(kept, 2, "the link and what it points to");
    }

    #[test]
    fn no_path_leaves_the_volume() {
        let directory = tempfile::tempdir().unwrap();
        for path in ["../x", "/etc/x", "a/../../x", ""] {
            assert!(replace(&directory.path().join("v"), &files(&[(path, "")]), None).is_err(), "{path}");
        }
    }
}
