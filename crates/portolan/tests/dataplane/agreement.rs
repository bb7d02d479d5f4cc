//! Every case of the table in every mode: by the packet tracer, and with real packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use model::Protocol;
use netstate::iptables::Variant;
use netstate::nft::{InterfaceName, L4Protocol, Reject};
use netstate::trace::{Fate, Host, Origin, Packet};
use proxy::{Dataplane, SyncReport};

use crate::asking::{Asker, PATIENCE, Reply};
use crate::cases::{Case, Section, Seen, Settings, Then, objects, sections, seen_by, seen_outside};
use crate::chains::world_with;
use crate::cluster::Cluster;
use crate::modes::{InMemory, Mode, Trace, exception};
use crate::orders::{Step, orders};
use crate::world::{Rules, World, context, is_listening};

/// Questions for each endpoint that may answer, at least: enough to meet somebody who should not.
const EACH: usize = 4;
/// At most. Where chance alone decides, one of three is missed by so many once in 10⁵².
const MOST: usize = 300;
/// How long silence is silence.
const SILENCE: Duration = Duration::from_secs(1);

#[test]
fn nftables_by_the_tracer() {
    by_the_tracer(Mode::Nftables);
}

#[test]
fn nftables_by_the_kernel() {
    by_the_kernel(Mode::Nftables);
}

#[test]
fn iptables_by_the_tracer() {
    by_the_tracer(Mode::Iptables);
}

#[test]
fn iptables_by_the_kernel() {
    by_the_kernel(Mode::Iptables);
}

#[test]
fn iptables_by_the_kernel_in_the_legacy_variant() {
    in_world(Mode::Iptables, &world_with(Variant::Legacy));
}

#[test]
fn ipvs_by_the_tracer() {
    by_the_tracer(Mode::Ipvs);
}

#[test]
fn ipvs_inside_user_mode_linux() {
    uml::rerun(uml::Machine::SMALL, "ipvs_by_the_kernel");
}

#[test]
#[ignore = "runs inside User-Mode Linux"]
fn ipvs_by_the_kernel() {
    by_the_kernel(Mode::Ipvs);
}

#[test]
fn userspace_by_the_tracer() {
    by_the_tracer(Mode::Userspace);
}

#[test]
fn userspace_by_the_kernel() {
    by_the_kernel(Mode::Userspace);
}

/// Whatever way leads to the objects.
fn by_the_tracer(mode: Mode) {
    let mut complaints = Vec::new();
    for settings in Settings::ALL {
        for (name, steps) in orders(&objects(settings)) {
            let InMemory { proxy, trace, .. } = mode.in_memory(context(settings));
            let mut cluster = Cluster::new(proxy, []);
            cluster.sync();
            lead(&mut cluster, steps);
            let report = cluster.sync_everything();
            if report != SyncReport::default() {
                complaints.push(format!("{settings:?}, {name}: the same once more is a change: {report:?}"));
            }
            let found = complaints_of(mode, settings, &trace);
            complaints.extend(found.into_iter().map(|found| format!("{name}: {found}")));
        }
    }
    assert!(complaints.is_empty(), "{mode}, by the tracer: {}\n{}", complaints.len(), complaints.join("\n"));
}

/// What does not fit of all cases under some settings.
pub fn complaints_of(mode: Mode, settings: Settings, trace: &Trace) -> Vec<String> {
    let mut complaints = Vec::new();
    for (section, case) in cases_of(&sections_of(settings)) {
        let found = judge(mode, case, |chance| walk(trace, case, chance));
        let found = match exception(mode, settings, case) {
            None => found,
            Some(_) if found.is_some() => None,
            Some(_) => Some(format!("{:?} {}: an exception that is not needed", case.0, case.2)),
        };
        complaints.extend(found.map(|found| format!("{}: {found}", section.feature)));
    }
    complaints
}

/// Silence has to be waited for. A refusal by ICMP comes so soon that TCP, still busy with its first packet, only hears
/// that of the second, after a second. Those are asked together; datagrams are not, for they are sent once, and the kernel
/// rations such answers.
fn is_slow(Case(_, protocol, _, then): &Case) -> bool {
    match then {
        Then::Dropped => true,
        Then::Refused => *protocol != Protocol::Udp,
        Then::Each(..) | Then::One(..) | Then::Straight(..) | Then::Leaves => false,
    }
}

fn by_the_kernel(mode: Mode) {
    let world = match mode {
        Mode::Nftables | Mode::Iptables | Mode::Userspace => World::new(),
        // The other kernel has no nftables.
        Mode::Ipvs => World::with(Rules::Iptables),
    };
    in_world(mode, &world);
}

fn in_world(mode: Mode, world: &World) {
    let mut complaints = Vec::new();
    for settings in Settings::ALL {
        let sections = sections_of(settings);
        let mut cluster = Cluster::new(world.dataplane(mode, settings), []);
        cluster.sync();
        let [_, _, (_, steps), ..] = orders(&objects(settings));
        lead(&mut cluster, steps);
        let (slow, quick): (Vec<_>, Vec<_>) = cases_of(&sections)
            .filter(|(_, case)| exception(mode, settings, case).is_none())
            .filter(|(_, Case(_, protocol, ..))| *protocol != Protocol::Sctp)
            .partition(|(_, case)| is_slow(case));
        let ask = |(section, case): (&Section, &Case)| {
            let Case(from, protocol, to, then) = case;
            let patience = if matches!(then, Then::Dropped) { SILENCE } else { PATIENCE };
            let found = judge(mode, case, |_| world.ask_within(patience, *from, *protocol, to))?;
            Some(format!("{}: {found}", section.feature))
        };
        complaints.extend(quick.into_iter().filter_map(ask));
        std::thread::scope(|scope| {
            let asked: Vec<_> = slow.into_iter().map(|case| scope.spawn(move || ask(case))).collect();
            complaints.extend(asked.into_iter().filter_map(|asked| asked.join().unwrap()));
        });
        cluster.proxy.cleanup().unwrap();
    }
    assert!(complaints.is_empty(), "{mode}, by the kernel: {}\n{}", complaints.len(), complaints.join("\n"));
}

fn sections_of(settings: Settings) -> Vec<Section> {
    sections().into_iter().filter(|section| section.settings == settings).collect()
}

fn cases_of(sections: &[Section]) -> impl Iterator<Item = (&Section, &Case)> {
    sections.iter().flat_map(|section| section.cases.iter().map(move |case| (section, case)))
}

fn lead<D: Dataplane>(cluster: &mut Cluster<D>, steps: Vec<Step>) {
    for step in steps {
        match step {
            Step::Apply(objects) => objects.into_iter().for_each(|object| cluster.index.apply(object)),
            Step::Delete(objects) => objects.iter().for_each(|object| cluster.index.delete(&object.key())),
            Step::Sync => {
                cluster.sync();
            }
        }
    }
}

/// What does not fit, if anything. `ask` is told how often it was asked before.
fn judge(mode: Mode, case: &Case, mut ask: impl FnMut(u32) -> Reply) -> Option<String> {
    let Case(from, protocol, to, then) = case;
    let answers = |by: &[&str], seen| -> BTreeSet<Reply> {
        let answer = |by: &&str| {
            let by: SocketAddr = by.parse().unwrap();
            Reply::Answer { by, seen: seen_by(by, *from, seen) }
        };
        by.iter().map(answer).collect()
    };
    let through = |seen| if mode.hides_clients().is_some() { Seen::Node } else { seen };
    let (expected, most) = match then {
        Then::Each(by, seen) => (answers(by, through(*seen)), MOST),
        Then::One(by, seen) => (answers(by, through(*seen)), EACH * by.len()),
        Then::Straight(by, seen) => (answers(&[by], *seen), 1),
        Then::Refused => ([Reply::Refused].into(), 1),
        Then::Dropped => ([Reply::Silence].into(), 1),
        Then::Leaves => {
            let by: SocketAddr = to.parse().unwrap();
            ([Reply::Answer { by, seen: seen_outside(*from, by) }].into(), 1)
        }
    };
    let is_enough = |asked: usize, replies: &BTreeSet<Reply>| {
        asked >= most || asked >= EACH * expected.len() && *replies == expected
    };
    let mut replies = BTreeSet::new();
    let mut asked = 0;
    while !is_enough(asked, &replies) && replies.is_subset(&expected) {
        replies.insert(ask(u32::try_from(asked).unwrap()));
        asked += 1;
    }
    let fits = match then {
        Then::One(..) => replies.len() == 1 && replies.is_subset(&expected),
        Then::Each(..) | Then::Straight(..) | Then::Refused | Then::Dropped | Then::Leaves => {
            replies == expected
        }
    };
    let list =
        |replies: &BTreeSet<Reply>| replies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    (!fits).then(|| {
        let (expected, replies) = (list(&expected), list(&replies));
        format!("{from:?} {protocol} {to}: expected {expected}; in {asked} came {replies}")
    })
}

/// What the tracer says comes of a first packet, when chance, and whose turn it is, say `chance`.
fn walk(trace: &Trace, Case(from, protocol, to, _): &Case, chance: u32) -> Reply {
    let protocol = L4Protocol(protocol.number());
    let destination: SocketAddr = to.parse().unwrap();
    let source = SocketAddr::new(from.address(destination.ip()), 40_000);
    let packet = Packet::first(protocol, source, destination);
    let (fate, packet) = trace(&host(), &origin(*from), packet, &mut |modulus| chance % modulus);
    match fate {
        Fate::Delivered | Fate::Sent(_) if is_listening(packet.destination) => {
            Reply::Answer { by: packet.destination, seen: packet.source.ip() }
        }
        Fate::Delivered => Reply::Refused,
        // The router knows the machines and the pods, and the tracer knows nothing of the router.
        Fate::Sent(_) => Reply::NoRoute,
        Fate::Dropped => Reply::Silence,
        Fate::Rejected(Reject::TcpReset) if protocol == L4Protocol::TCP => Reply::Refused,
        Fate::Rejected(Reject::PortUnreachable) => Reply::Refused,
        other => panic!("{from:?} {to}: {other:?}"),
    }
}

fn origin(from: Asker) -> Origin {
    match from {
        Asker::Pod | Asker::Endpoint | Asker::OtherEndpoint => Origin::Interface(interface("cbr0")),
        Asker::RemotePod | Asker::Outside | Asker::Elsewhere => Origin::Interface(interface("eth0")),
        Asker::Node | Asker::Loopback => Origin::Local,
    }
}

/// node1, as the tracer needs to know it.
fn host() -> Host {
    let addresses = [
        ("10.100.0.2", "eth0"),
        ("10.100.0.22", "eth0"),
        ("10.244.1.1", "cbr0"),
        ("fd00:10:100::2", "eth0"),
        ("fd00:10:100::22", "eth0"),
        ("fd00:10:244:1::1", "cbr0"),
    ];
    let routes = [
        ("10.100.0.0/24", "eth0"),
        ("10.244.1.0/24", "cbr0"),
        ("0.0.0.0/0", "eth0"),
        ("fd00:10:100::/64", "eth0"),
        ("fd00:10:244:1::/64", "cbr0"),
        ("::/0", "eth0"),
    ];
    Host {
        addresses: addresses.map(|(address, name)| (address.parse().unwrap(), interface(name))).into(),
        routes: routes.map(|(range, name)| (range.parse().unwrap(), interface(name))).into(),
    }
}

fn interface(name: &str) -> InterfaceName {
    InterfaceName::new(name).unwrap()
}

/// A thousand connections over three endpoints: four counters take turns, so nobody is more than four ahead.
#[test]
fn connections_are_spread_evenly() {
    let world = World::new();
    Cluster::new(world.proxy(), objects(Settings::Usual)).sync();
    let mut shares = BTreeMap::<SocketAddr, u32>::new();
    for _ in 0..1_000 {
        let endpoint = world.client(Asker::Pod, Protocol::Tcp, "10.96.0.6:8080").endpoint();
        *shares.entry(endpoint).or_default() += 1;
    }
    let (least, most) = (shares.values().min().unwrap(), shares.values().max().unwrap());
    assert!(shares.len() == 3 && most - least <= 4, "{shares:?}");
}
