use futures::stream;
use kube::runtime::watcher::{Error, Event as Watched};
use serde_json::json;

use super::*;
use crate::wire::{EndpointSlice, Service};

fn service(name: &str, port: i64) -> Service {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.7", "ports": [{"port": port}]},
    }))
    .unwrap()
}

async fn forwarded<K: Wire>(items: Vec<watcher::Result<Watched<K>>>) -> (Vec<String>, u64) {
    let status = ProxyStatus::default();
    let (sender, mut receiver) = mpsc::channel(16);
    forward(stream::iter(items), &status, None, &sender).await;
    drop(sender);
    let mut seen = Vec::new();
    while let Some(event) = receiver.recv().await {
        seen.push(match event {
            Event::BeginListing(_) => "begin".to_owned(),
            Event::Apply(object) => format!("apply {:?}", object.key().kind()),
            Event::Delete(key) => format!("delete {:?}", key.kind()),
            Event::EndListing(_) => "end".to_owned(),
            Event::Aside(aside) => format!("{aside:?}"),
        });
    }
    (seen, status.bad_parts())
}

#[tokio::test]
async fn a_lost_watch_is_listed_again() {
    let (seen, bad) = forwarded(vec![
        Ok(Watched::Init),
        Ok(Watched::InitApply(service("a", 80))),
        Ok(Watched::InitDone),
        Ok(Watched::Delete(service("a", 80))),
        Err(Error::NoResourceVersion),
        Ok(Watched::Init),
        Ok(Watched::InitDone),
        Ok(Watched::Apply(service("b", 80))),
    ])
    .await;
    let expected = ["begin", "apply Service", "end", "delete Service", "begin", "end", "apply Service"];
    assert_eq!((seen.as_slice(), bad), (expected.map(str::to_owned).as_slice(), 0));
}

#[tokio::test]
async fn bad_parts_are_counted_and_the_rest_is_told() {
    let (seen, bad) =
        forwarded(vec![Ok(Watched::Apply(service("a", 0))), Ok(Watched::Apply(service("b", 80)))]).await;
    assert_eq!((seen.len(), bad), (2, 1));
}

#[tokio::test]
async fn an_object_that_says_nothing_any_more_is_taken_away() {
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": {"name": "s", "namespace": "default"}, "addressType": "FQDN",
    }))
    .unwrap();
    let (seen, _) = forwarded(vec![Ok(Watched::Apply(slice))]).await;
    assert_eq!(seen, ["delete EndpointSlice"]);
}

#[tokio::test]
async fn forwarding_ends_when_nobody_listens() {
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let endless = stream::repeat_with(|| Ok(Watched::Apply(service("a", 80))));
    forward(endless, &ProxyStatus::default(), None, &sender).await;
}

#[test]
fn pauses_grow_to_five_seconds() {
    let pauses: Vec<u128> = Pauses::default().take(8).map(|pause| pause.as_millis()).collect();
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
}
