//! The laws in this mode.

use std::collections::BTreeMap;

use netstate::conntrack::FakeConntrack;
use netstate::nft::{Chain, Data, FakeNft, L4Protocol, Name, Ruleset, Table, Value, Verdict};
use proptest::prelude::*;

use super::layout::{self, ENDPOINTS, LOCAL_ENDPOINTS, NODE_ENDPOINTS, NODE_LOCAL_ENDPOINTS};
use super::{NftablesProxy, TABLE, TABLE_IPV6, plan};
use crate::Dataplane;
use crate::door_words::FAMILIES;
use crate::doors::{Door, Slots};
use crate::laws::{Knock, Node, any_history, context, hold, host, told};

const OTHERS: Table = Table::new(netstate::nft::Family::Ip, Name::constant("others"));

struct Beside {
    nft: FakeNft,
    proxy: NftablesProxy<FakeNft, FakeConntrack>,
}

impl Node for Beside {
    type Meaning = (Vec<(Ruleset, BTreeMap<Door, Slots>)>, Option<Ruleset>);
    type Kernel = [Option<Ruleset>; 3];

    fn new() -> Self {
        let nft = FakeNft::new();
        let mut others = Ruleset::new(OTHERS);
        others.chains.insert(Name::constant("dispatch"), Chain::default());
        nft.put(others);
        Self { proxy: NftablesProxy::new(context(), nft.clone(), FakeConntrack::new()), nft }
    }

    fn proxy(&mut self) -> &mut dyn Dataplane {
        &mut self.proxy
    }

    fn restart(&mut self) {
        self.proxy = NftablesProxy::new(context(), self.nft.clone(), FakeConntrack::new());
    }

    fn litter(&mut self) {
        let mut table = self.nft.table(&TABLE).unwrap_or_else(|| Ruleset::new(TABLE));
        table.chains.insert(Name::constant("old-layout"), Chain::default());
        let door = [Value::Address([10, 96, 0, 99].into()), Value::Protocol(L4Protocol::TCP), Value::Port(1)];
        let class = Value::ClassId(0x0100_1234);
        if let Some(services) = table.sets.get_mut(&layout::SERVICES) {
            services.elements.insert(door.into(), Data::Values(class.into()));
        }
        for shapes in [layout::SHAPES, layout::INSIDE_SHAPES] {
            if let Some(shapes) = table.sets.get_mut(&shapes) {
                let orphan = Data::Verdict(Verdict::Goto(Name::constant("old-layout")));
                shapes.elements.insert(class.into(), orphan);
            }
        }
        self.nft.put(table);
    }

    fn fail_next(&mut self) {
        self.nft.fail_next_commit(12);
    }

    fn writes(&self) -> usize {
        self.nft.commits().len()
    }

    /// Slots carry no meaning.
    fn meaning(&self) -> Self::Meaning {
        let meaning = |family| {
            let table = self.nft.table(&layout::table(family));
            let mut table = table.unwrap_or_else(|| layout::skeleton(&context(), family));
            let mut slots = plan::observed_slots(&table);
            for slots in slots.values_mut() {
                slots.cluster.sort();
                slots.local.sort();
            }
            for set in [ENDPOINTS, LOCAL_ENDPOINTS, NODE_ENDPOINTS, NODE_LOCAL_ENDPOINTS] {
                table.sets.get_mut(&set).unwrap().elements.clear();
            }
            (table, slots)
        };
        (FAMILIES.map(meaning).into(), self.nft.table(&OTHERS))
    }

    fn kernel(&self) -> Self::Kernel {
        [TABLE, TABLE_IPV6, OTHERS].map(|table| self.nft.table(&table))
    }

    fn lead(&self, knock: &Knock) -> String {
        let mut chance = |modulus| knock.chance % modulus;
        told(&self.nft.trace(&host(), &knock.origin, knock.packet, &mut chance))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(7_200))]

    #[test]
    fn the_laws_hold_in_every_history(history in any_history()) {
        hold::<Beside>(&history)?;
    }
}
