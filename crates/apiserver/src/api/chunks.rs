//! Lists in pieces: what is long is read, rendered and sent a piece at a time, so that neither a large list nor many slow
//! readers of it hold much in memory.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::Api;
use super::list_options::ListOptions;
use super::target::Target;
use crate::status::Status;
use crate::store::{Page, Record, Start};

/// Objects of a piece; the store bounds its bytes.
const PIECE: usize = 256;

/// The objects that a list or the start of a watch shows, in order, all as of one revision.
///
/// Nothing is held between two pieces: what has changed since the first is undone from the log of events. A reader who is
/// so slow that the log has moved on is told that the list is too old.
pub(super) struct Chunks {
    api: Arc<Api>,
    target: Target,
    options: ListOptions,
    revision: u64,
    next: Option<JoinHandle<Result<Page, Status>>>,
}

impl Chunks {
    /// Reads the first piece.
    pub(super) async fn start(
        api: &Arc<Api>,
        target: &Target,
        options: &ListOptions,
    ) -> Result<(Vec<Record>, Self), Status> {
        let options = ListOptions { limit: Some(PIECE), ..options.clone() };
        let mut chunks =
            Self { api: Arc::clone(api), target: target.clone(), options, revision: 0, next: None };
        chunks.read();
        let first = chunks.next().await.unwrap_or_else(|| Ok(Vec::new()))?;
        Ok((first, chunks))
    }

    /// The revision of the whole.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Nothing follows.
    pub(super) fn is_over(&self) -> bool {
        self.next.is_none()
    }

    /// The next piece, while the one after it is already being read; `None` at the end. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Option<Result<Vec<Record>, Status>> {
        let read = self.next.as_mut()?.await;
        self.next = None;
        let page = match read.map_err(Status::internal) {
            Ok(Ok(page)) => page,
            Ok(Err(status)) | Err(status) => return Some(Err(status)),
        };
        self.revision = page.revision;
        if let Some(key) = page.next {
            self.options.start = Start::After { revision: page.revision, key };
            self.read();
        }
        Some(Ok(page.records))
    }

    fn read(&mut self) {
        let (api, target, options) = (Arc::clone(&self.api), self.target.clone(), self.options.clone());
        // A scan takes long enough to hold up others on this thread.
        self.next = Some(tokio::task::spawn_blocking(move || api.page(&target, &options)));
    }
}
