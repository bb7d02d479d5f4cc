//! Sees a change arrive in the kernel.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use kernel::netns::Netns;
use kernel::nft::Events;

/// How long a change may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often the listener looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// Listens to the kernel's own events in a namespace, on a thread of its own.
pub struct Witness {
    awaited: Arc<Mutex<Vec<u8>>>,
    seen: Receiver<Instant>,
    ended: Arc<AtomicBool>,
    listener: Option<JoinHandle<std::io::Result<()>>>,
}

impl Witness {
    /// Begins to listen.
    pub fn start(node: &Netns) -> Result<Self> {
        let events = node.run(Events::open)?.context("listen to nftables")?;
        let awaited = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let (sender, seen) = channel();
        let listener = {
            let (awaited, ended) = (awaited.clone(), ended.clone());
            std::thread::Builder::new()
                .name("witness".to_owned())
                .spawn(move || listen(events, &awaited, &sender, &ended))?
        };
        Ok(Self { awaited, seen, ended, listener: Some(listener) })
    }

    /// From now on an event with these bytes in it is looked for: those that tell the change.
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

fn listen(
    mut events: Events,
    awaited: &Mutex<Vec<u8>>,
    seen: &Sender<Instant>,
    ended: &AtomicBool,
) -> std::io::Result<()> {
    while !ended.load(Ordering::Relaxed) {
        let Some(heard) = events.receive(LOOK)? else {
            continue;
        };
        let at = Instant::now();
        let mut awaited = awaited.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.holds(&awaited) {
            awaited.clear();
            // Nobody waits any more: then nobody needs to know.
            let _ = seen.send(at);
        }
    }
    Ok(())
}
