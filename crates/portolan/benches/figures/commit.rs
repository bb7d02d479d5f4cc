//! The service proxy in nftables mode beside many Services: from an event that is taken in to the committed table.
//!
//! The API server is left out: objects go into the index by hand, so what is measured is planning and the kernel.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use kernel::conntrack::Conntrack;
use kernel::netns::TemporaryNamespace;
use kernel::nft::Nftables;
use load::{Figure, Report, Samples, Target};
use model::{
    AddressFamily, Endpoint, EndpointSlice, Index, Kind, Object, Port, Protocol, Service, ServiceKey,
    ServiceKind, ServicePort, SliceKey, SlicePort,
};
use proxy::nftables::NftablesProxy;
use proxy::{Dataplane, NodeContext, SyncReport};

use crate::Sizes;

/// Runs it at every size.
pub fn run(sizes: &Sizes) -> anyhow::Result<Report> {
    let mut report = Report::new("commit", "nftables mode, event in to committed");
    for services in sizes.services(&[100, 1_000, 10_000, 50_000]) {
        for endpoints in sizes.endpoints(&[2, 10]) {
            let node = TemporaryNamespace::new("bench-commit")?;
            node.run(|| Size { services, endpoints, rounds: sizes.rounds(200) }.measure(&mut report))?;
        }
    }
    Ok(report)
}

/// One size.
struct Size {
    services: u32,
    endpoints: u32,
    rounds: u32,
}

impl Size {
    fn measure(&self, report: &mut Report) {
        let &Self { services, endpoints, rounds } = self;
        let figure = |what: &str, value, unit| {
            Figure::new(what, value, unit).mode("nftables").beside(services, endpoints)
        };
        let mut rig = Rig::new();
        let begin = Instant::now();
        rig.fill(services, endpoints);
        report.push(figure("objects into the index", milliseconds(begin), "ms"));
        let begin = Instant::now();
        rig.sync();
        report.push(figure("first sync", milliseconds(begin), "ms"));
        rig.proxy = proxy();
        let begin = Instant::now();
        let again = rig.everything();
        assert_eq!(again, SyncReport::default(), "a restart writes nothing");
        report.push(figure("restart with everything in the kernel", milliseconds(begin), "ms"));

        let number = |round: u32| round * 7919 % services;
        let mut replaced =
            rig.rounds(rounds, |round| vec![slice(number(round), endpoints, round / services % 2 == 0)]);
        let p50 = figure("an endpoint replaced, p50", replaced.percentile(0.5), "ms");
        report.push(p50.target(Target::AtMost(0.1)));
        report.push(figure("an endpoint replaced, p99", replaced.percentile(0.99), "ms"));
        let mut moved = rig.rounds(rounds, |round| vec![service(number(round), Some(30_000 + round as u16))]);
        report.push(figure("a node port given, p50", moved.percentile(0.5), "ms"));
        let mut more = rig.rounds(rounds, |round| {
            vec![service(services + round, None), slice(services + round, endpoints, false)]
        });
        report.push(figure("a Service more, with its endpoints, p50", more.percentile(0.5), "ms"));
    }
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
    fn rounds(&mut self, rounds: u32, change: impl Fn(u32) -> Vec<Object>) -> Samples {
        let mut samples = Samples::default();
        for round in 0..rounds {
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

fn milliseconds(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1000.0
}
