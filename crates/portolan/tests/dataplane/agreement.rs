//! Every case by the packet tracer, and with real packets.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;

use model::Protocol;
use netstate::conntrack::FakeConntrack;
use netstate::nft::trace::{Fate, Host, Origin, Packet};
use netstate::nft::{FakeNft, InterfaceName, L4Protocol, Reject};
use proxy::nftables::NftablesProxy;

use crate::asking::{Asker, Reply};
use crate::cases::{CASES, Case, Then, objects};
use crate::cluster::Cluster;
use crate::world::{World, context, pod_config};

/// Enough to meet three endpoints: none of them gets five connections more than another.
const QUESTIONS: u32 = 15;

#[test]
fn the_tracer_and_the_kernel_do_what_the_cases_say() {
    let world = World::new();
    Cluster::new(world.proxy(), objects()).sync();
    let nft = FakeNft::new();
    nft.put(podnet::plan::masquerade(&pod_config()));
    Cluster::new(NftablesProxy::new(context(), nft.clone(), FakeConntrack::new()), objects()).sync();

    let mut differences = String::new();
    for case in CASES {
        let Case(from, protocol, to, then) = case;
        let questions = match then {
            Then::Each(_) | Then::One(_) => QUESTIONS,
            // The kernel sends only so many ICMP messages a second.
            Then::Refused | Then::Leaves => 1,
        };
        let traced = (0..questions).map(|chance| trace(&nft, case, chance)).collect();
        let real = (0..questions).map(|_| world.ask(*from, *protocol, to)).collect();
        for (how, replies) in [("the tracer", traced), ("the kernel", real)] {
            if !is_as_said(then, &replies) {
                let replies: Vec<String> = replies.iter().map(ToString::to_string).collect();
                writeln!(differences, "{how}: {from:?} {protocol} {to}: {replies:?}").unwrap();
            }
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}

fn is_as_said(then: &Then, replies: &BTreeSet<Reply>) -> bool {
    let answers = |said: &[(&str, &str)]| -> BTreeSet<Reply> {
        let answer = |(by, seen): &(&str, &str)| Reply::Answer {
            by: by.parse().unwrap(),
            seen: seen.parse().unwrap(),
        };
        said.iter().map(answer).collect()
    };
    match then {
        Then::Each(said) => *replies == answers(said),
        Then::One(said) => replies.len() == 1 && replies.is_subset(&answers(said)),
        Then::Refused => *replies == [Reply::Refused].into(),
        Then::Leaves => *replies == [Reply::NoRoute].into(),
    }
}

/// What the tracer says comes of a first packet, when chance, and whose turn it is, say `chance`.
fn trace(nft: &FakeNft, Case(from, protocol, to, _): &Case, chance: u32) -> Reply {
    let protocol = L4Protocol(protocol.number());
    let destination: SocketAddr = to.parse().unwrap();
    let packet = Packet::first(protocol, SocketAddr::new(from.address(), 40_000), destination);
    let outcome = nft.trace(&host(), &origin(*from), packet, &mut |modulus| chance % modulus);
    let seen = outcome.packet.source.ip();
    match outcome.fate {
        Fate::Delivered | Fate::Sent(_) if is_somewhere(outcome.packet.destination) => {
            Reply::Answer { by: outcome.packet.destination, seen }
        }
        Fate::Sent(_) => Reply::NoRoute,
        Fate::Rejected(Reject::TcpReset) if protocol == L4Protocol::TCP => Reply::Refused,
        Fate::Rejected(Reject::PortUnreachable) if protocol == L4Protocol::UDP => Reply::Refused,
        other => panic!("{from:?} {to}: {other:?}"),
    }
}

/// The router knows the machines and the pods, and the tracer knows nothing of the router.
fn is_somewhere(destination: SocketAddr) -> bool {
    let known: [ipnet::IpNet; 4] =
        ["10.244.0.0/16", "10.100.0.0/24", "192.0.2.0/24", "127.0.0.0/8"].map(|range| range.parse().unwrap());
    known.iter().any(|range| range.contains(&destination.ip()))
}

fn origin(from: Asker) -> Origin {
    match from {
        Asker::Pod | Asker::Endpoint | Asker::OtherEndpoint => Origin::Interface(interface("cbr0")),
        Asker::RemotePod | Asker::Outside => Origin::Interface(interface("eth0")),
        Asker::Node | Asker::Loopback => Origin::Local,
    }
}

/// node1, as the tracer needs to know it.
fn host() -> Host {
    let addresses = [("10.100.0.2", "eth0"), ("10.244.1.1", "cbr0")];
    let routes = [("10.100.0.0/24", "eth0"), ("10.244.1.0/24", "cbr0"), ("0.0.0.0/0", "eth0")];
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
    Cluster::new(world.proxy(), objects()).sync();
    let mut shares = std::collections::BTreeMap::<SocketAddr, u32>::new();
    for _ in 0..1_000 {
        let endpoint = world.client(Asker::Pod, Protocol::Tcp, "10.96.0.6:8080").endpoint();
        *shares.entry(endpoint).or_default() += 1;
    }
    let (least, most) = (shares.values().min().unwrap(), shares.values().max().unwrap());
    assert!(shares.len() == 3 && most - least <= 4, "{shares:?}");
}
