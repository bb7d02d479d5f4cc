//! Lists: one page of a resource, as of one revision.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::RwLock;

use bytes::Bytes;

use super::disk;
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
    /// Most objects in the page.
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
    Disk(#[from] redb::StorageError),
}

/// What was there at an older revision, for keys that changed since; `None` where nothing was.
type Overlay = BTreeMap<String, Option<Bytes>>;

pub(super) fn list(
    published: &RwLock<Published>,
    query: &ListQuery<'_>,
    mut keep: impl FnMut(&Record) -> bool,
) -> Result<Page, ListError> {
    let (first, end) = Key::bounds(query.resource, query.namespace);
    let (wanted, after) = match &query.start {
        Start::Latest { at_least } => (Err(*at_least), None),
        Start::Exact { revision } => (Ok(*revision), None),
        Start::After { revision, key } => (Ok(*revision), Some(key.encoded().to_owned())),
    };
    let (objects, revision, overlay) = {
        let published = window::read(published);
        let newest = published.revision();
        let (Ok(asked) | Err(asked)) = wanted;
        if asked > newest {
            return Err(ListError::TooNew { revision: asked, newest });
        }
        let revision = wanted.unwrap_or(newest);
        (published.snapshot(), revision, undo(&published.window, query.resource, revision)?)
    };
    let start = match &after {
        Some(key) => Bound::Excluded(key.as_str()),
        None => Bound::Included(first.as_str()),
    };
    let bounds = (start, Bound::Excluded(end.as_str()));
    let stored = objects.range::<&str>(bounds)?;
    let mut page = Page { revision, records: Vec::new(), next: None };
    let limit = query.limit.unwrap_or(usize::MAX).max(1);
    let mut take = |record: Record| {
        if page.records.len() == limit {
            // The page is full and there is at least one more: the next page begins after the last one taken.
            page.next = page.records.last().map(|last| last.key.clone());
            return false;
        }
        if keep(&record) {
            page.records.push(record);
        }
        true
    };
    let mut changed = overlay.range::<str, _>(bounds).peekable();
    for entry in stored {
        let (key, value) = entry?;
        let key = key.value();
        while let Some((gone, old)) = changed.next_if(|(gone, _)| gone.as_str() < key) {
            if !take_old(gone, old.as_ref(), &mut take) {
                return Ok(page);
            }
        }
        let going_on = match changed.next_if(|(same, _)| same.as_str() == key) {
            Some((same, old)) => take_old(same, old.as_ref(), &mut take),
            None => take(disk::decode_object(Key::decode(key), value.value())),
        };
        if !going_on {
            return Ok(page);
        }
    }
    for (gone, old) in changed {
        if !take_old(gone, old.as_ref(), &mut take) {
            break;
        }
    }
    Ok(page)
}

fn take_old(key: &str, old: Option<&Bytes>, take: &mut impl FnMut(Record) -> bool) -> bool {
    // The revision of an overlaid object stands in its JSON; lists use nothing else of it.
    old.is_none_or(|json| take(Record { key: Key::decode(key), revision: 0, json: json.clone() }))
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
