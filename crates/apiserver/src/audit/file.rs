//! A file that only grows, until it is put aside for a new one.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::AuditConfig;

/// How files that were put aside are dated in their names; in this form they sort by age. The form of kube-apiserver.
const DATE: &str = "%Y-%m-%dT%H-%M-%S.%3f";

/// Whole lines, in a file of bounded size and in those that were put aside before it: `audit.log`,
/// `audit-2026-01-02T03-04-05.678.log`.
#[derive(Debug)]
pub(super) struct RotatedFile {
    path: PathBuf,
    max_size: u64,
    max_backups: usize,
    /// `None` after an error: the next write begins with opening.
    file: Option<File>,
    /// When a file was last put aside: no two get the same name.
    rotated: Option<Timestamp>,
}

impl RotatedFile {
    /// Opens the file, or makes it; only its owner may read it.
    ///
    /// # Errors
    /// When that is not possible.
    pub(super) fn open(config: &AuditConfig) -> io::Result<Self> {
        let AuditConfig { path, max_size, max_backups } = config.clone();
        let file = Some(open(&path)?);
        Ok(Self { path, max_size, max_backups, file, rotated: None })
    }

    /// Appends whole lines, all or none. A file that somebody moved away or removed is begun anew.
    ///
    /// # Errors
    /// When they cannot be written; the next call tries from the start.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        // Given back below: after an error the next call opens it again.
        let mut file = match self.file.take() {
            Some(file) if is_at(&file, &self.path) => file,
            _ => open(&self.path)?,
        };
        let length = file.metadata()?.len();
        if length > 0 && length.saturating_add(lines.len() as u64) > self.max_size {
            self.put_aside()?;
            file = open(&self.path)?;
        }
        let length = file.metadata()?.len();
        if let Err(error) = file.write_all(lines) {
            // Not even a half of a line stays. Should this fail too, opening mends what can be mended.
            let _ = file.set_len(length);
            return Err(error);
        }
        self.file = Some(file);
        Ok(())
    }

    fn put_aside(&mut self) -> io::Result<()> {
        let mut now = Timestamp::now();
        if let Some(last) = self.rotated {
            now = now.max(last + SignedDuration::from_millis(1));
        }
        // Another process may have put files aside before this one.
        while self.path.with_file_name(self.name_at(now)).try_exists()? {
            now += SignedDuration::from_millis(1);
        }
        self.rotated = Some(now);
        fs::rename(&self.path, self.path.with_file_name(self.name_at(now)))?;
        if self.max_backups > 0
            && let Err(error) = self.prune()
        {
            // The lines go on; what is too much goes with a later rotation.
            tracing::warn!(path = %self.path.display(), %error, "old audit files cannot be removed");
        }
        Ok(())
    }

    /// Removes the oldest of the files that were put aside, beyond those that are kept.
    fn prune(&self) -> io::Result<()> {
        let folder = folder_of(&self.path);
        let mut aside = Vec::new();
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            if self.is_aside(&name) {
                aside.push(name);
            }
        }
        aside.sort();
        for name in aside.iter().take(aside.len().saturating_sub(self.max_backups)) {
            fs::remove_file(folder.join(name))?;
        }
        Ok(())
    }

    /// `audit-` and `.log` of `audit.log`: what stands before and behind the date.
    fn around_date(&self) -> (OsString, OsString) {
        let mut before = self.path.file_stem().unwrap_or_default().to_owned();
        before.push("-");
        let mut behind = OsString::new();
        if let Some(extension) = self.path.extension() {
            behind.push(".");
            behind.push(extension);
        }
        (before, behind)
    }

    fn name_at(&self, time: Timestamp) -> OsString {
        let (mut name, behind) = self.around_date();
        name.push(time.strftime(DATE).to_string());
        name.push(behind);
        name
    }

    /// Whether a file of that name was put aside by us.
    fn is_aside(&self, name: &OsString) -> bool {
        let (before, behind) = self.around_date();
        let date = name
            .as_encoded_bytes()
            .strip_prefix(before.as_encoded_bytes())
            .and_then(|rest| rest.strip_suffix(behind.as_encoded_bytes()))
            .and_then(|date| str::from_utf8(date).ok());
        date.is_some_and(|date| jiff::civil::DateTime::strptime(DATE, date).is_ok())
    }
}

/// Opens for appending. What an unfinished write left behind becomes a line of its own.
fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    if file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

/// Whether the open file is the one that has the name now.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// The folder of a file; of a bare name, the current one.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
