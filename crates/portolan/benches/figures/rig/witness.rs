//! Sees a change arrive in the kernel.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use kernel::iptables::Iptables;
use kernel::netns::Netns;
use kernel::nft::Events;
use netstate::iptables::{self, IptablesPort as _, Table, Transaction};
use netstate::nft::Family;

use super::Variant;

/// How long a change may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often the listener looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);
/// How often sizes are asked for.
const ASK: Duration = Duration::from_millis(1);

/// Looks for changes in a namespace, on a thread of its own.
pub struct Witness {
    awaited: Arc<Mutex<Vec<u8>>>,
    seen: Receiver<Instant>,
    ended: Arc<AtomicBool>,
    listener: Option<JoinHandle<Result<()>>>,
}

impl Witness {
    /// Begins to look. nftables tells of changes, the nft variant of iptables included; of the kernel's old tables one
    /// can only ask for their size, again and again.
    pub fn start(node: &Netns, variant: Variant) -> Result<Self> {
        let awaited = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let (sender, seen) = channel();
        let shared = Shared { awaited: awaited.clone(), seen: sender, ended: ended.clone() };
        let thread = std::thread::Builder::new().name("witness".to_owned());
        let listener = if variant.is_told() {
            let events = node.run(Events::open)?.context("listen to nftables")?;
            thread.spawn(move || listen(events, &shared))?
        } else {
            let open = || Iptables::open_variant(Family::Ip, iptables::Variant::Legacy);
            let mut port = node.run(open)?.context("iptables")?;
            // Nothing to be written: so it knows which tables to ask for.
            port.restore(&[Table::Nat, Table::Filter].map(Transaction::new))?;
            thread.spawn(move || ask(port, &shared))?
        };
        Ok(Self { awaited, seen, ended, listener: Some(listener) })
    }

    /// From now on an event with these bytes in it is looked for: those that tell the change. Where only sizes can be
    /// asked for it is any change.
    pub fn expect(&self, bytes: Vec<u8>) {
        *self.awaited.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
    }

    /// When it came, or comes.
    pub fn wait(&self) -> Result<Instant> {
        match self.seen.recv_timeout(DEADLINE) {
            Ok(at) => Ok(at),
            Err(RecvTimeoutError::Timeout) => bail!("the change is not in the kernel after {DEADLINE:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("events of the kernel were lost"),
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(Ok(Err(error))) = self.listener.take().map(JoinHandle::join) {
            eprintln!("the listener: {error}");
        }
    }
}

/// What the thread has.
struct Shared {
    awaited: Arc<Mutex<Vec<u8>>>,
    seen: Sender<Instant>,
    ended: Arc<AtomicBool>,
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.ended.load(Ordering::Relaxed)
    }

    /// Tells that something came at that moment, if it is what is awaited.
    fn came(&self, at: Instant, is: impl Fn(&[u8]) -> bool) {
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        if !awaited.is_empty() && is(&awaited) {
            awaited.clear();
            // Nobody waits any more: then nobody needs to know.
            let _ = self.seen.send(at);
        }
    }
}

fn listen(mut events: Events, shared: &Shared) -> Result<()> {
    while shared.goes_on() {
        if let Some(heard) = events.receive(LOOK)? {
            shared.came(Instant::now(), |bytes| heard.holds(bytes));
        }
    }
    Ok(())
}

fn ask(mut port: Iptables, shared: &Shared) -> Result<()> {
    let mut last = port.stamp()?;
    while shared.goes_on() {
        let now = port.stamp()?;
        if now != last {
            shared.came(Instant::now(), |_| true);
            last = now;
        }
        std::thread::sleep(ASK);
    }
    Ok(())
}
