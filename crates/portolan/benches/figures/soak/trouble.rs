//! What other programs and administrators do to a node.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::rig::{Cluster, Proxy, run};

/// Ways of taking rules away.
const FLUSHES: [&[&str]; 4] = [
    &["flush", "table", "ip", "portolan-services"],
    &["delete", "table", "ip", "portolan-services"],
    &["flush", "ruleset"],
    &["flush", "map", "ip", "portolan-services", "services"],
];
/// How many there are.
pub const WAYS: u32 = FLUSHES.len() as u32;
/// How long until the rules are back.
const DEADLINE: Duration = Duration::from_secs(60);

/// How often what happened.
#[derive(Default)]
pub struct Trouble {
    /// Proxies killed.
    pub kills: u32,
    /// API servers killed and started again.
    pub restarts: u32,
    flushes: u32,
}

impl Trouble {
    /// Takes the rules of both nodes away, in one of [`WAYS`], and waits until the steady proxy has mended them.
    pub fn flush(&mut self, cluster: &Cluster, steady: &Proxy, way: u32) -> Result<()> {
        let command = FLUSHES[way as usize % FLUSHES.len()];
        let repairs = || steady.metric("portolan_proxy_repairs_total");
        let before = repairs()?;
        for number in [1, 2] {
            // The other proxy has just been killed and may not have begun to write yet.
            let done = run(&cluster.node(number)?, "nft", command);
            ensure!(done.is_ok() || number == 2, "{done:?}");
        }
        self.flushes += 1;
        let deadline = Instant::now() + DEADLINE;
        while repairs()? <= before {
            ensure!(
                Instant::now() < deadline,
                "nft {} was not mended:\n{}",
                command.join(" "),
                steady.log_text()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kills, {} flushes, {} API restarts", self.kills, self.flushes, self.restarts)
    }
}
