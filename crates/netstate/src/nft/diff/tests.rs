use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::nft::{
    BaseChain, Chain, ChainKind, Data, FakeNft, Family, Hook, NftPort, Policy, Rule, Selector, SetContent,
    SetDefinition, Statement, Table, Type, Value, Verdict,
};

fn table() -> Table {
    Table::new(Family::Ip, Name::constant("t"))
}

fn name(prefix: &str, number: u8) -> Name {
    Name::new(&format!("{prefix}{number}")).unwrap()
}

/// What a random table is made of; small numbers, so that two tables share most names.
#[derive(Debug, Clone)]
struct Seed {
    chains: Vec<(u8, Vec<u8>)>,
    sets: Vec<SetSeed>,
    hooked: bool,
}

/// Name, kind and elements.
type SetSeed = (u8, u8, Vec<(u16, u8)>);

fn seed() -> impl Strategy<Value = Seed> {
    let chains = proptest::collection::vec((0u8..4, proptest::collection::vec(0u8..6, 0..3)), 0..4);
    let elements = proptest::collection::vec((0u16..6, 0u8..3), 0..5);
    let sets = proptest::collection::vec((0u8..4, 0u8..4, elements), 0..4);
    (chains, sets, any::<bool>()).prop_map(|(chains, sets, hooked)| Seed { chains, sets, hooked })
}

fn definition(kind: u8) -> SetDefinition {
    match kind {
        0 => SetDefinition::set([Type::Port]),
        1 => SetDefinition::map([Type::Port], [Type::Mark]),
        2 => SetDefinition::verdict_map([Type::Port]),
        _ => SetDefinition::set([Type::Port]).dynamic(100, Some(Duration::from_secs(1))),
    }
}

/// Chains lead only to leaf chains, so there are no loops.
fn ruleset(seed: &Seed) -> Ruleset {
    let mut ruleset = Ruleset::new(table());
    for leaf in 0..3 {
        // The third is there only if something may lead to it.
        if leaf < 2 || seed.hooked {
            ruleset.chains.insert(name("leaf", leaf), Chain::regular([]));
        }
    }
    let leaves = if seed.hooked { 3 } else { 2 };
    for (number, kind, elements) in &seed.sets {
        let mut set = Set::new(definition(*kind));
        for (port, value) in elements {
            let data = match &set.definition.content {
                SetContent::Keys => Data::Nothing,
                SetContent::Verdicts => Data::Verdict(Verdict::Goto(name("leaf", value % leaves))),
                SetContent::Values(_) => Data::Values([Value::Mark(u32::from(*value))].into()),
            };
            if !matches!(set.definition.kind, SetKind::Dynamic { .. }) {
                set.elements.insert([Value::Port(*port)].into(), data);
            }
        }
        ruleset.sets.insert(name("set", *number), set);
    }
    for (number, rules) in &seed.chains {
        let rules: Vec<Rule> = rules.iter().map(|rule| rule_of(*rule, &ruleset, leaves)).collect();
        ruleset.chains.insert(name("chain", *number), Chain::regular(rules));
    }
    let base = BaseChain { kind: ChainKind::Filter, hook: Hook::Input, priority: 0, policy: Policy::Accept };
    if seed.hooked {
        ruleset.chains.insert(name("base", 0), Chain::base(base, [Rule::new([Statement::Counter])]));
    }
    ruleset
}

fn rule_of(kind: u8, ruleset: &Ruleset, leaves: u8) -> Rule {
    let wanted = ruleset.sets.iter().nth(usize::from(kind));
    Rule::new([match wanted {
        Some((name, set)) if set.definition.content == SetContent::Verdicts => {
            Statement::verdict_map([Selector::DestinationPort], name.clone())
        }
        Some((name, _)) => Statement::within([Selector::DestinationPort], name.clone()),
        None => Verdict::Jump(name("leaf", kind % leaves)).into(),
    }])
}

proptest! {
    #[test]
    fn the_diff_leads_there_and_then_is_empty(seeds in proptest::collection::vec(seed(), 1..6)) {
        let mut fake = FakeNft::new();
        for seed in &seeds {
            let desired = ruleset(seed);
            let observed = fake.observe(&table()).unwrap();
            let transaction = diff(observed.as_ref(), &desired);
            fake.commit(&transaction).unwrap_or_else(|error| panic!("{error}\n{transaction}"));
            let now = fake.observe(&table()).unwrap().unwrap();
            prop_assert_eq!(diff(Some(&now), &desired).ops, vec![]);
            prop_assert_eq!(now, desired);
        }
    }
}

#[test]
fn one_changed_element_is_two_changes() {
    let mut before = Ruleset::new(table());
    let mut set = Set::new(SetDefinition::map([Type::Port], [Type::Mark]));
    for port in 0..1000 {
        set.elements.insert([Value::Port(port)].into(), Data::Values([Value::Mark(1)].into()));
    }
    before.sets.insert(name("set", 0), set);
    let mut after = before.clone();
    let set = after.sets.get_mut(&name("set", 0)).unwrap();
    set.elements.insert([Value::Port(7)].into(), Data::Values([Value::Mark(2)].into()));
    let transaction = diff(Some(&before), &after);
    assert_eq!(transaction.weight(), 2);
    assert_eq!(
        transaction.to_string(),
        "delete element ip t set0 { 7 }\nadd element ip t set0 { 7 : 0x00000002 }\n"
    );
}

#[test]
fn what_clients_wrote_is_left_alone() {
    let mut desired = Ruleset::new(table());
    desired.sets.insert(name("set", 0), Set::new(definition(3)));
    let mut observed = desired.clone();
    let set = observed.sets.get_mut(&name("set", 0)).unwrap();
    set.elements.insert([Value::Port(7)].into(), Data::Nothing);
    assert!(diff(Some(&observed), &desired).is_empty());
}

#[test]
fn another_layout_makes_the_table_anew() {
    let mut old = Ruleset::new(table());
    old.sets.insert(name("set", 0), Set::new(definition(0)));
    let mut new = Ruleset::new(table());
    new.sets.insert(name("set", 0), Set::new(definition(1)));
    let transaction = diff(Some(&old), &new);
    assert_eq!(transaction.ops[..2], [Op::DeleteTable, Op::AddTable]);
    let mut fake = FakeNft::new();
    fake.put(old);
    fake.commit(&transaction).unwrap();
    assert_eq!(fake.table(&table()), Some(new));
}
