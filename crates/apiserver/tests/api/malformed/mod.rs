//! What is sent in a wrong form is answered with a Status that says what is wrong, in Kubernetes' words; nothing is
//! stored, and others notice nothing.
//!
//! ```text
//! rows  (requests that HTTP can carry)  ─┐
//! wire  (bytes that are no request)     ─┴─► server ◄── a client that writes all the while, and one that watches it
//! ```

mod rows;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use load::Client;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::fixture::{PATIENCE, Server};
use rows::rows;
use wire::{BARE, INSIDE_TLS};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Objects that rows are about.
async fn furnish(server: &Server, client: &Client) {
    let objects = [
        (CONFIG_MAPS, json!({"metadata": {"name": "held"}, "data": {"a": "b"}})),
        (
            "/api/v1/namespaces/default/pods",
            json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "main", "image": "a"}]}}),
        ),
        (
            "/api/v1/namespaces/default/services",
            json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}}),
        ),
        (
            "/apis/apps/v1/namespaces/default/deployments",
            json!({"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}},
                    "spec": {"containers": [{"name": "main", "image": "a"}]}}}}),
        ),
        (
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            json!({"metadata": {"name": "things.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
                "names": {"plural": "things", "kind": "Thing"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "properties": {"size": {"type": "integer", "maximum": 9}}}}}]}}),
        ),
        ("/apis/example.com/v1/namespaces/default/things", json!({"metadata": {"name": "one"}, "size": 1})),
    ];
    for (path, object) in objects {
        let answer = client.post(path, object.to_string()).await.unwrap();
        assert_eq!(answer.code, StatusCode::CREATED, "{path}: {}", answer.json());
    }
    server
        .eventually("get crd things.example.com -o jsonpath={.status.conditions[*].type}", |text| {
            text.contains("Established")
        })
        .await;
}

/// The revision of the store.
async fn revision(client: &Client) -> u64 {
    let list = client.get("/api/v1/nodes").await.unwrap().json();
    list["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

/// Makes, changes and removes objects until it is told to stop; how many.
fn write_all_the_while(client: Client, stop: Arc<AtomicBool>) -> JoinHandle<usize> {
    tokio::spawn(async move {
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            let name = format!("good-{count}");
            let (path, media) = (format!("{CONFIG_MAPS}/{name}"), "application/merge-patch+json");
            let made =
                client.post(CONFIG_MAPS, json!({"metadata": {"name": name}}).to_string()).await.unwrap();
            assert_eq!(made.code, StatusCode::CREATED, "{}", made.json());
            let patch = br#"{"data": {"a": "b"}}"#[..].into();
            let changed = client.send(http::Method::PATCH, &path, media, patch).await.unwrap();
            assert_eq!(changed.code, StatusCode::OK, "{}", changed.json());
            let gone = client.send(http::Method::DELETE, &path, "", Default::default()).await.unwrap();
            assert_eq!(gone.code, StatusCode::OK, "{}", gone.json());
            count += 1;
        }
        count
    })
}

/// Compares what the watcher of ConfigMaps sees with what the good client did.
async fn saw_all(watch: &mut load::Lines, count: usize) {
    for number in 0..count {
        for expected in ["ADDED", "MODIFIED", "DELETED"] {
            let line = tokio::time::timeout(PATIENCE, watch.next()).await.expect("an event in time");
            let event: Value = serde_json::from_slice(line.unwrap().expect("the watch goes on")).unwrap();
            assert_eq!(event["type"], expected, "{event}");
            assert_eq!(event["object"]["metadata"]["name"], format!("good-{number}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_is_told_so_and_nobody_else_notices() {
    let server = Server::start().await;
    let client = Client::from_kubeconfig(&server.kubeconfig).await.unwrap();
    furnish(&server, &client).await;
    let begin = revision(&client).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut watch = client.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={begin}")).await.unwrap();
    let writer = write_all_the_while(client.clone(), Arc::clone(&stop));

    let mut wrong = Vec::new();
    for (what, ask, told) in rows() {
        let answer = ask.send(&client).await;
        if let Some(difference) = told.differs_from(&answer) {
            wrong.push(format!("{what}: {difference}"));
        }
    }
    for (what, bytes, expected) in INSIDE_TLS {
        let found = wire::inside_tls(&server, bytes).await;
        if found != *expected {
            wrong.push(format!("{what}: {found:?} instead of {expected:?}"));
        }
    }
    for (what, bytes) in BARE {
        if !wire::bare(&server, bytes).await {
            wrong.push(format!("{what}: the connection is not closed"));
        }
    }
    stop.store(true, Ordering::Relaxed);
    let count = writer.await.expect("the good client was never disturbed");
    assert!(wrong.is_empty(), "{} are answered otherwise:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 0, "the good client was at work");
    saw_all(&mut watch, count).await;
    assert_eq!(revision(&client).await - begin, 3 * count as u64, "nothing of it was stored");
}
