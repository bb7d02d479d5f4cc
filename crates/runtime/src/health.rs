use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// A change that waits longer than this to be written makes the proxy unhealthy: twice kube-proxy's period.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether a proxy keeps up with the changes it hears of, by kube-proxy's rules.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// When the oldest change came that is not written yet.
    waiting_since: Option<Instant>,
    last_updated: Option<SystemTime>,
    node_leaves: bool,
}

/// What `/healthz` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// The kernel follows the API. Also while the proxy starts and has not written yet.
    pub keeps_up: bool,
    /// The node is neither being deleted nor about to be, so load balancers may send connections to it.
    pub node_eligible: bool,
    /// When the kernel was brought in line last.
    pub last_updated: Option<SystemTime>,
}

impl Health {
    /// A change came that is to be written.
    pub(crate) fn queued(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// Everything known is written.
    pub(crate) fn updated(&mut self, at: SystemTime) {
        self.waiting_since = None;
        self.last_updated = Some(at);
    }

    /// The node is about to go, or not.
    pub(crate) fn node_leaves(&mut self, leaves: bool) {
        self.node_leaves = leaves;
    }

    pub(crate) fn condition(&self, now: Instant) -> Condition {
        let late = self.waiting_since.is_some_and(|since| now - since >= PATIENCE);
        Condition {
            keeps_up: self.last_updated.is_none() || !late,
            node_eligible: !self.node_leaves,
            last_updated: self.last_updated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_may_wait_for_a_minute() {
        let (start, at) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let mut health = Health::default();
        let fine = |health: &Health, after| health.condition(start + Duration::from_secs(after)).keeps_up;
        health.queued(start);
        assert!(fine(&health, 3600), "it starts and has not written yet");
        health.updated(at);
        assert!(fine(&health, 3600), "nothing changed since");
        health.queued(start);
        health.queued(start + Duration::from_secs(50));
        assert!(fine(&health, 59) && !fine(&health, 60), "the oldest change counts");
        health.updated(at);
        assert!(fine(&health, 61));
    }

    #[test]
    fn a_node_that_goes_is_not_eligible_though_its_proxy_works() {
        let mut health = Health::default();
        health.node_leaves(true);
        let condition = health.condition(Instant::now());
        assert_eq!((condition.keeps_up, condition.node_eligible), (true, false));
    }
}
