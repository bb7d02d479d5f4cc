//! The file: its tables, how objects and events are written in them, and how it is opened.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use redb::{
    Database, DatabaseError, ReadOnlyTable, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
};

use super::StoreConfig;
use super::record::{Event, EventKind, Key, Record};
use super::staged::Staged;
use super::window::{Published, Window};

/// Key → revision (8 bytes, little endian) and JSON.
pub(super) const OBJECTS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("objects");
/// Revision → event, see [`encode_event`].
pub(super) const LOG: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("log");
/// Single numbers: [`REVISION`], [`COMPACTED`], [`FORMAT`].
pub(super) const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");

pub(super) const REVISION: &str = "revision";
/// Newest revision whose event was dropped.
pub(super) const COMPACTED: &str = "compacted";
const FORMAT: &str = "format";
/// Raised when the tables change their meaning.
const FORMAT_NOW: u64 = 1;

/// Page cache of the database.
const CACHE_BYTES: usize = 64 << 20;

pub(super) type Objects = ReadOnlyTable<&'static str, &'static [u8]>;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the file open.
    #[error("the store {} is in use by another process: stop the other API server first", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what we wrote.
    #[error("the store {} is damaged ({detail}): put back a copy of it, or remove it to start with an empty cluster", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// Written by a version of this program that we do not know.
    #[error("the store {} has format {format}, this program knows {FORMAT_NOW}: use the program that wrote it", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The number found.
        format: u64,
    },
    /// The operating system refuses.
    #[error("the store {} cannot be opened", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: Box<redb::Error>,
    },
    /// No thread for the writer.
    #[error("the store's writer thread cannot be started")]
    Thread {
        /// The refusal.
        #[source]
        source: std::io::Error,
    },
}

pub(super) fn open(config: &StoreConfig) -> Result<(Database, Published), OpenError> {
    let path = &config.path;
    let exists = path.try_exists().map_err(|error| refused(config, error.into()))?;
    if !exists {
        create(config)?;
    }
    let io = |error: std::io::Error| refused(config, error.into());
    let file = File::options().read(true).write(true).open(path).map_err(io)?;
    if file.metadata().map_err(io)?.len() == 0 {
        return Err(OpenError::Damaged { path: path.clone(), detail: "it is empty".to_owned() });
    }
    let file = Staged::new(file).map_err(|error| opening(config, error))?;
    let loaded = loaded(config, builder().create_with_backend(file.clone()))?;
    file.release().map_err(io)?;
    Ok(loaded)
}

fn builder() -> redb::Builder {
    let mut builder = redb::Builder::new();
    builder
        .set_cache_size(CACHE_BYTES)
        // A file that something else has altered is refused instead of trusted: every page's checksum is read.
        .set_check_integrity_on_open(true);
    builder
}

/// Makes the file under another name and gives it its own when it is whole and on disk: a store that is there at all has
/// been a store once, and what cannot be read of it is damage.
fn create(config: &StoreConfig) -> Result<(), OpenError> {
    let io = |error: std::io::Error| refused(config, error.into());
    let unfinished = config.path.with_extension("unfinished");
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    // Closes it again: what was written is synced by then.
    drop(loaded(config, builder().create(&unfinished))?);
    // Unlike a renaming, this never takes the place of a store that somebody else has made meanwhile.
    std::fs::hard_link(&unfinished, &config.path).map_err(io)?;
    std::fs::remove_file(&unfinished).map_err(io)?;
    let folder = config.path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| std::path::Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}

pub(super) fn loaded(
    config: &StoreConfig,
    opened: Result<Database, DatabaseError>,
) -> Result<(Database, Published), OpenError> {
    let path = &config.path;
    let database = opened.map_err(|error| opening(config, error))?;
    match load(&database) {
        Ok(published) => Ok((database, published)),
        Err(LoadError::Format(format)) => Err(OpenError::Format { path: path.clone(), format }),
        Err(LoadError::Event(revision)) => {
            Err(OpenError::Damaged { path: path.clone(), detail: format!("event {revision} cannot be read") })
        }
        Err(LoadError::Redb(source)) => Err(refused(config, source)),
    }
}

fn opening(config: &StoreConfig, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: config.path.clone() },
        other => refused(config, other.into()),
    }
}

fn refused(config: &StoreConfig, error: redb::Error) -> OpenError {
    let path = config.path.clone();
    match error {
        redb::Error::Corrupted(detail) => OpenError::Damaged { path, detail },
        redb::Error::RepairAborted => OpenError::Damaged { path, detail: "it cannot be repaired".to_owned() },
        // redb says so of a file that does not begin as its files do, or ends too early.
        redb::Error::Io(source)
            if matches!(
                source.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            OpenError::Damaged { path, detail: source.to_string() }
        }
        redb::Error::UpgradeRequired(version) => {
            OpenError::Damaged { path, detail: format!("database version {version} is not known") }
        }
        source => OpenError::Io { path, source: Box::new(source) },
    }
}

enum LoadError {
    Format(u64),
    Event(u64),
    Redb(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for LoadError {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

fn load(database: &Database) -> Result<Published, LoadError> {
    let transaction = database.begin_write()?;
    let (revision, compacted, events) = {
        let mut meta = transaction.open_table(META)?;
        let format = meta.get(FORMAT)?.map(|guard| guard.value());
        match format {
            None => _ = meta.insert(FORMAT, FORMAT_NOW)?,
            Some(FORMAT_NOW) => {}
            Some(other) => return Err(LoadError::Format(other)),
        }
        // Clients understand revision 0 as "any", so that counting starts at 1.
        let revision = meta.get(REVISION)?.map_or(1, |guard| guard.value());
        let compacted = meta.get(COMPACTED)?.map_or(1, |guard| guard.value());
        transaction.open_table(OBJECTS)?;
        let log = transaction.open_table(LOG)?;
        let mut events = VecDeque::new();
        for entry in log.iter()? {
            let (at, bytes) = entry?;
            let event = decode_event(at.value(), bytes.value()).ok_or(LoadError::Event(at.value()))?;
            events.push_back(Arc::new(event));
        }
        (revision, compacted, events)
    };
    transaction.commit()?;
    let objects = snapshot(database)?;
    Ok(Published::new(Window::new(revision, compacted, events), objects))
}

/// The objects as last committed.
pub(super) fn snapshot(database: &Database) -> Result<Objects, redb::Error> {
    Ok(database.begin_read()?.open_table(OBJECTS)?)
}

pub(super) fn get(objects: &Objects, key: &Key) -> Result<Option<Record>, StorageError> {
    let guard = objects.get(key.encoded())?;
    Ok(guard.map(|guard| decode_object(key.clone(), guard.value())))
}

pub(super) fn encode_object(revision: u64, json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + json.len());
    out.extend_from_slice(&revision.to_le_bytes());
    out.extend_from_slice(json);
    out
}

/// Pages carry checksums, so that a short value cannot come from the disk; it reads as an empty object.
pub(super) fn decode_object(key: Key, value: &[u8]) -> Record {
    let (revision, json) =
        value.split_first_chunk().map_or((0, &[][..]), |(head, json)| (u64::from_le_bytes(*head), json));
    Record { key, revision, json: Bytes::copy_from_slice(json) }
}

/// Kind (1 byte), time (8), length of the key (4), key, length of the object (4), object, then the previous object if
/// there was one. Numbers are little endian.
pub(super) fn encode_event(event: &Event) -> Vec<u8> {
    let mut out = Vec::with_capacity(event.size() + 17);
    out.push(match event.kind {
        EventKind::Created => 0,
        EventKind::Updated => 1,
        EventKind::Deleted => 2,
    });
    out.extend_from_slice(&event.time.to_le_bytes());
    for part in [event.key.encoded().as_bytes(), &event.object] {
        // Bodies are limited to a few MiB, far below 4 GiB.
        out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(part);
    }
    out.extend_from_slice(event.previous.as_deref().unwrap_or_default());
    out
}

fn decode_event(revision: u64, bytes: &[u8]) -> Option<Event> {
    let (&kind, rest) = bytes.split_first()?;
    let kind = match kind {
        0 => EventKind::Created,
        1 => EventKind::Updated,
        2 => EventKind::Deleted,
        _ => return None,
    };
    let (time, rest) = rest.split_first_chunk()?;
    let (key, rest) = part(rest)?;
    let (object, previous) = part(rest)?;
    let previous = (!previous.is_empty()).then(|| Bytes::copy_from_slice(previous));
    let key = Key::decode(std::str::from_utf8(key).ok()?);
    Some(Event::new(revision, kind, key, Bytes::copy_from_slice(object), previous, i64::from_le_bytes(*time)))
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}
