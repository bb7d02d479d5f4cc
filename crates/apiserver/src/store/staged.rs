//! The file, which stays as it is until what it holds has proved whole.
//!
//! Opening a file that was not closed repairs it, and a repair that fails half-way would leave a damaged file more damaged
//! than it was. So all that is written while the store is being opened is kept in memory; [`Staged::release`] brings it to
//! the file in the same order, syncs included, and from then on nothing is kept back.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// Unit in which changed parts of the file are kept.
const BLOCK: usize = 4096;

/// A file whose changes are held back at first. Clones are the same file.
#[derive(Debug, Clone)]
pub(super) struct Staged(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: FileBackend,
    /// `None` when nothing is held back any more.
    held: RwLock<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    length: u64,
    /// How much of the file itself still counts.
    visible: u64,
    /// Blocks that were written to, by their number.
    blocks: BTreeMap<u64, Vec<u8>>,
    changes: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
    Sync,
}

impl Staged {
    /// The file's length must not be 0, which would mean a new store.
    pub(super) fn new(file: File) -> Result<Self, DatabaseError> {
        let file = FileBackend::new(file)?;
        let length = file.len()?;
        let held = Held { length, visible: length, blocks: BTreeMap::new(), changes: Vec::new() };
        Ok(Self(Arc::new(Inner { file, held: RwLock::new(Some(held)) })))
    }

    /// Writes what was held back, and everything from now on at once.
    pub(super) fn release(&self) -> io::Result<()> {
        let mut guard = self.0.held.write().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = guard.take() else { return Ok(()) };
        for change in held.changes {
            match change {
                Change::Write(offset, data) => self.0.file.write(offset, &data)?,
                Change::Length(length) => self.0.file.set_len(length)?,
                Change::Sync => self.0.file.sync_data()?,
            }
        }
        Ok(())
    }

    /// Does `now` on the file, or `later` with what is held back.
    fn either<T>(
        &self,
        now: impl FnOnce(&FileBackend) -> io::Result<T>,
        later: impl FnOnce(&FileBackend, &mut Held) -> io::Result<T>,
    ) -> io::Result<T> {
        // Only the opening holds changes back, and it is one thread.
        if self.0.held.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            return now(&self.0.file);
        }
        match self.0.held.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(held) => later(&self.0.file, held),
            None => now(&self.0.file),
        }
    }
}

impl Held {
    fn read(&self, file: &FileBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset.saturating_add(out.len() as u64) > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < out.len() {
            let (block, within) = place(offset + done as u64);
            let count = (BLOCK - within).min(out.len() - done);
            let part = &mut out[done..done + count];
            match self.blocks.get(&block) {
                Some(bytes) => part.copy_from_slice(&bytes[within..within + count]),
                None => self.read_file(file, offset + done as u64, part)?,
            }
            done += count;
        }
        Ok(())
    }

    fn write(&mut self, file: &FileBackend, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while done < data.len() {
            let (block, within) = place(offset + done as u64);
            let count = (BLOCK - within).min(data.len() - done);
            if !self.blocks.contains_key(&block) {
                let mut bytes = vec![0; BLOCK];
                self.read_file(file, block * BLOCK as u64, &mut bytes)?;
                self.blocks.insert(block, bytes);
            }
            if let Some(bytes) = self.blocks.get_mut(&block) {
                bytes[within..within + count].copy_from_slice(&data[done..done + count]);
            }
            done += count;
        }
        self.length = self.length.max(offset + data.len() as u64);
        self.changes.push(Change::Write(offset, data.to_vec()));
        Ok(())
    }

    /// What is cut off and comes back is zero; a block that was never written to is read from the file only up to here.
    fn set_length(&mut self, length: u64) {
        self.visible = self.visible.min(length);
        let (block, within) = place(length);
        // What it returns is what was cut off.
        _ = self.blocks.split_off(&(block + 1));
        if let Some(bytes) = self.blocks.get_mut(&block) {
            bytes[within..].fill(0);
        }
        self.length = length;
        self.changes.push(Change::Length(length));
    }

    /// Reads from the file; what lies behind its end, or was cut off since, is zero.
    fn read_file(&self, file: &FileBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(self.visible.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (read, padding) = out.split_at_mut(there);
        padding.fill(0);
        if read.is_empty() { Ok(()) } else { file.read(offset, read) }
    }
}

/// The block of an offset, and where in it.
fn place(offset: u64) -> (u64, usize) {
    // The remainder is below the size of a block.
    (offset / BLOCK as u64, (offset % BLOCK as u64) as usize)
}

impl StorageBackend for Staged {
    fn len(&self) -> io::Result<u64> {
        self.either(StorageBackend::len, |_, held| Ok(held.length))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self.0.held.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(held) => held.read(&self.0.file, offset, out),
            None => self.0.file.read(offset, out),
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.either(
            |file| file.set_len(length),
            |_, held| {
                held.set_length(length);
                Ok(())
            },
        )
    }

    fn sync_data(&self) -> io::Result<()> {
        self.either(StorageBackend::sync_data, |_, held| {
            held.changes.push(Change::Sync);
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.either(|file| file.write(offset, data), |file, held| held.write(file, offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.0.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Write(u64, Vec<u8>),
        Length(u64),
        Read(u64, usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let at = 0..30_000u64;
        let step = prop_oneof![
            (at.clone(), 1..9000usize, any::<u8>())
                .prop_map(|(at, size, byte)| Step::Write(at, vec![byte; size])),
            at.clone().prop_map(Step::Length),
            (at, 0..9000usize).prop_map(|(at, size)| Step::Read(at, size)),
        ];
        proptest::collection::vec(step, 1..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn what_is_held_back_reads_as_if_it_were_written(steps in steps(), size in 1..20_000usize) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            let before: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            std::fs::write(&path, &before).unwrap();
            let file = File::options().read(true).write(true).open(&path).unwrap();
            let (staged, mut model) = (Staged::new(file).unwrap(), before.clone());
            for step in steps {
                match step {
                    Step::Write(at, data) => {
                        staged.write(at, &data).unwrap();
                        let (at, end) = (at as usize, at as usize + data.len());
                        model.resize(model.len().max(end), 0);
                        model[at..end].copy_from_slice(&data);
                    }
                    Step::Length(length) => {
                        staged.set_len(length).unwrap();
                        model.resize(length as usize, 0);
                    }
                    Step::Read(at, size) => {
                        let mut out = vec![1; size];
                        let expected = model.get(at as usize..at as usize + size);
                        prop_assert_eq!(staged.read(at, &mut out).is_ok().then_some(&out[..]), expected);
                    }
                }
                prop_assert_eq!(staged.len().unwrap(), model.len() as u64);
            }
            prop_assert!(std::fs::read(&path).unwrap() == before, "held back");
            staged.release().unwrap();
            prop_assert!(std::fs::read(&path).unwrap() == model, "released");
            staged.write(0, b"at once").unwrap();
            prop_assert!(std::fs::read(&path).unwrap().starts_with(b"at once"));
        }
    }
}
