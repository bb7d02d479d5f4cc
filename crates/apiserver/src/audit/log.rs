//! The queue between requests and the file, and the thread that empties it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::event::Event;
use super::file::RotatedFile;
use super::{AuditConfig, AuditError};

/// Most lines that wait to be written: about 15 MB.
const QUEUE: usize = 10_000;
/// Bytes after which a batch is written, whatever waits behind it.
const BATCH: usize = 256 << 10;
/// Shortest time between two complaints about lines that found no place.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// Takes lines for the file. Clones write to the same.
#[derive(Debug, Clone)]
pub(crate) struct AuditLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: SyncSender<Message>,
    /// Lines that found no place in the queue since the thread last looked.
    dropped: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Line(Box<Event>),
    /// What came before is written, then the thread ends.
    Stop,
}

impl AuditLog {
    /// Opens the file and starts the thread that writes to it.
    ///
    /// # Errors
    /// When the file cannot be opened: who asks for lines and can have none should know before the first request.
    pub(crate) fn open(config: &AuditConfig) -> Result<Self, AuditError> {
        let file = RotatedFile::open(config)
            .map_err(|source| AuditError::Open { path: config.path.clone(), source })?;
        let (queue, waiting) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = Writer::new(file, Arc::clone(&dropped));
        let thread = thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&waiting));
        let thread = Mutex::new(Some(thread.map_err(AuditError::Thread)?));
        Ok(Self(Arc::new(Inner { queue, dropped, thread })))
    }

    /// Queues a line. Never waits: without a place it is dropped and counted.
    pub(super) fn write(&self, event: Box<Event>) {
        if self.0.queue.try_send(Message::Line(event)).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what is queued is written, and ends the thread.
    pub(crate) fn close(&self) {
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        // An error says that the thread has ended already.
        let _ = self.0.queue.send(Message::Stop);
        if thread.join().is_err() {
            tracing::error!("the thread that writes audit lines died");
        }
    }
}

#[cfg(test)]
impl AuditLog {
    /// A log with so many places that nobody reads, and what must be kept for it to have them.
    pub(super) fn unread(places: usize) -> (Self, impl Sized) {
        let (queue, waiting) = sync_channel(places);
        (Self(Arc::new(Inner { queue, dropped: Arc::default(), thread: Mutex::new(None) })), waiting)
    }

    /// Lines that found no place, and were not complained about.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

/// The thread's side.
struct Writer {
    file: RotatedFile,
    dropped: Arc<AtomicU64>,
    complained: Option<Instant>,
    /// Lines that could not be written since the file was last good.
    lost: u64,
    batch: Vec<u8>,
}

impl Writer {
    fn new(file: RotatedFile, dropped: Arc<AtomicU64>) -> Self {
        Self { file, dropped, complained: None, lost: 0, batch: Vec::new() }
    }

    fn run(mut self, queue: &Receiver<Message>) {
        let mut stopped = false;
        while !stopped {
            let Ok(first) = queue.recv() else { break };
            let mut next = Ok(first);
            let mut lines = 0;
            self.batch.clear();
            while let Ok(Message::Line(event)) = &next {
                lines += u64::from(self.add(event));
                if self.batch.len() >= BATCH {
                    break;
                }
                next = queue.try_recv();
            }
            stopped = matches!(next, Ok(Message::Stop) | Err(TryRecvError::Disconnected));
            self.write(lines);
            self.complain(stopped);
        }
    }

    /// Adds a line to the batch.
    fn add(&mut self, event: &Event) -> bool {
        let length = self.batch.len();
        match serde_json::to_writer(&mut self.batch, event) {
            Ok(()) => {
                self.batch.push(b'\n');
                true
            }
            Err(error) => {
                self.batch.truncate(length);
                tracing::error!(id = event.audit_id, %error, "an audit line cannot be written as JSON");
                false
            }
        }
    }

    fn write(&mut self, lines: u64) {
        if lines == 0 {
            return;
        }
        match self.file.append(&self.batch) {
            Ok(()) if self.lost > 0 => {
                tracing::info!(lost = self.lost, "audit lines are written again");
                self.lost = 0;
            }
            Ok(()) => {}
            Err(error) => {
                if self.lost == 0 {
                    tracing::warn!(%error, "audit lines cannot be written and are lost; requests go on");
                }
                self.lost += lines;
            }
        }
    }

    /// Says how many lines found no place, now and then and at the end.
    fn complain(&mut self, stopped: bool) {
        let soon = self.complained.is_some_and(|when| when.elapsed() < COMPLAIN_EVERY);
        if soon && !stopped {
            return;
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.complained = Some(Instant::now());
            tracing::warn!(dropped, "audit lines were dropped: they came faster than they can be written");
        }
        if stopped && self.lost > 0 {
            tracing::warn!(lost = self.lost, "audit lines could not be written until the end");
        }
    }
}
