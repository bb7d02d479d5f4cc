//! The mode against its fakes: the laws, what is sent for a change, and how it reads.

use model::{Changes, Index, Object, Port, ServiceKey};
use netstate::conntrack::FakeConntrack;
use netstate::iptables::{ChainName, FakeIptables, Rule, Table, Target, Transaction, restore_input, save};
use netstate::nft::Family;

use super::IptablesProxy;
use crate::sample::{Cluster, service, slice};
use crate::{Dataplane, NodeContext, SyncReport};

type Proxy = IptablesProxy<FakeIptables, FakeConntrack>;

struct Bench {
    iptables: FakeIptables,
    proxy: Proxy,
}

impl Bench {
    fn new() -> Self {
        Self::on(FakeIptables::new(Family::Ip))
    }

    /// A proxy that knows nothing of what is there.
    fn on(iptables: FakeIptables) -> Self {
        let context = NodeContext::new("node1".into(), vec!["10.244.0.0/16".parse().unwrap()]);
        let proxy = IptablesProxy::new(context, [iptables.clone()], FakeConntrack::new());
        Self { iptables, proxy }
    }

    fn sync(&mut self, index: &Index, changes: &Changes) -> SyncReport {
        self.proxy.sync(&index.snapshot().unwrap(), changes).unwrap()
    }

    fn everything(&mut self, index: &Index) -> SyncReport {
        self.sync(index, &Changes::Everything)
    }

    /// All that is written, chains without order in one.
    fn written(&self) -> [String; 2] {
        [Table::Nat, Table::Filter].map(|table| {
            let mut chains = self.iptables.table(table);
            for (name, chain) in &mut chains.0 {
                let fixed = name.as_str().starts_with("KUBE-S") && *name != super::names::SERVICES;
                if !fixed {
                    chain.rules.sort();
                }
            }
            save(Family::Ip, table, &chains)
        })
    }

    fn sent_last(&self) -> String {
        restore_input(Family::Ip, self.iptables.restores().last().unwrap())
    }
}

fn services(names: &[&str]) -> Changes {
    Changes::Services(names.iter().map(|name| ServiceKey::new("default", name)).collect())
}

fn three() -> Cluster {
    Cluster::new()
        .service("httpd-svc", "10.96.203.6", |_| ())
        .endpoints("httpd-svc", &["10.244.1.28", "10.244.1.29", "10.244.2.22"])
        .service("other", "10.96.0.9", |service| service.ports[0].node_port = Port::try_from(30_000).ok())
        .endpoints("other", &["10.244.1.30"])
        .service("empty", "10.96.0.8", |_| ())
}

/// The rules that the article prints for its example, in their order.
#[test]
fn the_example_reads_as_the_article_has_it() {
    let mut bench = Bench::new();
    bench.everything(&three().index());
    let [nat, filter] = bench.written();
    let about = |text: &str| -> Vec<String> {
        let hashes = ["httpd-svc", "RL3JAE4GN7VOGDGP", "CR63JSDONEUBE2YK"];
        let told = |line: &&str| line.starts_with("-A") && hashes.iter().any(|hash| line.contains(hash));
        text.lines().filter(told).map(ToOwned::to_owned).collect()
    };
    let expected = r#"
-A KUBE-SEP-CR63JSDONEUBE2YK -s 10.244.1.28/32 -m comment --comment "default/httpd-svc:" -j KUBE-MARK-MASQ
-A KUBE-SEP-CR63JSDONEUBE2YK -p tcp -m comment --comment "default/httpd-svc:" -m tcp -j DNAT --to-destination 10.244.1.28:80
-A KUBE-SEP-XY6KDITI4WWURGO2 -s 10.244.2.22/32 -m comment --comment "default/httpd-svc:" -j KUBE-MARK-MASQ
-A KUBE-SEP-XY6KDITI4WWURGO2 -p tcp -m comment --comment "default/httpd-svc:" -m tcp -j DNAT --to-destination 10.244.2.22:80
-A KUBE-SEP-Y5EOPQEI6R2HKSKZ -s 10.244.1.29/32 -m comment --comment "default/httpd-svc:" -j KUBE-MARK-MASQ
-A KUBE-SEP-Y5EOPQEI6R2HKSKZ -p tcp -m comment --comment "default/httpd-svc:" -m tcp -j DNAT --to-destination 10.244.1.29:80
-A KUBE-SERVICES -d 10.96.203.6/32 -p tcp -m comment --comment "default/httpd-svc: cluster IP" -m tcp --dport 8080 -j KUBE-SVC-RL3JAE4GN7VOGDGP
-A KUBE-SVC-RL3JAE4GN7VOGDGP ! -s 10.244.0.0/16 -d 10.96.203.6/32 -p tcp -m comment --comment "default/httpd-svc: cluster IP" -m tcp --dport 8080 -j KUBE-MARK-MASQ
-A KUBE-SVC-RL3JAE4GN7VOGDGP -m comment --comment "default/httpd-svc: -> 10.244.1.28:80" -m statistic --mode random --probability 0.33333333349 -j KUBE-SEP-CR63JSDONEUBE2YK
-A KUBE-SVC-RL3JAE4GN7VOGDGP -m comment --comment "default/httpd-svc: -> 10.244.1.29:80" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-Y5EOPQEI6R2HKSKZ
-A KUBE-SVC-RL3JAE4GN7VOGDGP -m comment --comment "default/httpd-svc: -> 10.244.2.22:80" -j KUBE-SEP-XY6KDITI4WWURGO2
"#;
    assert_eq!(about(&nat), expected.trim().lines().collect::<Vec<_>>());
    assert_eq!(about(&filter), Vec::<String>::new());
    let empty = "-A KUBE-SERVICES -d 10.96.0.8/32 -p tcp -m comment --comment \"default/empty: has no endpoints\" -m tcp \
                 --dport 8080 -j REJECT --reject-with icmp-port-unreachable";
    assert!(filter.contains(empty), "{filter}");
    // Also in the kernel's order.
    let services = bench.iptables.table(Table::Nat);
    let last = services.rules(super::names::SERVICES).last().unwrap().clone();
    assert_eq!(last.target, Target::Jump(ChainName::constant("KUBE-NODEPORTS")));
}

#[test]
fn one_changed_endpoint_sends_a_few_lines() {
    let mut cluster = three();
    for number in 0..300 {
        let (name, address) = (format!("more-{number}"), format!("10.96.{}.1", number % 200 + 1));
        cluster = cluster
            .service(&name, &address, |service| {
                service.ports[0].port = Port::try_from(1_000 + number).unwrap();
            })
            .endpoints(&name, &["10.244.1.99"]);
    }
    let mut index = cluster.index();
    let mut bench = Bench::new();
    bench.everything(&index);
    let before = (bench.iptables.restores().len(), bench.iptables.observations());
    index.apply(Object::EndpointSlice(slice("httpd-svc", &["10.244.1.28", "10.244.2.22", "10.244.2.23"])));
    let report = bench.sync(&index, &services(&["httpd-svc"]));
    let sent = bench.sent_last();
    let lines: Vec<&str> = sent.lines().collect();
    assert_eq!(report.changes, 1 + 4 + 1 + 2 + 1, "{sent}");
    // One chain is filled anew, one is new and one goes.
    assert_eq!(lines.len(), 3 + 4 + 2 + 1 + 2, "{sent}");
    assert!(!sent.contains("KUBE-SERVICES"), "{sent}");
    assert_eq!(bench.iptables.observations(), before.1, "the kernel is not read for a change");
    assert_eq!(bench.iptables.restores().len(), before.0 + 1);

    index.apply(Object::Service(service("new", "10.96.203.7", |_| ())));
    bench.sync(&index, &services(&["new"]));
    let sent = bench.sent_last();
    assert!(sent.contains("-I KUBE-SERVICES -d 10.96.203.7/32") && sent.lines().count() == 4, "{sent}");
    index.delete(&Object::Service(service("httpd-svc", "10.96.203.6", |_| ())).key());
    bench.sync(&index, &services(&["httpd-svc"]));
    let sent = bench.sent_last();
    assert!(sent.contains("-D KUBE-SERVICES -d 10.96.203.6/32"), "{sent}");
    assert!(sent.contains("-X KUBE-SVC-RL3JAE4GN7VOGDGP"), "{sent}");
    assert_eq!(bench.everything(&index), SyncReport::default());
}

#[test]
fn the_same_once_more_sends_nothing() {
    let index = three().index();
    let mut bench = Bench::new();
    assert!(bench.everything(&index).changes > 0);
    let restores = bench.iptables.restores().len();
    assert_eq!(bench.everything(&index), SyncReport::default());
    assert_eq!(bench.sync(&index, &services(&["httpd-svc", "empty", "unknown"])), SyncReport::default());
    assert_eq!(bench.iptables.restores().len(), restores);
}

#[test]
fn a_restart_removes_orphans_and_nothing_of_others() {
    let mut bench = Bench::new();
    let others = |chains: &mut netstate::iptables::Chains| {
        chains.0.entry(ChainName::constant("CNI-X")).or_default();
        let jump = Rule::new([], Target::Jump(ChainName::constant("CNI-X")));
        chains.0.entry(ChainName::constant("POSTROUTING")).or_default().rules.push(jump);
        chains.0.entry(ChainName::constant("KUBE-KUBELET-CANARY")).or_default();
    };
    bench.iptables.change(Table::Nat, others);
    let untouched = bench.written();
    bench.everything(&three().index());
    let only = Cluster::new().service("empty", "10.96.0.8", |_| ());
    let mut restarted = Bench::on(bench.iptables.clone());
    restarted.everything(&only.index());
    let mut fresh = Bench::new();
    fresh.iptables.change(Table::Nat, others);
    fresh.everything(&only.index());
    assert_eq!(restarted.written(), fresh.written());
    restarted.proxy.cleanup().unwrap();
    assert_eq!(restarted.written(), untouched);
    restarted.proxy.cleanup().unwrap();
}

#[test]
fn a_kube_proxys_chains_stay_until_they_are_meant() {
    let mut bench = Bench::new();
    bench.everything(&three().index());
    bench.iptables.change(Table::Nat, |chains| drop(chains.0.remove(&super::names::MARKER)));
    let before = bench.written();
    let mut other = Bench::on(bench.iptables.clone());
    other.proxy.cleanup().unwrap();
    assert_eq!(bench.written(), before);
    other.proxy.cleanup_of_kube_proxy().unwrap();
    assert!(!bench.written().concat().contains("KUBE-"), "{:?}", bench.written());
}

#[test]
fn what_others_do_is_noticed_and_mended() {
    let index = three().index();
    let mut bench = Bench::new();
    bench.everything(&index);
    let wanted = bench.written();
    assert!(!bench.proxy.may_be_disturbed().unwrap());
    let damages: [&dyn Fn(&mut netstate::iptables::Chains); 4] = [
        &|chains| chains.0.get_mut(&super::names::SERVICES).unwrap().rules.clear(),
        &|chains| chains.0.values_mut().for_each(|chain| chain.rules.clear()),
        &|chains| chains.0.retain(|_, chain| chain.policy.is_some()),
        &|chains| chains.0.get_mut(&super::names::SERVICES).unwrap().rules.truncate(1),
    ];
    for damage in damages {
        bench.iptables.change(Table::Nat, damage);
        assert!(bench.proxy.may_be_disturbed().unwrap());
        assert!(bench.everything(&index).changes > 0);
        assert_eq!(bench.written(), wanted);
        assert!(!bench.proxy.may_be_disturbed().unwrap());
    }
    // Also when we write before we look.
    bench.iptables.change(Table::Nat, damages[0]);
    let mut index = three().index();
    index.apply(Object::EndpointSlice(slice("other", &["10.244.1.31"])));
    bench.sync(&index, &services(&["other"]));
    assert!(bench.proxy.may_be_disturbed().unwrap());
    bench.everything(&index);
    assert!(!bench.proxy.may_be_disturbed().unwrap());
}

#[test]
fn a_held_lock_is_an_error_that_passes_and_changes_nothing() {
    let index = three().index();
    let mut bench = Bench::new();
    bench.iptables.hold_lock();
    let error = bench.proxy.sync(&index.snapshot().unwrap(), &Changes::Everything).unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(!bench.written().concat().contains("KUBE-"));
    assert!(bench.sync(&index, &services(&[])).changes > 0, "everything is looked at after an error");

    // The chain of a changed service is gone: the change is refused, and the next sync mends all.
    bench.iptables.change(Table::Nat, |chains| {
        chains.0.get_mut(&super::names::SERVICES).unwrap().rules.clear();
    });
    let mut without = three().index();
    without.delete(&Object::Service(service("other", "10.96.0.9", |_| ())).key());
    let error = bench.proxy.sync(&without.snapshot().unwrap(), &services(&["other"])).unwrap_err();
    assert!(error.is_transient(), "{error}");
    bench.sync(&without, &services(&[]));
    let mut fresh = Bench::new();
    fresh.everything(&without);
    assert_eq!(bench.written(), fresh.written());
}

#[test]
fn a_family_that_nobody_uses_need_not_work() {
    let (ipv4, ipv6) = (FakeIptables::new(Family::Ip), FakeIptables::new(Family::Ip6));
    let context = NodeContext::new("node1".into(), Vec::new());
    let mut proxy = IptablesProxy::new(context, [ipv4, ipv6.clone()], FakeConntrack::new());
    proxy.sync(&three().index().snapshot().unwrap(), &Changes::Everything).unwrap();
    assert_eq!(ipv6.restores(), Vec::<Vec<Transaction>>::new());
    let six = three().service("six", "fd00:10:96::9", |_| ());
    proxy.sync(&six.index().snapshot().unwrap(), &services(&["six"])).unwrap();
    assert_eq!(ipv6.restores().len(), 1);
    assert!(!proxy.may_be_disturbed().unwrap());
}

/// With many endpoints rules say less, and lead the same ways.
#[test]
fn from_a_thousand_endpoints_on_rules_are_short() {
    let endpoints = |count: usize| -> Vec<String> {
        (0..count).map(|number| format!("10.244.{}.{}", 1 + number / 250, 1 + number % 250)).collect()
    };
    let with = |count: usize| {
        let endpoints = endpoints(count);
        let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
        three().service("many", "10.96.0.10", |_| ()).endpoints("many", &endpoints).index()
    };
    let mut bench = Bench::new();
    bench.everything(&with(990));
    assert!(bench.written()[0].contains("default/httpd-svc:"));
    // The threshold is crossed by a change of one service, and all are written anew.
    let large = with(1_000);
    bench.sync(&large, &services(&["many"]));
    let [nat, _] = bench.written();
    assert!(!nat.contains("default/"), "comments");
    assert!(nat.contains("-s 10.244.1.28/32 -j KUBE-MARK-MASQ"), "an endpoint of this node");
    assert!(!nat.contains("-s 10.244.2.22/32"), "one of another");
    assert!(nat.contains("-A KUBE-SVC-RL3JAE4GN7VOGDGP -p tcp -j DNAT --to-destination 10.244.2.22:80"));
    assert_eq!(bench.everything(&large), SyncReport::default());
    bench.sync(&with(10), &services(&["many"]));
    assert!(bench.written()[0].contains("default/httpd-svc:"));
}
