//! Which processor does what, and how long they worked.

use std::fs;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who asks.
    Client,
    /// Who answers.
    Server,
}

/// Keeps the calling thread on a processor: clients on the first that this process may use, servers on the second. So a
/// packet's way is worked off by whoever sends it, and no round is decided by where the scheduler put things. With one
/// processor only, nothing is done.
pub fn pin(side: Side) {
    let itself = Pid::from_raw(0);
    let Ok(allowed) = sched_getaffinity(itself) else { return };
    let mut usable = (0..CpuSet::count()).filter(|number| allowed.is_set(*number).unwrap_or(false));
    let (Some(first), Some(second)) = (usable.next(), usable.next()) else { return };
    let mut chosen = CpuSet::new();
    let number = match side {
        Side::Client => first,
        Side::Server => second,
    };
    // Where it is refused, the scheduler decides.
    let _ = chosen.set(number).and_then(|()| sched_setaffinity(itself, &chosen));
}

/// Processor time of all threads that live, with what the kernel did for packets in their names; zero where the kernel
/// does not tell.
pub fn used() -> Duration {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    let nanoseconds = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// Processor time of the process so far in its own code and in the kernel, in ticks of the kernel's clock.
pub fn ticks() -> (u64, u64) {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name may hold spaces; it ends with the last parenthesis, and two fields before the state come first.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse().ok()).unwrap_or_default();
    (number(11), number(12))
}
