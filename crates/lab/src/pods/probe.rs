//! Turning single checks into a verdict. Pure.

use super::spec::Probe;

/// Results in a row of one probe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    successes: u32,
    failures: u32,
}

impl Tally {
    /// Counts one result. `Some` once as many in a row as the probe asks for say the same.
    pub fn note(&mut self, success: bool, probe: &Probe) -> Option<bool> {
        if success {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
            (self.successes >= probe.success_threshold).then_some(true)
        } else {
            self.successes = 0;
            self.failures = self.failures.saturating_add(1);
            (self.failures >= probe.failure_threshold).then_some(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pods::spec::Handler;

    #[test]
    fn a_verdict_needs_its_threshold_in_a_row() {
        let probe = Probe {
            handler: Handler::Tcp { host: None, port: 80 },
            initial_delay: Duration::ZERO,
            period: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            success_threshold: 2,
            failure_threshold: 3,
            grace: None,
        };
        let mut tally = Tally::default();
        let results = [true, true, false, false, true, false, false, false, true];
        let verdicts: Vec<_> = results.iter().map(|result| tally.note(*result, &probe)).collect();
        let ok = Some(true);
        assert_eq!(verdicts, [None, ok, None, None, None, None, None, Some(false), None]);
    }
}
