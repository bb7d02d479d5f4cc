//! Watch.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::Stream;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use rand::Rng;
use serde_json::{Value, json};
use tokio::sync::watch as signal;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::chunks::Chunks;
use super::list_options::ListOptions;
use super::read::too_new;
use super::render::{Renderer, negotiate};
use super::target::Target;
use super::{Api, Call};
use crate::http::{Answer, BoxError};
use crate::kinds::{Registry, Served};
use crate::selector::{Seen, Selector};
use crate::status::Status;
use crate::store::{Event, Record, Start, Subscription, WatchError};

/// Time between bookmarks.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// Shortest time, in seconds, after which a watch is closed when the caller names none; at most twice that, at random, so
/// that watches do not all come back at once.
const SHORTEST_WATCH: u64 = 1800;

/// One watch that is being sent.
struct Watcher {
    renderer: Renderer,
    selector: Selector,
    subscription: Subscription,
    /// The objects there were at the start, sent first.
    initial: Option<Initial>,
    bookmarks: Option<Interval>,
    end: Instant,
    stop: signal::Receiver<bool>,
    /// The kinds that are served: with its kind a watch ends.
    registry: signal::Receiver<Arc<Registry>>,
    /// Nothing follows.
    over: bool,
}

struct Initial {
    first: Option<Vec<Record>>,
    rest: Chunks,
    /// Revision for the bookmark that ends them, when the caller wants one.
    bookmark: Option<u64>,
}

impl Api {
    pub(super) async fn watch(self: &Arc<Self>, target: &Target, call: &Call) -> Result<Answer, Status> {
        let renderer =
            Renderer { served: target.served.clone(), form: negotiate(&call.headers, &call.query)? };
        let mut options = ListOptions::parse(&call.query, &target.served.kind, &target.resource())?;
        let revision = options.resource_version;
        // Without a revision Kubernetes sends what is there first, whatever sendInitialEvents says but false.
        let initial_events = options.initial_events.unwrap_or(revision == 0);
        let (initial, after) = if initial_events {
            options.start = Start::Latest { at_least: revision };
            let (first, rest) = Chunks::start(self, target, &options).await?;
            let revision = rest.revision();
            let bookmark = (options.initial_events == Some(true) && options.bookmarks).then_some(revision);
            (Some(Initial { first: Some(first), rest, bookmark }), revision)
        } else if revision == 0 {
            (None, self.store.revision())
        } else {
            (None, revision)
        };
        let subscribed = self.store.subscribe(&target.resource(), target.only_namespace(), after);
        let subscription = match subscribed {
            Ok(subscription) => subscription,
            // As Kubernetes: the watch begins, and says so.
            Err(error @ WatchError::Expired { .. }) => return Ok(expired(&error)),
            Err(WatchError::TooNew { revision, newest }) => return Err(too_new(revision, newest)),
            Err(error @ WatchError::Closed) => return Err(Status::unavailable(error.to_string())),
        };
        let seconds = options
            .timeout_seconds
            .filter(|seconds| *seconds > 0)
            .unwrap_or_else(|| rand::rng().random_range(SHORTEST_WATCH..2 * SHORTEST_WATCH));
        let watcher = Watcher {
            renderer,
            selector: options.selector,
            subscription,
            initial,
            bookmarks: options.bookmarks.then(bookmark_interval),
            registry: self.registry.subscribe(),
            end: Instant::now() + Duration::from_secs(seconds.min(24 * 3600)),
            stop: self.stop.clone(),
            over: false,
        };
        Ok(streamed(watcher.into_stream()))
    }
}

impl Watcher {
    fn into_stream(self) -> impl Stream<Item = Bytes> {
        futures::stream::unfold(self, |mut watcher| async move {
            let bytes = watcher.next().await?;
            Some((bytes, watcher))
        })
    }

    /// The next lines; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(bytes) = self.next_initial().await {
            return Some(bytes);
        }
        while !self.over {
            let bookmark = async {
                match &mut self.bookmarks {
                    Some(interval) => _ = interval.tick().await,
                    None => std::future::pending().await,
                }
            };
            let bytes = tokio::select! {
                events = self.subscription.next() => match events {
                    Ok(events) => render(&self.renderer, &self.selector, &events),
                    Err(error) => {
                        self.over = true;
                        error_line(&error)
                    }
                },
                () = bookmark => {
                    let revision = self.subscription.caught_up();
                    revision.map(|revision| self.renderer.bookmark(revision, false)).unwrap_or_default()
                }
                () = tokio::time::sleep_until(self.end) => break,
                _ = self.stop.wait_for(|stop| *stop) => break,
                _ = self.registry.wait_for(|registry| !is_served(registry, &self.renderer.served)) => break,
            };
            if !bytes.is_empty() {
                return Some(bytes);
            }
        }
        self.over = true;
        None
    }

    async fn next_initial(&mut self) -> Option<Bytes> {
        let initial = self.initial.as_mut()?;
        loop {
            let records = match initial.first.take() {
                Some(first) => Ok(first),
                None => match initial.rest.next().await {
                    Some(records) => records,
                    None => break,
                },
            };
            match records {
                // Among those that the selector leaves out there may be a whole piece.
                Ok(records) if records.is_empty() => {}
                Ok(records) => {
                    let mut out = BytesMut::new();
                    for record in records {
                        self.renderer.event("ADDED", &record.json, &mut out);
                    }
                    return Some(out.freeze());
                }
                Err(status) => {
                    (self.initial, self.over) = (None, true);
                    return Some(status_line(&status));
                }
            }
        }
        let bookmark = initial.bookmark;
        self.initial = None;
        bookmark.map(|revision| self.renderer.bookmark(revision, true))
    }
}

/// Whether the same kind is served still; one whose definition changed is another.
fn is_served(registry: &Registry, served: &Served) -> bool {
    let found = registry.find(&served.group, &served.version, &served.kind.plural);
    found.is_some_and(|found| Arc::ptr_eq(&found.kind, &served.kind))
}

fn bookmark_interval() -> Interval {
    let mut interval = tokio::time::interval_at(Instant::now() + BOOKMARK_INTERVAL, BOOKMARK_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn render(renderer: &Renderer, selector: &Selector, events: &[Arc<Event>]) -> Bytes {
    let mut out = BytesMut::new();
    for event in events {
        match selector.judge(event) {
            Some(Seen::Added) => renderer.event("ADDED", &event.object, &mut out),
            Some(Seen::Modified) => renderer.event("MODIFIED", &event.object, &mut out),
            Some(Seen::Deleted) => renderer.event("DELETED", &last_seen(event), &mut out),
            None => {}
        }
    }
    out.freeze()
}

/// What a watcher is shown of an object that it loses: the state it had last seen, with the revision of the event.
fn last_seen(event: &Event) -> Bytes {
    let Some(previous) = &event.previous else { return event.object.clone() };
    if event.kind == crate::store::EventKind::Deleted {
        return event.object.clone();
    }
    let mut object: Value = serde_json::from_slice(previous).unwrap_or(Value::Null);
    if let Some(metadata) = super::meta::metadata_mut(&mut object) {
        metadata.insert("resourceVersion".to_owned(), event.revision.to_string().into());
    }
    Bytes::from(object.to_string())
}

fn error_line(error: &WatchError) -> Bytes {
    let status = match error {
        WatchError::Expired { .. } | WatchError::TooNew { .. } => Status::expired(error.to_string()),
        WatchError::Closed => Status::unavailable(error.to_string()),
    };
    status_line(&status)
}

fn status_line(status: &Status) -> Bytes {
    let mut line = json!({"type": "ERROR", "object": status.to_value()}).to_string();
    line.push('\n');
    Bytes::from(line)
}

fn expired(error: &WatchError) -> Answer {
    streamed(futures::stream::iter([error_line(error)]))
}

fn streamed(stream: impl Stream<Item = Bytes> + Send + 'static) -> Answer {
    use futures::StreamExt as _;
    let body = StreamBody::new(stream.map(|bytes| Ok::<_, BoxError>(Frame::data(bytes))));
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = StatusCode::OK;
    let headers = answer.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    headers.insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-cache, private"));
    answer
}
