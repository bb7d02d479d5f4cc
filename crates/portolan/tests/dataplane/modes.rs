//! The ways to serve, and what one of them cannot do.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use ipnet::IpNet;
use model::Protocol;
use netstate::conntrack::FakeConntrack;
use netstate::iptables::{self, ChainName, FakeIptables, Match, Sense, Target};
use netstate::ipvs::trace::FakeNode;
use netstate::link::{Link, LinkKind, LinkName, NamespacePath};
use netstate::namespace::{LinkOp, LinkPort as _};
use netstate::nft::{FakeNft, Family};
use netstate::relay::FakeRelays;
use netstate::sysctl::FakeSysctls;
use netstate::trace::{Fate, Host, Origin, Packet};
use proxy::iptables::IptablesProxy;
use proxy::ipvs::{self, IpvsProxy};
use proxy::nftables::NftablesProxy;
use proxy::userspace::UserspaceProxy;
use proxy::{Dataplane, NodeContext};

use crate::cases::{Case, Settings, Then, node_towards};
use crate::world::pod_config;

/// A way to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    Nftables,
    Iptables,
    Ipvs,
    Userspace,
}

impl Mode {
    pub const ALL: [Self; 4] = [Self::Nftables, Self::Iptables, Self::Ipvs, Self::Userspace];

    /// Why endpoints never see the addresses of clients, if they do not.
    pub fn hides_clients(self) -> Option<&'static str> {
        match self {
            Self::Nftables | Self::Iptables | Self::Ipvs => None,
            Self::Userspace => Some(
                "Endpoints see the node as their client, at every door: it is the proxy's own process that connects. \
                 Whatever else the table says holds.",
            ),
        }
    }

    /// The mode in memory, and what becomes of a packet there.
    pub fn in_memory(self, context: NodeContext) -> InMemory {
        match self {
            Self::Nftables => {
                let nft = FakeNft::new();
                nft.put(podnet::plan::masquerade(&pod_config()));
                InMemory {
                    proxy: Box::new(NftablesProxy::new(context, nft.clone(), FakeConntrack::new())),
                    faults: nft_faults(&nft),
                    trace: Box::new(move |host, origin, packet, chance| {
                        let outcome = nft.trace(host, origin, packet, chance);
                        (outcome.fate, outcome.packet)
                    }),
                }
            }
            Self::Iptables => {
                let families = [Family::Ip, Family::Ip6].map(FakeIptables::new);
                families[0].change(iptables::Table::Nat, add_pod_masquerade);
                InMemory {
                    proxy: Box::new(IptablesProxy::new(context, families.clone(), FakeConntrack::new())),
                    faults: iptables_faults(&families),
                    trace: Box::new(move |host, origin, packet, chance| {
                        let mut state = u64::from(chance(u32::MAX));
                        let mut next = |below| splitmix(&mut state) % below;
                        let family = &families[usize::from(packet.destination.is_ipv6())];
                        let outcome = family.trace(host, origin, packet, &mut next);
                        (outcome.fate, outcome.packet)
                    }),
                }
            }
            Self::Ipvs => {
                let node = fake_node();
                node.iptables[0].change(iptables::Table::Nat, add_pod_masquerade);
                let ports = ipvs::Ports {
                    ipvs: Box::new(node.ipvs.clone()),
                    sets: Box::new(node.sets.clone()),
                    iptables: node.iptables.clone().map(|family| Box::new(family) as _),
                    links: Box::new(node.links.clone()),
                    settings: Box::new(FakeSysctls::default()),
                    conntrack: Box::new(FakeConntrack::new()),
                };
                let mut faults = iptables_faults(&node.iptables);
                for (name, errno) in [("IPVS is busy", BUSY), ("IPVS has no room", NO_ROOM)] {
                    let ipvs = node.ipvs.clone();
                    faults.push((name, Box::new(move || ipvs.fail_next_commit(errno))));
                }
                let sets = node.sets.clone();
                faults.push(("ipset is busy", Box::new(move || sets.fail_next_commit(BUSY))));
                InMemory {
                    proxy: Box::new(IpvsProxy::new(context, ipvs::Config::default(), ports)),
                    faults,
                    trace: Box::new(move |host, origin, packet, chance| {
                        let outcome = node.trace(host, origin, packet, chance);
                        (outcome.fate, outcome.packet)
                    }),
                }
            }
            Self::Userspace => {
                let (nft, relays) = (FakeNft::new(), FakeRelays::new());
                nft.put(podnet::plan::masquerade(&pod_config()));
                let (fakes, conntrack) = ((nft.clone(), relays.clone()), FakeConntrack::new());
                let now = Instant::now();
                let mut faults = nft_faults(&nft);
                let (no_socket, no_descriptor) = (relays.clone(), 24);
                faults.push(("no descriptor", Box::new(move || no_socket.fail_next_open(no_descriptor))));
                InMemory {
                    faults,
                    proxy: Box::new(UserspaceProxy::new(context, fakes.0, fakes.1, conntrack)),
                    trace: Box::new(move |host, origin, packet, chance| {
                        let outcome = nft.trace(host, origin, packet, chance);
                        let at = outcome.packet.destination;
                        let led = relays.lead(packet.protocol, at.port(), packet.source.ip(), now);
                        match led.filter(|_| outcome.fate == Fate::Delivered && at != packet.destination) {
                            None => (outcome.fate, outcome.packet),
                            // From the relay on it is the node's own connection.
                            Some(destination) => {
                                let source = SocketAddr::new(node_towards(destination.ip()), 40_001);
                                (Fate::Delivered, Packet { source, destination, ..outcome.packet })
                            }
                        }
                    }),
                }
            }
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
            Self::Ipvs => "ipvs",
            Self::Userspace => "userspace",
        })
    }
}

/// What podnet writes, in the words of iptables: behind the proxy's, as it is in the kernel.
fn add_pod_masquerade(chains: &mut iptables::Chains) {
    let config = pod_config();
    let to = config.non_masquerade.iter().map(|range| IpNet::V4(*range));
    let matches: Vec<Match> = [Match::source(config.range)]
        .into_iter()
        .chain(to.map(|range| Match::Destination(Sense::IsNot, range)))
        .collect();
    let rule = iptables::Rule::new(matches, Target::Masquerade { fully_random: true });
    chains.0.entry(ChainName::constant("POSTROUTING")).or_default().rules.push(rule);
}

/// One after the other, rules ask for numbers that have nothing to do with each other.
fn splitmix(state: &mut u64) -> u32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed >> 32) as u32
}

/// A proxy that writes into fakes.
pub struct InMemory {
    pub proxy: Box<dyn Dataplane>,
    /// Walks a packet through them.
    pub trace: Trace,
    /// What can go wrong: each, with its name, lets the next writing of its kind fail.
    pub faults: Vec<Fault>,
}

/// Something that goes wrong once.
pub type Fault = (&'static str, Box<dyn Fn()>);

/// Netlink's ways to say "not now": somebody else writes, and there is no room for the answer.
const BUSY: i32 = 16;
const NO_ROOM: i32 = 105;

fn nft_faults(nft: &FakeNft) -> Vec<Fault> {
    let fault = |name, errno| -> Fault {
        let nft = nft.clone();
        (name, Box::new(move || nft.fail_next_commit(errno)))
    };
    vec![fault("nftables is busy", BUSY), fault("nftables has no room", NO_ROOM)]
}

fn iptables_faults(families: &[FakeIptables; 2]) -> Vec<Fault> {
    let families = families.clone();
    vec![("the lock is held", Box::new(move || families.iter().for_each(FakeIptables::hold_lock)))]
}

/// How a packet ends, and as what. The last argument answers every question for a number below another.
pub type Trace = Box<dyn Fn(&Host, &Origin, Packet, &mut dyn FnMut(u32) -> u32) -> (Fate, Packet)>;

/// node1 as ipvs mode finds it.
fn fake_node() -> FakeNode {
    let node = FakeNode::new(NamespacePath::new("/run/netns/node1"));
    let links: [(_, &[&str]); 2] = [
        ("eth0", &["10.100.0.2/24", "10.100.0.22/24", "fd00:10:100::2/64", "fd00:10:100::22/128"]),
        ("cbr0", &["10.244.1.1/24", "fd00:10:244:1::1/64"]),
    ];
    for (name, addresses) in links {
        let link = LinkName::parse(name).unwrap();
        node.links.commit(&[LinkOp::CreateLink(Link::new(link.clone(), LinkKind::Bridge))]).unwrap();
        for address in addresses {
            let (link, address) = (link.clone(), address.parse().unwrap());
            node.links.commit(&[LinkOp::AddAddress { link, address }]).unwrap();
        }
    }
    node
}

/// What a mode does not do as the table says.
pub struct Exception {
    pub mode: Mode,
    /// Which cases.
    applies: fn(Settings, &Case) -> bool,
    /// The reason, for the page.
    pub why: &'static str,
}

/// All of them.
const EXCEPTIONS: &[Exception] = &[
    Exception {
        mode: Mode::Ipvs,
        applies: |_, Case(_, _, to, _)| *to == "198.51.100.240:81",
        why: "An external address is the node's own, so at a port that the Service does not have the node itself answers.",
    },
    Exception {
        mode: Mode::Userspace,
        applies: |_, Case(_, protocol, _, then)| {
            *protocol == Protocol::Sctp && !matches!(then, Then::Refused)
        },
        why: "SCTP is refused: its streams and several addresses a side cannot be handed on by a pair of sockets.",
    },
];

/// Why a mode does not do what a case says, if so.
pub fn exception(mode: Mode, settings: Settings, case: &Case) -> Option<&'static Exception> {
    EXCEPTIONS.iter().find(|exception| exception.mode == mode && (exception.applies)(settings, case))
}
