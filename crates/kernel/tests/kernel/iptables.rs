//! iptables in both variants, judged by `iptables-save` itself.

use std::process::{Command, Stdio};

use netstate::iptables::{
    ChainName, Chains, Desired, IptablesPort, Match, Recent, RecentAction, Rule, Scope, Sense, Stamp, Table,
    Target, Transaction, Variant, Wanted, diff,
};
use netstate::nft::{AddressType, ConnectionState, Family, L4Protocol, Reject};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use portolan_kernel::iptables::Iptables;

use super::isolation::{in_fresh_namespace, run};

const VARIANTS: [Variant; 2] = [Variant::Nft, Variant::Legacy];

fn name(text: &str) -> ChainName {
    ChainName::new(text).unwrap()
}

fn ours(chain: ChainName) -> bool {
    chain.as_str().starts_with("KUBE-")
}

fn jump(chain: &str) -> Rule {
    Rule::new([], Target::Jump(name(chain)))
}

fn saved(variant: Variant, family: Family) -> String {
    let six = if family == Family::Ip6 { "6" } else { "" };
    let text = run(&format!("ip{six}tables-{variant}-save"), &[]);
    text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

/// Every kind of match and target that planners use.
fn every_rule(family: Family) -> Vec<Rule> {
    let (net, end): (ipnet::IpNet, _) = match family {
        Family::Ip => ("10.96.0.1/32".parse().unwrap(), "10.244.1.2:80"),
        Family::Ip6 => ("fd00::1/128".parse().unwrap(), "[fd00:1::2]:80"),
    };
    let tcp = Match::port(L4Protocol::TCP, 80);
    let recent = |action| Match::Recent(Box::new(Recent { list: "KUBE-SEP-A".into(), action }));
    let to = Target::Jump(name("KUBE-MARK"));
    vec![
        Rule::new(
            [Match::source(net), Match::comment("a's \"own\" \\ ü"), Match::comment("plain")],
            to.clone(),
        ),
        Rule::new(
            [Match::Source(Sense::IsNot, net), Match::destination(net)],
            Target::Goto(name("KUBE-MARK")),
        ),
        Rule::new(tcp.clone(), Target::DestinationNat(end.parse().unwrap())),
        Rule::new([Match::Protocol(L4Protocol::UDP)], Target::DestinationNat(end.parse().unwrap())),
        Rule::new(Match::port(L4Protocol::SCTP, 80), Target::Return),
        Rule::new(Match::port(L4Protocol::UDP, 53), Target::Redirect { port: 5353 }),
        Rule::new([Match::DestinationType(Sense::Is, AddressType::Local)], to.clone()),
        Rule::new([Match::SourceType(Sense::IsNot, AddressType::Local)], to.clone()),
        Rule::new([Match::Chance(netstate::iptables::Chance::one_in(7))], to.clone()),
        Rule::new([recent(RecentAction::Check { seconds: 10_800 })], to.clone()),
        Rule::new([recent(RecentAction::Set)], to.clone()),
        Rule::new([Match::Mark { sense: Sense::IsNot, value: 0x4000, mask: 0x4000 }], Target::Return),
        Rule::new(
            [Match::State([ConnectionState::Established, ConnectionState::Related].into())],
            Target::Accept,
        ),
        Rule::new([], Target::SetMark { value: 0x4000, mask: 0 }),
        Rule::new([Match::comment("nothing happens")], Target::None),
        Rule::new([], Target::Masquerade { fully_random: true }),
    ]
}

fn desired(family: Family) -> Desired {
    [
        (name("POSTROUTING"), Wanted::Hooked(vec![jump("KUBE-MARK")])),
        (name("KUBE-ALL"), Wanted::Exactly(every_rule(family))),
        (
            name("KUBE-MARK"),
            Wanted::Exactly(vec![Rule::new([], Target::SetMark { value: 0x4000, mask: 0x4000 })]),
        ),
    ]
    .into()
}

fn change(port: &mut Iptables, table: Table, desired: Desired) -> Transaction {
    diff(table, &port.observe(table).unwrap(), desired, Scope::Whole, ours)
}

#[test]
fn what_is_written_is_read_back_and_removed_again() {
    for (variant, family) in VARIANTS.into_iter().flat_map(|one| [(one, Family::Ip), (one, Family::Ip6)]) {
        in_fresh_namespace(|| {
            let mut port = Iptables::open_variant(family, variant).unwrap();
            let wanted = change(&mut port, Table::Nat, desired(family));
            assert_eq!(wanted.weight(), 1 + every_rule(family).len() + 1 + 1 + 1);
            port.restore(&[wanted]).unwrap();
            let again = change(&mut port, Table::Nat, desired(family));
            assert!(again.is_empty(), "{variant} {family}: {again:?}\n{}", saved(variant, family));
            let chains: Chains = port.observe(Table::Nat).unwrap();
            assert_eq!(chains.rules(name("KUBE-ALL")), every_rule(family));
            let printed = netstate::iptables::save(family, Table::Nat, &chains);
            // Word for word what the program prints, but for the order of states.
            let printed = printed.replace("ESTABLISHED,RELATED", "RELATED,ESTABLISHED");
            assert_eq!(printed.trim_end(), saved(variant, family));
            let gone = change(&mut port, Table::Nat, Desired::new());
            port.restore(&[gone]).unwrap();
            assert!(!saved(variant, family).contains("KUBE-"));
        });
    }
}

/// So many that they are written in pieces: a chain always after those that it leads to.
#[test]
fn many_chains_are_written_and_removed_again() {
    in_fresh_namespace(|| {
        let mut port = Iptables::open_variant(Family::Ip, Variant::Nft).unwrap();
        let numbered = |what: &str, number: u32| name(&format!("KUBE-{what}-{number}"));
        let to = |chain| Rule::new([], Target::Jump(chain));
        let pairs = (0..800).flat_map(|number| {
            let (service, end) = (numbered("SVC", number), numbered("SEP", number));
            [(service, vec![to(end)]), (end, vec![to(name("KUBE-MARK"))])]
        });
        let all = (0..800).map(|number| to(numbered("SVC", number))).collect();
        let mut chains = desired(Family::Ip);
        let more = pairs.chain([(name("KUBE-ALL"), all)]);
        chains.extend(more.map(|(name, rules)| (name, Wanted::Exactly(rules))));
        let wanted = change(&mut port, Table::Nat, chains.clone());
        port.restore(&[wanted]).unwrap();
        assert!(change(&mut port, Table::Nat, chains).is_empty());
        let gone = change(&mut port, Table::Nat, Desired::new());
        port.restore(&[gone]).unwrap();
        assert!(!saved(Variant::Nft, Family::Ip).contains("KUBE-"));
    });
}

#[test]
fn rejections_of_both_families() {
    for (variant, family) in VARIANTS.into_iter().flat_map(|one| [(one, Family::Ip), (one, Family::Ip6)]) {
        in_fresh_namespace(|| {
            let mut port = Iptables::open_variant(family, variant).unwrap();
            let tcp = Match::Protocol(L4Protocol::TCP);
            let rules = vec![
                Rule::new([tcp], Target::Reject(Reject::TcpReset)),
                Rule::new([], Target::Reject(Reject::PortUnreachable)),
                Rule::new([], Target::Reject(Reject::AdminProhibited)),
                Rule::new([], Target::Drop),
            ];
            let desired = || [(name("KUBE-REFUSE"), Wanted::Exactly(rules.clone()))].into();
            let wanted = change(&mut port, Table::Filter, desired());
            port.restore(&[wanted]).unwrap();
            assert!(change(&mut port, Table::Filter, desired()).is_empty(), "{}", saved(variant, family));
        });
    }
}

#[test]
fn a_refused_restore_names_its_line_and_changes_nothing() {
    for variant in VARIANTS {
        in_fresh_namespace(|| {
            let mut port = Iptables::open_variant(Family::Ip, variant).unwrap();
            let wanted = change(&mut port, Table::Nat, desired(Family::Ip));
            port.restore(&[wanted]).unwrap();
            let before = saved(variant, Family::Ip);
            let mut bad = Transaction::new(Table::Nat);
            bad.replace.insert(name("KUBE-NEW"), vec![]);
            bad.delete.push((name("POSTROUTING"), jump("KUBE-ALL")));
            let error = port.restore(&[bad]).unwrap_err();
            assert!(error.is_not_found() && !error.is_transient(), "{variant}: {error}");
            let mut nowhere = Transaction::new(Table::Nat);
            nowhere.insert.push((name("POSTROUTING"), jump("KUBE-NONE")));
            let error = port.restore(&[nowhere]).unwrap_err();
            assert!(error.is_not_found(), "{variant}: {error}");
            assert_eq!(saved(variant, Family::Ip), before);
        });
    }
}

#[test]
fn the_stamp_tells_of_changes_by_others() {
    for variant in VARIANTS {
        in_fresh_namespace(|| {
            let mut port = Iptables::open_variant(Family::Ip, variant).unwrap();
            let wanted = change(&mut port, Table::Nat, desired(Family::Ip));
            port.restore(&[wanted]).unwrap();
            let written = port.stamp().unwrap();
            assert_eq!(port.stamp().unwrap(), written);
            assert!(matches!(
                (&written, variant),
                (Stamp::Generation(_), Variant::Nft) | (Stamp::Sizes(_), Variant::Legacy)
            ));
            for change in ["-F KUBE-MARK", "-A KUBE-MARK -j RETURN", "-D KUBE-MARK 1", "-N OTHER"] {
                let before = port.stamp().unwrap();
                let arguments: Vec<&str> =
                    ["-w", "5", "-t", "nat"].into_iter().chain(change.split(' ')).collect();
                run(&format!("iptables-{variant}"), &arguments);
                assert_ne!(port.stamp().unwrap(), before, "{variant}: {change}");
            }
        });
    }
}

/// A `/run` of its own for this thread and what it starts: the lock file is there, and is one for all namespaces.
fn with_own_lock() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    const NOTHING: Option<&str> = None;
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING).unwrap();
    mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), NOTHING).unwrap();
}

/// The legacy variant alone has a lock.
#[test]
fn a_held_lock_is_waited_for_and_then_told() {
    in_fresh_namespace(|| {
        with_own_lock();
        let mut port = Iptables::open_variant(Family::Ip, Variant::Legacy).unwrap();
        let mut wanted = Transaction::new(Table::Nat);
        wanted.replace.insert(name("KUBE-NEW"), vec![]);
        // Somebody who holds it until their input ends.
        let mut holder = Command::new("iptables-legacy-restore")
            .args(["--noflush", "-w", "60"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::io::Write::write_all(holder.stdin.as_mut().unwrap(), b"*filter\n").unwrap();
        let mut refused = None;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(90);
        while refused.is_none() && std::time::Instant::now() < deadline {
            refused = port.restore(std::slice::from_ref(&wanted)).err();
        }
        drop(holder.stdin.take());
        holder.wait().unwrap();
        let error = refused.expect("the lock is held");
        assert!(error.is_transient() && !error.is_not_found(), "{error}");
        port.restore(&[wanted]).unwrap();
    });
}

#[test]
fn the_variant_that_holds_rules_is_taken() {
    for variant in VARIANTS {
        in_fresh_namespace(|| {
            run(&format!("iptables-{variant}"), &["-w", "5", "-t", "nat", "-N", "SOME"]);
            run(&format!("iptables-{variant}"), &["-w", "5", "-t", "nat", "-A", "OUTPUT", "-j", "SOME"]);
            assert_eq!(Iptables::open(Family::Ip).unwrap().variant(), variant);
        });
    }
    for hinted in VARIANTS {
        in_fresh_namespace(|| {
            let other = VARIANTS[usize::from(hinted == VARIANTS[0])];
            run(&format!("iptables-{hinted}"), &["-w", "5", "-t", "mangle", "-N", "KUBE-IPTABLES-HINT"]);
            run(&format!("iptables-{other}"), &["-w", "5", "-t", "nat", "-A", "OUTPUT", "-j", "ACCEPT"]);
            assert_eq!(Iptables::open(Family::Ip).unwrap().variant(), hinted, "a kubelet's hint counts most");
        });
    }
    in_fresh_namespace(|| {
        let version = run("iptables", &["--version"]);
        let default = if version.contains("nf_tables") { Variant::Nft } else { Variant::Legacy };
        assert_eq!(Iptables::open(Family::Ip).unwrap().variant(), default, "{version}");
        assert_eq!(run("cat", &["/proc/thread-self/net/ip_tables_names"]), "", "looking makes no table");
    });
}
