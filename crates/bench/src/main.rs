//! `make bench`: builds every benchmark of the workspace in release, runs those that are asked for, and writes what they
//! found as one report for programs and one page for people.
//!
//! ```text
//! programs (cargo bench --no-run) ─► run (a process and a directory of parts each) ─► Run ─► report.json
//!                                                                                      └──► page ─► index.html
//! ```
//!
//! Each benchmark is a process of its own: one that fails leaves the others' figures alone, and its failure stands in the
//! report. Both files are written anew after each benchmark, so a run that is broken off leaves what it had.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod machine;
mod page;
mod programs;
mod run;
mod whole;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;

use crate::programs::{Benchmark, Job, Sizes};
use crate::whole::Run;

#[derive(Parser)]
#[command(about = "Every benchmark of portolan: one report, one page")]
struct Arguments {
    /// Which benchmarks; all of them if none is named.
    names: Vec<String>,
    #[command(flatten)]
    sizes: Sizes,
    /// Name the benchmarks, and run none.
    #[arg(long)]
    list: bool,
    /// Only make the page anew from a report that an earlier run wrote.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["names", "list"])]
    page_of: Option<PathBuf>,
    /// Where report.json and index.html go.
    #[arg(long, value_name = "DIRECTORY", default_value = "target/bench")]
    output: PathBuf,
    /// A process that takes longer is ended, and its benchmarks count as failed. Those that run only by name have time.
    #[arg(long, value_name = "MINUTES", default_value_t = 60)]
    patience: u64,
}

fn main() -> ExitCode {
    match carry_out(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let output = &arguments.output;
    if let Some(file) = &arguments.page_of {
        write(output, "index.html", &page::page(&Run::read(file)?)?)?;
        println!("{}", output.join("index.html").display());
        return Ok(ExitCode::SUCCESS);
    }
    let all = programs::build()?;
    if arguments.list {
        all.iter().for_each(|Benchmark { name, about, .. }| println!("{name:<12} {about}"));
        return Ok(ExitCode::SUCCESS);
    }
    let jobs = programs::jobs(programs::choose(all, &arguments.names)?);
    let run = measure(arguments, &jobs)?;
    print!("{}", run.summary());
    println!("{}\n{}", output.join("report.json").display(), output.join("index.html").display());
    Ok(if run.failures().next().is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs them one after another, and writes the files after each.
fn measure(arguments: &Arguments, jobs: &[Job]) -> anyhow::Result<Run> {
    let Arguments { output, sizes, .. } = arguments;
    let mut run = Run::begin(std::env::args().skip(1).collect());
    let begin = Instant::now();
    for (number, job) in jobs.iter().enumerate() {
        let name = job.names().join(", ");
        eprintln!("\n── {} of {}: {name}", number + 1, jobs.len());
        let parts = output.join("parts").join(job.names().join("-"));
        let patience = Duration::from_secs(arguments.patience * 60);
        let patience = if job.is_asked_for() { Duration::MAX } else { patience };
        let outcome = run::run(job, sizes, &parts, patience)?;
        if let Some(failure) = &outcome.failure {
            eprintln!("bench: {name} failed: {failure}");
        }
        run.push(outcome, begin.elapsed());
        write(output, "report.json", &format!("{:#}\n", run.to_json()))?;
        write(output, "index.html", &page::page(&run)?)?;
    }
    Ok(run)
}

fn write(directory: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let file = directory.join(name);
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::write(&file, text))
        .with_context(|| format!("cannot write {}", file.display()))
}
