//! When a node counts as lost, and what its conditions say then. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::config::NodeTimes;

/// The conditions that nobody vouches for once the node is silent.
const VOUCHED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// What a node says of its Ready condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    /// `True`.
    Ready,
    /// `False`, or nothing yet.
    NotReady,
    /// `Unknown`: the node does not answer.
    Unreachable,
}

impl Readiness {
    /// As the node's status has it.
    pub(super) fn of(node: &Node) -> Self {
        match condition(node, "Ready").map(|ready| ready.status.as_str()) {
            Some("True") => Self::Ready,
            Some("Unknown") => Self::Unreachable,
            _ => Self::NotReady,
        }
    }
}

/// The node's condition of that type.
pub(super) fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// The last that was heard of a node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sighting {
    said: Said,
    /// When that came, by our clock.
    at: Timestamp,
}

/// What changes with every sign of life.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    renewed: Option<Timestamp>,
    heartbeat: Option<Timestamp>,
}

impl Said {
    fn of(node: &Node, lease: Option<&Lease>) -> Self {
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref());
        let heartbeat = condition(node, "Ready").and_then(|ready| ready.last_heartbeat_time.as_ref());
        Self { renewed: renewed.map(|time| time.0), heartbeat: heartbeat.map(|time| time.0) }
    }
}

impl Sighting {
    /// A node seen for the first time: its time begins now.
    pub(super) fn first(node: &Node, lease: Option<&Lease>, now: Timestamp) -> Self {
        Self { said: Said::of(node, lease), at: now }
    }

    /// Notes whether the node has said something since.
    pub(super) fn look(&mut self, node: &Node, lease: Option<&Lease>, now: Timestamp) {
        let said = Said::of(node, lease);
        if said != self.said {
            *self = Self { said, at: now };
        }
    }

    /// How much longer the node may stay silent; zero or less when it is lost.
    pub(super) fn left(&self, node: &Node, times: &NodeTimes, now: Timestamp) -> SignedDuration {
        // One that has never posted a status is still starting.
        let grace = if condition(node, "Ready").is_some() { times.grace } else { times.startup_grace };
        let grace = SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX);
        grace.saturating_sub(now.duration_since(self.at))
    }
}

/// The conditions of a node that is lost, in Kubernetes' words; `None` when they are so already.
pub(super) fn silenced(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let before = node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut after = before.clone();
    for kind in VOUCHED {
        match after.iter_mut().find(|condition| condition.type_ == kind) {
            Some(known) if known.status == "Unknown" => {}
            Some(known) => {
                known.status = "Unknown".to_owned();
                known.reason = Some("NodeStatusUnknown".to_owned());
                known.message = Some("Kubelet stopped posting node status.".to_owned());
                known.last_transition_time = Some(seconds(now));
            }
            None => after.push(NodeCondition {
                type_: kind.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(seconds(now)),
            }),
        }
    }
    (after != before).then_some(after)
}

/// A time of the API: whole seconds.
pub(super) fn seconds(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// How much of the cluster is lost, and so how fast nodes are given up. Zones are not told apart: a cluster that portolan
/// controls is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disruption {
    /// Single nodes, if any.
    Normal,
    /// More than half of the nodes, and at least three: more likely the network than the nodes.
    Partial,
    /// All: then it is we who are cut off.
    Full,
}

/// The pause between two nodes that are given up, as `--node-eviction-rate` of 0.1 a second has it.
const PAUSE: Duration = Duration::from_secs(10);
/// The same in a large cluster of which much is lost (`--secondary-node-eviction-rate`, 0.01).
const LONG_PAUSE: Duration = Duration::from_secs(100);
/// A cluster with more nodes is large (`--large-cluster-size-threshold`).
const LARGE: usize = 50;

impl Disruption {
    /// Judges by how many nodes are ready and how many are not (`ComputeZoneState`; the share is `--unhealthy-zone-threshold`).
    pub(super) fn of(ready: usize, unready: usize) -> Self {
        match (ready, unready) {
            (0, 1..) => Self::Full,
            (_, 3..) if unready * 100 >= (ready + unready) * 55 => Self::Partial,
            _ => Self::Normal,
        }
    }

    /// The pause between two nodes that are given up; `None` when none is.
    pub(super) fn pause(self, nodes: usize) -> Option<Duration> {
        match self {
            Self::Normal => Some(PAUSE),
            Self::Partial if nodes > LARGE => Some(LONG_PAUSE),
            Self::Partial | Self::Full => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::samples::{changed, ready_node};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn lease(renewed: i64) -> Lease {
        changed(&json!({}), &json!({"spec": {"renewTime": format!("1970-01-01T00:00:{renewed:02}.000000Z")}}))
    }

    fn left(sighting: &Sighting, node: &Node, now: i64) -> i64 {
        sighting.left(node, &NodeTimes::default(), at(now)).as_secs()
    }

    #[test]
    fn every_renewal_gives_the_whole_grace_period_by_our_own_clock() {
        let node = ready_node("node1");
        // The node's clock is far behind ours.
        let mut sighting = Sighting::first(&node, Some(&lease(1)), at(1000));
        assert_eq!(left(&sighting, &node, 1010), 30);
        sighting.look(&node, Some(&lease(1)), at(1010));
        assert_eq!(left(&sighting, &node, 1010), 30, "nothing new was said");
        sighting.look(&node, Some(&lease(11)), at(1010));
        assert_eq!(left(&sighting, &node, 1010), 40);
        assert_eq!(left(&sighting, &node, 1051), -1);
        let beats = json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-11-21T20:00:00Z"}]}});
        sighting.look(&changed(&node, &beats), Some(&lease(11)), at(1051));
        assert_eq!(left(&sighting, &node, 1051), 40, "a status is a sign of life too");
    }

    #[test]
    fn a_node_that_starts_has_longer() {
        let bare: Node = changed(&json!({"metadata": {"name": "node1"}}), &json!({}));
        assert_eq!(left(&Sighting::first(&bare, None, at(0)), &bare, 1), 59);
    }

    #[test]
    fn silence_makes_the_conditions_unknown_once() {
        let node: Node = changed(
            &ready_node("node1"),
            &json!({"status": {"conditions": [
            {"type": "Ready", "status": "True"}, {"type": "NetworkUnavailable", "status": "False"}]}}),
        );
        let conditions = silenced(&node, at(5)).unwrap();
        let said: Vec<_> = conditions
            .iter()
            .map(|it| (it.type_.as_str(), it.status.as_str(), it.reason.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(
            said,
            [
                ("Ready", "Unknown", "NodeStatusUnknown"),
                ("NetworkUnavailable", "False", ""),
                ("MemoryPressure", "Unknown", "NodeStatusNeverUpdated"),
                ("DiskPressure", "Unknown", "NodeStatusNeverUpdated"),
                ("PIDPressure", "Unknown", "NodeStatusNeverUpdated"),
            ]
        );
        let mut lost = node.clone();
        lost.status.get_or_insert_default().conditions = Some(conditions);
        assert_eq!(silenced(&lost, at(9)), None);
        assert_eq!(Readiness::of(&lost), Readiness::Unreachable);
        assert_eq!(Readiness::of(&node), Readiness::Ready);
    }

    #[test]
    fn the_more_is_lost_the_less_is_given_up() {
        for (ready, unready, expected) in [
            (3, 0, Disruption::Normal),
            (2, 1, Disruption::Normal),
            (1, 2, Disruption::Normal),
            (2, 3, Disruption::Partial),
            (3, 3, Disruption::Normal),
            (0, 1, Disruption::Full),
            (0, 0, Disruption::Normal),
        ] {
            assert_eq!(Disruption::of(ready, unready), expected, "{ready} {unready}");
        }
        assert_eq!(Disruption::Normal.pause(3), Some(PAUSE));
        assert_eq!(Disruption::Partial.pause(50), None);
        assert_eq!(Disruption::Partial.pause(51), Some(LONG_PAUSE));
        assert_eq!(Disruption::Full.pause(99), None);
    }
}
