//! nftables with real packets: what the tracer says is what the kernel does.
//!
//! Everything is on the loopback interface of a fresh namespace: clients and endpoints have addresses there, and the
//! service address is only known to nftables. Who was answered by whom is read from connection tracking.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;

use netstate::conntrack::{Connection, ConntrackPort, Filter};
use netstate::nft::trace::{Fate, Host, Origin, Packet, trace};
use netstate::nft::{
    BaseChain, Chain, ChainKind, Data, Family, Hook, InterfaceName, L4Protocol, Missing, Name, NftPort, Op,
    Policy, Reject, Rule, Ruleset, Selector, Set, SetDefinition, Statement, Table, Transaction, Type,
    UpdateData, UpdateMode, Value, Verdict, diff, priority,
};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
use portolan_kernel::{conntrack::Conntrack, nft::Nftables};

use super::isolation::{in_fresh_namespace, run};

const SERVICES: Name = Name::constant("services");
const ENDPOINTS: Name = Name::constant("endpoints");
const AFFINITY: Name = Name::constant("affinity");
const DOOR: [Selector; 3] = [Selector::DestinationAddress, Selector::Protocol, Selector::DestinationPort];
const PLAIN: &str = "10.96.0.1";
const STICKY: &str = "10.96.0.2";
const EMPTY: &str = "10.96.0.3";
const POD: &str = "10.244.1.9";
const NODE: &str = "10.100.0.2";

fn address(text: &str) -> Value {
    Value::Address(text.parse().unwrap())
}

fn affinity() -> SetDefinition {
    let ip = Type::Ipv4Address;
    SetDefinition::map([ip, ip, Type::Protocol, Type::Port], [ip, Type::Port]).dynamic(1000, None)
}

fn sets() -> BTreeMap<Name, Set> {
    let ip = Type::Ipv4Address;
    let mut services = Set::new(SetDefinition::verdict_map([ip, Type::Protocol, Type::Port]));
    let mut endpoints =
        Set::new(SetDefinition::map([ip, Type::Protocol, Type::Port, Type::Mark], [ip, Type::Port]));
    for (service, chain) in [(PLAIN, "plain-2"), (STICKY, "sticky-2"), (EMPTY, "refuse")] {
        let door = [address(service), L4Protocol::TCP.into(), Value::Port(80)];
        services.elements.insert(door.into(), Data::Verdict(Verdict::Goto(Name::new(chain).unwrap())));
        for (index, endpoint) in [(0, "10.244.1.2"), (1, "10.244.1.3")] {
            let key = [door[0], door[1], door[2], Value::Mark(index)];
            endpoints
                .elements
                .insert(key.into(), Data::Values([address(endpoint), Value::Port(8080)].into()));
        }
    }
    [(SERVICES, services), (ENDPOINTS, endpoints), (AFFINITY, Set::new(affinity()))].into()
}

/// A service with two endpoints, one that remembers its clients, one with none; what is no pod is masqueraded.
fn ruleset() -> Ruleset {
    let mut ruleset = Ruleset::new(Table::new(Family::Ip, Name::constant("portolan-test")));
    ruleset.sets = sets();
    let pick = Rule::new([Statement::dnat_map(
        [DOOR[0], DOOR[1], DOOR[2], Selector::Random { modulus: 2 }],
        ENDPOINTS,
    )]);
    let mark = Rule::new([
        Statement::not_equal(Selector::SourceAddress, "10.244.0.0/16".parse::<ipnet::IpNet>().unwrap()),
        Statement::SetMark { mask: 0x4000, value: 0x4000 },
    ]);
    let again =
        Rule::new([Statement::dnat_map([Selector::SourceAddress, DOOR[0], DOOR[1], DOOR[2]], AFFINITY)]);
    let remember = Rule::new([
        Statement::equal(Selector::OriginalDestinationAddress, address(STICKY)),
        Statement::Update {
            mode: UpdateMode::Update,
            key: vec![
                Selector::SourceAddress,
                Selector::OriginalDestinationAddress,
                Selector::Protocol,
                Selector::OriginalDestinationPort,
            ],
            data: UpdateData::Selectors(vec![Selector::DestinationAddress, Selector::DestinationPort]),
            timeout: Some(std::time::Duration::from_secs(10_800)),
            set: AFFINITY,
        },
    ]);
    let masquerade =
        Rule::new([Statement::marked(0x4000, 0x4000), Statement::Masquerade { fully_random: true }]);
    let refuse = [
        Rule::new([
            Statement::equal(Selector::Protocol, L4Protocol::TCP),
            Statement::Reject(Reject::TcpReset),
        ]),
        Rule::new([Statement::Reject(Reject::PortUnreachable)]),
    ];
    let nat = |hook, priority| BaseChain { kind: ChainKind::Nat, hook, priority, policy: Policy::Accept };
    let dispatch = [Rule::new([Statement::verdict_map(DOOR, SERVICES)])];
    ruleset.chains = [
        ("plain-2", Chain::regular([mark, pick.clone()])),
        ("sticky-2", Chain::regular([again, pick])),
        ("refuse", Chain::regular(refuse)),
        ("output", Chain::base(nat(Hook::Output, priority::DESTINATION_NAT), dispatch)),
        ("postrouting", Chain::base(nat(Hook::Postrouting, priority::SOURCE_NAT), [remember, masquerade])),
    ]
    .map(|(name, chain)| (Name::new(name).unwrap(), chain))
    .into();
    ruleset
}

struct World {
    nft: Nftables,
    conntrack: Conntrack,
    endpoints: [TcpListener; 2],
}

fn world() -> World {
    run("ip", &["link", "set", "lo", "up"]);
    for own in ["10.244.1.2/32", "10.244.1.3/32", "10.244.1.9/32", "10.100.0.2/32"] {
        run("ip", &["address", "add", own, "dev", "lo"]);
    }
    run("ip", &["route", "add", "10.96.0.0/12", "dev", "lo"]);
    let endpoints = ["10.244.1.2:8080", "10.244.1.3:8080"].map(|at| TcpListener::bind(at).unwrap());
    endpoints.iter().for_each(|endpoint| endpoint.set_nonblocking(true).unwrap());
    let mut nft = Nftables::open().unwrap();
    nft.commit(&diff(None, &ruleset())).unwrap();
    World { nft, conntrack: Conntrack::open().unwrap(), endpoints }
}

/// Connects from an address and returns the own end, or why not. The standard library cannot choose its source.
fn connect_from(source: &str, service: &str) -> std::io::Result<SocketAddr> {
    let storage = |text: String| SockaddrStorage::from(text.parse::<SocketAddr>().unwrap());
    let descriptor = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(descriptor.as_raw_fd(), &storage(format!("{source}:0")))?;
    connect(descriptor.as_raw_fd(), &storage(format!("{service}:80")))?;
    let stream = TcpStream::from(descriptor);
    stream.local_addr()
}

impl World {
    fn ask(&mut self, source: &str, service: &str) -> Connection {
        let own = connect_from(source, service).unwrap();
        // Makes room in the queues; one that is not there yet is taken the next time.
        self.endpoints.iter().for_each(|endpoint| while endpoint.accept().is_ok() {});
        let to = Filter::protocol(L4Protocol::TCP).to(service.parse().unwrap(), 80);
        let mut found = self.conntrack.list(&[to]).unwrap().into_iter();
        found.find(|connection| connection.original.source == own).unwrap()
    }
}

fn lo() -> InterfaceName {
    InterfaceName::new("lo").unwrap()
}

/// The tracer's idea of the same world.
fn host() -> Host {
    let own = ["10.244.1.2", "10.244.1.3", POD, NODE].map(|own| (own.parse::<IpAddr>().unwrap(), lo()));
    let mut host = Host { addresses: own.into(), ..Host::default() };
    host.routes.insert("10.96.0.0/12".parse().unwrap(), lo());
    host
}

#[test]
fn connections_are_spread_evenly_and_masqueraded_where_needed() {
    in_fresh_namespace(|| {
        let mut world = world();
        let mut counts: BTreeMap<SocketAddr, u32> = BTreeMap::new();
        for _ in 0..400 {
            let connection = world.ask(POD, PLAIN);
            assert_eq!(connection.reply.destination, connection.original.source, "a pod keeps its address");
            *counts.entry(connection.reply.source).or_default() += 1;
        }
        // Five standard deviations.
        assert!(counts.len() == 2 && counts.values().all(|count| (150..=250).contains(count)), "{counts:?}");
        let connection = world.ask(NODE, PLAIN);
        assert_ne!(connection.reply.destination.ip(), connection.original.source.ip(), "masqueraded");
    });
}

#[test]
fn a_client_is_remembered_until_it_is_forgotten() {
    in_fresh_namespace(|| {
        let mut world = world();
        let first = world.ask(POD, STICKY).reply.source;
        for _ in 0..20 {
            assert_eq!(world.ask(POD, STICKY).reply.source, first);
        }
        let table = ruleset().table;
        let remembered = world.nft.elements(&table, &AFFINITY, &affinity()).unwrap();
        let key = [address(POD), address(STICKY), L4Protocol::TCP.into(), Value::Port(80)];
        assert_eq!(remembered.len(), 1);
        assert_eq!(remembered[0].key, key.into());
        assert_eq!(remembered[0].data, Data::Values([first.ip().into(), Value::Port(8080)].into()));

        // Its endpoint goes: nobody is sent there, remembered or not.
        let mut without = ruleset();
        let endpoints = &mut without.sets.get_mut(&ENDPOINTS).unwrap().elements;
        let left =
            ["10.244.1.2", "10.244.1.3"].into_iter().find(|left| first.ip().to_string() != *left).unwrap();
        for data in endpoints.values_mut() {
            *data = Data::Values([address(left), Value::Port(8080)].into());
        }
        let mut transaction: Transaction = diff(world.nft.observe(&table).unwrap().as_ref(), &without);
        transaction.ops.push(Op::DeleteElements {
            set: AFFINITY,
            definition: affinity(),
            keys: vec![key.into()],
            missing: Missing::Ignore,
        });
        world.nft.commit(&transaction).unwrap();
        assert_eq!(world.ask(POD, STICKY).reply.source.ip().to_string(), left);
    });
}

#[test]
fn the_tracer_agrees_with_the_kernel() {
    in_fresh_namespace(|| {
        let mut world = world();
        let mut table = ruleset();
        for (source, service) in [(POD, PLAIN), (NODE, PLAIN), (POD, STICKY), (POD, STICKY), (NODE, EMPTY)] {
            let end = |text: &str, port: u16| SocketAddr::new(text.parse().unwrap(), port);
            let packet = Packet::first(L4Protocol::TCP, end(source, 40000), end(service, 80));
            if service == EMPTY {
                let outcome = trace(&mut [&mut table], &host(), &Origin::Local, packet, &mut |_| 0);
                assert_eq!(outcome.fate, Fate::Rejected(Reject::TcpReset));
                let error = connect_from(source, service).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
                continue;
            }
            let connection = world.ask(source, service);
            let chosen = u32::from(connection.reply.source.ip() == end("10.244.1.3", 0).ip());
            let outcome = trace(&mut [&mut table], &host(), &Origin::Local, packet, &mut |_| chosen);
            assert_eq!(outcome.fate, Fate::Delivered);
            assert_eq!(outcome.destination_nat, Some(connection.reply.source));
            let masqueraded = connection.reply.destination.ip() != connection.original.source.ip();
            assert_eq!(outcome.masqueraded.is_some(), masqueraded, "{source} > {service}");
        }
        let observed = world.nft.observe(&table.table).unwrap().unwrap();
        assert_eq!(observed, table, "rules wrote the same into the dynamic map");
    });
}
