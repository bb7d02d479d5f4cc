//! Runs the cases at one lab.

use std::fmt::Write as _;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::cases::{Group, Kind, Step};
use super::pattern::{Bindings, agreeing, matches};
use crate::harness::{Lab, PATIENCE, text};

/// How many groups run side by side: kubectl is busy computing half of its time.
const SIDE_BY_SIDE: usize = 4;

/// Runs every group, those that want to be alone after all others, and gives what was not as expected.
pub fn run(lab: &Lab, groups: &[Group]) -> Vec<String> {
    let (alone, together): (Vec<&Group>, Vec<&Group>) = groups.iter().partition(|group| group.alone);
    let next = AtomicUsize::new(0);
    let mut failures = std::thread::scope(|scope| {
        let worker = || {
            let mut failures = Vec::new();
            while let Some(group) = together.get(next.fetch_add(1, Ordering::Relaxed)) {
                failures.extend(Terminal::new(lab, group).run(group));
            }
            failures
        };
        let workers: Vec<_> = (0..SIDE_BY_SIDE).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect::<Vec<String>>()
    });
    for group in alone {
        failures.extend(Terminal::new(lab, group).run(group));
    }
    failures
}

/// What one group types at: a directory, a kubeconfig with its namespace, and the names bound so far.
struct Terminal<'a> {
    lab: &'a Lab,
    directory: PathBuf,
    kubeconfig: PathBuf,
    path: String,
    bindings: Bindings,
    lasting: Option<Running>,
}

impl<'a> Terminal<'a> {
    fn new(lab: &'a Lab, group: &Group) -> Self {
        let directory = lab.directory().join("terminals").join(&group.name);
        std::fs::create_dir_all(&directory).unwrap();
        for (name, content) in &group.files {
            let path = directory.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let programs = lab.directory().join("terminals/bin");
        programs_at(&programs);
        let kubeconfig = lab.directory().join("terminals").join(format!("{}.kubeconfig", group.name));
        std::fs::copy(lab.directory().join("kubeconfig"), &kubeconfig).unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let terminal = Self { lab, directory, kubeconfig, path, bindings: Bindings::new(), lasting: None };
        let namespace = format!(
            "kubectl config set-context --current --namespace={0} && kubectl create namespace {0}",
            group.name
        );
        let answer = terminal.shell(&namespace).output().unwrap();
        assert!(answer.status.success(), "{}", text(&answer.stderr));
        terminal
    }

    /// Runs the steps and gives what was not as expected.
    fn run(mut self, group: &Group) -> Vec<String> {
        group.steps.iter().filter_map(|step| self.step(step).err()).collect()
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        if step.kind != Kind::Check {
            self.lasting = None;
        }
        match step.kind {
            Kind::Once => self.compare(step, &self.answer(step, self.shell(&step.command))),
            Kind::OnTerminal => {
                let mut command = self.shell("exec script -qec \"$COMMAND\" /dev/null");
                command.env("COMMAND", &step.command);
                self.compare(step, &self.answer(step, command))
            }
            Kind::Check => {
                self.eventually(step, |terminal| terminal.answer(step, terminal.shell(&step.command)))
            }
            Kind::Lasting => {
                let running = Running::start(self.shell(&step.command));
                let result = self.eventually(step, |_| running.so_far());
                self.lasting = Some(running);
                result
            }
        }
    }

    fn eventually(&mut self, step: &Step, mut ask: impl FnMut(&Self) -> Answer) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = ask(self);
            match self.compare(step, &answer) {
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(100)),
                result => return result,
            }
        }
    }

    /// A shell that is killed with all it started when it takes longer than anything may.
    fn shell(&self, line: &str) -> Command {
        let mut command = self.lab.with_environment("timeout");
        command
            .args(["--signal=KILL", &PATIENCE.as_secs().to_string(), "bash", "-c", line])
            .current_dir(&self.directory)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", self.kubeconfig.with_file_name("cache"))
            .env("PATH", &self.path)
            .envs(&self.bindings)
            .stdin(Stdio::null());
        command
    }

    fn answer(&self, step: &Step, mut command: Command) -> Answer {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            // A command that does not read to the end is none of the writer's business.
            scope.spawn(move || _ = stdin.write_all(step.input.as_bytes()));
            child.wait_with_output().unwrap()
        });
        let code = output.status.code().unwrap_or_else(|| -output.status.signal().unwrap_or_default());
        Answer { code, out: text(&output.stdout).replace('\r', ""), err: text(&output.stderr) }
    }

    fn compare(&mut self, step: &Step, answer: &Answer) -> Result<(), String> {
        let same = answer.code == step.code
            && matches(&step.out, &answer.out, &mut self.bindings)
            && matches(&step.err, &answer.err, &mut self.bindings);
        if same { Ok(()) } else { Err(difference(step, answer, &self.bindings)) }
    }
}

/// A directory where `kubectl` is version 1.32, and `portolan` ours.
fn programs_at(directory: &Path) {
    if directory.exists() {
        return;
    }
    let fresh = tempfile::tempdir_in(directory.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(super::kubectl(), fresh.path().join("kubectl")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_portolan"), fresh.path().join("portolan")).unwrap();
    // Another group may have been first: then that one's directory serves.
    if std::fs::rename(fresh.path(), directory).is_ok() {
        _ = fresh.keep();
    }
}

/// What a command said.
struct Answer {
    code: i32,
    out: String,
    err: String,
}

fn difference(step: &Step, answer: &Answer, bindings: &Bindings) -> String {
    let mut told = format!("{}: {}\n", step.place, step.command);
    for (what, expected, actual) in [("", &step.out, &answer.out), ("! ", &step.err, &answer.err)] {
        if matches(expected, actual, &mut bindings.clone()) {
            continue;
        }
        for line in actual.lines() {
            _ = writeln!(told, "  answered  {what}{line}");
        }
        let same = agreeing(expected, actual, bindings);
        if same > 0 {
            _ = writeln!(told, "  ({same} lines of what was expected were there)");
        }
        for line in &expected[same..] {
            _ = writeln!(told, "  expected  {what}{line}");
        }
    }
    if step.code != answer.code {
        _ = writeln!(told, "  exit code {} instead of {}", answer.code, step.code);
    }
    told
}

/// A command that goes on; it ends with the value.
struct Running {
    child: Child,
    out: std::fs::File,
    err: std::fs::File,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let (out, err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap()).process_group(0);
        Self { child: command.spawn().unwrap(), out, err }
    }

    fn so_far(&self) -> Answer {
        let read = |mut file: &std::fs::File| {
            let mut bytes = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut bytes).unwrap();
            text(&bytes)
        };
        Answer { code: 0, out: read(&self.out), err: read(&self.err) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // timeout(1) has its commands in its own process group, which is the child's.
        let group = nix::unistd::Pid::from_raw(-i32::try_from(self.child.id()).unwrap());
        _ = nix::sys::signal::kill(group, nix::sys::signal::Signal::SIGKILL);
        _ = self.child.wait();
    }
}
