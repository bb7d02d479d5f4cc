//! kill -9, 50 times at random points, under the load of several writers: what was acknowledged is there, nothing is half
//! written, and watchers that resume have seen every change once and in order.

mod object;
mod process;
mod watcher;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use load::Client;
use portolan_apiserver::store::{Store, StoreConfig};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::fixture::PATIENCE;
use object::{Id, Resource, Seen};
use process::ServerProcess;
use watcher::{LAST, Watcher};
use writer::Writer;

const KILLS: usize = 50;
const WRITERS: usize = 6;
/// One kill in so many comes while the server is still starting.
const EARLY: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_fifty_kills() {
    let begin = Instant::now();
    let mut random = StdRng::seed_from_u64(rand::random());
    let mut server = ServerProcess::start().await;
    let client = server.client().await;
    let mut writers: Vec<Writer> =
        (0..WRITERS).map(|number| Writer::new(number, client.clone(), random.random())).collect();
    // Watchers of one resource check each other too.
    let watched = [Resource::ConfigMaps, Resource::ConfigMaps, Resource::Services, Resource::Services];
    let mut watchers = Vec::new();
    for resource in watched {
        let watcher = Watcher::start(resource, server.client().await).await;
        watchers.push(tokio::spawn(watcher.run()));
    }
    let counter = Arc::new(AtomicU64::new(0));
    for kill in 0..KILLS {
        writers = load_until_killed(writers, &mut server, &counter, &mut random).await;
        if kill % EARLY == 0 {
            server.start_again();
            tokio::time::sleep(Duration::from_micros(random.random_range(0..200_000))).await;
            server.kill();
        }
        server.start_again();
        server.wait_until_ready().await;
        check(&client, &mut writers, kill).await;
    }
    write_the_last(&client).await;
    let mut seen = Vec::new();
    for watcher in watchers {
        seen.push(tokio::time::timeout(PATIENCE, watcher).await.expect("all events in time").unwrap());
    }
    let stored = listed(&client).await;
    compare(&seen, &writers, &stored.objects);
    check_allocation(&client).await;
    server.kill();
    let store = Store::open(&StoreConfig::new(server.store())).expect("the last start of all");
    assert!(store.revision() >= stored.revision);
    let (answered, unknown): (u64, u64) =
        writers.iter().fold((0, 0), |sum, writer| (sum.0 + writer.answered, sum.1 + writer.unanswered));
    println!(
        "{KILLS} kills in {:.1} s: {answered} writes acknowledged, {unknown} cut off, {} events seen by each of {} \
         watchers which resumed {} times",
        begin.elapsed().as_secs_f64(),
        seen[0].revisions.len() + seen[2].revisions.len(),
        seen.len(),
        seen.iter().map(|watcher| watcher.resumed).sum::<usize>(),
    );
    assert!(answered > 500, "{answered}");
}

/// Lets all write until some number of writes more has been answered, and kills the server in the middle of it.
async fn load_until_killed(
    writers: Vec<Writer>,
    server: &mut ServerProcess,
    counter: &Arc<AtomicU64>,
    random: &mut StdRng,
) -> Vec<Writer> {
    let goal = counter.load(Ordering::Relaxed) + random.random_range(0..60);
    let tasks: Vec<_> = writers
        .into_iter()
        .map(|writer| tokio::spawn(writer.write_until_broken(Arc::clone(counter))))
        .collect();
    let deadline = Instant::now() + PATIENCE;
    while counter.load(Ordering::Relaxed) < goal {
        assert!(Instant::now() < deadline, "the writers are answered");
        tokio::task::yield_now().await;
    }
    // Somewhere within the next commits.
    tokio::time::sleep(Duration::from_micros(random.random_range(0..3000))).await;
    server.kill();
    let mut back = Vec::new();
    for task in tasks {
        back.push(task.await.unwrap());
    }
    back
}

/// What is stored.
struct Listed {
    objects: BTreeMap<Id, Seen>,
    revision: u64,
}

async fn listed(client: &Client) -> Listed {
    let mut out = Listed { objects: BTreeMap::new(), revision: 0 };
    for resource in [Resource::ConfigMaps, Resource::Services] {
        let answer = client.get(resource.path()).await.unwrap();
        assert_eq!(answer.code, StatusCode::OK, "{answer:?}");
        let list = answer.json();
        out.revision = out.revision.max(object::revision(&list));
        for item in list["items"].as_array().unwrap() {
            if let Some((id, seen)) = object::read(resource, item) {
                out.objects.insert(id, seen);
            }
        }
    }
    out
}

/// After a start: every writer finds what it was told is written, addresses are distinct, revisions have gone on.
async fn check(client: &Client, writers: &mut [Writer], kill: usize) {
    let stored = listed(client).await;
    let mut known = 0;
    for writer in writers.iter_mut() {
        writer.compare(&stored.objects, kill);
        assert!(stored.revision >= writer.highest, "kill {kill}: revisions went back");
        known += writer.present();
    }
    assert_eq!(known, stored.objects.len(), "kill {kill}: there are objects that nobody wrote");
    services(client).await;
}

/// The addresses and node ports of all Services, each distinct.
async fn services(client: &Client) -> Vec<Value> {
    let list = client.get(Resource::Services.path()).await.unwrap().json();
    let items = list["items"].as_array().unwrap().clone();
    let mut held = std::collections::BTreeSet::new();
    for item in &items {
        let address = item["spec"]["clusterIP"].as_str().expect("every Service has an address");
        assert!(held.insert(address.to_owned()), "{address} is held twice");
        if let Some(port) = item["spec"]["ports"][0]["nodePort"].as_u64() {
            assert!(held.insert(port.to_string()), "node port {port} is held twice");
        }
    }
    items
}

/// Writes one last object of each resource, which tells the watchers that they have seen all.
async fn write_the_last(client: &Client) {
    for resource in [Resource::ConfigMaps, Resource::Services] {
        let answer = client.post(resource.path(), resource.object(LAST, 0, true).to_string()).await.unwrap();
        assert_eq!(answer.code, StatusCode::CREATED, "{}", answer.json());
    }
}

/// No event was lost: what the watchers made of their events is what is stored, and every write that was answered with a
/// revision was told under that revision.
fn compare(seen: &[Watcher], writers: &[Writer], stored: &BTreeMap<Id, Seen>) {
    for pair in [[&seen[0], &seen[1]], [&seen[2], &seen[3]]] {
        assert_eq!(pair[0].revisions, pair[1].revisions, "two watchers of one resource");
        let resource = pair[0].resource;
        let mine: BTreeMap<String, u64> = stored
            .iter()
            .filter(|(id, _)| id.resource == resource)
            .map(|(id, seen)| (id.name.clone(), seen.step))
            .collect();
        assert_eq!(pair[0].state, mine, "{resource:?}: the events and the list");
        for writer in writers {
            for (revision, id) in writer.acknowledged.iter().filter(|(_, id)| id.resource == resource) {
                assert_eq!(pair[0].revisions.get(revision), Some(&id.name), "revision {revision}");
            }
        }
    }
}

/// The index of addresses and ports is that of the stored Services: what is held is refused, what is free is given.
async fn check_allocation(client: &Client) {
    let path = Resource::Services.path();
    let mut held = services(client).await;
    held.retain(|service| service["spec"]["type"] == "NodePort");
    let service = held.first().expect("the last Service of all has a node port");
    let (address, port) = (&service["spec"]["clusterIP"], &service["spec"]["ports"][0]["nodePort"]);
    let with = |spec: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "second"}, "spec": spec})
            .to_string()
    };
    let same_address = with(json!({"clusterIP": address, "ports": [{"port": 80}]}));
    let same_port = with(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}));
    for body in [&same_address, &same_port] {
        let answer = client.post(path, body.clone()).await.unwrap();
        assert_eq!(answer.code, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.json());
        assert!(
            answer.json()["message"].as_str().unwrap().contains("already allocated"),
            "{}",
            answer.json()
        );
    }
    let own = format!("{path}/{}", service["metadata"]["name"].as_str().unwrap());
    client.send(Method::DELETE, &own, "application/json", Default::default()).await.unwrap();
    let answer = client.post(path, same_address).await.unwrap();
    assert_eq!(answer.code, StatusCode::CREATED, "{}", answer.json());
}
