use std::ops::RangeInclusive;
use std::time::Duration;

/// How relays work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The ports that relays may listen at; `None`: whichever the system gives.
    pub ports: Option<PortRange>,
    /// Most connections at a time, of all relays together; at least 1. Each takes two descriptors, and two more in a
    /// direction that carries much.
    pub connections: usize,
    /// Most flows of datagrams at a time, of all relays together; at least 1. Each takes one descriptor.
    pub flows: usize,
    /// How long a flow in which nobody sends anything stays with its endpoint.
    pub flow_timeout: Duration,
}

impl Config {
    /// Descriptors that are left to everything else in the process.
    const RESERVE: u64 = 256;

    /// Bounds for a process that may have so many descriptors open: half of them for connections at four each, a
    /// quarter for flows, the rest for listeners.
    #[must_use]
    pub fn for_descriptors(mut self, limit: u64) -> Self {
        let ours = usize::try_from(limit.saturating_sub(Self::RESERVE)).unwrap_or(usize::MAX);
        self.connections = self.connections.min(ours / 8).max(1);
        self.flows = self.flows.min(ours / 4).max(1);
        self
    }
}

impl Default for Config {
    /// Any port, 16,384 connections, 16,384 flows of 30 seconds.
    ///
    /// kube-proxy's userspace mode forgot flows after 250 ms, so that whoever paused longer met another endpoint; in
    /// the other modes the kernel keeps them for 30 s (`nf_conntrack_udp_timeout`), and so do we.
    fn default() -> Self {
        Self { ports: None, connections: 16_384, flows: 16_384, flow_timeout: Duration::from_secs(30) }
    }
}

/// Ports, from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Ports from `first` to `last`; `None` if there is none between them, or `first` is 0.
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first == 0 || first > last { None } else { Some(Self { first, last }) }
    }

    /// The first port.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The last port.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// All of them, `from` and those behind it first.
    pub(crate) fn starting_at(self, from: u16) -> impl Iterator<Item = u16> {
        let from = if self.all().contains(&from) { from } else { self.first };
        (from..=self.last).chain(self.first..from)
    }

    const fn all(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_go_round() {
        let range = PortRange::new(10, 13).unwrap();
        assert_eq!(range.starting_at(12).collect::<Vec<_>>(), [12, 13, 10, 11]);
        assert_eq!(range.starting_at(99).collect::<Vec<_>>(), [10, 11, 12, 13]);
        let last = PortRange::new(u16::MAX, u16::MAX).unwrap();
        assert_eq!(last.starting_at(0).collect::<Vec<_>>(), [u16::MAX]);
        assert_eq!((PortRange::new(0, 9), PortRange::new(9, 8)), (None, None));
    }

    #[test]
    fn bounds_follow_the_descriptors_there_are() {
        let few = Config::default().for_descriptors(1024);
        assert_eq!((few.connections, few.flows), (96, 192));
        assert_eq!(Config::default().for_descriptors(1 << 20), Config::default());
        let none = Config::default().for_descriptors(0);
        assert_eq!((none.connections, none.flows), (1, 1));
    }
}
