//! Requests a second and latencies, through a Service and straight to its endpoints.
//!
//! Nodes with few and with many Services stand side by side. Rounds go from one to the next and from one way to the
//! other, so that what the machine does meanwhile meets them all alike, and shares are of the same round.

use std::collections::BTreeMap;
use std::time::Duration;

use load::{Figure, Report, Samples, Target};
use proxy::Mode;

use super::asking::{Outcome, Phase, Sort, Via};
use super::site::{Asker, Site};
use crate::rig::Variant;

/// How long, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Rounds of each.
    pub rounds: u32,
    /// Of many requests at a time.
    pub busy: Duration,
    /// Of one at a time.
    pub alone: Duration,
}

/// Requests that are under way at a time while they are counted.
const ABREAST: usize = 16;

/// What is measured of one way to ask.
#[derive(Default)]
struct Taken {
    rates: Vec<f64>,
    processor: Vec<f64>,
    times: Samples,
}

/// By node, and through the Service or not.
type Table = BTreeMap<(usize, Via), Taken>;

/// Measures every way on every node, the middle sizes from a pod only.
pub fn measure(variant: Variant, sites: &[Site], plan: Plan, report: &mut Report) -> anyhow::Result<()> {
    for from in Asker::ALL {
        let outer = |index: usize| index == 0 || index + 1 == sites.len();
        let those: Vec<usize> =
            (0..sites.len()).filter(|index| from == Asker::Pod || outer(*index)).collect();
        for sort in Sort::ALL {
            let way = format!("{}, {}", sort.words(), from.words());
            let mut table = Table::new();
            for round in 0..plan.rounds {
                one_round(sites, &those, (from, sort), round, plan, &mut table)?;
            }
            let mut table = Figures { variant, way: &way, sort, table };
            those.iter().for_each(|index| table.of_site(*index, &sites[*index], report));
            if let (Some(few), Some(many)) = (those.first(), those.last())
                && few != many
            {
                table.flatness((*few, &sites[*few]), (*many, &sites[*many]), report);
            }
        }
    }
    Ok(())
}

fn one_round(
    sites: &[Site],
    those: &[usize],
    (from, sort): (Asker, Sort),
    round: u32,
    plan: Plan,
    table: &mut Table,
) -> anyhow::Result<()> {
    // Whoever comes first in one round comes last in the next.
    let mut order: Vec<(usize, Via)> =
        those.iter().flat_map(|index| [(*index, Via::Straight), (*index, Via::Service)]).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    for (index, via) in order {
        let phase = |abreast, length| Phase { site: &sites[index], from, sort, via, abreast, length };
        let busy = phase(ABREAST, plan.busy).run()?;
        let alone: Outcome = phase(1, plan.alone).run()?;
        let taken = table.entry((index, via)).or_default();
        taken.rates.push(busy.rate());
        taken.processor.push(busy.processor_each());
        taken.times.extend(alone.times);
    }
    Ok(())
}

struct Figures<'a> {
    variant: Variant,
    way: &'a str,
    sort: Sort,
    table: Table,
}

impl Figures<'_> {
    fn of_site(&mut self, index: usize, site: &Site, report: &mut Report) {
        let (variant, way, target) = (self.variant, self.way, self.target());
        let figure = |what: &str, value, unit| {
            Figure::new(format!("{way}: {what}"), value, unit)
                .mode(variant.to_string())
                .beside(site.load.services, site.load.endpoints)
        };
        let share = median(self.shares(index));
        let mut of = |via| {
            let taken = self.table.entry((index, via)).or_default();
            let [p50, p99] = [0.5, 0.99].map(|share| taken.times.percentile(share) * 1000.0);
            [median(taken.rates.clone()), median(taken.processor.clone()), p50, p99]
        };
        let (service, straight) = (of(Via::Service), of(Via::Straight));
        let names = [
            ("requests", "/s"),
            ("processor time a request", "µs"),
            ("one at a time, p50", "µs"),
            ("one at a time, p99", "µs"),
        ];
        for ((what, unit), (value, limit)) in names.into_iter().zip(service.into_iter().zip(straight)) {
            report.push(figure(what, value, unit).limit(limit));
        }
        report.push(figure("share of straight", share, "").target(target));
    }

    /// Of what kube-proxy's nftables mode reached on a machine like the one the targets are for.
    fn target(&self) -> Option<Target> {
        let is_promised = self.variant == Variant::Plain(Mode::Nftables) && self.sort == Sort::KeptTcp;
        is_promised.then_some(Target::AtLeast(0.88))
    }

    /// The share among many Services as a share of that among few, and the same of what never met one of them: what
    /// that is away from 1 is noise.
    fn flatness(&self, few: (usize, &Site), many: (usize, &Site), report: &mut Report) {
        let ratio =
            |ours: Vec<f64>, theirs: Vec<f64>| median(ours.iter().zip(theirs).map(|(a, b)| a / b).collect());
        let rates =
            |index, via| self.table.get(&(index, via)).map(|taken| taken.rates.clone()).unwrap_or_default();
        let service = ratio(rates(many.0, Via::Service), rates(few.0, Via::Service));
        let straight = ratio(rates(many.0, Via::Straight), rates(few.0, Via::Straight));
        let what = format!("{}: share of requests beside {}", self.way, few.1.load.services);
        let figure = Figure::new(what, service, "").mode(self.variant.to_string()).limit(straight);
        report.push(figure.beside(many.1.load.services, many.1.load.endpoints));
    }

    fn shares(&self, index: usize) -> Vec<f64> {
        let rates = |via| self.table.get(&(index, via)).map(|taken| &taken.rates[..]).unwrap_or_default();
        rates(Via::Service)
            .iter()
            .zip(rates(Via::Straight))
            .map(|(service, straight)| service / straight)
            .collect()
    }
}

/// 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}
