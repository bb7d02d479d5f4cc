//! The laws in this mode.

use model::AddressFamily;
use netstate::conntrack::FakeConntrack;
use netstate::iptables::{
    Chain, ChainName, Chains, FakeIptables, IptablesPort as _, Rule, Scope, Table, Target, diff,
};
use netstate::nft::Family;
use proptest::prelude::*;

use super::names::{self, MARKER, SERVICES};
use super::plan::{self, Detail, Source};
use super::{IptablesProxy, driver::TABLES};
use crate::Dataplane;
use crate::books::Fragment;
use crate::laws::{Knock, Node, any_history, context, hold, host, told};

const OTHERS: ChainName = ChainName::constant("CNI-OTHERS");

struct Beside {
    iptables: [FakeIptables; 2],
    proxy: IptablesProxy<FakeIptables, FakeConntrack>,
    failures: usize,
}

impl Beside {
    fn with(iptables: [FakeIptables; 2]) -> Self {
        let proxy = IptablesProxy::new(context(), iptables.clone(), FakeConntrack::new());
        Self { iptables, proxy, failures: 0 }
    }
}

impl Node for Beside {
    type Meaning = Vec<Chains>;
    type Kernel = Vec<Chains>;

    fn new() -> Self {
        let iptables = [Family::Ip, Family::Ip6].map(FakeIptables::new);
        for one in &iptables {
            one.change(Table::Nat, |chains| {
                let jump = Rule::new([], Target::Jump(OTHERS));
                let chain = |name| ChainName::constant(name);
                chains.0.insert(OTHERS, Chain { policy: None, rules: vec![jump.clone()] });
                chains.0.insert(chain("KUBE-KUBELET-CANARY"), Chain::default());
                chains.0.entry(chain("POSTROUTING")).or_default().rules.push(jump);
            });
        }
        Self::with(iptables)
    }

    fn proxy(&mut self) -> &mut dyn Dataplane {
        &mut self.proxy
    }

    fn restart(&mut self) {
        *self = Self { failures: self.failures, ..Self::with(self.iptables.clone()) };
    }

    fn litter(&mut self) {
        let [v4, _] = &self.iptables;
        v4.change(Table::Nat, |chains| {
            let chain = |name| ChainName::constant(name);
            let [orphan, end] = [chain("KUBE-SVC-ORPHANORPHANORPH"), chain("KUBE-SEP-ORPHANORPHANORPH")];
            let jump = |to| Rule::new([], Target::Jump(to));
            chains.0.insert(orphan, Chain { policy: None, rules: vec![jump(end)] });
            chains.0.insert(end, Chain::default());
            for from in [SERVICES, chain("OUTPUT")] {
                if let Some(chain) = chains.0.get_mut(&from) {
                    chain.rules.push(jump(orphan));
                }
            }
        });
    }

    fn fail_next(&mut self) {
        self.failures += 1;
        self.iptables[self.failures % 2].hold_lock();
    }

    fn writes(&self) -> usize {
        self.iptables.iter().map(|one| one.restores().len()).sum()
    }

    /// Rules of which none or one matches a packet have no order.
    fn meaning(&self) -> Self::Meaning {
        let families = self.iptables.iter().zip([AddressFamily::V4, AddressFamily::V6]);
        let of_family = |(one, family): (&FakeIptables, AddressFamily)| {
            let is_written = one.table(Table::Nat).0.contains_key(&MARKER);
            let mut tables =
                if is_written { TABLES.map(|table| one.table(table)) } else { empty(one, family) };
            for (name, chain) in tables.iter_mut().flat_map(|table| &mut table.0) {
                let in_order = name.as_str().starts_with("KUBE-S") && *name != SERVICES;
                if !in_order {
                    chain.rules.sort();
                }
            }
            tables
        };
        families.flat_map(of_family).collect()
    }

    fn kernel(&self) -> Self::Kernel {
        let all = |one: &FakeIptables| Table::ALL.map(|table| one.table(table));
        self.iptables.iter().flat_map(all).collect()
    }

    fn lead(&self, knock: &Knock) -> String {
        let mut chance = |modulus| knock.chance % modulus;
        let [v4, _] = &self.iptables;
        told(&v4.trace(&host(), &knock.origin, knock.packet, &mut chance))
    }
}

/// What there would be without services, had it been written.
fn empty(there: &FakeIptables, family: AddressFamily) -> [Chains; 2] {
    let (context, nothing, health) = (context(), Fragment::default(), Default::default());
    let source = Source {
        context: &context,
        family,
        detail: Detail::Full,
        fragment: &nothing,
        services: None,
        health: &health,
    };
    let desired = plan::draft(&source).whole(&context, family, None);
    desired.map(|(table, desired)| {
        let mut written = FakeIptables::new(there.family());
        written.change(table, |chains| *chains = there.table(table));
        let transaction = diff(table, &there.table(table), desired, Scope::Whole, names::is_ours);
        written.restore(&[transaction]).unwrap();
        written.table(table)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_laws_hold_in_every_history(history in any_history()) {
        hold::<Beside>(&history)?;
    }
}
