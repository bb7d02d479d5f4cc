//! The first packet of a connection: the only one that rules lead, by where the Service stands among all that are loaded.

use std::time::{Duration, Instant};

use load::{Figure, Report, Samples};

use super::asking::{Client, Sort, while_answered};
use super::objects::Position;
use super::site::{Asker, Site};
use crate::rig::Variant;

/// So many connections to each place before it is the next node's turn.
const TURN: u32 = 50;

/// Measures it on every node, from a pod, with so many connections to each place. Places are asked in turn.
pub fn measure(
    variant: Variant,
    sites: &[Site],
    connections: u32,
    report: &mut Report,
) -> anyhow::Result<()> {
    for (sort, what) in [(Sort::NewTcp, "TCP connect()"), (Sort::NewUdp, "UDP first answer")] {
        let mut places: Vec<Vec<Place>> = sites.iter().map(|site| Place::all(site, sort)).collect();
        for begin in (0..connections).step_by(TURN as usize) {
            let turn = TURN.min(connections - begin);
            for (site, places) in sites.iter().zip(&mut places) {
                while_answered(site, Asker::Pod, sort, 1, || {
                    // The first ones find everything cold, whoever's they are.
                    places.iter_mut().try_for_each(|place| place.measure(sort).map(drop))?;
                    for _ in 0..turn {
                        for place in &mut *places {
                            let time = place.measure(sort)?;
                            place.times.push(time);
                        }
                    }
                    Ok(())
                })?;
            }
        }
        for (site, places) in sites.iter().zip(&mut places) {
            figures(variant, site, what, places, report);
        }
    }
    Ok(())
}

/// Who is connected to.
struct Place {
    /// `None`: the endpoints of the middle one themselves.
    position: Option<Position>,
    client: Client,
    times: Samples,
}

impl Place {
    fn all(site: &Site, sort: Sort) -> Vec<Self> {
        let place = |position: Option<Position>| {
            let asked = site.load.asked(position.unwrap_or(Position::Middle));
            let doors = if position.is_some() { vec![asked.address] } else { asked.endpoints.clone() };
            let client = Client::new(Asker::Pod, sort, doors, &asked);
            Self { position, client, times: Samples::default() }
        };
        [None].into_iter().chain(Position::ALL.map(Some)).map(place).collect()
    }

    /// Connects, and goes on until the answer has come. Returns what the first packets took: TCP's until the connection
    /// stands, which is the kernel's work alone; UDP's until an answer is there.
    fn measure(&mut self, sort: Sort) -> anyhow::Result<Duration> {
        let open = self.client.open()?;
        let begin = Instant::now();
        let mut connection = open.connect()?;
        let connected = begin.elapsed();
        self.client.ask(&mut connection)?;
        self.client.hear(&mut connection)?;
        let answered = begin.elapsed();
        Ok(match sort {
            Sort::KeptTcp | Sort::NewTcp => connected,
            Sort::KeptUdp | Sort::NewUdp => answered,
        })
    }
}

fn figures(variant: Variant, site: &Site, what: &str, places: &mut [Place], report: &mut Report) {
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let mut straight = 0.0;
        for Place { position, times, .. } in &mut *places {
            let time = times.percentile(share) * 1000.0;
            match position {
                None => straight = time,
                Some(position) => {
                    let what = format!("first packet, {what}, the {} Service, {name}", position.word());
                    let figure = Figure::new(what, time, "µs").mode(variant.to_string()).limit(straight);
                    report.push(figure.beside(site.load.services, site.load.endpoints));
                }
            }
        }
    }
}
