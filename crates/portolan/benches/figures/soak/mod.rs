//! An hour of everything that happens to a proxy: changes, kills, flushes, an API server that goes and comes. Afterwards
//! its memory, its files and the kernel's objects are what they were in the beginning.
//!
//! Two nodes follow the same API server: the proxy of node1 lives through all of it, that of node2 is killed again and
//! again. Clients send datagrams to Services meanwhile, so that there are connections to forget.

mod clients;
mod sample;
mod trouble;
mod weather;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use load::{Figure, Fleet, Report};
use proxy::Mode;

use crate::Sizes;
use crate::rig::{Cluster, Dice, Proxy, Ruleset, Variant};
use clients::Clients;
use sample::{NodeSample, Sample};
use trouble::Trouble;
use weather::Weather;

/// Only this mode for now: how it is disturbed depends on the mode.
const VARIANT: Variant = Variant::Plain(Mode::Nftables);
/// How long nodes may take until they hold what the API says.
const DEADLINE: Duration = Duration::from_secs(120);
/// Lines, and what happens now and then, come at least this far apart.
const SHORTEST_TURN: Duration = Duration::from_secs(1);
/// One part in so many is for warming up.
const WARM_UP: u32 = 10;

/// Runs it.
pub fn run(sizes: &Sizes, report: &mut Report) -> Result<()> {
    ensure!(
        sizes.modes.iter().all(|mode| *mode == Mode::Nftables),
        "the soak knows how to disturb the mode nftables only"
    );
    let minutes = sizes.minutes.unwrap_or(if sizes.smoke { 0.1 } else { 60.0 });
    let length = Duration::from_secs_f64(minutes * 60.0);
    let fleet = Fleet {
        services: sizes.services(&[1_000]).first().copied().unwrap_or(1),
        endpoints: sizes.endpoints(&[5]).first().copied().unwrap_or(1),
    };
    let mut soak = Soak::start(fleet, (length / 60).clamp(SHORTEST_TURN, Duration::from_secs(60)))?;
    let warm_up = length / WARM_UP;
    soak.turns(warm_up)?;
    let begin = soak.rest().context("after the warm-up")?;
    eprintln!("  the beginning: {begin}");
    soak.turns(length - warm_up)?;
    let end = soak.rest().context("in the end")?;
    eprintln!("  the end:       {end}");
    report.note(format!("{minutes} minutes"));
    soak.tell(report, &begin, &end);
    end.ensure_no_growth(&begin)
}

/// Two nodes under an API server.
struct Soak {
    cluster: Cluster,
    weather: Weather,
    dice: Dice,
    trouble: Trouble,
    steady: Proxy,
    /// `None` for the moment in which it is replaced.
    mortal: Option<Proxy>,
    turn: Duration,
    turns: u32,
    begin: Instant,
}

impl Soak {
    fn start(fleet: Fleet, turn: Duration) -> Result<Self> {
        let cluster = Cluster::start(fleet, 2)?;
        let steady = Proxy::start(&cluster, 1, VARIANT)?;
        let mortal = Some(Proxy::start(&cluster, 2, VARIANT)?);
        steady.wait_until_served()?;
        let weather = Weather::new(fleet);
        let (dice, trouble) = (Dice::new(7), Trouble::default());
        let begin = Instant::now();
        Ok(Self { cluster, weather, dice, trouble, steady, mortal, turn, turns: 0, begin })
    }

    /// Goes on for so long.
    fn turns(&mut self, length: Duration) -> Result<()> {
        let end = Instant::now() + length;
        let clients = Clients::start(&self.cluster)?;
        self.weather.begin(&self.cluster);
        while Instant::now() < end {
            let next = Instant::now() + self.turn;
            // Not always at the same moment between two changes.
            std::thread::sleep(self.turn.mul_f64(self.dice.share() * 0.5));
            self.make_trouble()?;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            self.turns += 1;
            self.say()?;
        }
        clients.stop();
        self.weather.end(&self.cluster)
    }

    fn make_trouble(&mut self) -> Result<()> {
        if let Some(victim) = self.mortal.take() {
            victim.kill()?;
            self.trouble.kills += 1;
        }
        self.mortal = Some(Proxy::start(&self.cluster, 2, VARIANT)?);
        if self.turns % 5 == 2 {
            self.restart_control_plane()?;
            self.trouble.restarts += 1;
        }
        if self.turns % 2 == 1 {
            let way = self.dice.below(trouble::WAYS);
            self.trouble.flush(&self.cluster, &self.steady, way)?;
        }
        Ok(())
    }

    /// Kills the API server and starts it again. Others may have so much to do on this machine that it gives up.
    fn restart_control_plane(&mut self) -> Result<()> {
        const ATTEMPTS: u32 = 5;
        for left in (0..ATTEMPTS).rev() {
            self.cluster.kill_control_plane()?;
            match self.cluster.start_control_plane() {
                Ok(()) => break,
                Err(error) if left == 0 => return Err(error),
                Err(error) => eprintln!("  once more: {error:#}"),
            }
        }
        Ok(())
    }

    /// Ends what goes on, makes the fleet what it was, waits until both nodes hold that, and looks.
    fn rest(&mut self) -> Result<Sample> {
        let Cluster { fleet, runtime, client, .. } = &self.cluster;
        let all = Fleet { services: fleet.services + weather::GUESTS, ..*fleet };
        runtime.block_on(all.delete(client, |_| {}))?;
        runtime.block_on(fleet.create(client, |_| {}))?;
        for number in [1, 2] {
            self.wait_until_whole(number)?;
        }
        self.sample()
    }

    fn wait_until_whole(&self, number: usize) -> Result<()> {
        let node = self.cluster.node(number)?;
        let deadline = Instant::now() + DEADLINE;
        let ruleset = Ruleset::new(&node, VARIANT);
        while let Err(error) = ruleset.ensure_whole(self.cluster.fleet) {
            if Instant::now() > deadline {
                bail!("node{number}: {error}; its log:\n{}", self.steady.log_text());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn sample(&self) -> Result<Sample> {
        let mortal = self.mortal.as_ref().context("a proxy on node2")?;
        Ok(Sample {
            steady: NodeSample::take(&self.cluster.node(1)?, &self.steady)?,
            mortal: NodeSample::take(&self.cluster.node(2)?, mortal)?,
            control_plane: self.cluster.control_plane_usage()?,
        })
    }

    /// One line.
    fn say(&self) -> Result<()> {
        eprintln!(
            "  {:>5.1} min, {}, {}, {} repairs: {}",
            self.begin.elapsed().as_secs_f64() / 60.0,
            self.weather,
            self.trouble,
            self.steady.metric("portolan_proxy_repairs_total")?,
            self.sample()?,
        );
        Ok(())
    }

    fn tell(&self, report: &mut Report, begin: &Sample, end: &Sample) {
        let Fleet { services, endpoints } = self.cluster.fleet;
        let mut push = |what: &str, value: f64, unit: &'static str| {
            report.push(Figure::new(what, value, unit).mode(VARIANT.to_string()).beside(services, endpoints));
        };
        for (when, sample) in [("in the beginning", begin), ("in the end", end)] {
            push(&format!("resident memory of the proxy {when}"), sample.steady.usage.resident, "MB");
            push(&format!("files that it has open {when}"), sample.steady.usage.descriptors as f64, "");
            push(&format!("elements in the kernel {when}"), sample.steady.elements() as f64, "");
        }
        push("changes", f64::from(self.weather.made()), "");
        report.note(format!("{}, {}", self.weather, self.trouble));
    }
}
