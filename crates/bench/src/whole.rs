//! A whole run: on what, when, of what, and what every benchmark found.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use figures::{Figure, Report};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::machine::{Commit, Machine};

/// What became of one process and the benchmarks in it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Outcome {
    /// The benchmarks' names.
    pub names: Vec<String>,
    /// How long it took.
    pub seconds: f64,
    /// What it found, also if it failed later.
    pub reports: Vec<Report>,
    /// Why it failed.
    pub failure: Option<String>,
}

/// What every benchmark found, and where.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Run {
    /// When it began, in UTC (RFC 3339).
    pub date: String,
    /// How long it took.
    pub seconds: f64,
    /// What was measured.
    pub commit: Commit,
    /// On what.
    pub machine: Machine,
    /// What it was asked for.
    pub arguments: Vec<String>,
    /// In the order in which they ran.
    pub benchmarks: Vec<Outcome>,
}

impl Outcome {
    /// The benchmarks' names as people say them.
    pub fn name(&self) -> String {
        self.names.join(", ")
    }
}

impl Run {
    /// One that begins now, here.
    pub fn begin(arguments: Vec<String>) -> Self {
        Self {
            date: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            seconds: 0.0,
            commit: Commit::observe(),
            machine: Machine::observe(),
            arguments,
            benchmarks: Vec::new(),
        }
    }

    /// Reads what [`Run::to_json`] made.
    ///
    /// # Errors
    /// When the file cannot be read or is something else.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no report of a run", file.display()))
    }

    /// Adds what a benchmark found; the whole run has taken so long by now.
    pub fn push(&mut self, outcome: Outcome, elapsed: Duration) {
        self.benchmarks.push(outcome);
        self.seconds = elapsed.as_secs_f64();
    }

    /// All figures.
    pub fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.benchmarks.iter().flat_map(|outcome| &outcome.reports).flat_map(|report| &report.figures)
    }

    /// Names of the benchmarks that failed, with the first line of why.
    pub fn failures(&self) -> impl Iterator<Item = (String, &str)> {
        self.benchmarks.iter().filter_map(|outcome| {
            let failure = outcome.failure.as_deref()?;
            Some((outcome.name(), failure.lines().next().unwrap_or_default()))
        })
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let benchmarks = self.benchmarks.iter().map(|outcome| {
            json!({
                "names": outcome.names,
                "seconds": outcome.seconds,
                "failure": outcome.failure,
                "reports": outcome.reports.iter().map(Report::to_json).collect::<Vec<_>>(),
            })
        });
        json!({
            "date": self.date, "seconds": self.seconds, "commit": self.commit, "machine": self.machine,
            "arguments": self.arguments, "benchmarks": benchmarks.collect::<Vec<_>>(),
        })
    }

    /// How many targets are met, those that are not, and what failed.
    pub fn summary(&self) -> String {
        let with_target = self.figures().filter(|figure| figure.target.is_some()).count();
        let missed: Vec<&Figure> = self.figures().filter(|figure| figure.is_missed()).collect();
        let mut text = format!(
            "{} of {with_target} targets met, in {:.0} s\n",
            with_target - missed.len(),
            self.seconds
        );
        for figure in missed {
            let target = figure.target.map(|target| target.to_string()).unwrap_or_default();
            let size = figure.size();
            let words = [figure.what.as_str(), figure.mode.as_deref().unwrap_or_default(), &size];
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            // Writing to a String cannot fail.
            _ = writeln!(
                text,
                "missed: {}: {} {} ({target})",
                words.join(" "),
                figures::short(figure.value),
                figure.unit
            );
        }
        for (name, failure) in self.failures() {
            _ = writeln!(text, "failed: {name}: {failure}");
        }
        text
    }
}

#[cfg(test)]
pub mod tests {
    use figures::Target;

    use super::*;

    /// A run with a bit of everything.
    pub fn example() -> Run {
        let mut change = Report::new("change", "change to kernel");
        for (services, value) in [(100, 0.5), (10_000, 0.75)] {
            for mode in ["nftables", "iptables (legacy)"] {
                let value = if mode == "nftables" { value } else { value * f64::from(services) / 10.0 };
                let figure = Figure::new("EndpointSlice, p50", value, "ms").mode(mode);
                change.push(figure.beside(services, 10).target(Target::AtMost(2.0)).limit(0.25));
            }
        }
        change.row("rest <&>", 1.5, "MB", None);
        change.note("iptables stops at 10,000 <because>");
        let machine = Machine { cores: 2, kernel: "6.18".into(), ..Machine::default() };
        Run {
            date: "2026-11-22T06:00:00Z".into(),
            seconds: 61.5,
            commit: Commit { hash: "0123456789ab".into(), is_changed: true },
            machine,
            arguments: vec!["change".into()],
            benchmarks: vec![
                Outcome { names: vec!["change".into()], seconds: 60.0, reports: vec![change], failure: None },
                Outcome {
                    names: vec!["start".into(), "resources".into()],
                    seconds: 1.5,
                    reports: Vec::new(),
                    failure: Some("exit status: 101\nthread panicked".into()),
                },
            ],
        }
    }

    #[test]
    fn a_run_is_read_back_as_it_was_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("report.json");
        let run = example();
        std::fs::write(&file, run.to_json().to_string()).expect("written");
        assert_eq!(Run::read(&file).expect("a report"), run);
        std::fs::write(&file, "[]").expect("written");
        assert!(Run::read(&file).expect_err("no report").to_string().contains("is no report of a run"));
    }

    #[test]
    fn the_summary_names_what_is_missed_and_what_failed() {
        let lines = [
            "2 of 4 targets met, in 62 s",
            "missed: EndpointSlice, p50 iptables (legacy) 100 x 10: 5.00 ms (<= 2)",
            "missed: EndpointSlice, p50 iptables (legacy) 10000 x 10: 750 ms (<= 2)",
            "failed: start, resources: exit status: 101",
        ];
        assert_eq!(example().summary().lines().collect::<Vec<_>>(), lines);
    }
}
