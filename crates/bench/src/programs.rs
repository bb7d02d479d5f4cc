//! The programs that measure, and the benchmarks in them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

/// How much is measured. What is not given has each benchmark's own default.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Sizes {
    /// Numbers of Services, such as 1000,10000.
    #[arg(long)]
    services: Option<String>,
    /// Numbers of endpoints that each has.
    #[arg(long)]
    endpoints: Option<String>,
    /// Proxy modes, such as nftables,ipvs.
    #[arg(long)]
    modes: Option<String>,
    /// Changes, requests or rounds of each sort.
    #[arg(long)]
    rounds: Option<String>,
    /// 1,000 Services of 10 endpoints unless something else is asked for, and a tenth of the API server's objects.
    #[arg(long)]
    quick: bool,
}

impl Sizes {
    /// What a program is given for it.
    fn arguments(&self, takes: Takes) -> Vec<String> {
        let quick = |value: &str| self.quick.then(|| value.to_owned());
        let options = match takes {
            Takes::Nothing => Vec::new(),
            Takes::Objects => vec![("objects", quick("5000"))],
            Takes::Sizes => vec![
                ("services", self.services.clone().or_else(|| quick("1000"))),
                ("endpoints", self.endpoints.clone().or_else(|| quick("10"))),
                ("modes", self.modes.clone()),
                ("rounds", self.rounds.clone()),
            ],
        };
        let given = options.into_iter().filter_map(|(name, value)| Some((name, value?)));
        given.flat_map(|(name, value)| [format!("--{name}"), value]).collect()
    }
}

/// What of [`Sizes`] a program understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// All of it, and the names of benchmarks: it holds several, and names them with `--list`.
    Sizes,
    /// A number of objects.
    Objects,
    Nothing,
}

/// A bench target of the workspace.
struct Program {
    package: &'static str,
    target: &'static str,
    takes: Takes,
    /// Name and purpose of its benchmark. A program that holds several names them itself.
    benchmark: Option<(&'static str, &'static str)>,
}

const PROGRAMS: &[Program] = &[
    Program { package: "portolan", target: "figures", takes: Takes::Sizes, benchmark: None },
    Program {
        package: "portolan-dns",
        target: "answers",
        takes: Takes::Nothing,
        benchmark: Some(("dns", "cluster DNS: CPU time of an answer, memory")),
    },
    Program {
        package: "portolan-apiserver",
        target: "size",
        takes: Takes::Objects,
        benchmark: Some(("api", "the API server: creates, lists, watches, memory, start")),
    },
    Program {
        package: "portolan-relay",
        target: "throughput",
        takes: Takes::Nothing,
        benchmark: Some(("relay", "a relay of the userspace mode against none")),
    },
];

/// A benchmark that can be run.
#[derive(Debug, Clone)]
pub struct Benchmark {
    /// What it is called on the command line.
    pub name: String,
    /// What it measures, in a few words.
    pub about: String,
    executable: PathBuf,
    /// Where cargo would run it: in its package.
    directory: PathBuf,
    takes: Takes,
    /// What it shares with others that have the same word here.
    together: Option<String>,
    /// It runs only when it is named.
    asked: bool,
}

impl Benchmark {
    /// A benchmark that is a line of shell.
    #[cfg(test)]
    pub fn of_shell(name: &str, script: &str, directory: &Path) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let executable = directory.join(format!("{name}.sh"));
        std::fs::write(&executable, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&executable, PermissionsExt::from_mode(0o755)).expect("ours");
        Self {
            name: name.to_owned(),
            about: String::new(),
            executable,
            directory: directory.to_owned(),
            takes: Takes::Nothing,
            together: None,
            asked: false,
        }
    }
}

/// One or more benchmarks that a process runs, because what they need takes minutes to make.
#[derive(Debug, Clone)]
pub struct Job(Vec<Benchmark>);

impl Job {
    /// Names of the benchmarks.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|benchmark| benchmark.name.clone()).collect()
    }

    /// It runs only by name, for as long as it is meant to.
    pub fn is_asked_for(&self) -> bool {
        self.0.iter().any(|benchmark| benchmark.asked)
    }

    /// The process, with its output still to be directed; none without benchmarks.
    pub fn command(&self, sizes: &Sizes) -> Option<Command> {
        let Benchmark { executable, directory, takes, .. } = self.0.first()?;
        let mut command = Command::new(executable);
        command.current_dir(directory).arg("--bench").args(sizes.arguments(*takes));
        if *takes == Takes::Sizes {
            command.args(self.names());
        }
        Some(command)
    }
}

/// What is run, in order: benchmarks that share something at the place of the first of them.
pub fn jobs(chosen: Vec<Benchmark>) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    for benchmark in chosen {
        let shares = |job: &&mut Job| {
            let first = job.0.first();
            first.is_some_and(|first| {
                first.together.is_some()
                    && (&first.together, &first.executable) == (&benchmark.together, &benchmark.executable)
            })
        };
        match jobs.iter_mut().find(shares) {
            Some(job) => job.0.push(benchmark),
            None => jobs.push(Job(vec![benchmark])),
        }
    }
    jobs
}

/// Builds all programs in release and finds their benchmarks, in the order in which they are run.
///
/// # Errors
/// When something does not build.
pub fn build() -> anyhow::Result<Vec<Benchmark>> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.args(["bench", "--no-run", "--message-format=json-render-diagnostics"]);
    for name in
        std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| is_ours(name))
    {
        command.env_remove(name);
    }
    for Program { package, target, .. } in PROGRAMS {
        command.args(["-p", package, "--bench", target]);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = command.current_dir(root).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the benchmarks do not build");
    let artifacts = artifacts(&output.stdout);
    let mut benchmarks = Vec::new();
    for program in PROGRAMS {
        let built = artifacts.iter().find(|built| built.target.name == program.target);
        let built =
            built.with_context(|| format!("cargo built no {} of {}", program.target, program.package))?;
        benchmarks.extend(program.benchmarks(built)?);
    }
    Ok(benchmarks)
}

/// Whether `cargo run` has set a variable for us alone. Build scripts look at some of these: handed on, they would have
/// *ring* and all above it built anew whenever cargo is called from here after it was called otherwise.
fn is_ours(variable: &str) -> bool {
    let begins = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    begins.iter().any(|begin| variable.starts_with(begin))
}

impl Program {
    fn benchmarks(&self, built: &Artifact) -> anyhow::Result<Vec<Benchmark>> {
        let directory = built.manifest_path.parent().context("a manifest is in a directory")?;
        let executable = built.executable.as_ref().context("a bench target is a program")?;
        let one = |Listed { name, about, together, asked }: Listed| Benchmark {
            name,
            about,
            executable: executable.clone(),
            directory: directory.to_owned(),
            takes: self.takes,
            together,
            asked,
        };
        if let Some((name, about)) = self.benchmark {
            let (name, about) = (name.to_owned(), about.to_owned());
            return Ok(vec![one(Listed { name, about, together: None, asked: false })]);
        }
        let list = Command::new(executable).args(["--list", "--json"]).output().context("cannot run it")?;
        ensure!(list.status.success(), "{} does not name its benchmarks", executable.display());
        let lines = list.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let listed = lines.map(|line| serde_json::from_slice(line).map(one));
        listed.collect::<Result<_, _>>().context("it does not name its benchmarks as it should")
    }
}

/// What a program says of a benchmark that it holds.
#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
    about: String,
    together: Option<String>,
    asked: bool,
}

/// Those that are named, in their own order; if none is, all but those that run only by name.
///
/// # Errors
/// When a name is not a benchmark's.
pub fn choose(all: Vec<Benchmark>, names: &[String]) -> anyhow::Result<Vec<Benchmark>> {
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|one| one.name != **name)) {
        let known: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
        bail!("there is no benchmark '{unknown}'; there are {}", known.join(", "));
    }
    let is_chosen = |one: &Benchmark| match names {
        [] => !one.asked,
        names => names.contains(&one.name),
    };
    Ok(all.into_iter().filter(is_chosen).collect())
}

/// What cargo says of something that it built.
#[derive(Debug, Deserialize)]
struct Artifact {
    manifest_path: PathBuf,
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// The bench targets among cargo's messages, one JSON object a line.
fn artifacts(messages: &[u8]) -> Vec<Artifact> {
    let lines = messages.split(|byte| *byte == b'\n');
    let artifacts = lines.filter_map(|line| serde_json::from_slice::<Artifact>(line).ok());
    artifacts.filter(|built| built.target.kind.iter().any(|kind| kind == "bench")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_given_what_it_understands() {
        let asked = Sizes { services: Some("100,200".into()), quick: true, ..Sizes::default() };
        assert_eq!(asked.arguments(Takes::Sizes), ["--services", "100,200", "--endpoints", "10"]);
        assert_eq!(asked.arguments(Takes::Objects), ["--objects", "5000"]);
        assert!(asked.arguments(Takes::Nothing).is_empty());
        assert!(Sizes::default().arguments(Takes::Sizes).is_empty());
    }

    #[test]
    fn a_name_chooses_and_a_wrong_one_is_answered_with_those_there_are() {
        let directory = tempfile::tempdir().expect("a directory");
        let all: Vec<Benchmark> =
            ["change", "start"].map(|name| Benchmark::of_shell(name, "", directory.path())).into();
        let names =
            |chosen: Vec<Benchmark>| -> Vec<String> { chosen.into_iter().map(|one| one.name).collect() };
        assert_eq!(names(choose(all.clone(), &[]).expect("all")), ["change", "start"]);
        assert_eq!(names(choose(all.clone(), &["start".into()]).expect("one")), ["start"]);
        let error = choose(all, &["stat".into()]).expect_err("no such benchmark").to_string();
        assert_eq!(error, "there is no benchmark 'stat'; there are change, start");
    }

    #[test]
    fn what_shares_runs_together_and_what_is_asked_for_only_by_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let shell = |name: &str| Benchmark::of_shell(name, "", directory.path());
        let shares = |name: &str| Benchmark {
            name: name.to_owned(),
            together: Some("cluster".into()),
            takes: Takes::Sizes,
            ..shell("program")
        };
        let soak = Benchmark { asked: true, ..shell("soak") };
        let all = vec![shell("first"), shares("change"), shell("between"), shares("start"), soak];
        let jobs = jobs(choose(all.clone(), &[]).expect("all"));
        let names: Vec<Vec<String>> = jobs.iter().map(Job::names).collect();
        assert_eq!(names, [vec!["first"], vec!["change", "start"], vec!["between"]]);
        let command = jobs[1].command(&Sizes::default()).expect("two benchmarks");
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["--bench", "change", "start"]);
        assert!(jobs.iter().all(|job| !job.is_asked_for()));
        let soak = super::jobs(choose(all, &["soak".into()]).expect("one"));
        assert!(soak.len() == 1 && soak[0].is_asked_for());
    }

    #[test]
    fn what_cargo_run_sets_for_us_is_not_handed_on() {
        assert!(["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO_BIN_NAME"].iter().all(|name| is_ours(name)));
        assert!(["CARGO", "CARGO_HOME", "CARGO_TARGET_DIR", "PATH"].iter().all(|name| !is_ours(name)));
    }

    #[test]
    fn bench_targets_are_found_among_cargos_messages() {
        let messages = br#"{"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml","target":{"name":"a","kind":["lib"]},"executable":null}
not json
{"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml","target":{"name":"size","kind":["bench"]},"executable":"/t/size-1"}
{"reason":"build-finished","success":true}"#;
        let found = artifacts(messages);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].executable.as_deref(), Some(Path::new("/t/size-1")));
    }
}
