//! Clients that ask too much, say too little or do not listen: they are told so, and nobody else notices.

use std::time::Duration;

use futures::StreamExt;
use http::StatusCode;
use load::Client;
use portolan_apiserver::Limits;
use portolan_apiserver::store::StoreConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::{PATIENCE, Server};
use crate::security::{code, connect, exchange, get};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn client(server: &Server) -> Client {
    Client::from_kubeconfig(&server.kubeconfig).await.unwrap()
}

fn config_map(name: &str, size: usize) -> String {
    json!({"metadata": {"name": name}, "data": {"text": "x".repeat(size)}}).to_string()
}

async fn create(client: &Client, names: impl Iterator<Item = String>, size: usize) {
    let creates = names.map(async |name| {
        let answer = client.post(CONFIG_MAPS, config_map(&name, size)).await.unwrap();
        assert_eq!(answer.code, StatusCode::CREATED, "{}", answer.json());
    });
    // One user has 150 places for writes.
    futures::stream::iter(creates).buffer_unordered(50).collect::<()>().await;
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().expect("items");
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_comes_in_pieces_as_of_one_revision() {
    let server = Server::start().await;
    let (client, admin) = (client(&server).await, server.admin());
    create(&client, (0..700).map(|number| format!("m{number:03}")), 3000).await;
    let all: Vec<String> = (0..700).map(|number| format!("m{number:03}")).collect();
    let list = client.get(CONFIG_MAPS).await.unwrap().json();
    assert_eq!(names(&list), all);
    // More than the sockets hold waits at the server while its objects change.
    let mut slow = connect(&server, Some(&admin)).await.unwrap();
    slow.write_all(&get(CONFIG_MAPS)).await.unwrap();
    let mut text = vec![0; 1000];
    slow.read_exact(&mut text).await.unwrap();
    for number in (0..700).step_by(7) {
        let answer = client
            .send(http::Method::DELETE, &format!("{CONFIG_MAPS}/m{number:03}"), "", Default::default())
            .await
            .unwrap();
        assert_eq!(answer.code, StatusCode::OK);
    }
    create(&client, std::iter::once("m000-new".to_owned()), 10).await;
    slow.read_to_end(&mut text).await.unwrap();
    let body = dechunked(&text);
    let seen: Value = serde_json::from_slice(&body).expect("a whole list");
    assert_eq!(names(&seen), all, "as it was when it was asked for");
    assert_eq!(seen["metadata"]["resourceVersion"], list["metadata"]["resourceVersion"]);
    // A watch that begins with all there is, and the list as a table.
    let path = format!(
        "{CONFIG_MAPS}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    );
    let mut lines = client.watch(&path).await.unwrap();
    let mut count = 0;
    loop {
        let event: Value = serde_json::from_slice(lines.next().await.unwrap().expect("more")).unwrap();
        match event["type"].as_str() {
            Some("ADDED") => count += 1,
            other => {
                assert_eq!(other, Some("BOOKMARK"), "{event}");
                break;
            }
        }
    }
    assert_eq!(count, 601);
    let table = server.kubectl("get configmaps --no-headers --chunk-size=0").await;
    assert_eq!(table.lines().count(), 601);
}

/// The body of an HTTP/1.1 answer in chunks.
fn dechunked(answer: &[u8]) -> Vec<u8> {
    let end =
        |bytes: &[u8], mark: &[u8]| bytes.windows(mark.len()).position(|window| window == mark).unwrap();
    let mut rest = &answer[end(answer, b"\r\n\r\n") + 4..];
    let mut out = Vec::new();
    loop {
        let at = end(rest, b"\r\n");
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..at]).unwrap(), 16).unwrap();
        if size == 0 {
            return out;
        }
        out.extend_from_slice(&rest[at + 2..at + 2 + size]);
        rest = &rest[at + 2 + size + 2..];
    }
}

/// Twenty watchers read and one does not: it is told that the window has passed it, and the twenty see everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_stops_reading_is_cut_off_and_nobody_else_notices() {
    const EVENTS: usize = 1500;
    let server = Server::start_with(|config| {
        config.store = StoreConfig { max_events: 400, ..config.store.clone() };
    })
    .await;
    let (client, admin) = (client(&server).await, server.admin());
    let list = client.get(CONFIG_MAPS).await.unwrap().json();
    let path = format!(
        "{CONFIG_MAPS}?watch=1&resourceVersion={}",
        list["metadata"]["resourceVersion"].as_str().unwrap()
    );
    let mut stalled = connect(&server, Some(&admin)).await.unwrap();
    stalled.write_all(&get(&path)).await.unwrap();
    let mut watchers = Vec::new();
    for _ in 0..20 {
        let mut lines = client.watch(&path).await.unwrap();
        watchers.push(tokio::spawn(async move {
            for _ in 0..EVENTS {
                let line = lines.next().await.unwrap().expect("the watch stays open");
                assert!(line.starts_with(b"{\"type\":\"ADDED\""), "{}", String::from_utf8_lossy(line));
            }
        }));
    }
    for batch in 0..EVENTS / 10 {
        create(&client, (0..10).map(|number| format!("m{batch}-{number}")), 20_000).await;
    }
    for watcher in watchers {
        tokio::time::timeout(PATIENCE, watcher).await.expect("all events in time").unwrap();
    }
    // What lies in the sockets and buffers, and then the end.
    let mut text = Vec::new();
    tokio::time::timeout(PATIENCE, stalled.read_to_end(&mut text)).await.expect("it ends").unwrap();
    let text = String::from_utf8_lossy(&text);
    let events = text.matches("\"type\":\"ADDED\"").count();
    assert!(events < EVENTS, "{events} events were kept for a watcher that did not read");
    assert!(
        text.contains("\"type\":\"ERROR\"") && text.contains("too old resource version"),
        "no word of the end"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_hold_all_places_are_told_and_readers_go_on() {
    let server = Server::start_with(|config| config.limits = Limits { writes: 2, ..Limits::default() }).await;
    let admin = server.admin();
    let other = server.pki.client("other", "other", "system:masters").unwrap();
    // Two bodies that never come hold both places: one user alone would get just one or two of them.
    let unfinished = format!("POST {CONFIG_MAPS} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{");
    let mut slow = Vec::new();
    for credentials in [&admin, &other] {
        let mut stream = connect(&server, Some(credentials)).await.unwrap();
        stream.write_all(unfinished.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let body = config_map("a", 1);
    let length = body.len();
    let post = format!(
        "POST {CONFIG_MAPS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let refused = loop {
        let answer = exchange(&server, Some(&admin), post.as_bytes()).await.unwrap();
        // The first are perhaps still on their way.
        if code(&answer) == 429 {
            break answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "{answer}");
    };
    assert!(refused.to_lowercase().contains("retry-after: 1"), "{refused}");
    assert!(refused.contains("\"reason\":\"TooManyRequests\""), "{refused}");
    assert_eq!(code(&exchange(&server, Some(&admin), &get(CONFIG_MAPS)).await.unwrap()), 200);
    drop(slow);
    loop {
        let answer = exchange(&server, Some(&admin), post.as_bytes()).await.unwrap();
        if matches!(code(&answer), 201 | 409) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the places are given back: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_and_silent_ones_keep_nobody_out() {
    let server = Server::start_with(|config| config.limits.connections = 40).await;
    let admin = server.admin();
    // All places of handshakes of this address, and more: connections that say nothing.
    let mut silent = Vec::new();
    for _ in 0..30 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    let mut closed = 0;
    for stream in &mut silent {
        let read = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut [0])).await;
        closed += usize::from(matches!(read, Ok(Ok(0) | Err(_))));
    }
    assert!(closed >= 20, "{closed} of 30 were closed: 40 connections leave 10 to handshakes");
    drop(silent);
    // The places of those that have gone are free again.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut open = Vec::new();
    while open.len() < 30 {
        assert!(tokio::time::Instant::now() < deadline, "{} connections", open.len());
        if let Ok(stream) = connect(&server, Some(&admin)).await {
            open.push(stream);
        }
    }
    // Three quarters are this address's; the next one is closed when it has shown who it is.
    assert_eq!(exchange_or_nothing(&server, &get("/api")).await, None);
    drop(open);
    while exchange_or_nothing(&server, &get("/api")).await.is_none() {
        assert!(tokio::time::Instant::now() < deadline, "places are given back");
    }
}

async fn exchange_or_nothing(server: &Server, request: &[u8]) -> Option<String> {
    exchange(server, Some(&server.admin()), request).await.filter(|answer| !answer.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_times_are_bounded() {
    let server = Server::start().await;
    let admin = server.admin();
    let with = |header: &str| {
        format!("GET /api HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n\r\n").into_bytes()
    };
    let many = (0..200).map(|number| format!("x-{number}: y\r\n")).collect::<String>();
    for (request, expected) in [
        (with(many.trim_end()), 431),
        (get("/api/v1/pods?timeout=soon"), 400),
        (get("/api/v1/pods?timeout=5s"), 200),
        (b"HELLO\r\n\r\n".to_vec(), 400),
    ] {
        let answer = exchange(&server, Some(&admin), &request).await.unwrap_or_default();
        assert_eq!(code(&answer), expected, "{answer}");
    }
    // What is far too long is refused while it is still being sent: the connection may break before the answer is read.
    let long = with(&format!("X-Long: {}", "y".repeat(200 << 10)));
    let answer = exchange(&server, Some(&admin), &long).await.unwrap_or_default();
    assert!(answer.is_empty() || code(&answer) == 431, "{answer}");
    // A body that does not come in the time that the caller itself has set.
    let late = format!("POST {CONFIG_MAPS}?timeout=200ms HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n");
    let mut stream = connect(&server, Some(&admin)).await.unwrap();
    stream.write_all(late.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await.expect("in time").unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert_eq!(code(&answer), 504, "{answer}");
}
