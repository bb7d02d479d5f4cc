//! The laws in this mode.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netstate::conntrack::FakeConntrack;
use netstate::ipset::{IpPort, Member, Set, SetKind, SetName, Sets};
use netstate::iptables::{ChainName, Chains, FakeIptables, Rule, Table as RuleTable, Target};
use netstate::ipvs::trace::FakeNode;
use netstate::ipvs::{Destination, Scheduler, ServiceId, Settings, Table, VirtualService};
use netstate::link::{Link, LinkKind};
use netstate::namespace::{LinkOp, LinkPort as _, NetworkState};
use netstate::nft::{Family, L4Protocol};
use proptest::prelude::*;

use super::marks::Marks;
use super::sets::Role;
use super::tests::{node, proxy};
use super::{IpvsProxy, LINK, chains, rules, sets};
use crate::Dataplane;
use crate::laws::{Knock, Node, any_history, context, hold, host, told};

const FAMILIES: [Family; 2] = [Family::Ip, Family::Ip6];
const OTHERS: SetName = SetName::constant("KUBE-HEALTH-CHECK-NODE-PORT");

struct Beside {
    node: FakeNode,
    proxy: IpvsProxy,
    failures: usize,
}

impl Beside {
    fn with(node: FakeNode) -> Self {
        let proxy = proxy(&node, &FakeConntrack::new(), &context());
        Self { node, proxy, failures: 0 }
    }

    /// Virtual services with places instead of marks, which mean nothing by themselves.
    fn services(&self, sets: &Sets) -> BTreeMap<String, VirtualService> {
        let name = |id: &ServiceId| match *id {
            ServiceId::Address { .. } => id.to_string(),
            ServiceId::Mark { mark, family } => {
                let place = Marks::observed(sets, family).place(id);
                format!("mark of {} and {:#x}", place.expect("a place"), mark & rules::MASQUERADE)
            }
        };
        self.node.ipvs.table().iter().map(|(id, service)| (name(id), service.clone())).collect()
    }

    /// The rules of a family, also where there are none for want of services.
    fn rules(&self, family: Family, iptables: &FakeIptables) -> [Chains; 3] {
        let tables = RuleTable::ALL.map(|table| iptables.table(table));
        if tables.iter().any(|chains| chains.0.contains_key(&rules::SERVICES)) {
            return tables;
        }
        let mut written = FakeIptables::new(family);
        for (table, there) in RuleTable::ALL.into_iter().zip(tables) {
            written.change(table, |chains| *chains = there);
        }
        chains::write(&mut written, family, &context()).unwrap();
        RuleTable::ALL.map(|table| written.table(table))
    }

    fn bound(&self) -> Vec<IpAddr> {
        let links = self.node.links.observe().unwrap().links;
        links.get(&LINK).into_iter().flat_map(|link| &link.addresses).map(ipnet::IpNet::addr).collect()
    }
}

impl Node for Beside {
    type Meaning = (BTreeMap<String, VirtualService>, Sets, Vec<[Chains; 3]>, Vec<IpAddr>);
    type Kernel = (Table, Sets, Vec<Chains>, NetworkState);

    fn new() -> Self {
        let node = node();
        let settings = Settings { scheduler: Scheduler::parse("wlc").unwrap(), persistence: None };
        let theirs = VirtualService { settings, destinations: [].into() };
        for at in ["192.0.2.1:80", "10.100.0.2:8443"] {
            let id = ServiceId::Address { protocol: L4Protocol::TCP, at: at.parse().unwrap() };
            node.ipvs.change(|table| drop(table.insert(id, theirs.clone())));
        }
        node.sets.change(|sets| drop(sets.insert(OTHERS, Set::new(SetKind::Port, Family::Ip))));
        node.iptables[0].change(RuleTable::Filter, |chains| {
            let input = chains.0.entry(ChainName::constant("INPUT")).or_default();
            input.rules.push(Rule::new([], Target::Accept));
        });
        Self::with(node)
    }

    fn proxy(&mut self) -> &mut dyn Dataplane {
        &mut self.proxy
    }

    fn restart(&mut self) {
        *self = Self { failures: self.failures, ..Self::with(self.node.clone()) };
    }

    /// Sets and the link come before services, and go after them.
    fn litter(&mut self) {
        let at = ([10, 96, 0, 99], 1);
        self.node.sets.change(|there| {
            for (name, set) in sets::empty(Family::Ip) {
                there.entry(name).or_insert(set);
            }
            let doors = there.get_mut(&Role::ClusterIp.name(Family::Ip)).unwrap();
            let door = IpPort { address: at.0.into(), protocol: L4Protocol::TCP, port: at.1 };
            doors.members.insert(Member::IpPort(door));
        });
        let _ = self.node.links.commit(&[LinkOp::CreateLink(Link::new(LINK, LinkKind::Dummy))]);
        let address = IpAddr::from(at.0).into();
        let _ = self.node.links.commit(&[LinkOp::AddAddress { link: LINK, address }]);
        let settings = Settings { scheduler: Scheduler::ROUND_ROBIN, persistence: None };
        let destinations = [("10.244.1.2:80".parse().unwrap(), Destination::masquerade())].into();
        let id = ServiceId::Address { protocol: L4Protocol::TCP, at: at.into() };
        self.node.ipvs.change(|table| drop(table.insert(id, VirtualService { settings, destinations })));
    }

    fn fail_next(&mut self) {
        self.failures += 1;
        match self.failures % 3 {
            0 => self.node.iptables[0].hold_lock(),
            1 => self.node.ipvs.fail_next_commit(12),
            _ => self.node.sets.fail_next_commit(12),
        }
    }

    fn writes(&self) -> usize {
        let restores: usize = self.node.iptables.iter().map(|one| one.restores().len()).sum();
        self.node.ipvs.commits().len() + self.node.sets.commits().len() + restores
    }

    fn meaning(&self) -> Self::Meaning {
        let mut sets = self.node.sets.sets();
        let services = self.services(&sets);
        for set in sets.values_mut() {
            let plain = |member: &Member| match *member {
                Member::IpPortMark(at, _) => Member::IpPortMark(at, 0),
                other => other,
            };
            set.members = set.members.iter().map(plain).collect();
        }
        for family in FAMILIES {
            // Where node ports would be, is told also when there is no service.
            let node_ip = Role::NodeIp.name(family);
            let of_family = |set: &Set| set.definition.family == family && !set.members.is_empty();
            if !sets.iter().any(|(name, set)| *name != node_ip && of_family(set)) {
                sets.remove(&node_ip);
            }
        }
        sets.retain(|name, set| *name == OTHERS || !set.members.is_empty());
        let tables = FAMILIES.into_iter().zip(&self.node.iptables);
        let tables = tables.map(|(family, iptables)| self.rules(family, iptables)).collect();
        (services, sets, tables, self.bound())
    }

    fn kernel(&self) -> Self::Kernel {
        let Self { node, .. } = self;
        let all = |one: &FakeIptables| RuleTable::ALL.map(|table| one.table(table));
        let tables = node.iptables.iter().flat_map(all).collect();
        (node.ipvs.table(), node.sets.sets(), tables, node.links.observe().unwrap())
    }

    fn lead(&self, knock: &Knock) -> String {
        let mut chance = |modulus| knock.chance % modulus;
        told(&self.node.trace(&host(), &knock.origin, knock.packet, &mut chance))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_laws_hold_in_every_history(history in any_history()) {
        hold::<Beside>(&history)?;
    }
}
