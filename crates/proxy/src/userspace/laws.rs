//! The laws in this mode.

use std::collections::{BTreeMap, BTreeSet};

use netstate::conntrack::FakeConntrack;
use netstate::nft::{Chain, Data, FakeNft, Family, L4Protocol, Name, Ruleset, Table, Value};
use netstate::relay::{FakeRelays, Relay, RelayName};
use netstate::trace::Fate;
use proptest::prelude::*;

use super::{TABLE, TABLE_IPV6, UserspaceProxy, layout};
use crate::Dataplane;
use crate::door_words::FAMILIES;
use crate::laws::{Knock, Node, any_history, context, hold, host, told};

const OTHERS: Table = Table::new(Family::Ip, Name::constant("others"));

/// A set, the door that is its key, and the relay that it leads to.
type Led = (Name, String, String);

struct Beside {
    nft: FakeNft,
    relays: FakeRelays,
    proxy: UserspaceProxy<FakeNft, FakeRelays, FakeConntrack>,
    /// How many failures were ordered.
    failures: usize,
}

impl Beside {
    fn with(nft: FakeNft, relays: FakeRelays) -> Self {
        let proxy = UserspaceProxy::new(context(), nft.clone(), relays.clone(), FakeConntrack::new());
        Self { nft, relays, proxy, failures: 0 }
    }
}

/// The tables of both families, with a relay's name and the element's key where a port is. No table is as good as one
/// without services.
pub(super) type Tables = Vec<(Ruleset, BTreeSet<Led>)>;

pub(super) fn tables(nft: &FakeNft, relays: &FakeRelays) -> Tables {
    let relays = relays.relays();
    let by_port: BTreeMap<u16, String> =
        relays.into_iter().map(|(name, (port, _))| (port, name.to_string())).collect();
    let of_family = |family| {
        let table = nft.table(&layout::table(family));
        named(table.unwrap_or_else(|| layout::skeleton(&context(), family)), &by_port)
    };
    FAMILIES.map(of_family).into()
}

fn named(mut table: Ruleset, by_port: &BTreeMap<u16, String>) -> (Ruleset, BTreeSet<Led>) {
    let mut ends = BTreeSet::new();
    for (name, set) in &mut table.sets {
        set.elements.retain(|key, data| {
            let port = match (&*data, &key.to_vec()[..]) {
                (Data::Values(values), _) => match values.to_vec()[..] {
                    [Value::Port(port)] => port,
                    _ => return true,
                },
                (Data::Nothing, [_, Value::Port(port)]) if *name == layout::RELAYS => *port,
                _ => return true,
            };
            let door = if *name == layout::RELAYS { String::new() } else { key.to_string() };
            ends.insert((name.clone(), door, by_port[&port].clone()));
            false
        });
    }
    (table, ends)
}

/// The relays by name, with their endpoints in order, since turns carry no meaning.
pub(super) fn relays(relays: &FakeRelays) -> BTreeMap<RelayName, Relay> {
    let in_order = |(name, (_, mut relay)): (RelayName, (u16, Relay))| {
        relay.backends.endpoints.sort();
        (name, relay)
    };
    relays.relays().into_iter().map(in_order).collect()
}

impl Node for Beside {
    type Meaning = (Tables, BTreeMap<RelayName, Relay>, Option<Ruleset>);
    type Kernel = ([Option<Ruleset>; 3], BTreeMap<RelayName, (u16, Relay)>);
    /// Relays listen elsewhere than before.
    const KEEPS_OVER_RESTART: bool = false;

    fn new() -> Self {
        let nft = FakeNft::new();
        let mut others = Ruleset::new(OTHERS);
        others.chains.insert(Name::constant("guard"), Chain::default());
        nft.put(others);
        Self::with(nft, FakeRelays::new())
    }

    fn proxy(&mut self) -> &mut dyn Dataplane {
        &mut self.proxy
    }

    /// The relays of the first process went with it.
    fn restart(&mut self) {
        let relays = FakeRelays::new();
        // Other ports than before, as the system would give.
        relays.give_ports_from(20_400);
        *self = Self { failures: self.failures, ..Self::with(self.nft.clone(), relays) };
    }

    fn litter(&mut self) {
        let mut table = self.nft.table(&TABLE).unwrap_or_else(|| Ruleset::new(TABLE));
        table.chains.insert(Name::constant("old-layout"), Chain::default());
        let door = [Value::Address([10, 96, 0, 99].into()), Value::Protocol(L4Protocol::TCP), Value::Port(1)];
        if let Some(ports) = table.sets.get_mut(&layout::PORTS) {
            ports.elements.insert(door.into(), Data::Values(Value::Port(10_401).into()));
        }
        self.nft.put(table);
    }

    fn fail_next(&mut self) {
        self.failures += 1;
        if self.failures.is_multiple_of(2) {
            self.relays.fail_next_open(24);
        } else {
            self.nft.fail_next_commit(12);
        }
    }

    /// Those to relays are none: an endpoint that comes or goes is nothing to the kernel.
    fn writes(&self) -> usize {
        self.nft.commits().len()
    }

    fn meaning(&self) -> Self::Meaning {
        (tables(&self.nft, &self.relays), relays(&self.relays), self.nft.table(&OTHERS))
    }

    fn kernel(&self) -> Self::Kernel {
        ([TABLE, TABLE_IPV6, OTHERS].map(|table| self.nft.table(&table)), self.relays.relays())
    }

    /// To one of a relay's endpoints is to all of them in turn.
    fn lead(&self, knock: &Knock) -> String {
        let outcome = self.nft.trace(&host(), &knock.origin, knock.packet, &mut |_| 0);
        let port = outcome.packet.destination.port();
        let relays = self.relays.relays();
        let here = (outcome.fate == Fate::Delivered).then_some(relays).into_iter().flatten();
        let here = here.map(|(name, (at, relay))| (at, name, relay.backends.endpoints));
        let relays: Vec<_> = here.filter(|(at, _, _)| *at == port).collect();
        if relays.is_empty() { told(&outcome) } else { format!("{relays:?}") }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn the_laws_hold_in_every_history(history in any_history()) {
        hold::<Beside>(&history)?;
    }
}
