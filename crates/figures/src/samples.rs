//! Durations, and numbers as people read them.

use std::time::Duration;

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

/// Three digits or so of a number.
pub fn short(value: f64) -> String {
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
}
