use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::*;

fn item<K: k8s_openapi::Resource>(name: &str, owners: &[&str]) -> Item {
    let reference = |owner: &&str| OwnerReference {
        uid: (*owner).to_owned(),
        name: (*owner).to_owned(),
        block_owner_deletion: Some(true),
        ..OwnerReference::default()
    };
    Item::of::<K>(&ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some("default".to_owned()),
        uid: Some(name.to_owned()),
        owner_references: Some(owners.iter().map(reference).collect()),
        ..ObjectMeta::default()
    })
}

fn ending(mut item: Item, finalizer: &str) -> Item {
    item.deleting = true;
    item.finalizers = vec![finalizer.to_owned()];
    item
}

fn graph(items: Vec<Item>) -> Graph {
    let mut graph = Graph::default();
    for item in items {
        graph.apply(item);
    }
    graph
}

fn verdict(graph: &Graph, id: &str, absent: &[&str]) -> Verdict {
    let absent: Vec<String> = absent.iter().map(|id| (*id).to_owned()).collect();
    judge(graph, graph.find(id).unwrap(), &absent)
}

#[test]
fn an_object_with_a_living_owner_stays() {
    let graph = graph(vec![item::<ReplicaSet>("set", &[]), item::<Pod>("pod", &["set"])]);
    assert_eq!(verdict(&graph, "pod", &[]), Verdict::Keep);
    assert_eq!(verdict(&graph, "set", &[]), Verdict::Keep);
}

#[test]
fn an_unknown_owner_is_looked_up_before_anything_is_deleted() {
    let graph = graph(vec![item::<Pod>("pod", &["set"])]);
    assert_eq!(verdict(&graph, "pod", &[]), Verdict::LookUp(vec!["set".to_owned()]));
    assert_eq!(verdict(&graph, "pod", &["set"]), Verdict::Delete { foreground: false });
}

#[test]
fn deleting_an_owner_wakes_what_it_owned() {
    let mut graph = graph(vec![
        item::<Deployment>("deployment", &[]),
        item::<ReplicaSet>("set", &["deployment"]),
        item::<Pod>("pod", &["set"]),
    ]);
    assert_eq!(graph.delete("deployment"), ["set"]);
    assert_eq!(graph.delete("set"), ["deployment", "pod"]);
    assert_eq!(graph.delete("set"), [""; 0]);
}

#[test]
fn with_one_owner_left_only_the_reference_to_the_other_goes() {
    let graph = graph(vec![item::<ReplicaSet>("a", &[]), item::<Pod>("pod", &["a", "b"])]);
    assert_eq!(verdict(&graph, "pod", &["b"]), Verdict::Cut(vec!["b".to_owned()]));
}

#[test]
fn foreground_deletion_ends_from_the_leaves() {
    let mut graph = graph(vec![
        ending(item::<Deployment>("deployment", &[]), FOREGROUND),
        item::<ReplicaSet>("set", &["deployment"]),
        item::<Pod>("pod", &["set"]),
    ]);
    assert_eq!(verdict(&graph, "deployment", &[]), Verdict::DeleteDependents(vec!["set".to_owned()]));
    assert_eq!(verdict(&graph, "set", &[]), Verdict::Delete { foreground: true });
    graph.apply(ending(item::<ReplicaSet>("set", &["deployment"]), FOREGROUND));
    assert_eq!(verdict(&graph, "deployment", &[]), Verdict::Keep);
    assert_eq!(verdict(&graph, "pod", &[]), Verdict::Delete { foreground: false });
    assert_eq!(graph.delete("pod"), ["set"]);
    assert_eq!(verdict(&graph, "set", &[]), Verdict::Release(FOREGROUND));
    assert_eq!(graph.delete("set"), ["deployment"]);
    assert_eq!(verdict(&graph, "deployment", &[]), Verdict::Release(FOREGROUND));
}

#[test]
fn orphans_are_let_go_before_their_owner_ends() {
    let mut graph = graph(vec![ending(item::<ReplicaSet>("set", &[]), ORPHAN), item::<Pod>("pod", &["set"])]);
    assert_eq!(verdict(&graph, "set", &[]), Verdict::LetGo(vec!["pod".to_owned()]));
    let suspects = graph.apply(item::<Pod>("pod", &[]));
    assert!(suspects.contains(&"set".to_owned()));
    assert_eq!(verdict(&graph, "set", &[]), Verdict::Release(ORPHAN));
    graph.delete("set");
    assert_eq!(verdict(&graph, "pod", &[]), Verdict::Keep);
}
