//! One job, run: its reports, or why there are none.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Context;
use figures::Report;
use rustix::process::{Pid, Signal};

use crate::programs::{Job, Sizes};
use crate::whole::Outcome;

/// How many lines of what a benchmark said last stand in its failure.
const LAST_LINES: usize = 20;
/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(100);
/// How long its last words are waited for once it has ended: a process that it left behind may hold them open.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Runs it: its table goes to standard output, its progress to standard error, its reports into `parts`.
///
/// # Errors
/// When the directory cannot be made; whatever happens to the benchmark itself is in the outcome.
pub fn run(job: &Job, sizes: &Sizes, parts: &Path, patience: Duration) -> anyhow::Result<Outcome> {
    if parts.exists() {
        std::fs::remove_dir_all(parts).context("cannot remove the parts of an earlier run")?;
    }
    std::fs::create_dir_all(parts)?;
    let parts = parts.canonicalize()?;
    let begin = Instant::now();
    let failure = execute(job, sizes, &parts, patience).err();
    let (reports, failure) = match (read(&parts), failure) {
        (Ok(reports), None) if reports.is_empty() => {
            (reports, Some("it ended well and wrote no figures".to_owned()))
        }
        (Ok(reports), failure) => (reports, failure.map(|error| format!("{error:#}"))),
        (Err(error), failure) => (Vec::new(), Some(format!("{:#}", failure.unwrap_or(error)))),
    };
    Ok(Outcome { names: job.names(), seconds: begin.elapsed().as_secs_f64(), reports, failure })
}

fn execute(job: &Job, sizes: &Sizes, parts: &Path, patience: Duration) -> anyhow::Result<()> {
    let mut command = job.command(sizes).context("it has no benchmarks")?;
    command.env(Report::PARTS, parts).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot run it")?;
    let (tell, told) = mpsc::channel();
    if let Some(stderr) = child.stderr.take() {
        std::thread::spawn(move || tell.send(hand_on(stderr)));
    }
    let status = wait(&mut child, patience).context("cannot wait for it")?;
    if status.is_some_and(|status| status.success()) {
        return Ok(());
    }
    let last = match told.recv_timeout(LAST_WORDS) {
        Ok(lines) => lines.into_iter().collect::<Vec<_>>().join("\n"),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => String::new(),
    };
    match status {
        Some(status) => anyhow::bail!("{status}\n{last}"),
        None => anyhow::bail!("it was ended after {} minutes\n{last}", patience.as_secs() / 60),
    }
}

/// Waits until it ends; ends it, and returns none, when it takes longer than `patience`.
fn wait(child: &mut Child, patience: Duration) -> std::io::Result<Option<ExitStatus>> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begin.elapsed() > patience {
            let all = Processes::observe().with_descendants(child.id());
            for process in all.into_iter().filter_map(|id| Pid::from_raw(id.try_into().ok()?)) {
                // One that has ended meanwhile is what is wanted.
                _ = rustix::process::kill_process(process, Signal::KILL);
            }
            return child.wait().map(|_| None);
        }
        std::thread::sleep(LOOK);
    }
}

/// Who started whom, of all processes.
struct Processes {
    parents: BTreeMap<u32, u32>,
}

impl Processes {
    fn observe() -> Self {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let parents = entries.filter_map(|entry| {
            let id: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // Behind the name, which may hold anything: state and parent.
            let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
            Some((id, parent))
        });
        Self { parents: parents.collect() }
    }

    /// A process, those that it started, those that they started, and so on.
    fn with_descendants(&self, process: u32) -> Vec<u32> {
        let mut all = vec![process];
        let mut next = 0;
        while let Some(parent) = all.get(next).copied() {
            all.extend(self.parents.iter().filter(|(_, of)| **of == parent).map(|(id, _)| *id));
            next += 1;
        }
        all
    }
}

/// Shows what it says; returns the last of it.
fn hand_on(stderr: impl Read) -> VecDeque<String> {
    let mut last = VecDeque::new();
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        eprintln!("{text}");
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(text);
        line.clear();
    }
    last
}

/// All parts there are, by file name.
fn read(parts: &Path) -> anyhow::Result<Vec<Report>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(parts)? {
        files.push(entry?.path());
    }
    files.sort();
    files.iter().map(|file| Report::read(file).map_err(anyhow::Error::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::{Benchmark, jobs};

    fn outcome(script: &str, patience: Duration) -> Outcome {
        let directory = tempfile::tempdir().expect("a directory");
        let job = jobs(vec![Benchmark::of_shell("bench", script, directory.path())]).remove(0);
        let parts = directory.path().join("parts");
        run(&job, &Sizes::default(), &parts, patience).expect("a directory that can be written")
    }

    const PART: &str =
        r#"echo '{"name":"x","title":"X","figures":[],"notes":[]}' > $PORTOLAN_BENCH_PARTS/x.json"#;
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn its_parts_are_its_reports() {
        let outcome = outcome(PART, LONG);
        assert_eq!(outcome.failure, None);
        assert_eq!(outcome.reports, [Report::new("x", "X")]);
    }

    #[test]
    fn a_failure_keeps_what_there_was_and_says_the_last_words() {
        let outcome = outcome(&format!("{PART}; echo no namespace >&2; exit 3"), LONG);
        assert_eq!(outcome.reports.len(), 1);
        assert_eq!(outcome.failure.as_deref(), Some("exit status: 3\nno namespace"));
    }

    #[test]
    fn no_figures_and_broken_figures_are_failures() {
        assert_eq!(outcome("true", LONG).failure.as_deref(), Some("it ended well and wrote no figures"));
        let broken = outcome("echo '{' > $PORTOLAN_BENCH_PARTS/x.json", LONG).failure.expect("a failure");
        assert!(broken.contains("x.json is no report of a benchmark"), "{broken}");
    }

    #[test]
    fn one_that_never_ends_is_ended_with_all_that_it_started() {
        let script = "sleep 1000 & echo $! > $PORTOLAN_BENCH_PARTS/../started; wait";
        let directory = tempfile::tempdir().expect("a directory");
        let started = directory.path().join("started");
        let job = jobs(vec![Benchmark::of_shell("bench", script, directory.path())]).remove(0);
        let parts = directory.path().join("parts");
        let outcome = run(&job, &Sizes::default(), &parts, Duration::from_secs(1)).expect("a directory");
        let failure = outcome.failure.expect("a failure");
        assert!(failure.starts_with("it was ended after 0 minutes"), "{failure}");
        let process = std::fs::read_to_string(started).expect("it was started");
        let lives = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.trim())).unwrap_or_default();
            // A zombie has ended, also if nobody has taken notice yet.
            stat.contains("(sleep)") && !stat.contains(") Z ")
        };
        let begin = Instant::now();
        while lives() {
            assert!(begin.elapsed() < LONG, "{process} was left");
            std::thread::sleep(LOOK);
        }
    }
}
