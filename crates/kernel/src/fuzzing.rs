//! Doors for fuzz targets: each takes any bytes, and panics only when there is a bug. `fuzz/` runs them for as long as
//! one likes, the tests here for a moment.

use netstate::ipset::{Saved, Sets};
use netstate::iptables;
use netstate::nft::{Element, Family, Name, Table};

use crate::nfnetlink::{Attributes, Messages};
use crate::{conntrack, ipset, ipvs, nft};

/// What the kernel might say when it lists an nftables table, or tells of changes.
pub fn nft_reply(bytes: &[u8]) {
    assert!(nft::Heard::new(bytes).changes_of("portolan-services") <= bytes.len());
    for family in [Family::Ip, Family::Ip6] {
        let table = Table::new(family, Name::constant("portolan-services"));
        for (definition, elements) in nft::listing(&table, bytes) {
            let fits = |element: &Element| element.key.types().eq(definition.key.iter().copied());
            assert!(elements.iter().all(fits), "{definition:?} {elements:?}");
        }
    }
}

/// What the kernel might say when it lists connections.
pub fn conntrack_reply(bytes: &[u8]) {
    for message in Messages::new(bytes) {
        let connection = conntrack::entry(message.attributes());
        assert!(connection.is_none_or(|connection| !connection.to_string().is_empty()));
    }
}

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

/// What `iptables-save` might print, of either family: what is read of it is printed and read again as the same.
pub fn iptables_save(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for (family, table) in [(Family::Ip, iptables::Table::Nat), (Family::Ip6, iptables::Table::Filter)] {
        let Ok(chains) = iptables::parse(family, table, &text) else {
            continue;
        };
        let printed = iptables::save(family, table, &chains);
        let again = iptables::parse(family, table, &printed);
        assert_eq!(again.as_ref(), Ok(&chains), "{printed}");
    }
}

#[cfg(test)]
mod tests {
    use netstate::ipset::{self as sets, IpPort, Member, SetKind, SetName};
    use netstate::ipvs::{Op, Scheduler, ServiceId, Settings};
    use netstate::nft::{self as nft_values, L4Protocol, SetDefinition, Transaction, Type, Value};
    use proptest::prelude::*;

    use super::*;

    fn element() -> Element {
        Element::key([Value::Protocol(L4Protocol::TCP), Value::Port(443)])
    }

    /// A set with an element, as it is written.
    fn nft_batch() -> Vec<u8> {
        let (set, definition) = (Name::constant("s"), SetDefinition::set([Type::Protocol, Type::Port]));
        let add = nft_values::Op::AddSet { set: set.clone(), definition: definition.clone() };
        let fill = nft_values::Op::AddElements { set, definition, elements: vec![element()] };
        let table = Table::new(Family::Ip, Name::constant("t"));
        nft::messages(&Transaction { table, ops: vec![add, fill] })
    }

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
        seeds.push(nft_batch());
        seeds.push(seeds.concat());
        seeds
    }

    const WORDS: [&str; 36] = [
        "\n-A A",
        "\n:B - [0:0]",
        "!",
        "-s",
        "-d",
        "-i",
        "-o",
        "-p",
        "-m",
        "-j",
        "-g",
        "A",
        "10.0.0.0/8",
        "fd00::/8",
        "1.2.3.4",
        "cbr0",
        "cali+",
        "tcp",
        "udp",
        "6",
        "--dport",
        "80",
        "comment",
        "--comment",
        "\"a b\"",
        "\"",
        "\\",
        "mark",
        "--mark",
        "0x4000/0x4000",
        "addrtype",
        "--src-type",
        "LOCAL",
        "DNAT",
        "--to-destination",
        "[fd00::1]:80",
    ];

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            nft_reply(&bytes);
            conntrack_reply(&bytes);
            ipvs_reply(&bytes);
            ipset_reply(&bytes);
            iptables_save(&bytes);
        }

        /// Pieces of a listing in any order.
        #[test]
        fn damaged_listings_can_be_read(
            pieces in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..40),
            damage in any::<(prop::sample::Index, u8)>(),
        ) {
            let mut text = String::from("*nat\n:A - [0:0]\n-A A");
            for (place, space) in pieces {
                text.push_str(if space { " " } else { "" });
                text.push_str(WORDS[place.index(WORDS.len())]);
            }
            text.push_str("\nCOMMIT\n");
            let mut bytes = text.into_bytes();
            iptables_save(&bytes);
            let place = damage.0.index(bytes.len());
            bytes[place] = damage.1;
            iptables_save(&bytes);
        }

        #[test]
        fn damaged_messages_can_be_read(
            seed in 0usize..6,
            damages in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        ) {
            let mut bytes = seeds().swap_remove(seed);
            for (place, byte) in damages {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            nft_reply(&bytes);
            conntrack_reply(&bytes);
            ipvs_reply(&bytes);
            ipset_reply(&bytes);
        }
    }

    /// What we send has the shape of what is listed.
    #[test]
    fn a_written_set_is_read_as_a_listing() {
        let table = Table::new(Family::Ip, Name::constant("t"));
        let sets = nft::listing(&table, &nft_batch());
        assert_eq!(sets.len(), 1);
        assert_eq!(sets[0].1, [element()]);
    }
}
