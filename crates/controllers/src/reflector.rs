//! Keeps a [`Store`] equal to what the API server holds: one list, then a watch that goes on where the last one ended.

use std::fmt::Debug;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use kube::Resource;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use rand::Rng;
use serde::de::DeserializeOwned;

use crate::store::Store;

/// Objects per page of a list, as in client-go.
const PAGE: u32 = 500;
/// The first pause after a failure; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause: it bounds how late a server that comes back is noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How a watch ended.
enum Ended {
    /// The server closed it after a while, as servers do: go on from where it was.
    Closed { progressed: bool },
    /// The log no longer reaches back to our version (410): list again.
    Expired,
    /// Anything else: pause, then go on from where it was.
    Failed(kube::Error),
}

/// Runs for ever. `trim` cuts off what no controller reads before an object is kept.
pub(crate) async fn reflect<K>(api: Api<K>, store: &Store<K>, trim: fn(&mut K))
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut pause = FIRST_PAUSE;
    let mut version: Option<String> = None;
    loop {
        let from = match &mut version {
            Some(from) => from,
            None => match list(&api, store, trim).await {
                Ok(listed) => version.insert(listed),
                Err(error) => {
                    wait(&mut pause, &K::kind(&()), &error).await;
                    continue;
                }
            },
        };
        match follow(&api, store, trim, from).await {
            Ended::Closed { progressed: true } => pause = FIRST_PAUSE,
            Ended::Closed { progressed: false } => tokio::time::sleep(FIRST_PAUSE).await,
            Ended::Expired => version = None,
            Ended::Failed(error) => wait(&mut pause, &K::kind(&()), &error).await,
        }
    }
}

async fn wait(pause: &mut Duration, kind: &str, error: &kube::Error) {
    tracing::debug!(kind, error = %error, "watch interrupted");
    // Jitter, so that all kinds do not come back in the same instant.
    let share = rand::rng().random_range(0.5..1.0);
    tokio::time::sleep(pause.mul_f64(share)).await;
    *pause = (*pause * 2).min(LONGEST_PAUSE);
}

async fn list<K>(api: &Api<K>, store: &Store<K>, trim: fn(&mut K)) -> Result<String, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let mut objects = Vec::new();
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let mut page = api.list(&parameters).await?;
        page.items.iter_mut().for_each(trim);
        objects.append(&mut page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = ListParams::default().limit(PAGE).continue_token(&token),
            None => {
                let version = page.metadata.resource_version.unwrap_or_default();
                store.replace(objects, &version);
                return Ok(version);
            }
        }
    }
}

async fn follow<K>(api: &Api<K>, store: &Store<K>, trim: fn(&mut K), version: &mut String) -> Ended
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + 'static,
{
    let events = match api.watch(&WatchParams::default(), version).await {
        Ok(events) => events,
        Err(kube::Error::Api(status)) if status.code == 410 => return Ended::Expired,
        Err(error) => return Ended::Failed(error),
    };
    pin_mut!(events);
    let mut progressed = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(WatchEvent::Added(mut object) | WatchEvent::Modified(mut object)) => {
                trim(&mut object);
                advance(version, &object);
                store.apply_watched(object);
            }
            Ok(WatchEvent::Deleted(object)) => {
                advance(version, &object);
                store.delete_watched(&object);
            }
            Ok(WatchEvent::Bookmark(bookmark)) => {
                version.clone_from(&bookmark.metadata.resource_version);
                store.note_version(version);
            }
            Ok(WatchEvent::Error(status)) if status.code == 410 => return Ended::Expired,
            Ok(WatchEvent::Error(status)) => return Ended::Failed(kube::Error::Api(status)),
            Err(error) => return Ended::Failed(error),
        }
        progressed = true;
    }
    Ended::Closed { progressed }
}

fn advance<K: Resource>(version: &mut String, object: &K) {
    if let Some(newer) = &object.meta().resource_version {
        version.clone_from(newer);
    }
}
