//! Lists: one page of a resource, as of one revision.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, RwLock};

use bytes::Bytes;
use redb::StorageError;

use super::disk::{self, Objects};
use super::record::{Key, Record};
use super::window::{self, Published, Window};

/// What to list.
#[derive(Debug, Clone)]
pub struct ListQuery<'a> {
    /// `pods`, `deployments.apps`.
    pub resource: &'a str,
    /// Only this namespace.
    pub namespace: Option<&'a str>,
    /// As of when, and from where.
    pub start: Start,
    /// Most objects in the page. A page with a limit is bounded in bytes too, and may end before it.
    pub limit: Option<usize>,
}

/// As of when a list is, and where it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The newest state, which must be at least this revision; 0 for any.
    Latest {
        /// The revision.
        at_least: u64,
    },
    /// The state at this revision.
    Exact {
        /// The revision.
        revision: u64,
    },
    /// After the given key, in the state at the revision of the page before.
    After {
        /// The revision of the page before.
        revision: u64,
        /// The last key looked at.
        key: Key,
    },
}

/// One page.
#[derive(Debug)]
pub struct Page {
    /// The revision that the page shows.
    pub revision: u64,
    /// The objects, in order.
    pub records: Vec<Record>,
    /// Where the next page starts, when there may be more.
    pub next: Option<Key>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// What changed since the revision is no longer known.
    #[error("the state at revision {revision} is no longer kept")]
    Expired {
        /// The revision asked for.
        revision: u64,
    },
    /// The revision is in the future.
    #[error("revision {revision} is newer than the newest, {newest}")]
    TooNew {
        /// The revision asked for.
        revision: u64,
        /// The newest revision.
        newest: u64,
    },
    /// The file cannot be read.
    #[error("the store cannot be read")]
    Disk(#[from] StorageError),
}

/// Most bytes of a page that has a limit, but for its last object: it ends before its limit when its objects are large.
const PAGE_BYTES: usize = 4 << 20;

/// What was there at an older revision, for keys that changed since; `None` where nothing was.
type Overlay = BTreeMap<String, Option<Bytes>>;

pub(super) fn list(
    published: &RwLock<Published>,
    query: &ListQuery<'_>,
    mut keep: impl FnMut(&Record) -> bool,
) -> Result<Page, ListError> {
    let (first, end) = Key::bounds(query.resource, query.namespace);
    let after = match &query.start {
        Start::After { key, .. } => Some(key.encoded()),
        Start::Latest { .. } | Start::Exact { .. } => None,
    };
    let start = after.map_or(Bound::Included(first.as_str()), Bound::Excluded);
    let bounds = (start, Bound::Excluded(end.as_str()));
    let (objects, revision, overlay) = state(published, query)?;
    let mut page = Page { revision, records: Vec::new(), next: None };
    let limit = query.limit.unwrap_or(usize::MAX).max(1);
    let mut room = if query.limit.is_some() { PAGE_BYTES } else { usize::MAX };
    scan(objects.range::<&str>(bounds)?, overlay.range::<str, _>(bounds), |record| {
        if page.records.len() == limit || room == 0 {
            // The page is full and there is at least one more: the next page begins after the last one taken.
            page.next = page.records.last().map(|last| last.key.clone());
            return false;
        }
        if keep(&record) {
            room = room.saturating_sub(record.json.len());
            page.records.push(record);
        }
        true
    })?;
    Ok(page)
}

/// The objects on disk, the revision to show, and what was different then.
fn state(
    published: &RwLock<Published>,
    query: &ListQuery<'_>,
) -> Result<(Arc<Objects>, u64, Overlay), ListError> {
    let published = window::read(published);
    let newest = published.revision();
    let (asked, revision) = match query.start {
        Start::Latest { at_least } => (at_least, newest),
        Start::Exact { revision } | Start::After { revision, .. } => (revision, revision),
    };
    if asked > newest {
        return Err(ListError::TooNew { revision: asked, newest });
    }
    Ok((published.snapshot(), revision, undo(&published.window, query.resource, revision)?))
}

/// Hands the objects to `take`, in order, the older states in place of those on disk, until it has enough.
fn scan<'o>(
    stored: redb::Range<'static, &'static str, &'static [u8]>,
    changed: impl Iterator<Item = (&'o String, &'o Option<Bytes>)>,
    mut take: impl FnMut(Record) -> bool,
) -> Result<(), StorageError> {
    // The revision of an older state stands in its JSON; lists use nothing else of it.
    let old = |key: &str, json: &Option<Bytes>| {
        json.as_ref().map(|json| Record { key: Key::decode(key), revision: 0, json: json.clone() })
    };
    let mut changed = changed.peekable();
    for entry in stored {
        let (key, value) = entry?;
        let key = key.value();
        while let Some((gone, json)) = changed.next_if(|(gone, _)| gone.as_str() < key) {
            if old(gone, json).is_some_and(|record| !take(record)) {
                return Ok(());
            }
        }
        let record = match changed.next_if(|(same, _)| same.as_str() == key) {
            Some((same, json)) => old(same, json),
            None => Some(disk::decode_object(Key::decode(key), value.value())),
        };
        if record.is_some_and(|record| !take(record)) {
            return Ok(());
        }
    }
    for (gone, json) in changed {
        if old(gone, json).is_some_and(|record| !take(record)) {
            break;
        }
    }
    Ok(())
}

/// The first event of a key after the revision tells what was there at the revision.
fn undo(window: &Window, resource: &str, revision: u64) -> Result<Overlay, ListError> {
    let mut overlay = Overlay::new();
    let Some(channel) = window.channel(resource) else {
        return if revision < window.base() { Err(ListError::Expired { revision }) } else { Ok(overlay) };
    };
    if revision < channel.compacted {
        return Err(ListError::Expired { revision });
    }
    let from = channel.events.partition_point(|event| event.revision <= revision);
    for event in channel.events.range(from..) {
        overlay.entry(event.key.encoded().to_owned()).or_insert_with(|| event.previous.clone());
    }
    Ok(overlay)
}
