//! What a process takes, as /proc tells it.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// Of one process.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Memory that it has, in MB of 1024 kB.
    pub resident: f64,
    /// The most that it ever had.
    pub peak: f64,
    /// Time of the processor that it and the programs that it ran and waited for have taken.
    pub processor: Duration,
    /// Files and sockets that it has open.
    pub descriptors: usize,
}

impl Usage {
    /// Of a process, by its number.
    pub fn of(pid: u32) -> Result<Self> {
        /// Ticks a second in /proc, on every Linux (`USER_HZ`).
        const TICKS: u64 = 100;
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            std::fs::read_to_string(&path).context(path)
        };
        let status = read("status")?;
        let megabytes = |field: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
            let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
            Ok(kilobytes / 1024.0)
        };
        // The second field, the name in brackets, may hold anything. User and system time are the fields 14 and 15,
        // those of children that were waited for 16 and 17.
        let stat = read("stat")?;
        let (_, fields) = stat.rsplit_once(')').context("no name")?;
        let times = fields.split_ascii_whitespace().skip(11).take(4);
        let ticks: u64 = times.filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Self {
            resident: megabytes("VmRSS:")?,
            peak: megabytes("VmHWM:")?,
            processor: Duration::from_millis(ticks * 1000 / TICKS),
            descriptors: std::fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
        })
    }
}
