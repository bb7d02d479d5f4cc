//! What a benchmark found, as a table and as JSON.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Figure, Target, short};

/// What a benchmark found: one figure a row, beside what it is to reach.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Report {
    /// The benchmark's name: letters, digits and hyphens.
    pub name: String,
    /// What it is about.
    pub title: String,
    /// What it found, in the order in which it did.
    pub figures: Vec<Figure>,
    /// What is to be said about the run.
    pub notes: Vec<String>,
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
        let Some(directory) = std::env::var_os(Self::PARTS) else { return Ok(None) };
        std::fs::create_dir_all(&directory)?;
        let file = self.part(Path::new(&directory));
        std::fs::write(&file, format!("{:#}\n", self.to_json()))?;
        Ok(Some(file))
    }

    /// Reads a part that [`Report::save`] wrote.
    ///
    /// # Errors
    /// When there is no such file, or it is no report.
    pub fn read(file: &Path) -> Result<Self, ReportError> {
        let file = file.to_owned();
        match std::fs::read(&file) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|source| ReportError::Format { file, source })
            }
            Err(source) => Err(ReportError::Read { file, source }),
        }
    }

    /// The variable that names where the parts of a run's report go.
    pub const PARTS: &'static str = "PORTOLAN_BENCH_PARTS";

    fn part(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{}.json", self.name))
    }
}

/// Why a part cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The file is not there, or cannot be read.
    #[error("cannot read {file}", file = .file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what a benchmark writes.
    #[error("{file} is no report of a benchmark", file = .file.display())]
    Format {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { title, figures, notes, .. } = self;
        writeln!(
            out,
            "{title:<58} {:>17} {:>12} {:>10} {:<6} {:>10} {:>10}",
            "mode", "size", "figure", "", "target", "straight"
        )?;
        for figure in figures {
            let size = figure.size();
            let target = figure.target.map(|target| {
                let missed = if figure.is_missed() { " !" } else { "" };
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

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_part_is_read_back_and_anything_else_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut report = Report::new("store", "the store");
        report.row("creates", 2345.6, "/s", None);
        report.note("a note");
        let file = report.part(directory.path());
        std::fs::write(&file, report.to_json().to_string()).expect("written");
        assert_eq!(Report::read(&file).expect("a report"), report);
        std::fs::write(&file, "{}").expect("written");
        assert!(matches!(Report::read(&file), Err(ReportError::Format { .. })));
        std::fs::remove_file(&file).expect("removed");
        assert!(matches!(Report::read(&file), Err(ReportError::Read { .. })));
    }
}
