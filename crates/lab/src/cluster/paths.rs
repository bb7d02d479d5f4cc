//! Where a lab keeps its things on disk.

use std::path::{Path, PathBuf};

use super::spec::LabName;

/// The directory below which everything of portolan lives on this machine.
///
/// `images/` is shared by all labs; `labs/<name>/` belongs to one lab and goes away with it.
#[derive(Clone, Debug)]
pub struct StateRoot(PathBuf);

impl StateRoot {
    /// Used when nobody says otherwise.
    pub const DEFAULT: &'static str = "/var/lib/portolan";

    /// A state root at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The shared image store.
    pub fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    /// The parent of all labs' directories.
    pub fn labs(&self) -> PathBuf {
        self.0.join("labs")
    }

    /// The directory of one lab.
    pub fn lab(&self, name: &LabName) -> LabPaths {
        LabPaths { root: self.labs().join(name.as_str()) }
    }

    /// Held while a command changes a lab. Beside its directory, not in it: `down` removes that.
    pub fn lock(&self, name: &LabName) -> PathBuf {
        self.labs().join(format!(".{name}.lock"))
    }

    /// The root itself.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// The directory of one lab and what lies where in it.
#[derive(Clone, Debug)]
pub struct LabPaths {
    root: PathBuf,
}

impl LabPaths {
    /// The lab's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What the lab was asked to be ([`super::LabSpec`] as JSON).
    pub fn spec(&self) -> PathBuf {
        self.root.join("lab.json")
    }

    /// Certificates and keys.
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// The administrator's kubeconfig, for kubectl on this machine.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// The control plane's directory: its store, log and process file.
    pub fn control_plane(&self) -> ProcessPaths {
        ProcessPaths { root: self.root.join("control-plane") }
    }

    /// The directory of one node's agent.
    pub fn node(&self, node: &str) -> ProcessPaths {
        ProcessPaths { root: self.root.join("nodes").join(node) }
    }
}

/// The directory of one long-running process of a lab.
#[derive(Clone, Debug)]
pub struct ProcessPaths {
    root: PathBuf,
}

impl ProcessPaths {
    /// The process's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Standard output and error.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Which process it is, so that it is found again.
    pub fn process(&self) -> PathBuf {
        self.root.join("process.json")
    }

    /// How it reaches the API server.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// The API server's database (control plane only).
    pub fn store(&self) -> PathBuf {
        self.root.join("store.redb")
    }
}
