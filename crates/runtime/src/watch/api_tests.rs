//! Watches of an API server that says what each test has it say, over HTTP.

use std::net::SocketAddr;

use kube::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::*;
use crate::client_at;
use crate::wire::Service;

/// Longer than any step takes; reached only when something hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// One answer: a status and a body. The connection ends with it.
type Answer = (u16, String);

fn service(name: &str, version: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "resourceVersion": version.to_string()},
        "spec": {"clusterIP": "10.96.0.7", "ports": [{"port": 80}]},
    })
}

fn list(version: u32, next: Option<&str>, items: &[Value]) -> Answer {
    let metadata = json!({"resourceVersion": version.to_string(), "continue": next});
    let list = json!({"apiVersion": "v1", "kind": "ServiceList", "metadata": metadata, "items": items});
    (200, list.to_string())
}

fn changes(lines: &[(&str, Value)]) -> Answer {
    let line = |(kind, object): &(&str, Value)| format!("{}\n", json!({"type": kind, "object": object}));
    (200, lines.iter().map(line).collect())
}

fn expired() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "Expired", "code": 410,
        "message": "too old resource version", "metadata": {},
    })
}

/// A watch of a server with these answers; after them it says nothing any more. Gives what was asked and what came of it.
struct Rig {
    asked: UnboundedReceiver<String>,
    events: mpsc::Receiver<Event>,
}

impl Rig {
    async fn new(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ask, asked) = mpsc::unbounded_channel();
        tokio::spawn(answer(listener, answers, ask));
        let client = client(address).await;
        let (sender, events) = mpsc::channel(16);
        let status = Arc::new(ProxyStatus::default());
        let recorder = Recorder::start(client.clone(), "node1".into(), status.clone());
        tokio::spawn(watch::<Service>(
            Api::all(client),
            watcher::Config::default(),
            status,
            recorder,
            sender,
        ));
        Self { asked, events }
    }

    /// The next request's path and query.
    async fn asked(&mut self) -> String {
        timeout(DEADLINE, self.asked.recv()).await.unwrap().unwrap()
    }

    async fn event(&mut self) -> String {
        let name = |key: &ObjectKey| match key {
            ObjectKey::Service(key) => key.name.to_string(),
            other => format!("{other:?}"),
        };
        match timeout(DEADLINE, self.events.recv()).await.unwrap().unwrap() {
            Event::BeginListing(_) => "begin".to_owned(),
            Event::Apply(object) => format!("apply {}", name(&object.key())),
            Event::Delete(key) => format!("delete {}", name(&key)),
            Event::EndListing(_) => "end".to_owned(),
            Event::Aside(aside) => format!("{aside:?}"),
        }
    }

    async fn events(&mut self, expected: &[&str]) {
        for expected in expected {
            assert_eq!(self.event().await, *expected);
        }
    }
}

async fn client(address: SocketAddr) -> Client {
    client_at(&format!("http://{address}"), None).await.unwrap()
}

async fn answer(listener: TcpListener, answers: Vec<Answer>, ask: mpsc::UnboundedSender<String>) {
    let mut answers = answers.into_iter();
    let mut silent = Vec::new();
    while let Ok((stream, _)) = listener.accept().await {
        let mut stream = BufReader::new(stream);
        let mut request = String::new();
        stream.read_line(&mut request).await.unwrap();
        let mut line = "more".to_owned();
        while !line.trim().is_empty() {
            line.clear();
            stream.read_line(&mut line).await.unwrap();
        }
        // The test may be over.
        let _ = ask.send(request.split(' ').nth(1).unwrap_or_default().to_owned());
        match answers.next() {
            Some((status, body)) => {
                let head = format!(
                    "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
                );
                stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            }
            None => silent.push(stream),
        }
    }
}

#[tokio::test]
async fn lists_come_in_pages_and_count_only_as_a_whole() {
    let first = list(10, Some("page-2"), &[service("a", 1)]);
    let mut rig = Rig::new(vec![first, list(10, None, &[service("b", 2)])]).await;
    rig.events(&["begin", "apply a", "apply b", "end"]).await;
    let asked = rig.asked().await;
    assert!(asked.contains("limit=500") && !asked.contains("continue"), "{asked}");
    assert!(rig.asked().await.contains("continue=page-2"));
    let watch = rig.asked().await;
    assert!(watch.contains("watch=true") && watch.contains("resourceVersion=10"), "{watch}");
}

#[tokio::test]
async fn a_watch_that_ends_goes_on_where_it_ended() {
    let change = changes(&[("MODIFIED", service("a", 12)), ("DELETED", service("b", 13))]);
    let bookmark = changes(&[(
        "BOOKMARK",
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"resourceVersion": "20"}}),
    )]);
    let all = list(10, None, &[service("a", 1), service("b", 2)]);
    let mut rig = Rig::new(vec![all, change, bookmark]).await;
    rig.events(&["begin", "apply a", "apply b", "end", "apply a", "delete b"]).await;
    for expected in ["limit=500", "resourceVersion=10", "resourceVersion=13", "resourceVersion=20"] {
        let asked = rig.asked().await;
        assert!(asked.contains(expected), "{expected}: {asked}");
    }
    assert!(rig.events.try_recv().is_err(), "nothing was listed again");
}

#[tokio::test]
async fn a_revision_that_is_too_old_leads_to_a_new_listing() {
    let gone = changes(&[("ERROR", expired())]);
    let mut rig =
        Rig::new(vec![list(10, None, &[service("a", 1)]), gone, list(30, None, &[service("b", 25)])]).await;
    rig.events(&["begin", "apply a", "end", "begin", "apply b", "end"]).await;
    for expected in ["limit=500", "resourceVersion=10", "limit=500", "resourceVersion=30"] {
        let asked = rig.asked().await;
        assert!(asked.contains(expected), "{expected}: {asked}");
    }
}

#[tokio::test]
async fn a_server_that_fails_is_asked_again_and_takes_nothing_away() {
    let down = || (503, json!({"kind": "Status", "code": 503, "message": "not now"}).to_string());
    let mut rig = Rig::new(vec![
        list(10, None, &[service("a", 1)]),
        down(),
        down(),
        (200, "what is this".to_owned()),
        changes(&[("ADDED", service("b", 11))]),
    ])
    .await;
    rig.events(&["begin", "apply a", "end"]).await;
    // Whether by the same watch or by a new listing: b comes, and a is not deleted on the way.
    loop {
        match rig.event().await.as_str() {
            "apply b" => return,
            other => assert_ne!(other, "delete a"),
        }
    }
}
