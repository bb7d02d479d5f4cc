//! nftables: what the kernel tells of changes, and how many elements it counts.

use std::net::Ipv4Addr;
use std::time::Duration;

use netstate::nft::{
    Element, Family, Name, NftPort as _, Op, Ruleset, Set, SetDefinition, Table, Transaction, Type, Value,
    diff,
};
use portolan_kernel::nft::{Events, Nftables};

use super::isolation::in_fresh_namespace;

const SET: Name = Name::constant("addresses");
/// Long enough for a busy machine; nothing waits for it that comes.
const SOON: Duration = Duration::from_secs(60);

fn table() -> Table {
    Table::new(Family::Ip, Name::constant("portolan-test"))
}

/// A set of so many addresses from 10.0.0.0 on.
fn addresses(count: u32) -> Ruleset {
    let mut set = Set::new(SetDefinition::set([Type::Ipv4Address]));
    for number in 0..count {
        let Element { key, data } = Element::key(Value::from(Ipv4Addr::from(0x0a00_0000 + number)));
        set.elements.insert(key, data);
    }
    let mut ruleset = Ruleset::new(table());
    ruleset.sets.insert(SET, set);
    ruleset
}

#[test]
fn everybody_hears_of_a_change() {
    in_fresh_namespace(|| {
        let mut events = Events::open().unwrap();
        assert!(events.receive(Duration::ZERO).unwrap().is_none(), "nobody has changed anything");
        let mut nft = Nftables::open().unwrap();
        nft.commit(&diff(None, &addresses(5_000))).unwrap();
        // The table, the set and its elements, in as many pieces as the kernel likes.
        let (mut heard, mut last_address) = (0, false);
        while heard < 5_002 {
            let some = events.receive(SOON).unwrap().expect("events");
            heard += some.changes_of("portolan-test");
            assert_eq!(some.changes_of("portolan"), 0, "a table of another name");
            last_address |= some.holds(&[10, 0, 19, 135]);
        }
        assert_eq!((heard, last_address), (5_002, true));

        nft.commit(&Transaction { table: table(), ops: vec![Op::DeleteTable] }).unwrap();
        while heard < 5_004 {
            heard += events.receive(SOON).unwrap().expect("events").changes_of("portolan-test");
        }
    });
}

#[test]
fn elements_are_counted_without_being_read() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        assert_eq!(nft.element_counts(&table()).unwrap(), None, "there is no such table");
        nft.commit(&diff(None, &addresses(3_000))).unwrap();
        assert_eq!(nft.element_counts(&table()).unwrap().unwrap()[&SET], 3_000);
        nft.commit(&diff(Some(&addresses(3_000)), &addresses(10))).unwrap();
        assert_eq!(nft.element_counts(&table()).unwrap().unwrap()[&SET], 10);
    });
}
