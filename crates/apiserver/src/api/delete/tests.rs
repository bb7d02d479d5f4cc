use super::*;
use crate::kinds::Registry;

fn kind(name: &str) -> &'static Kind {
    let served = Registry::built_in().served().find(|served| served.stored && served.kind.kind == name);
    &served.unwrap().kind
}

fn now() -> Timestamp {
    "2026-11-21T20:00:00Z".parse().unwrap()
}

fn running_pod() -> Value {
    json!({"kind": "Pod", "metadata": {"name": "web"}, "spec": {"nodeName": "node1", "terminationGracePeriodSeconds": 30}})
}

fn marked(step: Step) -> Value {
    match step {
        Step::Mark(object) => object,
        other => panic!("not marked: {other:?}"),
    }
}

fn grace(seconds: i64) -> DeleteOptions {
    DeleteOptions { grace_seconds: Some(seconds), ..DeleteOptions::default() }
}

#[test]
fn a_running_pod_gets_its_grace_period() {
    let pod = marked(step(kind("Pod"), &running_pod(), &DeleteOptions::default(), now()));
    assert_eq!(pod["metadata"]["deletionTimestamp"], "2026-11-21T20:00:30Z");
    assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(step(kind("Pod"), &pod, &DeleteOptions::default(), now()), Step::Keep);
    assert_eq!(step(kind("Pod"), &pod, &grace(60), now()), Step::Keep, "it cannot be lengthened");
    let shorter = marked(step(kind("Pod"), &pod, &grace(5), now()));
    assert_eq!(shorter["metadata"]["deletionTimestamp"], "2026-11-21T20:00:05Z");
    assert_eq!(step(kind("Pod"), &pod, &grace(0), now()), Step::Remove);
}

#[test]
fn a_pod_that_runs_nowhere_goes_at_once() {
    let mut pod = running_pod();
    pod["status"] = json!({"phase": "Succeeded"});
    assert_eq!(step(kind("Pod"), &pod, &DeleteOptions::default(), now()), Step::Remove);
    let unbound = json!({"kind": "Pod", "metadata": {"name": "web"}, "spec": {}});
    assert_eq!(step(kind("Pod"), &unbound, &grace(30), now()), Step::Remove);
}

#[test]
fn finalizers_hold_an_object() {
    let deployment = json!({"kind": "Deployment", "metadata": {"name": "web", "generation": 3}, "spec": {}});
    let foreground = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
    let held = marked(step(kind("Deployment"), &deployment, &foreground, now()));
    assert_eq!(held["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    assert_eq!(held["metadata"]["generation"], 4);
    assert_eq!(step(kind("Deployment"), &held, &DeleteOptions::default(), now()), Step::Keep);
    let background = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
    assert_eq!(step(kind("Deployment"), &held, &background, now()), Step::Remove);
    assert_eq!(step(kind("Deployment"), &deployment, &DeleteOptions::default(), now()), Step::Remove);
}

#[test]
fn a_namespace_waits_for_its_content() {
    let namespace = json!({
        "kind": "Namespace", "metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    });
    let going = marked(step(kind("Namespace"), &namespace, &DeleteOptions::default(), now()));
    assert_eq!(going["status"]["phase"], "Terminating");
    assert_eq!(going["metadata"]["deletionTimestamp"], "2026-11-21T20:00:00Z");
    let mut emptied = going;
    emptied["spec"] = json!({"finalizers": []});
    assert_eq!(step(kind("Namespace"), &emptied, &DeleteOptions::default(), now()), Step::Remove);
}
