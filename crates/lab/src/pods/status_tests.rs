use std::time::Duration;

use super::*;
use crate::pods::facts::SandboxFacts;
use crate::pods::ports::{ImageFailure, PauseProcess, ResolvedImage, StartFailure};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn spec(json: serde_json::Value) -> PodSpec {
    let pod = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "u1"}, "spec": json,
    }));
    PodSpec::parse(&pod.unwrap()).unwrap()
}

fn one(policy: &str) -> PodSpec {
    spec(serde_json::json!({"restartPolicy": policy, "containers": [{"name": "c", "image": "httpd"}]}))
}

fn built(spec: &PodSpec, facts: &Facts, previous: Option<&core::PodStatus>, now: i64) -> core::PodStatus {
    build(spec, facts, Context { host: "10.100.0.2".parse().unwrap(), previous, now: at(now) })
}

fn running(facts: &mut Facts) {
    facts.sandbox_attempts = 1;
    facts.sandbox_ready(SandboxFacts {
        pause: PauseProcess { pid: 1, start_ticks: 1 },
        address: "10.244.1.2".parse().unwrap(),
        host_network: false,
    });
    let image = ResolvedImage {
        reference: "docker.io/library/httpd:latest".into(),
        digest: "sha256:ab".into(),
        stop_signal: 15,
        size: 1,
    };
    let known = facts.container_mut("c");
    known.image_ready(image);
    known.start_begins(1);
    known.started("id1".into(), at(10));
    known.awaits(false, false);
}

fn ended(facts: &mut Facts, code: i32) {
    let exit = Exit {
        id: "id1".into(),
        code,
        cause: ExitCause::Process,
        started: at(10),
        finished: at(20),
        removed: true,
        message: String::new(),
    };
    facts.container_mut("c").exited(exit);
}

fn verdict<'a>(status: &'a core::PodStatus, kind: &str) -> &'a core::PodCondition {
    status.conditions.as_ref().unwrap().iter().find(|condition| condition.type_ == kind).unwrap()
}

fn waiting_of(status: &core::PodStatus) -> (String, Option<String>) {
    let container = &status.container_statuses.as_ref().unwrap()[0];
    let waiting = container.state.as_ref().unwrap().waiting.as_ref().unwrap();
    (waiting.reason.clone().unwrap(), waiting.message.clone())
}

#[test]
fn a_pod_that_has_just_come_is_pending() {
    let status = built(&one("Always"), &Facts::new(at(0)), None, 0);
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(waiting_of(&status).0, "ContainerCreating");
    let ready = verdict(&status, "Ready");
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_deref(), ready.message.as_deref()),
        ("False", Some("ContainersNotReady"), Some("containers with unready status: [c]"))
    );
    assert_eq!(verdict(&status, "Initialized").status, "True");
    assert_eq!(verdict(&status, "PodScheduled").status, "True");
    assert_eq!(verdict(&status, "PodReadyToStartContainers").status, "False");
}

#[test]
fn a_running_pod_shows_its_address_and_image() {
    let mut facts = Facts::new(at(0));
    running(&mut facts);
    let status = built(&one("Always"), &facts, None, 11);
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.pod_ip.as_deref(), Some("10.244.1.2"));
    assert_eq!(verdict(&status, "Ready").status, "True");
    let container = &status.container_statuses.unwrap()[0];
    assert!(container.ready && container.started == Some(true));
    assert_eq!(container.image_id, "docker.io/library/httpd@sha256:ab");
    assert_eq!(container.container_id.as_deref(), Some("runc://id1"));
}

#[test]
fn equal_facts_give_equal_statuses_whatever_the_time() {
    let mut facts = Facts::new(at(0));
    running(&mut facts);
    let first = built(&one("Always"), &facts, None, 11);
    assert_eq!(built(&one("Always"), &facts, Some(&first), 99), first);
    ended(&mut facts, 1);
    let later = built(&one("Always"), &facts, Some(&first), 99);
    assert_eq!(verdict(&later, "Ready").last_transition_time, Some(time(at(99))));
    assert_eq!(verdict(&later, "Initialized").last_transition_time, Some(time(at(11))));
}

#[test]
fn the_image_that_is_nowhere() {
    let mut facts = Facts::new(at(0));
    let error = ImageFailure { kind: ImageFailureKind::Pull, message: "no such host".into() };
    facts.container_mut("c").image_failed(error, at(5));
    let spec = one("Always");
    assert_eq!(
        waiting_of(&built(&spec, &facts, None, 5)),
        ("ErrImagePull".to_owned(), Some("no such host".to_owned()))
    );
    assert_eq!(
        waiting_of(&built(&spec, &facts, None, 6)),
        (
            "ImagePullBackOff".to_owned(),
            Some("Back-off pulling image \"httpd\": ErrImagePull: no such host".to_owned())
        )
    );
}

#[test]
fn a_crash_loop() {
    let mut facts = Facts::new(at(0));
    running(&mut facts);
    ended(&mut facts, 1);
    facts.container_mut("c").started("id2".into(), at(21));
    ended(&mut facts, 1);
    facts.container_mut("c").crashes = 4;
    let status = built(&one("Always"), &facts, None, 22);
    assert_eq!(
        waiting_of(&status),
        (
            "CrashLoopBackOff".to_owned(),
            Some("back-off 1m20s restarting failed container=c pod=web_default(u1)".to_owned())
        )
    );
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let container = &status.container_statuses.unwrap()[0];
    assert_eq!(container.restart_count, 1);
    assert_eq!(container.last_state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code, 1);
}

#[test]
fn finished_pods() {
    for (policy, code, phase, reason) in [
        ("Never", 0, "Succeeded", "PodCompleted"),
        ("Never", 2, "Failed", "PodFailed"),
        ("OnFailure", 0, "Succeeded", "PodCompleted"),
    ] {
        let mut facts = Facts::new(at(0));
        running(&mut facts);
        let before = built(&one(policy), &facts, None, 11);
        ended(&mut facts, code);
        facts.sandbox_removed();
        let status = built(&one(policy), &facts, Some(&before), 22);
        assert_eq!(status.phase.as_deref(), Some(phase));
        assert_eq!(verdict(&status, "Ready").reason.as_deref(), Some(reason));
        assert_eq!(status.pod_ip.as_deref(), Some("10.244.1.2"), "a finished pod shows the address it had");
        let state = status.container_statuses.unwrap()[0].state.clone().unwrap().terminated.unwrap();
        assert_eq!(state.reason.as_deref(), Some(if code == 0 { "Completed" } else { "Error" }));
    }
}

#[test]
fn a_pod_on_its_way_out_keeps_running_until_its_containers_end() {
    let mut facts = Facts::new(at(0));
    running(&mut facts);
    facts.terminate(at(12), Duration::from_secs(30), Duration::from_secs(1), true);
    assert_eq!(built(&one("Always"), &facts, None, 12).phase.as_deref(), Some("Running"));
    ended(&mut facts, 0);
    assert_eq!(built(&one("Always"), &facts, None, 13).phase.as_deref(), Some("Succeeded"));
}

#[test]
fn what_is_not_supported_is_told() {
    let spec = spec(serde_json::json!({
        "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "etc", "nfs": {"server": "s", "path": "/etc"}}],
    }));
    let (reason, message) = waiting_of(&built(&spec, &Facts::new(at(0)), None, 0));
    assert_eq!(reason, "CreateContainerConfigError");
    assert!(message.unwrap().contains("emptyDir"));
}

#[test]
fn a_process_that_cannot_be_started_has_ended_and_is_backed_off() {
    let spec = one("Always");
    let mut facts = Facts::new(at(0));
    running(&mut facts);
    ended(&mut facts, 0);
    let failure = || StartFailure { stage: StartStage::Run, message: "no such file".into() };
    facts.container_mut("c").start_failed("id2".into(), failure(), at(30));
    let (reason, message) = waiting_of(&built(&spec, &facts, None, 30));
    assert_eq!((reason.as_str(), message.as_deref()), ("RunContainerError", Some("no such file")));
    let later = built(&spec, &facts, None, 31);
    assert_eq!(waiting_of(&later).0, "CrashLoopBackOff");
    let container = &later.container_statuses.as_ref().unwrap()[0];
    let last = container.last_state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!(
        (last.exit_code, last.reason.as_deref(), container.restart_count),
        (128, Some("StartError"), 1)
    );
    assert_eq!(last.started_at.as_ref().unwrap().0, Timestamp::UNIX_EPOCH);
    assert_eq!(facts.containers["c"].restart_at(), Some(at(40)));
    let once = built(&one("Never"), &facts, None, 31);
    assert_eq!(once.phase.as_deref(), Some("Failed"));
}
