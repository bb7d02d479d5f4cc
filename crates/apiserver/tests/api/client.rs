//! What controllers and agents do, through the kube crate.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Binding, Namespace, Node, ObjectReference, Pod};
use kube::Resource;
use kube::api::{
    Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions, WatchEvent,
    WatchParams,
};
use serde_json::{Value, json};

use crate::fixture::{PATIENCE, Server};

fn pod(name: &str, app: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {"containers": [{"name": "main", "image": "nginx"}]},
    }))
    .unwrap()
}

fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_bound_ends_slowly_and_goes() {
    let server = Server::start().await;
    let client = server.client().await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let created = pods.create(&PostParams::default(), &pod("web", "a")).await.unwrap();
    let binding = Binding {
        metadata: ObjectMeta { name: Some("web".to_owned()), ..ObjectMeta::default() },
        target: ObjectReference { name: Some("node1".to_owned()), ..ObjectReference::default() },
    };
    let bind = || async {
        let result: Result<Value, _> =
            pods.create_subresource("binding", "web", &PostParams::default(), &binding).await;
        result
    };
    bind().await.unwrap();
    assert_eq!(code(&bind().await.unwrap_err()), 409);
    let bound = pods.get("web").await.unwrap();
    assert_eq!(bound.spec.as_ref().unwrap().node_name.as_deref(), Some("node1"));
    let status =
        json!({"status": {"phase": "Running", "podIP": "10.244.1.2"}, "spec": {"hostname": "ignored"}});
    let patched = pods.patch_status("web", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    assert_eq!(patched.status.unwrap().phase.as_deref(), Some("Running"));
    assert_eq!(patched.spec.unwrap().hostname, None);

    let other = Preconditions { uid: Some("another".to_owned()), ..Preconditions::default() };
    let refused = pods.delete("web", &DeleteParams::default().preconditions(other)).await.unwrap_err();
    assert_eq!(code(&refused), 409);
    let ending = pods.delete("web", &DeleteParams::default()).await.unwrap().left().expect("not gone yet");
    assert_eq!(ending.metadata.deletion_grace_period_seconds, Some(30));
    assert!(ending.metadata.deletion_timestamp.is_some());
    let own = Preconditions { uid: created.metadata.uid, ..Preconditions::default() };
    let now = DeleteParams::default().grace_period(0).preconditions(own);
    assert!(pods.delete("web", &now).await.unwrap().is_right());
    assert_eq!(code(&pods.get("web").await.unwrap_err()), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_sees_what_comes_into_its_selection_and_leaves_it() {
    let server = Server::start().await;
    let client = server.client().await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.create(&PostParams::default(), &pod("first", "a")).await.unwrap();
    let list = pods.list(&ListParams::default().labels("app=a")).await.unwrap();
    let version = list.metadata.resource_version.unwrap();
    let selected = WatchParams::default().labels("app=a").fields("metadata.namespace=default");
    let mut events = pods.watch(&selected, &version).await.unwrap().boxed();
    pods.create(&PostParams::default(), &pod("second", "b")).await.unwrap();
    let relabel = |app: &str| Patch::Merge(json!({"metadata": {"labels": {"app": app}}}));
    let parameters = PatchParams::default();
    pods.patch("second", &parameters, &relabel("a")).await.unwrap();
    pods.patch("first", &parameters, &relabel("b")).await.unwrap();
    pods.patch("second", &parameters, &Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}})))
        .await
        .unwrap();
    pods.delete("second", &DeleteParams::default()).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let event = tokio::time::timeout(PATIENCE, events.try_next()).await.unwrap().unwrap().unwrap();
        seen.push(match event {
            WatchEvent::Added(pod) => format!("added {}", pod.metadata.name.unwrap()),
            WatchEvent::Modified(pod) => format!("modified {}", pod.metadata.name.unwrap()),
            WatchEvent::Deleted(pod) => format!("deleted {}", pod.metadata.name.unwrap()),
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(status) => panic!("{status:?}"),
        });
    }
    assert_eq!(seen, ["added second", "deleted first", "modified second", "deleted second"]);
}

/// Both ways of starting: a list and a watch after it, and one watch that begins with what is there.
#[tokio::test(flavor = "multi_thread")]
async fn watchers_start_with_all_there_is_and_go_on_after_a_restart() {
    use kube::runtime::watcher::{Config, Event, watcher};
    let mut server = Server::start().await;
    let client = server.client().await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    for number in 0..5 {
        pods.create(&PostParams::default(), &pod(&format!("p{number}"), "a")).await.unwrap();
    }
    for config in [Config::default().page_size(2), Config::default().streaming_lists()] {
        let mut stream = watcher(pods.clone(), config).boxed();
        let mut store = BTreeMap::new();
        let mut complete = false;
        while !complete {
            let event = tokio::time::timeout(PATIENCE, stream.try_next()).await.unwrap().unwrap().unwrap();
            match event {
                Event::Init => {}
                Event::InitApply(pod) | Event::Apply(pod) => _ = store.insert(pod.metadata.name.clone(), pod),
                Event::Delete(pod) => _ = store.remove(&pod.metadata.name),
                Event::InitDone => complete = true,
            }
        }
        assert_eq!(store.len(), 5);
        drop(stream);
    }
    let mut stream = watcher(pods.clone(), Config::default()).boxed();
    loop {
        let event = tokio::time::timeout(PATIENCE, stream.try_next()).await.unwrap().unwrap().unwrap();
        if matches!(event, Event::InitDone) {
            break;
        }
    }
    server.restart().await;
    pods.create(&PostParams::default(), &pod("late", "a")).await.unwrap();
    loop {
        // The broken connection is an error to the watcher, which starts again by itself.
        let event = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap().unwrap();
        if let Ok(Event::Apply(pod) | Event::InitApply(pod)) = event
            && pod.metadata.name.as_deref() == Some("late")
        {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_conflict_and_generations_count() {
    let server = Server::start().await;
    let client = server.client().await;
    let nodes: Api<Node> = Api::all(client.clone());
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "node1"}})).unwrap();
    let first = nodes.create(&PostParams::default(), &node).await.unwrap();
    let mut newer = first.clone();
    newer.meta_mut().labels = Some(BTreeMap::from([("a".to_owned(), "b".to_owned())]));
    let second = nodes.replace("node1", &PostParams::default(), &newer).await.unwrap();
    assert_eq!(code(&nodes.replace("node1", &PostParams::default(), &newer).await.unwrap_err()), 409);
    let same = nodes.replace("node1", &PostParams::default(), &second).await.unwrap();
    assert_eq!(
        same.metadata.resource_version, second.metadata.resource_version,
        "nothing changed, nothing written"
    );
    assert_eq!(code(&nodes.create(&PostParams::default(), &node).await.unwrap_err()), 409);
    let generated: Pod = serde_json::from_value(json!({
        "metadata": {"generateName": "web-"}, "spec": {"containers": [{"name": "main", "image": "nginx"}]},
    }))
    .unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client);
    let name = pods.create(&PostParams::default(), &generated).await.unwrap().metadata.name.unwrap();
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_when_its_finalizer_does() {
    let server = Server::start().await;
    let client = server.client().await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "team"}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let refused = namespaces.delete("default", &DeleteParams::default()).await.unwrap_err();
    assert_eq!(code(&refused), 403);
    let mut going = namespaces.delete("team", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(going.status.as_ref().unwrap().phase.as_deref(), Some("Terminating"));
    let pods: Api<Pod> = Api::namespaced(client, "team");
    let late = pods.create(&PostParams::default(), &pod("late", "a")).await.unwrap_err();
    assert_eq!(code(&late), 403);
    going.spec.as_mut().unwrap().finalizers = None;
    let _last: Namespace =
        namespaces.replace_subresource("finalize", "team", &PostParams::default(), &going).await.unwrap();
    assert_eq!(code(&namespaces.get("team").await.unwrap_err()), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_is_a_deletion_that_says_why() {
    let server = Server::start().await;
    let client = server.client().await;
    let pods: Api<Pod> = Api::default_namespaced(client);
    let made = pods.create(&PostParams::default(), &pod("web", "web")).await.unwrap();
    let binding = json!({"metadata": {"name": "web"}, "target": {"kind": "Node", "name": "node1"}});
    let bound: Value =
        pods.create_subresource("binding", "web", &PostParams::default(), &binding).await.unwrap();
    assert_eq!(bound["status"], "Success");
    let evict = async |eviction: Value| -> Result<Value, kube::Error> {
        pods.create_subresource("eviction", "web", &PostParams::default(), &eviction).await
    };
    let eviction = |options: Value| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web"}, "deleteOptions": options});
    evict(eviction(json!({"dryRun": ["All"]}))).await.unwrap();
    assert_eq!(pods.get("web").await.unwrap().metadata.deletion_timestamp, None);
    let other = evict(eviction(json!({"preconditions": {"uid": "another"}}))).await.unwrap_err();
    assert_eq!(code(&other), 409);
    let misnamed = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "other"}});
    let misnamed = evict(misnamed).await.unwrap_err();
    assert!(
        misnamed.to_string().contains("name in URL does not match name in Eviction object"),
        "{misnamed}"
    );
    assert_eq!(
        code(
            &evict(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}}))
                .await
                .unwrap_err()
        ),
        400
    );
    let answer =
        evict(eviction(json!({"gracePeriodSeconds": 7, "preconditions": {"uid": made.metadata.uid}}))).await;
    assert_eq!(answer.unwrap()["status"], "Success");
    let going = pods.get("web").await.unwrap();
    assert_eq!(going.metadata.deletion_grace_period_seconds, Some(7));
    let conditions = going.status.unwrap().conditions.unwrap();
    let target = conditions.iter().find(|condition| condition.type_ == "DisruptionTarget").unwrap();
    assert_eq!(target.reason.as_deref(), Some("EvictionByEvictionAPI"));
    pods.delete("web", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(code(&evict(eviction(json!({}))).await.unwrap_err()), 404);
}
