//! Numbers in the text form of Prometheus.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often something took how long.
#[derive(Debug)]
pub(crate) struct Histogram {
    /// Upper bounds in seconds, in order.
    bounds: Vec<f64>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// One for each bound, and one for what is above them.
    counts: Vec<u64>,
    sum: Duration,
}

impl Histogram {
    /// Bounds in seconds, in order.
    pub(crate) fn new(bounds: Vec<f64>) -> Self {
        let state = State { counts: vec![0; bounds.len() + 1], sum: Duration::ZERO };
        Self { bounds, state: Mutex::new(state) }
    }

    /// `count` bounds, each twice the one before.
    pub(crate) fn doubling(first: f64, count: u32) -> Self {
        Self::new((0..count).map(|step| first * f64::from(2_u32.saturating_pow(step))).collect())
    }

    pub(crate) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.counts[bucket] += 1;
        state.sum += took;
    }

    fn write(&self, text: &mut String, name: &str) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut total = 0;
        for (bound, count) in self.bounds.iter().zip(&state.counts) {
            total += count;
            line(text, &format!("{name}_bucket{{le=\"{bound}\"}}"), total);
        }
        total += state.counts.last().copied().unwrap_or_default();
        line(text, &format!("{name}_bucket{{le=\"+Inf\"}}"), total);
        line(text, &format!("{name}_sum"), state.sum.as_secs_f64());
        line(text, &format!("{name}_count"), total);
    }
}

/// A page of metrics in the making.
#[derive(Debug, Default)]
pub(crate) struct Page {
    text: String,
}

impl Page {
    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help, [(String::new(), value)]);
    }

    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, "gauge", help, [(String::new(), value)]);
    }

    /// Rows of labels, `{…}` or nothing, and values.
    pub(crate) fn family<V: std::fmt::Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        rows: impl IntoIterator<Item = (String, V)>,
    ) {
        self.head(name, kind, help);
        for (labels, value) in rows {
            line(&mut self.text, &format!("{name}{labels}"), value);
        }
    }

    pub(crate) fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        histogram.write(&mut self.text, name);
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }
}

fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{name} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_upwards() {
        let histogram = Histogram::doubling(0.001, 3);
        for milliseconds in [0, 1, 2, 3, 100] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        let mut page = Page::default();
        page.histogram("took_seconds", "How long.", &histogram);
        let expected = "# HELP took_seconds How long.\n# TYPE took_seconds histogram\n\
            took_seconds_bucket{le=\"0.001\"} 2\ntook_seconds_bucket{le=\"0.002\"} 3\n\
            took_seconds_bucket{le=\"0.004\"} 4\ntook_seconds_bucket{le=\"+Inf\"} 5\n\
            took_seconds_sum 0.106\ntook_seconds_count 5\n";
        assert_eq!(page.finish(), expected);
    }
}
