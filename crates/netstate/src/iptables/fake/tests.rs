use super::*;
use crate::iptables::{Desired, Scope, Wanted, diff};

fn name(text: &str) -> ChainName {
    ChainName::new(text).unwrap()
}

fn jump(chain: &str) -> Rule {
    Rule::new([], Target::Jump(name(chain)))
}

fn desired() -> Desired {
    [
        (name("OUTPUT"), Wanted::Hooked(vec![jump("KUBE-A")])),
        (name("KUBE-A"), Wanted::Exactly(vec![jump("KUBE-B")])),
        (name("KUBE-B"), Wanted::Exactly(vec![Rule::new([], Target::Drop)])),
    ]
    .into()
}

fn change(fake: &FakeIptables, desired: Desired) -> Transaction {
    let ours = |chain: ChainName| chain.as_str().starts_with("KUBE-");
    diff(Table::Nat, &fake.table(Table::Nat), desired, Scope::Whole, ours)
}

#[test]
fn a_difference_is_made_once_and_undone() {
    let mut fake = FakeIptables::new(Family::Ip);
    let before = fake.table(Table::Nat);
    let first = fake.stamp().unwrap();
    fake.restore(&[change(&fake, desired())]).unwrap();
    assert_ne!(fake.stamp().unwrap(), first);
    assert!(change(&fake, desired()).is_empty());
    fake.restore(&[change(&fake, Desired::new())]).unwrap();
    assert_eq!(fake.table(Table::Nat), before);
    assert_eq!(fake.restores().len(), 2);
}

#[test]
fn refusals_change_nothing() {
    let mut fake = FakeIptables::new(Family::Ip);
    fake.restore(&[change(&fake, desired())]).unwrap();
    let before = fake.table(Table::Nat);
    let with = |change: &dyn Fn(&mut Transaction)| {
        let mut transaction = Transaction::new(Table::Nat);
        transaction.replace.insert(name("KUBE-C"), vec![]);
        change(&mut transaction);
        transaction
    };
    let refused = [
        with(&|one| one.delete.push((name("OUTPUT"), jump("KUBE-B")))),
        with(&|one| one.insert.push((name("KUBE-NONE"), jump("KUBE-B")))),
        with(&|one| one.insert.push((name("OUTPUT"), jump("KUBE-NONE")))),
        with(&|one| one.replace.extend([(name("KUBE-D"), vec![jump("KUBE-NONE")])])),
        with(&|one| one.delete_chains.extend([name("KUBE-A")])),
    ];
    for transaction in refused {
        let error = fake.restore(std::slice::from_ref(&transaction)).unwrap_err();
        assert!(!error.is_transient(), "{error}");
        assert_eq!(error.is_not_found(), transaction.delete_chains.is_empty(), "{error}");
        assert_eq!(fake.table(Table::Nat), before);
    }
    fake.hold_lock();
    let error = fake.restore(&[with(&|_| {})]).unwrap_err();
    assert!(error.is_transient() && !error.is_not_found(), "{error}");
    fake.restore(&[with(&|_| {})]).unwrap();
}
