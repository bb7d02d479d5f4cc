use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

/// A node, as far as pod ranges are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) node: String,
    /// What it holds already, ours or not: never given to another.
    pub(crate) held: Vec<IpNet>,
}

/// Who gets which range, and who goes without.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) assigned: Vec<(String, IpNet)>,
    pub(crate) without: Vec<String>,
}

/// Gives each node without a range a free piece of `pod_cidr`, cut into pieces of `/prefix_length`.
///
/// A node whose name ends in a number gets the piece of that number when it is free (node2 of 10.244.0.0/16 gets
/// 10.244.2.0/24, also when it comes back after having been deleted); every other gets the lowest free piece.
/// The ranges belong to the nodes: a deleted node gives its own back by no longer being in `claims`.
pub(crate) fn plan(pod_cidr: IpNet, prefix_length: u8, claims: &[Claim]) -> Plan {
    let pieces = Pieces { pod_cidr, prefix_length };
    let mut taken: BTreeSet<u128> = claims
        .iter()
        .flat_map(|claim| &claim.held)
        .filter_map(|held| pieces.overlapped(held))
        .flatten()
        .collect();
    let mut plan = Plan::default();
    let mut lowest = 0;
    for claim in claims.iter().filter(|claim| claim.held.is_empty()) {
        let preferred =
            trailing_number(&claim.node).filter(|number| *number < pieces.count() && !taken.contains(number));
        let free = preferred.or_else(|| {
            lowest =
                (lowest..pieces.count()).find(|number| !taken.contains(number)).unwrap_or(pieces.count());
            (lowest < pieces.count()).then_some(lowest)
        });
        match free.and_then(|number| Some((number, pieces.piece(number)?))) {
            Some((number, range)) => {
                taken.insert(number);
                plan.assigned.push((claim.node.clone(), range));
            }
            None => plan.without.push(claim.node.clone()),
        }
    }
    plan
}

fn trailing_number(name: &str) -> Option<u128> {
    let digits = name.len() - name.trim_end_matches(|letter: char| letter.is_ascii_digit()).len();
    name[name.len() - digits..].parse().ok()
}

/// The pod range cut into equal pieces, numbered from 0.
struct Pieces {
    pod_cidr: IpNet,
    prefix_length: u8,
}

impl Pieces {
    fn count(&self) -> u128 {
        1 << self.prefix_length.saturating_sub(self.pod_cidr.prefix_len()).min(127)
    }

    /// By how many bits an address is shifted to get the number of its piece.
    fn shift(&self) -> u32 {
        u32::from(self.pod_cidr.max_prefix_len().saturating_sub(self.prefix_length)).min(127)
    }

    fn piece(&self, number: u128) -> Option<IpNet> {
        let network = bits(self.pod_cidr.network()) + (number << self.shift());
        let address = match self.pod_cidr {
            IpNet::V4(_) => IpAddr::V4(u32::try_from(network).ok()?.into()),
            IpNet::V6(_) => IpAddr::V6(network.into()),
        };
        IpNet::new(address, self.prefix_length).ok()
    }

    /// The numbers of the pieces that share addresses with `range`; `None` when it lies outside.
    fn overlapped(&self, range: &IpNet) -> Option<std::ops::RangeInclusive<u128>> {
        let same_family =
            matches!((self.pod_cidr, range), (IpNet::V4(_), IpNet::V4(_)) | (IpNet::V6(_), IpNet::V6(_)));
        let (first, last) = (bits(range.network()), bits(range.broadcast()));
        let (lowest, highest) = (bits(self.pod_cidr.network()), bits(self.pod_cidr.broadcast()));
        if !same_family || last < lowest || first > highest {
            return None;
        }
        let number = |address: u128| (address - lowest) >> self.shift();
        Some(number(first.max(lowest))..=number(last.min(highest)))
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn claim(node: &str, held: &[&str]) -> Claim {
        Claim { node: node.to_owned(), held: held.iter().map(|range| net(range)).collect() }
    }

    #[test]
    fn numbered_nodes_get_the_piece_of_their_number() {
        let plan =
            plan(net("10.244.0.0/16"), 24, &[claim("node1", &[]), claim("node2", &[]), claim("node3", &[])]);
        assert_eq!(
            plan.assigned,
            [
                ("node1".to_owned(), net("10.244.1.0/24")),
                ("node2".to_owned(), net("10.244.2.0/24")),
                ("node3".to_owned(), net("10.244.3.0/24"))
            ]
        );
    }

    #[test]
    fn names_without_a_usable_number_get_the_lowest_free_piece() {
        let claims =
            [claim("a", &[]), claim("b", &["10.244.1.0/24"]), claim("node700", &[]), claim("x1", &[])];
        let plan = plan(net("10.244.0.0/16"), 24, &claims);
        assert_eq!(
            plan.assigned,
            [
                ("a".to_owned(), net("10.244.0.0/24")),
                ("node700".to_owned(), net("10.244.2.0/24")),
                ("x1".to_owned(), net("10.244.3.0/24"))
            ]
        );
    }

    #[test]
    fn a_range_that_someone_else_chose_blocks_all_it_overlaps() {
        let claims =
            [claim("big", &["10.244.0.0/23"]), claim("node1", &[]), claim("other", &["192.168.0.0/24"])];
        let plan = plan(net("10.244.0.0/22"), 24, &claims);
        assert_eq!(plan.assigned, [("node1".to_owned(), net("10.244.2.0/24"))]);
    }

    #[test]
    fn when_all_is_given_away_the_rest_go_without() {
        let claims = [claim("a", &[]), claim("b", &[]), claim("c", &[])];
        let plan = plan(net("fd00:10::/63"), 64, &claims);
        assert_eq!(plan.assigned.len(), 2);
        assert_eq!(plan.assigned[1].1, net("fd00:10:0:1::/64"));
        assert_eq!(plan.without, ["c"]);
    }

    proptest! {
        /// However nodes come and go, no two ranges overlap, all lie inside, held ones stay, and nobody goes without while
        /// pieces are left.
        #[test]
        fn ranges_never_overlap(steps in prop::collection::vec((0_usize..24, any::<bool>()), 1..60)) {
            let pod_cidr = net("10.244.0.0/20");
            let mut claims: Vec<Claim> = Vec::new();
            for (number, add) in steps {
                let name = format!("node{number}");
                claims.retain(|claim| claim.node != name);
                if add {
                    claims.push(Claim { node: name, held: Vec::new() });
                }
                let before = claims.clone();
                let planned = plan(pod_cidr, 24, &claims);
                for (node, range) in &planned.assigned {
                    for claim in claims.iter_mut().filter(|claim| claim.node == *node) {
                        prop_assert!(claim.held.is_empty());
                        claim.held.push(*range);
                    }
                }
                for (old, new) in before.iter().zip(&claims) {
                    prop_assert!(old.held.is_empty() || old.held == new.held);
                }
                let ranges: Vec<IpNet> = claims.iter().flat_map(|claim| claim.held.clone()).collect();
                let distinct: BTreeSet<IpNet> = ranges.iter().copied().collect();
                prop_assert_eq!(distinct.len(), ranges.len());
                prop_assert!(ranges.iter().all(|range| pod_cidr.contains(range) && range.prefix_len() == 24));
                prop_assert!(planned.without.is_empty() || ranges.len() == 16);
                // Nothing is left to do: planning again changes nothing.
                prop_assert_eq!(plan(pod_cidr, 24, &claims).assigned, vec![]);
            }
        }
    }
}
