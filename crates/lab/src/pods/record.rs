//! The agent's memory on disk: one directory per pod, one file in it, replaced whole.
//!
//! ```text
//! <node>/pods/<uid>/pod.json            the Pod and the Facts
//!                  /hosts, resolv.conf  seen inside the containers
//!                  /logs/<container>/<attempt>.log
//!                  /messages/<container>/<attempt>
//!                  /volumes/<name>/
//! ```

use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};

use super::facts::Facts;
use crate::containers::unmount_below;

/// What is kept of one pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The Pod as last seen: it goes on even while the API server is away.
    pub pod: Pod,
    /// What is known of its sandbox and containers.
    pub facts: Facts,
}

/// A pod's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodDirectory {
    path: PathBuf,
}

/// The directories of a node's pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    path: PathBuf,
}

impl Records {
    /// The records of the node whose directory that is.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(node: &Path) -> io::Result<Self> {
        let path = node.join("pods");
        std::fs::create_dir_all(&path)?;
        // The path that /proc shows for files below it.
        Ok(Self { path: path.canonicalize()? })
    }

    /// The readable records of the node whose directory that is; changes nothing, so that others than its agent
    /// may look too.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn read(node: &Path) -> io::Result<Vec<Record>> {
        let entries = match std::fs::read_dir(node.join("pods")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut records = Vec::new();
        for entry in entries {
            records.extend(PodDirectory { path: entry?.path() }.load().ok().flatten());
        }
        Ok(records)
    }

    /// Where the pods' directories are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of the pod of that uid, which need not exist.
    #[must_use]
    pub fn pod(&self, uid: &str) -> PodDirectory {
        // A uid is the API server's, but it becomes a path: nothing else than a plain name may.
        let plain = |character: char| character.is_ascii_alphanumeric() || character == '-';
        PodDirectory { path: self.path.join(uid.replace(|character| !plain(character), "_")) }
    }

    /// Every readable record. Directories without one are what a crash left of a pod that had not begun,
    /// or of one that was being forgotten: they are removed.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn load(&self) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let directory = PodDirectory { path: entry?.path() };
            match directory.load() {
                Ok(Some(record)) => records.push(record),
                Ok(None) => directory.remove()?,
                Err(error) => {
                    // Without it nobody knows what the pod had; its containers are removed as orphans.
                    tracing::warn!(directory = %directory.path.display(), %error, "unreadable pod record");
                    directory.remove()?;
                }
            }
        }
        Ok(records)
    }
}

impl PodDirectory {
    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The pod's record; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn load(&self) -> io::Result<Option<Record>> {
        match std::fs::read(self.path.join("pod.json")) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the record; a reader sees the old or the new one. Not synced: after a crash of the machine
    /// neither processes nor namespaces are there either.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, record: &Record) -> io::Result<()> {
        std::fs::create_dir_all(&self.path)?;
        self.write("pod.json", &serde_json::to_vec(record)?)
    }

    /// Replaces a file of the directory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let fresh = self.path.join(format!(".{name}.new"));
        std::fs::write(&fresh, content)?;
        std::fs::rename(fresh, self.path.join(name))
    }

    /// Removes everything of the pod, the record first.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        // emptyDir volumes in memory are mounts.
        unmount_below(&self.path).map_err(io::Error::other)?;
        match std::fs::remove_file(self.path.join("pod.json"))
            .and_then(|()| std::fs::remove_dir_all(&self.path))
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match std::fs::remove_dir_all(&self.path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                }
            }
            other => other,
        }
    }

    /// A file or directory in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The log of one run of a container.
    #[must_use]
    pub fn log(&self, container: &str, attempt: u32) -> PathBuf {
        self.path.join("logs").join(container).join(format!("{attempt}.log"))
    }

    /// The file for the last words of one run of a container.
    #[must_use]
    pub fn message(&self, container: &str, attempt: u32) -> PathBuf {
        self.path.join("messages").join(container).join(attempt.to_string())
    }

    /// The directory of a volume that the agent makes.
    #[must_use]
    pub fn volume(&self, name: &str) -> PathBuf {
        self.path.join("volumes").join(name)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn records_come_back_and_half_made_ones_go() {
        let node = tempfile::tempdir().unwrap();
        let records = Records::open(node.path()).unwrap();
        let record = Record { pod: Pod::default(), facts: Facts::new(Timestamp::UNIX_EPOCH) };
        records.pod("u1").save(&record).unwrap();
        std::fs::create_dir(node.path().join("pods/u2")).unwrap();
        std::fs::create_dir(node.path().join("pods/u3")).unwrap();
        std::fs::write(node.path().join("pods/u3/pod.json"), "{").unwrap();
        assert_eq!(records.load().unwrap(), [record]);
        assert!(!node.path().join("pods/u2").exists());
        assert!(!node.path().join("pods/u3").exists());
        records.pod("u1").remove().unwrap();
        records.pod("u1").remove().unwrap();
        assert_eq!(records.load().unwrap(), []);
    }

    #[test]
    fn a_uid_never_leaves_the_directory() {
        let node = tempfile::tempdir().unwrap();
        let records = Records::open(node.path()).unwrap();
        assert_eq!(records.pod("../../etc").file("x"), records.path().join("______etc/x"));
    }
}
