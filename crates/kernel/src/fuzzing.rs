//! Doors for fuzz targets: each takes any bytes, and panics only when there is a bug. `fuzz/` runs them for as long as
//! one likes, the tests here for a moment.

use netstate::ipset::{Saved, Sets};

use crate::nfnetlink::{Attributes, Messages};
use crate::{ipset, ipvs};

/// What the kernel might say when it lists IPVS services and destinations.
pub fn ipvs_reply(bytes: &[u8]) {
    for message in Messages::new(bytes) {
        for (kind, payload) in message.attributes() {
            let nest = Attributes::new(payload);
            let service = ipvs::service(nest);
            assert!(service.is_none_or(|(id, settings)| !format!("{id}{settings}").is_empty()));
            let destination = ipvs::destination(nest, kind % 2 == 1);
            assert!(destination.is_none_or(|(_, one)| one.connections() >= one.active));
        }
    }
}

/// What the kernel might say when it lists ipsets.
pub fn ipset_reply(bytes: &[u8]) {
    let mut sets = Sets::new();
    for message in Messages::new(bytes) {
        ipset::take(&mut sets, "", message.attributes());
        let count = ipset::count("", message.attributes());
        assert!(count.is_none_or(|(name, _)| name.as_str().len() <= 31));
    }
    for set in sets.values() {
        assert!(set.members.iter().all(|member| member.fits(&set.definition)), "{}", Saved(&sets));
    }
}

#[cfg(test)]
mod tests {
    use netstate::ipset::{self as sets, IpPort, Member, SetKind, SetName};
    use netstate::ipvs::{Op, Scheduler, ServiceId, Settings};
    use netstate::nft::{Family, L4Protocol};
    use proptest::prelude::*;

    use super::*;

    /// Messages that say something, to be damaged.
    fn seeds() -> Vec<Vec<u8>> {
        let at = IpPort { address: "10.96.0.1".parse().unwrap(), protocol: L4Protocol::TCP, port: 443 };
        let id = ServiceId::Address { protocol: at.protocol, at: "10.96.0.1:443".parse().unwrap() };
        let settings = Settings { scheduler: Scheduler::ROUND_ROBIN, persistence: Some(10_800) };
        let to = "10.244.1.2:6443".parse().unwrap();
        let ops = [Op::AddService { id, settings }, Op::AddDestination { id, to, weight: 1 }];
        let set = SetName::constant("KUBE-CLUSTER-IP");
        let definition = sets::Definition::new(SetKind::IpPort, Family::Ip);
        let create = sets::Op::Create { set: set.clone(), definition };
        let add = sets::Op::Add { set, members: vec![Member::IpPort(at)] };
        let mut seeds: Vec<Vec<u8>> = ops.iter().map(ipvs::message).collect();
        seeds.extend([create, add].iter().map(ipset::message));
        seeds.push(seeds.concat());
        seeds
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            ipvs_reply(&bytes);
            ipset_reply(&bytes);
        }

        #[test]
        fn damaged_messages_can_be_read(
            seed in 0usize..5,
            damages in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        ) {
            let mut bytes = seeds().swap_remove(seed);
            for (place, byte) in damages {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            ipvs_reply(&bytes);
            ipset_reply(&bytes);
        }
    }
}
