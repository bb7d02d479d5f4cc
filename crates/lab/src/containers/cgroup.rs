//! One control group per lab, so that all its processes can be found and ended together.
//!
//! ```text
//! <hierarchy>/portolan/<lab>/daemons                    control plane, agents, pause processes, conmons
//! <hierarchy>/portolan/<lab>/containers/<node>/<id>     what runs in containers (runc moves it there)
//! ```
//!
//! Processes sit in leaves only, as cgroup v2 demands once controllers are switched on. The hierarchy is the
//! unified one wherever it is mounted (`/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` on a hybrid system, where runc
//! 1.1 moves containers too), else a v1 controller that follows no limits (`pids`, `freezer`).

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Where control group hierarchies are mounted.
const MOUNTS: &str = "/sys/fs/cgroup";
/// Hierarchies that serve to find processes, best first.
const CANDIDATES: [&str; 4] = ["", "unified", "pids", "freezer"];
/// The common parent of all labs.
const PARENT: &str = "portolan";
/// How long to wait before looking again where the kernel announces nothing.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Why a control group did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No hierarchy is mounted or may be written to.
    #[error("no usable control group hierarchy below {MOUNTS}; mount cgroup2 there and run as root")]
    NoHierarchy,
    /// The lab's name cannot be the name of a control group.
    #[error("invalid lab name {name:?}: use letters, digits, - and _")]
    InvalidName {
        /// The name as given.
        name: String,
    },
    /// A file of the hierarchy could not be used.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was tried, as in "cannot … PATH".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// Some processes did not end in time: they hang in the kernel.
    #[error("processes {pids:?} did not end within {limit:?} of being killed")]
    StillAlive {
        /// The processes.
        pids: BTreeSet<u32>,
        /// The time that they had.
        limit: Duration,
    },
}

/// The control group of one lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabCgroup {
    hierarchy: PathBuf,
    relative: PathBuf,
}

impl LabCgroup {
    /// The control group of the lab of this name; makes it when there is none.
    ///
    /// # Errors
    /// [`CgroupError::NoHierarchy`] without a writable hierarchy, [`CgroupError::InvalidName`].
    pub fn new(lab: &str) -> Result<Self, CgroupError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if lab.is_empty() || lab.len() > 64 || !lab.bytes().all(allowed) {
            return Err(CgroupError::InvalidName { name: lab.to_owned() });
        }
        let relative = Path::new(PARENT).join(lab);
        for name in CANDIDATES {
            let hierarchy = Path::new(MOUNTS).join(name);
            if !hierarchy.join("cgroup.procs").exists() {
                continue;
            }
            if fs::create_dir_all(hierarchy.join(&relative).join("daemons")).is_ok() {
                return Ok(Self { hierarchy, relative });
            }
        }
        Err(CgroupError::NoHierarchy)
    }

    /// Names of the labs that have a control group, running or not.
    pub fn labs() -> BTreeSet<String> {
        let mut labs = BTreeSet::new();
        for name in CANDIDATES {
            let Ok(entries) = fs::read_dir(Path::new(MOUNTS).join(name).join(PARENT)) else { continue };
            let directories =
                entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            labs.extend(directories.filter_map(|entry| entry.file_name().into_string().ok()));
        }
        labs
    }

    /// Directory of the lab's control group.
    pub fn path(&self) -> PathBuf {
        self.hierarchy.join(&self.relative)
    }

    /// The directories whose `cgroup.procs` a daemon of the lab must be written to, before it starts children.
    pub fn daemon_directories(&self) -> Vec<PathBuf> {
        vec![self.path().join("daemons")]
    }

    /// Moves the calling process among the lab's daemons; its later children follow.
    ///
    /// # Errors
    /// [`CgroupError::Io`] when the kernel refuses.
    pub fn join_daemons(&self) -> Result<(), CgroupError> {
        for directory in self.daemon_directories() {
            fs::create_dir_all(&directory).map_err(|source| io_error("make", &directory, source))?;
            let file = directory.join("cgroup.procs");
            fs::write(&file, "0").map_err(|source| io_error("write to", &file, source))?;
        }
        Ok(())
    }

    /// Processes of the lab, in all its control groups. Zombies are not among them.
    ///
    /// # Errors
    /// [`CgroupError::Io`] when a group cannot be read; a group that vanishes meanwhile is no error.
    pub fn pids(&self) -> Result<BTreeSet<u32>, CgroupError> {
        let mut pids = BTreeSet::new();
        for directory in tree(&self.path())? {
            let file = directory.join("cgroup.procs");
            match fs::read_to_string(&file) {
                Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok())),
                Err(error) if is_gone(&error) => {}
                Err(source) => return Err(io_error("read", &file, source)),
            }
        }
        Ok(pids)
    }

    /// Kills every process of the lab but the caller, again and again until none is left, and returns how many
    /// there were at first. Blocks up to `limit`.
    ///
    /// # Errors
    /// [`CgroupError::StillAlive`] when some are left after `limit`.
    pub fn kill_all(&self, limit: Duration) -> Result<usize, CgroupError> {
        let start = Instant::now();
        let ourselves = std::process::id();
        let mut first = None;
        loop {
            let mut pids = self.pids()?;
            let all_but_us = !pids.remove(&ourselves);
            let count = *first.get_or_insert(pids.len());
            if pids.is_empty() {
                return Ok(count);
            }
            if start.elapsed() >= limit {
                return Err(CgroupError::StillAlive { pids, limit });
            }
            // One write ends the whole tree at once, forks under way included (Linux 5.14, v2 only).
            if !(all_but_us && fs::write(self.path().join("cgroup.kill"), "1").is_ok()) {
                for pid in pids {
                    kill_one(pid);
                }
            }
            self.wait_for_change(limit.saturating_sub(start.elapsed()));
        }
    }

    /// Removes the lab's control groups from every hierarchy; without them it is done already.
    ///
    /// # Errors
    /// [`CgroupError::Io`] for the first group that still has processes; the others are removed.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let mut first_error = None;
        for hierarchy in hierarchies() {
            for directory in tree(&hierarchy.join(&self.relative))? {
                if let Err(error) = remove_one(&directory) {
                    first_error.get_or_insert(error);
                }
            }
            // The common parent goes with its last lab.
            let _ = fs::remove_dir(hierarchy.join(PARENT));
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Path of a container's control group as runc takes it: below the root of each hierarchy.
    pub(super) fn container(&self, node: &str, id: &str) -> PathBuf {
        Path::new("/").join(&self.relative).join("containers").join(node).join(id)
    }

    /// Sleeps until the kernel says that the group's population changed, or a little while.
    fn wait_for_change(&self, limit: Duration) {
        if let Ok(events) = fs::File::open(self.path().join("cgroup.events")) {
            let timeout = limit.min(Duration::from_millis(50));
            let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO);
            let _ = poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], timeout);
        } else {
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// Every mounted hierarchy: runc makes a container's group in each v1 controller's.
fn hierarchies() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from(MOUNTS)];
    if let Ok(entries) = fs::read_dir(MOUNTS) {
        found.extend(entries.flatten().map(|entry| entry.path()));
    }
    found.retain(|path| path.join("cgroup.procs").exists());
    found
}

/// A group and all below it, deepest first; empty when there is none.
fn tree(top: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    let mut found = Vec::new();
    let mut to_visit = vec![top.to_owned()];
    while let Some(directory) = to_visit.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) => continue,
            Err(source) => return Err(io_error("read", &directory, source)),
        };
        let below = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        to_visit.extend(below.map(|entry| entry.path()));
        found.push(directory);
    }
    found.reverse();
    Ok(found)
}

/// Removes one group. Right after its last process was killed the kernel still calls it busy for a moment.
fn remove_one(directory: &Path) -> Result<(), CgroupError> {
    let start = Instant::now();
    loop {
        match fs::remove_dir(directory) {
            Err(error)
                if error.raw_os_error() == Some(Errno::EBUSY as i32)
                    && start.elapsed() < Duration::from_secs(2) =>
            {
                std::thread::sleep(LOOK_AGAIN);
            }
            Err(error) if !is_gone(&error) => return Err(io_error("remove", directory, error)),
            Ok(()) | Err(_) => return Ok(()),
        }
    }
}

fn kill_one(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        // It may have ended already; who is left is seen at the next look.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// A group that is removed while it is read answers with "no such device".
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::ENODEV as i32)
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> CgroupError {
    CgroupError::Io { action, path: path.to_owned(), source }
}
