//! A node's containers for one test, gone when the test is, however it ends.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use nix::{sys::signal::Signal, unistd::Pid};
use portolan_lab::{
    containers::{ContainerSpec, JoinedNamespaces, Runtime, RuntimeConfig, cgroup::LabCgroup, unmount_below},
    images::{Image, Reference, Store},
};

const LIMIT: Duration = Duration::from_secs(20);

/// The images of `images/build.sh`, built once per run.
pub fn archives() -> &'static Path {
    static BUILT: OnceLock<tempfile::TempDir> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../images/build.sh");
        let status = Command::new(script).arg(directory.path()).status().unwrap();
        assert!(status.success(), "{script} failed");
        directory
    });
    built.path()
}

/// One node.
pub struct Node {
    pub name: String,
    pub directory: PathBuf,
    pub runtime: Runtime,
    pub cgroup: LabCgroup,
    store: Store,
    busybox: Image,
}

impl Node {
    pub fn new(test: &str) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "tests with containers need root");
        let name = format!("ptlt-{}-{test}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        fs::create_dir(&directory).unwrap();
        let store = Store::open(&directory.join("images")).unwrap();
        let busybox = store.import(&archives().join("busybox.tar"), None).unwrap().remove(0);
        assert_eq!(busybox.reference, Reference::parse("busybox").unwrap());
        let cgroup = LabCgroup::new(&name).unwrap();
        let runtime = open(&directory, &store, &cgroup);
        Self { name, directory, runtime, cgroup, store, busybox }
    }

    /// The same containers, seen by somebody who did not make them.
    pub fn reopened(&self) -> Runtime {
        open(&self.directory, &self.store, &self.cgroup)
    }

    /// A container that runs these words in a shell.
    pub fn shell(&self, id: &str, words: &str) -> ContainerSpec {
        let log = self.directory.join("logs").join(format!("{id}.log"));
        let namespaces = JoinedNamespaces::default();
        let mut spec = ContainerSpec::new(id.parse().unwrap(), self.busybox.clone(), namespaces, log);
        spec.command = Some(vec!["sh".into(), "-c".into()]);
        spec.args = Some(vec![words.into()]);
        spec
    }

    /// A container of one of the lab's own images, which may do to the pod's network what it likes.
    pub fn of_image(&self, id: &str, image: &str) -> ContainerSpec {
        let image = self.store.import(&archives().join(format!("{image}.tar")), None).unwrap().remove(0);
        let mut spec = ContainerSpec { image, ..self.shell(id, "") };
        (spec.command, spec.args) = (None, None);
        spec.capabilities.add.insert("NET_ADMIN".into());
        spec
    }

    pub async fn run_to_end(&self, spec: &ContainerSpec) {
        self.runtime.create(spec).await.unwrap();
        self.runtime.start(&spec.id).await.unwrap();
        tokio::time::timeout(LIMIT, self.runtime.wait(&spec.id)).await.unwrap().unwrap();
    }

    /// Stream and text of each line of a container's log, parts put together.
    pub fn log(&self, id: &str) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.directory.join("logs").join(format!("{id}.log"))).unwrap();
        let mut lines = Vec::new();
        let mut parts = BTreeMap::<String, String>::new();
        for line in text.lines() {
            let [time, stream, tag, part] = line.splitn(4, ' ').collect::<Vec<_>>().try_into().unwrap();
            assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
            let so_far = parts.entry(stream.to_owned()).or_default();
            so_far.push_str(part);
            match tag {
                "F" => lines.push((stream.to_owned(), std::mem::take(so_far))),
                "P" => {}
                _ => panic!("{line}"),
            }
        }
        lines
    }

    /// What containers have left behind: files, mounts, control groups.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for name in ["bundles", "runc"] {
            let entries = fs::read_dir(self.directory.join("containers").join(name)).unwrap();
            left.extend(entries.map(|entry| entry.unwrap().path().display().to_string()));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        left.extend(mounts.lines().filter(|line| line.contains(&self.name)).map(str::to_owned));
        let groups = leftover_groups(&self.name).into_iter().map(|path| path.display().to_string());
        left.extend(groups.filter(|path| path.contains("/node1/")));
        left
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let killed = self.cgroup.kill_all(LIMIT).map(drop);
        let unmounted = unmount_below(&self.directory).map(drop);
        let removed = self.cgroup.remove();
        let _ = fs::remove_dir_all(&self.directory);
        if !std::thread::panicking() {
            killed.unwrap();
            unmounted.unwrap();
            removed.unwrap();
        }
    }
}

fn open(directory: &Path, store: &Store, cgroup: &LabCgroup) -> Runtime {
    let directory = directory.join("containers");
    let config =
        RuntimeConfig { directory, images: store.clone(), cgroup: cgroup.clone(), node: "node1".into() };
    Runtime::open(config).unwrap()
}

/// A process with namespaces of its own, as a pod's pause.
pub struct Pause(Child);

impl Pause {
    pub fn new(hostname: &str) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "--ipc", "--uts", "sh", "-c"]);
        command.arg(format!("hostname {hostname} && echo ready && exec sleep 1000"));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        assert_eq!(&ready, b"ready\n");
        Self(child)
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for a condition, and fails when it takes too long.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < LIMIT, "waited in vain until {what}");
        tokio::task::yield_now().await;
    }
}

pub fn parent(pid: u32) -> u32 {
    stat_field(pid, 1)
}

pub fn session(pid: u32) -> u32 {
    stat_field(pid, 3)
}

pub fn kill(pid: u32) {
    nix::sys::signal::kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
}

/// Control groups of any hierarchy with this lab's name in their path.
pub fn leftover_groups(lab: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut to_visit = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = to_visit.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        let below = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        to_visit.extend(below.map(|entry| entry.path()));
        if directory.to_string_lossy().contains(lab) {
            found.push(directory);
        }
    }
    found
}

/// A field after the name in `/proc/<pid>/stat` (proc_pid_stat(5)): 0 state, 1 parent, 2 group, 3 session.
fn stat_field(pid: u32, index: usize) -> u32 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    text.rsplit(')').next().unwrap().split_whitespace().nth(index).unwrap().parse().unwrap()
}
