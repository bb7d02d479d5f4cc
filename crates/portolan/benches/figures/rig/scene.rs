//! One benchmark in one cluster: every mode in turn, and what becomes of those that are too slow.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use anyhow::Result;
use load::{Figure, Report};
use proxy::Mode;

use super::{Cluster, Proxy, Variant};
use crate::Sizes;

/// The modes that this kernel can do. ipvs is measured in User-Mode Linux, by another benchmark.
const MODES: [Mode; 3] = [Mode::Nftables, Mode::Iptables, Mode::Userspace];

/// What a benchmark works with.
pub struct Scene<'a> {
    /// The cluster, of one size.
    pub cluster: &'a Cluster,
    /// What was asked for.
    pub sizes: &'a Sizes,
    /// Where figures go.
    pub report: &'a mut Report,
    /// Ways that were too slow for a smaller fleet, in whatever benchmark.
    pub beaten: &'a mut BTreeMap<Variant, String>,
    /// Those of them that the report tells of.
    pub told: &'a mut BTreeSet<Variant>,
}

impl Scene<'_> {
    /// Measures every mode. One that takes too long says so in the report, and larger fleets are spared it.
    pub fn each(&mut self, measure: impl Fn(&mut Self, Variant) -> Result<()>) -> Result<()> {
        for variant in Variant::of(&self.sizes.modes(&MODES)) {
            if let Some(reason) = self.beaten.get(&variant) {
                if self.told.insert(variant) {
                    self.report.note(reason.clone());
                }
                continue;
            }
            match measure(self, variant) {
                Ok(()) => {}
                Err(error) if error.is::<TooSlow>() && variant != Variant::Plain(Mode::Nftables) => {
                    let fleet = self.cluster.fleet;
                    let (services, endpoints) = (fleet.services, fleet.endpoints);
                    let reason = format!("{variant} stops at {services} x {endpoints}: {error}");
                    eprintln!("  {reason}");
                    self.report.note(reason.clone());
                    self.told.insert(variant);
                    self.beaten.insert(variant, reason);
                }
                Err(error) => return Err(error.context(format!("{variant}"))),
            }
            Proxy::cleanup(self.cluster, 1, variant)?;
        }
        Ok(())
    }

    /// A figure of a way, in this cluster.
    pub fn figure(&self, variant: Variant, what: &str, value: f64, unit: &'static str) -> Figure {
        let fleet = self.cluster.fleet;
        Figure::new(what, value, unit).mode(variant.to_string()).beside(fleet.services, fleet.endpoints)
    }
}

/// Something took longer than anybody would wait.
#[derive(Debug)]
pub struct TooSlow {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub waited: Duration,
}

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} took more than {} s", self.what, self.waited.as_secs())
    }
}

impl std::error::Error for TooSlow {}
