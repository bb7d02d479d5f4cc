//! The marks that lead those inside the cluster to services of their own.
//!
//! A virtual service at an address has one list of endpoints for everybody. Behind a door with `externalTrafficPolicy:
//! Local` pods and the node itself are led to endpoints anywhere, and others to the node's: so their packets get a mark
//! by a set, and there is a virtual service for the mark. The node's own packets carry the bit for masquerade, too, so
//! there is a second one for both together.

use std::collections::{BTreeMap, BTreeSet};

use netstate::ipset::{IpPort, Member, Sets};
use netstate::ipvs::ServiceId;
use netstate::nft::{Family, L4Protocol};

use super::rules::MASQUERADE;
use super::sets::Role;

/// Every mark of ours has one of these; which, is told by the protocol.
const TCP: u32 = 0x0100_0000;
const UDP: u32 = 0x0200_0000;
const SCTP: u32 = 0x0300_0000;
const PROTOCOL: u32 = 0x0300_0000;
/// Bits of a mark below the two that kubelet and kube-proxy use.
const LOW: u32 = 14;

/// Which place has which mark. A mark means nothing by itself; a place keeps the one that it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks {
    by_place: BTreeMap<IpPort, u32>,
    taken: BTreeSet<u32>,
}

impl Marks {
    /// Those that a set holds, from before.
    pub(super) fn observed(sets: &Sets, family: Family) -> Self {
        let mut marks = Self::default();
        for member in sets.get(&Role::Inside.name(family)).into_iter().flat_map(|set| &set.members) {
            // One that somebody else has written there, or that two places have, is not ours to keep.
            if let Member::IpPortMark(at, mark) = member
                && Some(*mark & PROTOCOL) == of_protocol(at.protocol)
                && mark & MASQUERADE == 0
                && marks.taken.insert(*mark)
            {
                marks.by_place.insert(*at, *mark);
            }
        }
        marks
    }

    /// The mark of a place, if it has one.
    pub(super) fn of(&self, at: &IpPort) -> Option<u32> {
        self.by_place.get(at).copied()
    }

    /// Gives a place a mark if it has none. There are more than a million; when all are taken, it stays without.
    pub(super) fn allot(&mut self, at: IpPort) {
        let Some(protocol) = of_protocol(at.protocol).filter(|_| !self.by_place.contains_key(&at)) else {
            return;
        };
        let numbered = |number: u32| protocol | (number & ((1 << LOW) - 1)) | (number >> LOW) << (LOW + 2);
        if let Some(mark) = (1..1 << 20).map(numbered).find(|mark| !self.taken.contains(mark)) {
            self.taken.insert(mark);
            self.by_place.insert(at, mark);
        }
    }

    /// Takes the marks of all places but some.
    pub(super) fn retain(&mut self, keep: impl Fn(&IpPort) -> bool) {
        let Self { by_place, taken } = self;
        by_place.retain(|at, mark| {
            let stays = keep(at);
            if !stays {
                taken.remove(mark);
            }
            stays
        });
    }

    /// The place that a virtual service for a mark stands for.
    pub(super) fn place(&self, id: &ServiceId) -> Option<IpPort> {
        let ServiceId::Mark { mark, .. } = id else {
            return None;
        };
        let plain = mark & !MASQUERADE;
        self.taken
            .contains(&plain)
            .then(|| self.by_place.iter().find(|(_, one)| **one == plain))?
            .map(|(at, _)| *at)
    }

    /// Whether a virtual service is for a mark of ours.
    pub(super) fn has(&self, id: &ServiceId) -> bool {
        matches!(id, ServiceId::Mark { mark, .. } if self.taken.contains(&(mark & !MASQUERADE)))
    }
}

/// The virtual services for a mark.
pub(super) fn services(mark: u32, family: Family) -> [ServiceId; 2] {
    [mark, mark | MASQUERADE].map(|mark| ServiceId::Mark { mark, family })
}

/// Whether a mark is for TCP.
pub(super) const fn is_tcp(mark: u32) -> bool {
    mark & PROTOCOL == TCP
}

fn of_protocol(protocol: L4Protocol) -> Option<u32> {
    match protocol {
        L4Protocol::TCP => Some(TCP),
        L4Protocol::UDP => Some(UDP),
        L4Protocol::SCTP => Some(SCTP),
        _ => None,
    }
}
