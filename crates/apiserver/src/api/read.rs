//! Get and list.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use futures::StreamExt;
use http::StatusCode;
use serde_json::{Value, json};

use super::chunks::Chunks;
use super::list_options::{ListOptions, continue_token};
use super::render::{LIST_END, Renderer, negotiate};
use super::target::Target;
use super::{Api, Call};
use crate::http::{Answer, json_bytes, json_stream};
use crate::status::{Cause, Status};
use crate::store::{ListError, ListQuery, Record};

impl Api {
    pub(super) fn read_one(&self, target: &Target, call: &Call) -> Result<Answer, Status> {
        let renderer =
            Renderer { served: target.served.clone(), form: negotiate(&call.headers, &call.query)? };
        let record = self.stored(target)?;
        Ok(json_bytes(StatusCode::OK, renderer.object(&record.json)))
    }

    pub(super) async fn list(self: &Arc<Self>, target: &Target, call: &Call) -> Result<Answer, Status> {
        let renderer =
            Renderer { served: target.served.clone(), form: negotiate(&call.headers, &call.query)? };
        let options = ListOptions::parse(&call.query, &target.served.kind, &target.resource())?;
        if options.limit.is_none() {
            return self.whole_list(target, &options, renderer).await;
        }
        let (api, target) = (Arc::clone(self), target.clone());
        // A scan takes long enough to hold up others on this thread.
        let scan = tokio::task::spawn_blocking(move || {
            let page = api.page(&target, &options)?;
            let mut metadata = json!({"resourceVersion": page.revision.to_string()});
            if let Some(key) = &page.next {
                metadata["continue"] = continue_token(page.revision, key).into();
            }
            Ok(renderer.list(page.records.iter().map(|record| &record.json), &metadata))
        });
        let text = scan.await.map_err(Status::internal)??;
        Ok(json_bytes(StatusCode::OK, text))
    }

    /// All objects, sent in pieces as the caller takes them.
    async fn whole_list(
        self: &Arc<Self>,
        target: &Target,
        options: &ListOptions,
        renderer: Renderer,
    ) -> Result<Answer, Status> {
        let (first, chunks) = Chunks::start(self, target, options).await?;
        let metadata = json!({"resourceVersion": chunks.revision().to_string()});
        if chunks.is_over() {
            let text = renderer.list(first.iter().map(|record| &record.json), &metadata);
            return Ok(json_bytes(StatusCode::OK, text));
        }
        let mut start = renderer.list_start(&metadata);
        append(&renderer, &first, true, &mut start);
        let start = futures::stream::iter([Ok(start.freeze())]);
        let rest = futures::stream::unfold(Some(chunks), move |chunks| {
            let renderer = renderer.clone();
            async move {
                let mut chunks = chunks?;
                let mut out = BytesMut::new();
                match chunks.next().await {
                    Some(Ok(records)) => append(&renderer, &records, false, &mut out),
                    // The answer has begun: all that can be done is to break it off.
                    Some(Err(status)) => return Some((Err(status.into()), None)),
                    None => {
                        out.put_slice(LIST_END);
                        return Some((Ok(out.freeze()), None));
                    }
                }
                Some((Ok(out.freeze()), Some(chunks)))
            }
        });
        Ok(json_stream(start.chain(rest)))
    }

    /// The objects that a list or the start of a watch shows.
    pub(super) fn page(&self, target: &Target, options: &ListOptions) -> Result<crate::store::Page, Status> {
        let query = ListQuery {
            resource: &target.resource(),
            namespace: target.only_namespace(),
            start: options.start.clone(),
            limit: options.limit,
        };
        let selector = &options.selector;
        let everything = selector.is_empty();
        self.store
            .list(&query, |record| everything || selector.selects(record))
            .map_err(|error| list_failed(&error))
    }

    /// The object of the path.
    pub(super) fn stored(&self, target: &Target) -> Result<Record, Status> {
        let kind = &target.served.kind;
        let found = self.store.get(&target.key()).map_err(Status::internal)?;
        found.ok_or_else(|| Status::not_found(&kind.group, &kind.plural, &target.name))
    }
}

fn append(renderer: &Renderer, records: &[Record], mut first: bool, out: &mut BytesMut) {
    out.reserve(records.iter().map(|record| record.json.len() + 1).sum());
    for record in records {
        renderer.list_item(&record.json, first, out);
        first = false;
    }
}

/// A stored object, parsed.
pub(super) fn parsed(record: &Record) -> Result<Value, Status> {
    serde_json::from_slice(&record.json).map_err(Status::internal)
}

fn list_failed(error: &ListError) -> Status {
    match error {
        ListError::Expired { .. } => Status::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.",
        ),
        ListError::TooNew { revision, newest } => too_new(*revision, *newest),
        ListError::Disk(source) => Status::internal(format!("{error}: {source}")),
    }
}

/// The caller has seen a revision that this store has not.
pub(super) fn too_new(revision: u64, newest: u64) -> Status {
    let mut status = Status::timeout(format!("Too large resource version: {revision}, current: {newest}"))
        .about("", "", "");
    if let Some(details) = &mut status.details {
        details.causes = vec![Cause::new("ResourceVersionTooLarge", "", "Too large resource version")];
        details.retry_after_seconds = 1;
    }
    status
}
