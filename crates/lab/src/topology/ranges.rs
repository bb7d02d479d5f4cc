//! Whether a lab with these ranges is possible. Pure.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::LabNetwork;

/// The network beyond the router, TEST-NET-1 of RFC 5737.
pub const OUTSIDE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, 0), 24);

/// Ranges that no machine can use as its own, with what they are.
const RESERVED: [(Ipv4Net, &str); 4] = [
    (Ipv4Net::new_assert(Ipv4Addr::new(0, 0, 0, 0), 8), "\"this network\""),
    (Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8), "the loopback"),
    (Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 3), "multicast and beyond"),
    (OUTSIDE, "the network outside the lab"),
];

/// The shortest prefix that a range may have. Larger ones are mistakes, and their addresses would not fit our tables.
const LARGEST: u8 = 8;
/// A Service range must hold the addresses of `kubernetes` (the first) and of the cluster's DNS (the tenth).
const SMALLEST_SERVICE: u8 = 28;
/// 16 nodes with 13 pods each.
const SMALLEST_POD: u8 = 24;
/// What a node has when there is room.
const NODE_PREFIX: u8 = 24;

/// Why a lab with these ranges is impossible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// A range is given by an address in it.
    #[error("the {name} range {range} is not written by its first address; say {} instead", range.trunc())]
    HostBits {
        /// Which: node, pod or service.
        name: &'static str,
        /// As given.
        range: Ipv4Net,
    },
    /// A range is larger than anything sensible.
    #[error("the {name} range {range} is too large; a lab takes at most a /{LARGEST}")]
    TooLarge {
        /// Which.
        name: &'static str,
        /// As given.
        range: Ipv4Net,
    },
    /// A range lies in addresses that are not for this.
    #[error(
        "the {name} range {range} overlaps {what} ({reserved}); choose another, such as one in 10.0.0.0/8"
    )]
    Reserved {
        /// Which.
        name: &'static str,
        /// As given.
        range: Ipv4Net,
        /// What it meets.
        reserved: Ipv4Net,
        /// What that is.
        what: &'static str,
    },
    /// Two ranges have addresses in common.
    #[error(
        "the {first_name} range {first} and the {second_name} range {second} overlap; choose ranges apart from each other"
    )]
    Overlap {
        /// Which.
        first_name: &'static str,
        /// As given.
        first: Ipv4Net,
        /// Which other.
        second_name: &'static str,
        /// As given.
        second: Ipv4Net,
    },
    /// The node range cannot hold the machines.
    #[error(
        "the node range {range} has no room for {nodes} nodes, the router and the control plane; use a /{enough} or larger"
    )]
    NodesDoNotFit {
        /// As given.
        range: Ipv4Net,
        /// How many.
        nodes: usize,
        /// The longest prefix that has room.
        enough: u8,
    },
    /// The pod range has not enough pieces.
    #[error(
        "the pod range {range} holds pod ranges (/{piece}) for {holds} nodes, and there are {nodes}; use a /{enough} or larger"
    )]
    PodsDoNotFit {
        /// As given.
        range: Ipv4Net,
        /// The prefix length of a node's piece.
        piece: u8,
        /// How many pieces there are.
        holds: u64,
        /// How many nodes.
        nodes: usize,
        /// The longest prefix that has room.
        enough: u8,
    },
    /// A range is too small whatever the number of nodes.
    #[error("the {name} range {range} is too small; use a /{enough} or larger")]
    TooSmall {
        /// Which.
        name: &'static str,
        /// As given.
        range: Ipv4Net,
        /// The longest prefix that has room.
        enough: u8,
    },
}

/// How long the prefix of a node's piece of the pod range is.
pub(super) fn node_prefix_length(pod_range: Ipv4Net) -> u8 {
    NODE_PREFIX.max(pod_range.prefix_len().saturating_add(4)).min(30)
}

/// Looks at each range alone, then at their sizes, then at them together.
pub(super) fn check(network: &LabNetwork) -> Result<(), RangeError> {
    let ranges =
        [("node", network.node_range), ("pod", network.pod_range), ("service", network.service_range)];
    for (name, range) in ranges {
        check_alone(name, range)?;
    }
    check_nodes(network)?;
    check_pods(network)?;
    if network.service_range.prefix_len() > SMALLEST_SERVICE {
        return Err(RangeError::TooSmall {
            name: "service",
            range: network.service_range,
            enough: SMALLEST_SERVICE,
        });
    }
    for (index, (first_name, first)) in ranges.into_iter().enumerate() {
        for (second_name, second) in ranges.into_iter().skip(index + 1) {
            let allowed = second == network.service_range && holds_beside_services(second, first);
            if overlap(first, second) && !allowed {
                return Err(RangeError::Overlap { first_name, first, second_name, second });
            }
        }
    }
    Ok(())
}

/// Whether a range inside the service range leaves room for Services: the reference cluster has its nodes in
/// 10.100.0.0/24 and its Services in 10.96.0.0/12. No Service gets an address of such a range, so only the ones that
/// Services have by convention must be free, and most of the range.
fn holds_beside_services(services: Ipv4Net, range: Ipv4Net) -> bool {
    let conventional = Ipv4Net::new(services.network(), SMALLEST_SERVICE);
    services.contains(&range)
        && range.prefix_len() >= services.prefix_len() + 2
        && conventional.is_ok_and(|conventional| !overlap(conventional, range))
}

fn check_alone(name: &'static str, range: Ipv4Net) -> Result<(), RangeError> {
    if range != range.trunc() {
        return Err(RangeError::HostBits { name, range });
    }
    if range.prefix_len() < LARGEST {
        return Err(RangeError::TooLarge { name, range });
    }
    for (reserved, what) in RESERVED {
        if overlap(range, reserved) {
            return Err(RangeError::Reserved { name, range, reserved, what });
        }
    }
    Ok(())
}

fn check_nodes(network: &LabNetwork) -> Result<(), RangeError> {
    let nodes = network.nodes as u64;
    // Network and broadcast address, router and control plane.
    let needed = nodes + 4;
    if addresses(network.node_range.prefix_len()) >= needed {
        return Ok(());
    }
    let enough = longest_prefix(|prefix| addresses(prefix) >= needed);
    Err(RangeError::NodesDoNotFit { range: network.node_range, nodes: network.nodes, enough })
}

fn check_pods(network: &LabNetwork) -> Result<(), RangeError> {
    let range = network.pod_range;
    if range.prefix_len() > SMALLEST_POD {
        return Err(RangeError::TooSmall { name: "pod", range, enough: SMALLEST_POD });
    }
    let pieces = |prefix: u8| {
        let piece = node_prefix_length(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, prefix));
        1_u64 << (piece - prefix)
    };
    let holds = pieces(range.prefix_len());
    if holds >= network.nodes as u64 {
        return Ok(());
    }
    let enough = longest_prefix(|prefix| prefix <= SMALLEST_POD && pieces(prefix) >= network.nodes as u64);
    Err(RangeError::PodsDoNotFit {
        range,
        piece: node_prefix_length(range),
        holds,
        nodes: network.nodes,
        enough,
    })
}

fn addresses(prefix: u8) -> u64 {
    1_u64 << (32 - prefix.min(32))
}

fn longest_prefix(fits: impl Fn(u8) -> bool) -> u8 {
    (LARGEST..=32).rev().find(|prefix| fits(*prefix)).unwrap_or(LARGEST)
}

fn overlap(first: Ipv4Net, second: Ipv4Net) -> bool {
    first.contains(&second) || second.contains(&first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(nodes: usize, node: &str, pod: &str, service: &str) -> LabNetwork {
        LabNetwork {
            lab: "a".to_owned(),
            nodes,
            node_range: node.parse().unwrap(),
            pod_range: pod.parse().unwrap(),
            service_range: service.parse().unwrap(),
        }
    }

    fn complaint(nodes: usize, node: &str, pod: &str, service: &str) -> String {
        network(nodes, node, pod, service).check().unwrap_err().to_string()
    }

    const NODE: &str = "10.100.0.0/24";
    const POD: &str = "10.244.0.0/16";
    const SERVICE: &str = "10.96.0.0/12";

    #[test]
    fn the_ranges_of_the_reference_clusters_are_fine() {
        assert_eq!(network(3, NODE, POD, SERVICE).check(), Ok(()));
        assert_eq!(network(251, "10.0.0.0/24", POD, SERVICE).check(), Ok(()));
        assert_eq!(network(5, "172.20.0.0/16", "10.244.0.0/16", "10.0.0.0/16").check(), Ok(()));
    }

    #[test]
    fn each_complaint_says_what_to_do() {
        assert_eq!(
            complaint(3, "10.100.0.7/24", POD, SERVICE),
            "the node range 10.100.0.7/24 is not written by its first address; say 10.100.0.0/24 instead"
        );
        assert_eq!(
            complaint(3, NODE, "192.0.2.0/24", SERVICE),
            "the pod range 192.0.2.0/24 overlaps the network outside the lab (192.0.2.0/24); choose another, such as one \
             in 10.0.0.0/8"
        );
        assert_eq!(
            complaint(3, "10.244.7.0/24", POD, SERVICE),
            "the node range 10.244.7.0/24 and the pod range 10.244.0.0/16 overlap; choose ranges apart from each other"
        );
        assert!(
            complaint(3, "10.96.0.0/24", POD, SERVICE).contains("overlap"),
            "10.96.0.1 is the API server's"
        );
        assert!(complaint(3, "10.96.0.0/12", POD, SERVICE).contains("overlap"));
        assert_eq!(
            complaint(13, "10.7.0.0/28", POD, SERVICE),
            "the node range 10.7.0.0/28 has no room for 13 nodes, the router and the control plane; use a /27 or larger"
        );
        assert_eq!(
            complaint(17, "10.7.0.0/24", "10.244.0.0/20", SERVICE),
            "the pod range 10.244.0.0/20 holds pod ranges (/24) for 16 nodes, and there are 17; use a /19 or larger"
        );
        assert_eq!(
            complaint(3, "10.7.0.0/24", "10.244.0.0/25", SERVICE),
            "the pod range 10.244.0.0/25 is too small; use a /24 or larger"
        );
        assert_eq!(
            complaint(3, "10.7.0.0/24", POD, "10.96.0.0/29"),
            "the service range 10.96.0.0/29 is too small; use a /28 or larger"
        );
        assert!(complaint(3, "127.0.0.0/16", POD, SERVICE).contains("the loopback"));
        assert!(complaint(3, "239.0.0.0/16", POD, SERVICE).contains("multicast"));
        assert!(complaint(3, NODE, "0.0.0.0/0", SERVICE).contains("too large"));
    }

    #[test]
    fn a_node_gets_a_24_or_a_sixteenth_of_a_small_pod_range() {
        let length = |pod: &str| network(3, NODE, pod, SERVICE).node_prefix_length();
        assert_eq!(length("10.244.0.0/16"), 24);
        assert_eq!(length("10.0.0.0/14"), 24);
        assert_eq!(length("10.244.0.0/20"), 24);
        assert_eq!(length("10.244.0.0/21"), 25);
        assert_eq!(length("10.244.0.0/24"), 28);
    }
}
