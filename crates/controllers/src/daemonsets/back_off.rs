//! How long a node waits for the successor of a daemon pod that has failed. Pure; forgotten with the controllers.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

/// The first pause, and the longest, as in `pkg/controller/daemon`.
const FIRST: SignedDuration = SignedDuration::from_secs(1);
const LONGEST: SignedDuration = SignedDuration::from_mins(15);

/// A DaemonSet's uid, its generation, a node: another template may well run.
pub(super) type Place = (String, i64, String);

/// Who has failed where, and how often of late.
#[derive(Debug, Default)]
pub(super) struct BackOff(HashMap<Place, Pause>);

#[derive(Debug)]
struct Pause {
    length: SignedDuration,
    since: Timestamp,
}

impl BackOff {
    /// How much longer a failed pod has to stay before it makes room; `None` when it need not.
    pub(super) fn left(&self, place: &Place, now: Timestamp) -> Option<SignedDuration> {
        let pause = self.0.get(place)?;
        let left = pause.length.saturating_sub(now.duration_since(pause.since));
        (left > SignedDuration::ZERO).then_some(left)
    }

    /// Notes that a failed pod is being replaced: its successor waits twice as long. Two of the longest pauses without a
    /// failure start the count over.
    pub(super) fn failed(&mut self, place: Place, now: Timestamp) {
        self.0.retain(|_, pause| now.duration_since(pause.since) < LONGEST * 2);
        let pause = self.0.entry(place).and_modify(|pause| pause.length = (pause.length * 2).min(LONGEST));
        pause.or_insert(Pause { length: FIRST, since: now }).since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_in_a_row_waits_twice_as_long() {
        let place = || ("uid".to_owned(), 1, "node1".to_owned());
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut known = BackOff::default();
        assert_eq!(known.left(&place(), at(0)), None);
        let (mut now, mut waits) = (0, Vec::new());
        for _ in 0..12 {
            known.failed(place(), at(now));
            let left = known.left(&place(), at(now)).unwrap().as_secs();
            waits.push(left);
            assert!(known.left(&place(), at(now + left - 1)).is_some());
            assert_eq!(known.left(&place(), at(now + left)), None);
            now += left;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        known.failed(place(), at(now + 1800));
        assert_eq!(known.left(&place(), at(now + 1800)), Some(FIRST));
    }
}
