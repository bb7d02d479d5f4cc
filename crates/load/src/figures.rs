//! Figures: percentiles of samples, and a table of them that people and programs read.

use std::fmt;
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

    /// The sample that the given share (0.0 to 1.0) of all do not exceed, in milliseconds; 0 of none.
    pub fn percentile(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        // A share of a length: neither negative nor above it.
        let index = (last as f64 * share.clamp(0.0, 1.0)).round() as usize;
        self.0.get(index).map_or(0.0, |sample| sample.as_secs_f64() * 1000.0)
    }
}

/// What a benchmark found: one figure a row, beside what it is to reach.
#[derive(Debug, Clone)]
pub struct Report {
    title: String,
    rows: Vec<Row>,
}

#[derive(Debug, Clone)]
struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    target: Option<String>,
}

impl Report {
    /// An empty one.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), rows: Vec::new() }
    }

    /// Adds a figure; `target` is text, such as `>= 2000`.
    pub fn row(&mut self, what: impl Into<String>, value: f64, unit: &'static str, target: Option<&str>) {
        self.rows.push(Row { what: what.into(), value, unit, target: target.map(str::to_owned) });
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let rows = self
            .rows
            .iter()
            .map(|row| json!({"what": row.what, "value": row.value, "unit": row.unit, "target": row.target}));
        json!({"title": self.title, "figures": rows.collect::<Vec<Value>>()})
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:<62} {:>10} {:<6} {:>8}", self.title, "figure", "", "target")?;
        for Row { what, value, unit, target } in &self.rows {
            let value = if *value < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") };
            writeln!(out, "{what:<62} {value:>10} {unit:<6} {:>8}", target.as_deref().unwrap_or_default())?;
        }
        Ok(())
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
        let mut report = Report::new("store");
        report.row("creates", 2345.6, "/s", Some(">= 2000"));
        assert!(report.to_string().contains("creates"), "{report}");
        assert_eq!(report.to_json()["figures"][0]["target"], ">= 2000");
    }
}
