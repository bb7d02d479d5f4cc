//! The service proxy beside many Services, in every mode: from an event that is taken in to the committed change.
//!
//! The API server is left out: objects go into the index by hand, so what is measured is planning and the kernel.

use std::ffi::OsString;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use kernel::ipvs::Ipvs;
use kernel::netns::TemporaryNamespace;
use kernel::nft::Nftables;
use load::{Figure, Fleet, Report, Samples, Target};
use model::{Changes, Index, Kind, Object};
use netstate::ipvs::IpvsPort as _;
use netstate::nft::{Family, Name, NftPort as _, Op, Table, Transaction};
use proxy::{Mode, NodeContext, SyncReport};
use uml::Machine;

use crate::rig::{Opened, Variant};
use crate::{Sizes, feed};

/// kube-proxy 1.36 over iptables-legacy beside 10,000 Services of 10 endpoints, in ms: process start to last Service,
/// and one changed EndpointSlice. Half of it is what the iptables mode is to reach.
const KUBE_PROXY: (f64, f64) = (15_200.0, 2_000.0);

const INDEX: &str = "objects into the index";

/// Runs it in every mode, at every size that the mode reaches.
pub fn run(sizes: &Sizes, report: &mut Report) -> Result<()> {
    let usual = [Mode::Nftables, Mode::Iptables, Mode::Userspace, Mode::Ipvs];
    // Another kernel has to be started for ipvs, which takes longer than everything else in a smoke run.
    let usual = if sizes.smoke { &usual[..3] } else { &usual[..] };
    for variant in Variant::of(&sizes.modes(usual)) {
        if variant.mode() == Mode::Ipvs && !has_ip_vs() {
            beside_iptables_elsewhere(sizes, report)?;
            continue;
        }
        if variant == Variant::IptablesNft && !has_nftables() {
            report.note("iptables (nft) is not measured: the kernel has no nftables for IPv4");
            continue;
        }
        for fleet in sizes.fleets() {
            let Fleet { services, endpoints } = fleet;
            if let Some(why) = stops_at(variant, fleet) {
                report.note(format!("{variant} is not measured at {services} x {endpoints}: {why}"));
                continue;
            }
            eprintln!("commit: {variant}, {services} x {endpoints} …");
            let size = Size { variant, fleet, rounds: rounds(variant, fleet, sizes) };
            let node = TemporaryNamespace::new("bench-commit")?;
            node.run(|| size.measure(report))??;
        }
    }
    Ok(())
}

/// Why a mode does not get that far.
fn stops_at(variant: Variant, Fleet { services, .. }: Fleet) -> Option<&'static str> {
    match variant {
        Variant::IptablesNft if services > 10_000 => {
            Some("a first sync takes more than a minute from here on")
        }
        Variant::Plain(Mode::Userspace) if services > 10_000 => {
            Some("each Service has a port of the node, and there are 28,000 for all purposes")
        }
        _ => None,
    }
}

/// Those of iptables mode cost with the size of everything, so there are fewer of them beside many Services.
fn rounds(variant: Variant, Fleet { services, .. }: Fleet, sizes: &Sizes) -> u32 {
    let usual = if variant.mode() == Mode::Iptables && services >= 10_000 { 20 } else { 200 };
    sizes.rounds(usual)
}

fn has_ip_vs() -> bool {
    Ipvs::open().and_then(|mut ipvs| ipvs.services()).is_ok()
}

/// It takes a table, which is gone in the same moment.
fn has_nftables() -> bool {
    let mut probe = Transaction::new(Table::new(Family::Ip, Name::constant("bench-probe")));
    probe.ops.extend([Op::AddTable, Op::DeleteTable]);
    Nftables::open().and_then(|mut nft| nft.commit(&probe)).is_ok()
}

/// Runs the ipvs mode and the iptables mode under a kernel that has ip_vs, and reports what the one takes of the other:
/// that kernel's own times say nothing about others.
fn beside_iptables_elsewhere(sizes: &Sizes, report: &mut Report) -> Result<()> {
    eprintln!("commit: ipvs in User-Mode Linux …");
    let list = |numbers: Vec<u32>| {
        let few = numbers.into_iter().filter(|number| *number <= 10_000);
        OsString::from(few.map(|number| number.to_string()).collect::<Vec<_>>().join(","))
    };
    let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    let mut arguments = words(&["commit", "--bench", "--json", "--modes", "ipvs,iptables", "--rounds"]);
    arguments.push(sizes.rounds(20).min(20).to_string().into());
    arguments.extend([OsString::from("--services"), list(sizes.services(&[100, 1_000, 10_000]))]);
    arguments.extend([OsString::from("--endpoints"), list(sizes.endpoints(&[2]))]);
    let output = uml::run(Machine::LARGE, &std::env::current_exe()?, &arguments);
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "in User-Mode Linux: {complaint}");
    let found: Report = serde_json::from_slice(&output.stdout).context("a report from User-Mode Linux")?;
    let of = |variant: &'static str| {
        found.figures.iter().filter(move |figure| figure.mode.as_deref() == Some(variant))
    };
    // The index knows no modes.
    for ipvs in of("ipvs").filter(|figure| figure.what != INDEX) {
        let same = |other: &&Figure| other.what == ipvs.what && other.size() == ipvs.size();
        if let Some(iptables) = of("iptables (legacy)").find(same) {
            let what = format!("{}, of iptables mode's time", ipvs.what);
            let ratio = Figure { what, value: ipvs.value / iptables.value, unit: "".into(), ..ipvs.clone() };
            report.push(ratio.mode("ipvs"));
        }
    }
    report.note("ipvs ran in User-Mode Linux, beside iptables (legacy) there: shares, as its times are not a machine's");
    Ok(())
}

/// One mode at one size.
struct Size {
    variant: Variant,
    fleet: Fleet,
    rounds: u32,
}

impl Size {
    fn measure(&self, report: &mut Report) -> Result<()> {
        let &Self { variant, fleet, rounds } = self;
        let Fleet { services, endpoints } = fleet;
        let figure = |what: &str, value: f64| {
            let target = self.target(what).map(Target::AtMost);
            let figure = Figure::new(what, value, "ms").mode(variant.to_string());
            Figure { target, ..figure.beside(services, endpoints) }
        };
        let mut rig = Rig::new(variant)?;
        let objects: Vec<Object> = (0..services).flat_map(|number| feed::objects(fleet, number)).collect();
        let begin = Instant::now();
        rig.fill(objects);
        report.push(figure(INDEX, milliseconds(begin)));
        let begin = Instant::now();
        rig.sync()?;
        report.push(figure("first sync", milliseconds(begin)));
        rig.opened = open(variant)?;
        let begin = Instant::now();
        let again = rig.everything()?;
        // Relays listen elsewhere after a restart.
        let is_relayed = variant.mode() == Mode::Userspace;
        ensure!(is_relayed || again == SyncReport::default(), "a restart wrote something: {again:?}");
        report.push(figure("restart with everything in the kernel", milliseconds(begin)));

        let number = |round: u32| round * 7919 % services;
        let mut replaced = rig.rounds(rounds, |round| {
            vec![feed::moved_slice(fleet, number(round), &Fleet::new_address(round).to_string())]
        })?;
        report.push(figure("an endpoint replaced, p50", replaced.percentile(0.5)));
        report.push(figure("an endpoint replaced, p99", replaced.percentile(0.99)));
        let mut moved = rig.rounds(rounds, |round| {
            vec![feed::service(fleet, number(round), Some(Fleet::free_node_port(round)))]
        })?;
        report.push(figure("a node port given, p50", moved.percentile(0.5)));
        let mut more = rig.rounds(rounds, |round| feed::objects(fleet, services + round))?;
        report.push(figure("a Service more, with its endpoints, p50", more.percentile(0.5)));
        Ok(())
    }

    /// In ms.
    fn target(&self, what: &str) -> Option<f64> {
        let of_reference = self.fleet.services == 10_000 && self.fleet.endpoints == 10;
        match (self.variant, what) {
            (Variant::Plain(Mode::Nftables), "an endpoint replaced, p50") => Some(0.1),
            (Variant::IptablesLegacy, "first sync") if of_reference => Some(KUBE_PROXY.0 / 2.0),
            (Variant::IptablesLegacy, "an endpoint replaced, p50") if of_reference => {
                Some(KUBE_PROXY.1 / 2.0)
            }
            _ => None,
        }
    }
}

/// An index, and a proxy on a real kernel.
struct Rig {
    index: Index,
    variant: Variant,
    opened: Opened,
}

impl Rig {
    fn new(variant: Variant) -> Result<Self> {
        let mut index = Index::new();
        Kind::ALL.into_iter().for_each(|kind| index.begin_listing(kind));
        Ok(Self { index, variant, opened: open(variant)? })
    }

    fn fill(&mut self, objects: Vec<Object>) {
        objects.into_iter().for_each(|object| self.index.apply(object));
        Kind::ALL.into_iter().for_each(|kind| self.index.end_listing(kind));
    }

    fn sync(&mut self) -> Result<SyncReport> {
        let changes = self.index.take_changes();
        let snapshot = self.index.snapshot().context("everything is listed")?;
        Ok(self.opened.dataplane.sync(&snapshot, &changes)?)
    }

    fn everything(&mut self) -> Result<SyncReport> {
        let snapshot = self.index.snapshot().context("everything is listed")?;
        Ok(self.opened.dataplane.sync(&snapshot, &Changes::Everything)?)
    }

    /// Time from the event to the end of the commit.
    fn rounds(&mut self, rounds: u32, change: impl Fn(u32) -> Vec<Object>) -> Result<Samples> {
        let mut samples = Samples::default();
        // An endpoint that comes or goes is a relay's business, and not the kernel's.
        let is_relayed = self.variant.mode() == Mode::Userspace;
        for round in 0..rounds {
            let objects = change(round);
            let begin = Instant::now();
            objects.into_iter().for_each(|object| self.index.apply(object));
            let done = self.sync()?;
            samples.push(begin.elapsed());
            ensure!(is_relayed || done.changes > 0, "round {round} changed nothing");
        }
        Ok(samples)
    }
}

fn open(variant: Variant) -> Result<Opened> {
    Opened::new(variant, NodeContext::new("node1".into(), vec![load::POD_RANGE.parse()?]))
}

fn milliseconds(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1000.0
}
