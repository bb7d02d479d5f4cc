use super::*;
use crate::nft::{Chain, Family, diff};

const SET: Name = Name::constant("set");
const CHAIN: Name = Name::constant("chain");

fn table() -> Table {
    Table::new(Family::Ip, Name::constant("t"))
}

fn definition() -> SetDefinition {
    SetDefinition::verdict_map([Type::Port])
}

fn element(port: u16, verdict: Verdict) -> Element {
    Element::verdict([Value::Port(port)], verdict)
}

fn add(elements: Vec<Element>) -> Op {
    Op::AddElements { set: SET, definition: definition(), elements }
}

fn delete(port: u16, missing: Missing) -> Op {
    let keys = vec![Tuple::from([Value::Port(port)])];
    Op::DeleteElements { set: SET, definition: definition(), keys, missing }
}

/// A table with a verdict map that leads to a chain.
fn filled() -> FakeNft {
    let mut ruleset = Ruleset::new(table());
    ruleset.chains.insert(CHAIN, Chain::regular([Rule::new([Verdict::Drop.into()])]));
    let mut set = Set::new(definition());
    set.elements.insert([Value::Port(80)].into(), Data::Verdict(Verdict::Goto(CHAIN)));
    ruleset.sets.insert(SET, set);
    let mut fake = FakeNft::new();
    fake.commit(&diff(None, &ruleset)).unwrap();
    fake
}

fn errno(fake: &mut FakeNft, ops: Vec<Op>) -> Option<i32> {
    let before = fake.table(&table());
    match fake.commit(&Transaction { table: table(), ops }) {
        Ok(()) => None,
        Err(NftError::Refused { source, .. } | NftError::Kernel { source, .. }) => {
            assert_eq!(fake.table(&table()), before, "a refused transaction changes nothing");
            source.raw_os_error()
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn dangling_references_are_refused() {
    let jump = |chain| vec![Rule::new([Verdict::Jump(chain).into()])];
    let lookup =
        || vec![Rule::new([Statement::verdict_map([Selector::DestinationPort], Name::constant("none"))])];
    let none = Name::constant("none");
    let fake = &mut filled();
    assert_eq!(errno(fake, vec![Op::ReplaceRules { chain: CHAIN, rules: jump(none.clone()) }]), Some(ENOENT));
    assert_eq!(errno(fake, vec![Op::ReplaceRules { chain: CHAIN, rules: lookup() }]), Some(ENOENT));
    assert_eq!(errno(fake, vec![Op::ReplaceRules { chain: none.clone(), rules: Vec::new() }]), Some(ENOENT));
    assert_eq!(errno(fake, vec![add(vec![element(81, Verdict::Goto(none))])]), Some(ENOENT));
    assert_eq!(errno(fake, vec![Op::DeleteChain { chain: CHAIN }]), Some(EBUSY));
    assert_eq!(errno(fake, vec![Op::DeleteTable, delete(80, Missing::Ignore)]), Some(ENOENT));
}

#[test]
fn elements_are_checked() {
    let fake = &mut filled();
    assert_eq!(errno(fake, vec![add(vec![element(80, Verdict::Goto(CHAIN))])]), None, "it is there already");
    assert_eq!(errno(fake, vec![add(vec![element(80, Verdict::Drop)])]), Some(EEXIST));
    assert_eq!(errno(fake, vec![delete(80, Missing::Fail), add(vec![element(80, Verdict::Drop)])]), None);
    assert_eq!(errno(fake, vec![delete(81, Missing::Fail)]), Some(ENOENT));
    assert_eq!(errno(fake, vec![delete(81, Missing::Ignore)]), None);
    let wrong = Element::key([Value::Mark(1)]);
    assert_eq!(errno(fake, vec![add(vec![wrong])]), Some(EINVAL));
    assert_eq!(errno(fake, vec![Op::DeleteChain { chain: CHAIN }]), None, "nothing leads there any more");
}

#[test]
fn ranges_may_not_overlap() {
    let mut fake = filled();
    let definition = SetDefinition::set([Type::Ipv4Address]).interval();
    let set = Name::constant("ranges");
    let range = |text: &str| Element::key([Value::prefix(text.parse().unwrap())]);
    let add = |elements| Op::AddElements { set: set.clone(), definition: definition.clone(), elements };
    let make = Op::AddSet { set: set.clone(), definition: definition.clone() };
    assert_eq!(errno(&mut fake, vec![make, add(vec![range("10.0.0.0/8"), range("11.0.0.0/8")])]), None);
    assert_eq!(errno(&mut fake, vec![add(vec![range("10.1.0.0/16")])]), Some(EEXIST));
    let bare = Element::key([Value::Address("12.0.0.1".parse().unwrap())]);
    assert_eq!(errno(&mut fake, vec![add(vec![bare])]), Some(EINVAL));
}

#[test]
fn failures_can_be_ordered() {
    let mut fake = filled();
    fake.fail_next_commit(EBUSY);
    let error = fake.commit(&Transaction { table: table(), ops: vec![Op::AddTable] }).unwrap_err();
    assert!(error.is_transient());
    fake.commit(&Transaction { table: table(), ops: vec![Op::AddTable] }).unwrap();
    assert_eq!(fake.commits().len(), 2);
}

/// By a map that leads to a chain which looks it up again.
#[test]
fn a_circle_is_refused_once_a_hook_leads_there() {
    let again = vec![Rule::new([Statement::verdict_map([Selector::DestinationPort], SET)])];
    let fake = &mut filled();
    assert_eq!(errno(fake, vec![Op::ReplaceRules { chain: CHAIN, rules: again.clone() }]), None);
    let base = crate::nft::BaseChain {
        kind: crate::nft::ChainKind::Filter,
        hook: crate::nft::Hook::Forward,
        priority: 0,
        policy: crate::nft::Policy::Accept,
    };
    let hooked = Name::constant("hooked");
    let hook = Op::AddChain { chain: hooked.clone(), base: Some(base) };
    let lookup = Op::ReplaceRules { chain: hooked, rules: again };
    assert_eq!(errno(fake, vec![hook.clone(), lookup.clone()]), Some(EMLINK));
    let open = Op::ReplaceRules { chain: CHAIN, rules: Vec::new() };
    assert_eq!(errno(fake, vec![open, hook, lookup]), None);
}
