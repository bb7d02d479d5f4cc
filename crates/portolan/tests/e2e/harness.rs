//! A lab for one test, and the commands people type at it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long anything in a lab may take before a test gives up. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The repository's root.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The state directory of this test process, with the images of `images/build.sh` in its store.
fn state() -> &'static Path {
    static STATE: OnceLock<tempfile::TempDir> = OnceLock::new();
    STATE
        .get_or_init(|| {
            assert!(
                nix::unistd::geteuid().is_root(),
                "these tests make network namespaces: run them as root"
            );
            let state = tempfile::tempdir().unwrap();
            for archive in archives() {
                let archive = archive.to_str().unwrap().to_owned();
                run(portolan_at(state.path()).args(["image", "import", &archive]));
            }
            state
        })
        .path()
}

/// Where `scripts/setup` and `images/build.sh` put what they make.
pub fn cache() -> PathBuf {
    std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache"))
        .join("portolan")
}

fn archives() -> Vec<PathBuf> {
    let directory = cache().join("images");
    let found: Vec<PathBuf> = std::fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "tar"))
        .collect();
    assert!(found.len() >= 3, "no images in {}: `make test` builds them", directory.display());
    found
}

fn portolan_at(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.env("PORTOLAN_STATE_DIR", state);
    command
}

/// `portolan …` in this test process's state directory.
pub fn portolan(arguments: &[&str]) -> Command {
    let mut command = portolan_at(state());
    command.args(arguments);
    command
}

/// Runs a command, asserts that it succeeds, and gives its standard output.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asks again until there is an answer; panics with `what` and the last refusal after [`PATIENCE`].
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(refusal) if Instant::now() > deadline => panic!("{what}: {refusal}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Sets a flag when dropped, so that the threads which wait for it end also when a test fails.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A lab that goes away with the value.
pub struct Lab {
    pub name: String,
    _alone: MutexGuard<'static, ()>,
}

/// Held by whoever has a lab, or needs the machine as much: one at a time is quicker than all at once.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lab {
    /// `portolan lab up` with further arguments.
    pub fn up(arguments: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // First of all, so that nothing is there to be taken down when this fails.
        state();
        let alone = alone();
        let name = format!("t{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let lab = Self { name, _alone: alone };
        run(lab.portolan(&["lab", "up"]).args(arguments));
        lab
    }

    /// `portolan WORDS --name LAB`.
    pub fn portolan(&self, words: &[&str]) -> Command {
        let mut command = portolan(words);
        command.args(["--name", &self.name]);
        command
    }

    /// A program that finds this lab in its environment.
    pub fn with_environment(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("KUBECONFIG", self.directory().join("kubeconfig"))
            .env("PORTOLAN_STATE_DIR", state())
            .env("PORTOLAN", env!("CARGO_BIN_EXE_portolan"))
            .env("LAB", &self.name)
            .env("LAB_DIRECTORY", self.directory());
        command
    }

    /// `kubectl …` against this lab.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.with_environment("kubectl");
        // kubectl remembers what a server offers by its address, and labs of other versions had the same one.
        let cache = self.directory().join("kubectl-cache");
        command.current_dir(project()).env("KUBECACHEDIR", cache).args(arguments);
        command
    }

    /// `kubectl …`, which must succeed.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        run(&mut self.kubectl_command(arguments))
    }

    /// `kubectl apply` of an example.
    pub fn apply_example(&self, file: &str) -> String {
        self.kubectl(&["apply", "-f", &format!("examples/{file}")])
    }

    /// `kubectl apply -f -` of a manifest.
    pub fn apply(&self, manifest: &str) -> Output {
        use std::io::Write;
        let mut child = self
            .kubectl_command(&["apply", "-f", "-"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(manifest.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Waits until a Deployment is wholly available.
    pub fn wait_available(&self, deployment: &str) {
        let timeout = format!("--timeout={}s", PATIENCE.as_secs());
        self.kubectl(&["wait", "--for=condition=Available", &format!("deployment/{deployment}"), &timeout]);
        let ready = format!("--for=jsonpath={{.status.readyReplicas}}={}", self.replicas(deployment));
        self.kubectl(&["wait", &ready, &format!("deployment/{deployment}"), &timeout]);
    }

    fn replicas(&self, deployment: &str) -> String {
        self.kubectl(&["get", "deployment", deployment, "-o", "jsonpath={.spec.replicas}"])
    }

    /// `portolan lab exec PLACE -- COMMAND`.
    pub fn exec(&self, place: &str, command: &[&str]) -> Output {
        self.exec_command(place, command).output().unwrap()
    }

    /// The same, not yet started.
    pub fn exec_command(&self, place: &str, command: &[&str]) -> Command {
        let mut exec = portolan(&["lab", "exec", "--name", &self.name, place, "--"]);
        exec.args(command);
        exec
    }

    /// What a web server answers to somebody at `place`, or why it does not.
    pub fn curl(&self, place: &str, url: &str) -> Result<String, String> {
        let output = self.exec(place, &["curl", "-sS", "--max-time", "2", url]);
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// The pods of a label: name, address, node.
    pub fn pods(&self, selector: &str) -> Vec<Pod> {
        let template =
            "jsonpath={range .items[*]}{.metadata.name} {.status.podIP} {.spec.nodeName}{\"\\n\"}{end}";
        self.kubectl(&["get", "pods", "-l", selector, "-o", template])
            .lines()
            .map(|line| {
                let mut words = line.split(' ').map(str::to_owned);
                let mut word = || words.next().unwrap_or_default();
                Pod { name: word(), address: word(), node: word() }
            })
            .collect()
    }

    /// The process of one part of the lab, by `lab status`.
    pub fn process(&self, part: &str) -> i32 {
        let status = run(self.portolan(&["lab", "status", "-o", "json"]).args([] as [&str; 0]));
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let parts = status["parts"].as_array().unwrap();
        let found =
            parts.iter().find(|p| p["name"] == part).unwrap_or_else(|| panic!("no {part} in {status}"));
        let pid = found["pid"].as_i64().unwrap_or_else(|| panic!("{part} does not run: {status}"));
        i32::try_from(pid).unwrap()
    }

    /// The lab's directory.
    pub fn directory(&self) -> PathBuf {
        state().join("labs").join(&self.name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_logs();
        }
        let output = self.portolan(&["lab", "down"]).output().unwrap();
        if !output.status.success() && !std::thread::panicking() {
            panic!("lab down: {}", text(&output.stderr));
        }
    }
}

impl Lab {
    /// Prints the ends of the lab's logs, for whoever reads the failure.
    fn keep_logs(&self) {
        let logs = ["control-plane", "nodes/node1", "nodes/node2", "nodes/node3"];
        for part in logs {
            let log = std::fs::read_to_string(self.directory().join(part).join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- {part}\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
        }
        for arguments in [&["get", "pods,services,endpoints", "-o", "wide"][..], &["get", "events"]] {
            if let Ok(output) = self.kubectl_command(arguments).output() {
                eprintln!("{}", text(&output.stdout));
            }
        }
    }
}

/// A pod as `kubectl get pods -o wide` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub name: String,
    pub address: String,
    pub node: String,
}
