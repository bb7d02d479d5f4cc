//! The service proxy in nftables mode beside many Services: from an event that is taken in to the committed table.
//!
//! `cargo bench -p portolan --bench services -- [--services 10000] [--endpoints 10] [--json]`; needs root. The API server
//! is left out: objects go into the index by hand, so what is measured is planning and the kernel.

#![expect(clippy::print_stdout, reason = "its output is what a benchmark is for")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use clap::Parser;
use kernel::conntrack::Conntrack;
use kernel::netns::TemporaryNamespace;
use kernel::nft::Nftables;
use load::{Report, Samples};
use model::{
    AddressFamily, Endpoint, EndpointSlice, Index, Kind, Object, Port, Protocol, Service, ServiceKey,
    ServiceKind, ServicePort, SliceKey, SlicePort,
};
use proxy::nftables::NftablesProxy;
use proxy::{Dataplane, NodeContext, SyncReport};

/// Changes of each sort that are measured.
const CHANGES: u32 = 200;

#[derive(Parser)]
struct Arguments {
    /// How many Services there are.
    #[arg(long, default_value_t = 10_000)]
    services: u32,
    /// How many endpoints each has.
    #[arg(long, default_value_t = 10)]
    endpoints: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let node = TemporaryNamespace::new("bench-services").expect("a network namespace; run as root");
    let report = node.run(|| measure(&arguments)).expect("enter the namespace");
    if arguments.json {
        println!("{}", report.to_json());
    } else {
        println!("{report}");
    }
}

fn measure(arguments: &Arguments) -> Report {
    let Arguments { services, endpoints, .. } = *arguments;
    let mut report = Report::new(format!("nftables mode, {services} Services x {endpoints} endpoints"));
    let before = resident();
    let mut rig = Rig::new();
    let begin = Instant::now();
    rig.fill(services, endpoints);
    report.row("objects into the index", milliseconds(begin), "ms", None);
    let begin = Instant::now();
    rig.sync();
    report.row("first sync", milliseconds(begin), "ms", None);
    rig.proxy = proxy();
    let begin = Instant::now();
    let again = rig.everything();
    assert_eq!(again, SyncReport::default(), "a restart writes nothing");
    report.row("restart with everything in the kernel", milliseconds(begin), "ms", None);

    let number = |round: u32| round * 7919 % services;
    let replaced = rig.rounds(|round| vec![slice(number(round), endpoints, true)]);
    percentiles(&mut report, "one endpoint replaced", replaced, "<= 0.1");
    let moved = rig.rounds(|round| vec![service(number(round), Some(30_000 + round as u16))]);
    percentiles(&mut report, "a node port given", moved, "");
    let more =
        rig.rounds(|round| vec![service(services + round, None), slice(services + round, endpoints, false)]);
    percentiles(&mut report, "a Service more, with its endpoints", more, "");
    report.row("memory, with the index, after these changes", resident() - before, "MB", Some("<= 80"));
    report
}

/// An index, and a proxy on a real kernel.
struct Rig {
    index: Index,
    proxy: NftablesProxy<Nftables, Conntrack>,
}

impl Rig {
    fn new() -> Self {
        let mut index = Index::new();
        Kind::ALL.into_iter().for_each(|kind| index.begin_listing(kind));
        Self { index, proxy: proxy() }
    }

    fn fill(&mut self, services: u32, endpoints: u32) {
        for number in 0..services {
            self.index.apply(service(number, None));
            self.index.apply(slice(number, endpoints, false));
        }
        Kind::ALL.into_iter().for_each(|kind| self.index.end_listing(kind));
    }

    fn sync(&mut self) -> SyncReport {
        let changes = self.index.take_changes();
        self.proxy.sync(&self.index.snapshot().expect("listed"), &changes).expect("the kernel takes it")
    }

    fn everything(&mut self) -> SyncReport {
        let snapshot = self.index.snapshot().expect("listed");
        self.proxy.sync(&snapshot, &model::Changes::Everything).expect("the kernel takes it")
    }

    /// Time from the event to the end of the commit.
    fn rounds(&mut self, change: impl Fn(u32) -> Vec<Object>) -> Samples {
        let mut samples = Samples::default();
        for round in 0..CHANGES {
            let objects = change(round);
            let begin = Instant::now();
            objects.into_iter().for_each(|object| self.index.apply(object));
            let done = self.sync();
            samples.push(begin.elapsed());
            assert!(done.changes > 0, "round {round} changed nothing");
        }
        samples
    }
}

fn proxy() -> NftablesProxy<Nftables, Conntrack> {
    let context = NodeContext::new("node0".into(), vec!["10.128.0.0/9".parse().expect("a range")]);
    NftablesProxy::new(context, Nftables::open().expect("nftables"), Conntrack::open().expect("conntrack"))
}

fn key(number: u32) -> ServiceKey {
    ServiceKey::new("load", &format!("svc-{number}"))
}

fn service(number: u32, node_port: Option<u16>) -> Object {
    Object::Service(Service {
        kind: ServiceKind::NodePort,
        cluster_addresses: vec![Ipv4Addr::from(0x0a60_0000 + number + 1).into()],
        ports: vec![ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: port(80),
            node_port: node_port.map(port),
        }],
        ..Service::new(key(number))
    })
}

/// `is_new` decides one of the addresses, so that another one replaces one endpoint.
fn slice(number: u32, endpoints: u32, is_new: bool) -> Object {
    let address = |endpoint: u32| -> IpAddr {
        let index = number * endpoints + endpoint;
        let moved = if endpoint == 0 && is_new { 0x0040_0000 } else { 0 };
        Ipv4Addr::from(0x0a80_0002 + (index + moved) % 0x007f_ff00).into()
    };
    let endpoint = |endpoint: u32| Endpoint {
        address: address(endpoint),
        ready: true,
        serving: true,
        terminating: false,
        node: Some(format!("node{}", (number + endpoint) % 100).as_str().into()),
        zone: None,
        hints: None,
    };
    let ServiceKey { namespace, name } = key(number);
    Object::EndpointSlice(EndpointSlice {
        key: SliceKey { namespace, name },
        service: Some(key(number)),
        family: AddressFamily::V4,
        ports: vec![SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: port(8080) }],
        endpoints: (0..endpoints).map(endpoint).collect(),
    })
}

fn port(number: u16) -> Port {
    Port::try_from(i64::from(number)).expect("no port is 0 here")
}

fn percentiles(report: &mut Report, what: &str, mut samples: Samples, target: &str) {
    let target = Some(target).filter(|target| !target.is_empty());
    report.row(format!("{what}, p50"), samples.percentile(0.5), "ms", target);
    report.row(format!("{what}, p99"), samples.percentile(0.99), "ms", None);
}

fn milliseconds(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1000.0
}

/// Resident memory of this process, in MB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a resident set");
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<f64>().ok()).expect("a number")
        / 1000.0
}
