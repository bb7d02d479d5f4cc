//! Figures: percentiles of samples, and tables of them that people and programs read.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

/// Durations that were measured.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Takes one more.
    pub fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// Takes all of another.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them together, in milliseconds.
    pub fn total(&self) -> f64 {
        self.0.iter().sum::<Duration>().as_secs_f64() * 1000.0
    }

    /// The sample that the given share (0.0 to 1.0) of all do not exceed, in milliseconds; 0 of none.
    pub fn percentile(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        // A share of a length: neither negative nor above it.
        let index = (last as f64 * share.clamp(0.0, 1.0)).round() as usize;
        self.0.get(index).map_or(0.0, |sample| sample.as_secs_f64() * 1000.0)
    }
}

/// What a figure is to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Target {
    /// Whether a value reaches it.
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "<= {most}"),
            Self::AtLeast(least) => write!(f, ">= {least}"),
        }
    }
}

/// One measured value, with what it is of.
#[derive(Debug, Clone)]
pub struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    mode: Option<String>,
    services: Option<u32>,
    endpoints: Option<u32>,
    target: Option<Target>,
    limit: Option<f64>,
}

impl Figure {
    /// A value in its unit. The same words at every size: a plot is made of those that differ in their size alone.
    pub fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        let what = what.into();
        Self { what, value, unit, mode: None, services: None, endpoints: None, target: None, limit: None }
    }

    /// The proxy mode, with its variant if there are several: `nftables`, `iptables (legacy)`.
    #[must_use]
    pub fn mode(self, mode: impl Into<String>) -> Self {
        Self { mode: Some(mode.into()), ..self }
    }

    /// How many Services there were, and how many endpoints each had.
    #[must_use]
    pub fn beside(self, services: u32, endpoints: u32) -> Self {
        Self { services: Some(services), endpoints: Some(endpoints), ..self }
    }

    /// What it is to reach.
    #[must_use]
    pub fn target(self, target: Target) -> Self {
        Self { target: Some(target), ..self }
    }

    /// The same straight to the pod, measured in the same run: no service proxy can do better.
    #[must_use]
    pub fn limit(self, limit: f64) -> Self {
        Self { limit: Some(limit), ..self }
    }

    fn to_json(&self) -> Value {
        json!({
            "what": self.what, "value": self.value, "unit": self.unit, "mode": self.mode,
            "services": self.services, "endpoints": self.endpoints, "limit": self.limit,
            "target": self.target.map(|target| target.to_string()),
            "met": self.target.map(|target| target.is_met(self.value)),
        })
    }
}

/// What a benchmark found: one figure a row, beside what it is to reach.
#[derive(Debug, Clone)]
pub struct Report {
    name: String,
    title: String,
    figures: Vec<Figure>,
    notes: Vec<String>,
}

impl Report {
    /// An empty one. `name` is the benchmark's, in letters, digits and hyphens.
    pub fn new(name: impl Into<String>, title: impl Into<String>) -> Self {
        Self { name: name.into(), title: title.into(), figures: Vec::new(), notes: Vec::new() }
    }

    /// Adds a figure.
    pub fn push(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Adds a figure that has no size.
    pub fn row(&mut self, what: impl Into<String>, value: f64, unit: &'static str, target: Option<Target>) {
        self.push(Figure { target, ..Figure::new(what, value, unit) });
    }

    /// Says something about the run, such as where a mode stops and why.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let figures: Vec<Value> = self.figures.iter().map(Figure::to_json).collect();
        json!({"name": self.name, "title": self.title, "figures": figures, "notes": self.notes})
    }

    /// Writes it as a part of the report of the whole run, if this is one: into the directory that the variable
    /// `PORTOLAN_BENCH_PARTS` names. Returns the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self) -> io::Result<Option<PathBuf>> {
        let Some(directory) = std::env::var_os(PARTS) else { return Ok(None) };
        std::fs::create_dir_all(&directory)?;
        let file = Path::new(&directory).join(format!("{}.json", self.name));
        std::fs::write(&file, format!("{:#}\n", self.to_json()))?;
        Ok(Some(file))
    }
}

/// The variable that names where the parts of a report go.
const PARTS: &str = "PORTOLAN_BENCH_PARTS";

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { title, figures, notes, .. } = self;
        writeln!(
            out,
            "{title:<58} {:>17} {:>12} {:>10} {:<6} {:>10} {:>10}",
            "mode", "size", "figure", "", "target", "straight"
        )?;
        for figure in figures {
            let size = match (figure.services, figure.endpoints) {
                (Some(services), Some(endpoints)) => format!("{services} x {endpoints}"),
                _ => String::new(),
            };
            let target = figure.target.map(|target| {
                let missed = if target.is_met(figure.value) { "" } else { " !" };
                format!("{target}{missed}")
            });
            writeln!(
                out,
                "{:<58} {:>17} {size:>12} {:>10} {:<6} {:>10} {:>10}",
                figure.what,
                figure.mode.as_deref().unwrap_or_default(),
                short(figure.value),
                figure.unit,
                target.unwrap_or_default(),
                figure.limit.map(short).unwrap_or_default(),
            )?;
        }
        notes.iter().try_for_each(|note| writeln!(out, "  {note}"))
    }
}

/// Three digits or so.
fn short(value: f64) -> String {
    match value.abs() {
        ..0.1 => format!("{value:.3}"),
        ..100.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_samples() {
        let mut samples = Samples::default();
        assert!(samples.is_empty() && samples.percentile(0.5) == 0.0);
        for number in (0..=100).rev() {
            samples.push(Duration::from_millis(number));
        }
        assert_eq!((samples.percentile(0.5), samples.percentile(0.99), samples.len()), (50.0, 99.0, 101));
    }

    #[test]
    fn a_report_is_read_by_people_and_programs() {
        let mut report = Report::new("store", "the store");
        report.row("creates", 2345.6, "/s", Some(Target::AtLeast(2000.0)));
        let latency = Figure::new("latency", 3.0, "ms").mode("nftables").beside(100, 2);
        report.push(latency.target(Target::AtMost(2.0)).limit(1.5));
        report.note("stopped there");
        let table = report.to_string();
        let words: Vec<Vec<&str>> =
            table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["creates", "2346", "/s", ">=", "2000"]);
        assert_eq!(words[1], ["latency", "nftables", "100", "x", "2", "3.00", "ms", "<=", "2", "!", "1.50"]);
        assert_eq!(words[2], ["stopped", "there"]);
        let json = report.to_json();
        assert_eq!(json["figures"][0]["target"], ">= 2000");
        assert_eq!(
            (&json["figures"][1]["met"], &json["figures"][1]["services"]),
            (&false.into(), &100.into())
        );
    }
}
