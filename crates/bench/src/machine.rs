//! On what a run was measured.

use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// The machine and its software; empty where it does not say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many processors the run could use.
    pub cores: usize,
    /// Megabytes of memory.
    pub memory: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution.
    pub system: String,
    /// The compiler.
    pub compiler: String,
    /// Load average of the minute before the run: what else the machine did.
    pub load_before: f64,
}

impl Machine {
    /// This one.
    pub fn observe() -> Self {
        let memory = field("/proc/meminfo", "MemTotal:");
        Self {
            processor: field("/proc/cpuinfo", "model name").trim_start_matches([' ', '\t', ':']).to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory: memory.trim_end_matches(" kB").parse().map_or(0, |kilobytes: u64| kilobytes / 1024),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            system: field("/etc/os-release", "PRETTY_NAME=").trim_matches('"').to_owned(),
            compiler: said("rustc", &["--version"]),
            load_before: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(0.0),
        }
    }
}

/// What of the project was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// Its hash, shortened.
    pub hash: String,
    /// Files differed from it.
    pub is_changed: bool,
}

impl Commit {
    /// The one that is checked out here.
    pub fn observe() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let git = |arguments: &[&str]| {
            let root = root.to_string_lossy();
            said("git", &[&["-C", &*root], arguments].concat())
        };
        Self {
            hash: git(&["rev-parse", "--short=12", "HEAD"]),
            is_changed: !git(&["status", "--porcelain"]).is_empty(),
        }
    }
}

fn read(file: &str) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}

/// What stands behind a word on the first line that begins with it.
fn field(file: &str, begin: &str) -> String {
    let text = read(file);
    text.lines().find_map(|line| line.strip_prefix(begin)).unwrap_or_default().trim().to_owned()
}

/// What a program prints; nothing if it fails.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    String::from_utf8_lossy(&text.unwrap_or_default()).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_says_what_it_is() {
        let machine = Machine::observe();
        assert!(machine.cores > 0 && machine.memory > 0, "{machine:?}");
        assert!(machine.compiler.starts_with("rustc ") && machine.kernel.contains('.'), "{machine:?}");
    }
}
