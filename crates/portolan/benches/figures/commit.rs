//! The service proxy in nftables mode beside many Services: from an event that is taken in to the committed table.
//!
//! The API server is left out: objects go into the index by hand, so what is measured is planning and the kernel.

use std::time::Instant;

use kernel::conntrack::Conntrack;
use kernel::netns::TemporaryNamespace;
use kernel::nft::Nftables;
use load::{Figure, Fleet, Report, Samples, Target};
use model::{Index, Kind, Object};
use proxy::nftables::NftablesProxy;
use proxy::{Dataplane, NodeContext, SyncReport};

use crate::{Sizes, feed};

/// Runs it at every size.
pub fn run(sizes: &Sizes) -> anyhow::Result<Report> {
    let mut report = Report::new("commit", "nftables mode, event in to committed");
    for services in sizes.services(&[100, 1_000, 10_000, 50_000]) {
        for endpoints in sizes.endpoints(&[2, 10]) {
            let node = TemporaryNamespace::new("bench-commit")?;
            let fleet = Fleet { services, endpoints };
            node.run(|| Size { fleet, rounds: sizes.rounds(200) }.measure(&mut report))?;
        }
    }
    Ok(report)
}

/// One size.
struct Size {
    fleet: Fleet,
    rounds: u32,
}

impl Size {
    fn measure(&self, report: &mut Report) {
        let &Self { fleet, rounds } = self;
        let Fleet { services, endpoints } = fleet;
        let figure = |what: &str, value, unit| {
            Figure::new(what, value, unit).mode("nftables").beside(services, endpoints)
        };
        let mut rig = Rig::new();
        let objects: Vec<Object> = (0..services).flat_map(|number| feed::objects(fleet, number)).collect();
        let begin = Instant::now();
        rig.fill(objects);
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
        let mut replaced = rig.rounds(rounds, |round| {
            vec![feed::moved_slice(fleet, number(round), &Fleet::new_address(round).to_string())]
        });
        let p50 = figure("an endpoint replaced, p50", replaced.percentile(0.5), "ms");
        report.push(p50.target(Target::AtMost(0.1)));
        report.push(figure("an endpoint replaced, p99", replaced.percentile(0.99), "ms"));
        let mut moved = rig.rounds(rounds, |round| {
            vec![feed::service(fleet, number(round), Some(Fleet::free_node_port(round)))]
        });
        report.push(figure("a node port given, p50", moved.percentile(0.5), "ms"));
        let mut more = rig.rounds(rounds, |round| feed::objects(fleet, services + round));
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

    fn fill(&mut self, objects: Vec<Object>) {
        objects.into_iter().for_each(|object| self.index.apply(object));
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
    let context = NodeContext::new("node1".into(), vec![load::POD_RANGE.parse().expect("a range")]);
    NftablesProxy::new(context, Nftables::open().expect("nftables"), Conntrack::open().expect("conntrack"))
}

fn milliseconds(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1000.0
}
