use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::pods::facts::{Exit, SandboxFacts};
use crate::pods::ports::{ExitCause, ImageFailure, ImageFailureKind, PauseProcess, ResolvedImage};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn spec(json: serde_json::Value) -> PodSpec {
    let pod = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "u1"}, "spec": json,
    }));
    PodSpec::parse(&pod.unwrap()).unwrap()
}

fn one_container() -> PodSpec {
    spec(serde_json::json!({"containers": [{"name": "c", "image": "httpd"}]}))
}

fn image() -> ResolvedImage {
    ResolvedImage { reference: "httpd".into(), digest: "sha256:0".into(), stop_signal: 15, size: 1 }
}

fn sandbox() -> SandboxFacts {
    SandboxFacts {
        pause: PauseProcess { pid: 2, start_ticks: 3 },
        address: "10.244.1.2".parse().unwrap(),
        host_network: false,
    }
}

/// A world in which everything that is begun succeeds at once.
fn carry_out(spec: &PodSpec, facts: &mut Facts, action: Action, now: Timestamp) {
    match action {
        Action::StartSandbox { attempt } => {
            assert_eq!(facts.sandbox, Sandbox::Absent, "a second sandbox");
            facts.sandbox_begins(attempt, spec.init.iter().map(|container| container.name.as_str()));
            facts.sandbox_ready(sandbox());
        }
        Action::RemoveSandbox => {
            assert!(!facts.any_running(), "the sandbox goes before its containers");
            facts.sandbox_removed();
        }
        Action::Provide { container } => facts.container_mut(&container).image_ready(image()),
        Action::Start { container, attempt } => {
            assert!(matches!(facts.sandbox, Sandbox::Ready(_)), "a container without sandbox");
            let known = facts.container_mut(&container);
            assert!(!matches!(known.run, Run::Running { .. }), "two runs of one container");
            assert!(known.provided, "a start without image");
            known.start_begins(attempt);
            known.started(format!("{container}-{attempt}"), now);
            let manifest = spec.container(&container).unwrap();
            known.awaits(manifest.post_start.is_some(), manifest.startup.is_some());
        }
        Action::StartHook { container } => {
            let known = facts.container_mut(&container);
            known.hook_pending = false;
            if spec.container(&container).unwrap().startup.is_none() {
                known.came_up();
            }
        }
        Action::Hook { container, .. } => {
            facts.container_mut(&container).stop.get_or_insert_default().hook_done = true;
        }
        Action::Stop { container } => {
            facts.container_mut(&container).stop.get_or_insert_default().signalled = Some(now);
        }
        Action::Kill { container } => end(facts, &container, 137, now),
        Action::Remove { container } => {
            if let Run::Exited(exit) = &mut facts.container_mut(&container).run {
                exit.removed = true;
            }
        }
        Action::DeleteObject => facts.termination.as_mut().unwrap().gone = true,
        Action::WatchSandbox
        | Action::Watch { .. }
        | Action::Check { .. }
        | Action::SetUpVolumes
        | Action::Forget => {}
    }
}

fn end(facts: &mut Facts, container: &str, code: i32, now: Timestamp) {
    let known = facts.container_mut(container);
    let Run::Running { id, started } = known.run.clone() else { return };
    known.exited(Exit {
        id,
        code,
        cause: ExitCause::Process,
        started,
        finished: now,
        removed: false,
        message: String::new(),
    });
}

fn is_watch(action: &Action) -> bool {
    matches!(action, Action::WatchSandbox | Action::Watch { .. } | Action::Check { .. })
}

/// Carries out whatever is to be done, without time passing, until nothing is. What was done.
fn settle(spec: &PodSpec, facts: &mut Facts, now: Timestamp) -> Vec<Action> {
    let mut done = Vec::new();
    loop {
        let plan = decide(spec, facts, &Flight::default(), now);
        let actions: Vec<_> = plan.actions.into_iter().filter(|action| !is_watch(action)).collect();
        if actions.is_empty() || actions == [Action::Forget] {
            done.extend(actions);
            return done;
        }
        for action in actions {
            carry_out(spec, facts, action.clone(), now);
            done.push(action);
        }
        assert!(done.len() < 100, "never settles: {done:?}");
    }
}

#[test]
fn a_pod_comes_up_in_order() {
    let (spec, mut facts) = (one_container(), Facts::new(at(0)));
    let done = settle(&spec, &mut facts, at(0));
    let name = || "c".to_owned();
    assert_eq!(
        done,
        [
            Action::StartSandbox { attempt: 1 },
            Action::Provide { container: name() },
            Action::Start { container: name(), attempt: 1 },
        ]
    );
    assert!(pod_ready(&spec, &facts));
}

#[test]
fn init_containers_come_one_after_another() {
    let spec = spec(serde_json::json!({
        "initContainers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}],
        "containers": [{"name": "c", "image": "i"}],
    }));
    let mut facts = Facts::new(at(0));
    for name in ["a", "b"] {
        settle(&spec, &mut facts, at(0));
        let running: Vec<_> = facts
            .containers
            .iter()
            .filter(|(_, known)| matches!(known.run, Run::Running { .. }))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(running, [name]);
        assert!(!pod_ready(&spec, &facts));
        end(&mut facts, name, 0, at(1));
    }
    settle(&spec, &mut facts, at(1));
    assert!(pod_ready(&spec, &facts));
}

#[test]
fn a_crash_is_restarted_at_once_and_then_backed_off() {
    let (spec, mut facts) = (one_container(), Facts::new(at(0)));
    settle(&spec, &mut facts, at(0));
    end(&mut facts, "c", 1, at(5));
    settle(&spec, &mut facts, at(5));
    assert!(facts.any_running());
    end(&mut facts, "c", 1, at(6));
    settle(&spec, &mut facts, at(6));
    assert!(!facts.any_running());
    assert_eq!(decide(&spec, &facts, &Flight::default(), at(6)).wake, Some(at(16)));
    settle(&spec, &mut facts, at(16));
    assert!(facts.any_running());
    assert_eq!(facts.containers["c"].restarts, 2);
}

#[test]
fn an_image_that_is_nowhere_is_asked_for_again_later() {
    let (spec, mut facts) = (one_container(), Facts::new(at(0)));
    facts.sandbox_ready(sandbox());
    let error = ImageFailure { kind: ImageFailureKind::Pull, message: "no such host".into() };
    facts.container_mut("c").image_failed(error.clone(), at(100));
    let plan = |facts: &Facts, now| decide(&spec, facts, &Flight::default(), now);
    // First to show the back-off, then to try again.
    assert_eq!(plan(&facts, at(100)).wake, Some(at(101)));
    assert_eq!(plan(&facts, at(101)).wake, Some(at(110)));
    let provide = Action::Provide { container: "c".into() };
    assert!(plan(&facts, at(110)).actions.contains(&provide));
    facts.container_mut("c").image_failed(error, at(110));
    assert_eq!(plan(&facts, at(120)).wake, Some(at(130)));
}

#[test]
fn termination_waits_asks_and_then_forces() {
    let spec = spec(serde_json::json!({"containers": [
        {"name": "c", "image": "i", "lifecycle": {"preStop": {"exec": {"command": ["true"]}}}},
    ]}));
    let mut facts = Facts::new(at(0));
    settle(&spec, &mut facts, at(0));
    facts.terminate(at(100), Duration::from_secs(30), Duration::from_secs(1), true);
    assert_eq!(settle(&spec, &mut facts, at(100)), []);
    assert_eq!(decide(&spec, &facts, &Flight::default(), at(100)).wake, Some(at(101)));
    let container = || "c".to_owned();
    let hook = Action::Hook { container: container(), deadline: at(130) };
    assert_eq!(settle(&spec, &mut facts, at(101)), [hook, Action::Stop { container: container() }]);
    assert_eq!(decide(&spec, &facts, &Flight::default(), at(101)).wake, Some(at(130)));
    assert_eq!(
        settle(&spec, &mut facts, at(130)),
        [
            Action::Kill { container: container() },
            Action::Remove { container: container() },
            Action::RemoveSandbox,
            Action::DeleteObject,
            Action::Forget,
        ]
    );
}

#[test]
fn a_pod_that_ran_to_its_end_gives_its_sandbox_back() {
    let spec = spec(serde_json::json!({
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}],
    }));
    let mut facts = Facts::new(at(0));
    settle(&spec, &mut facts, at(0));
    end(&mut facts, "c", 0, at(1));
    settle(&spec, &mut facts, at(1));
    assert_eq!(facts.sandbox, Sandbox::Absent);
    assert!(finished(&spec, &facts));
    assert_eq!(decide(&spec, &facts, &Flight::default(), at(1)), Plan::default());
}

#[test]
fn a_lost_sandbox_is_made_anew_with_its_containers() {
    let (spec, mut facts) = (one_container(), Facts::new(at(0)));
    settle(&spec, &mut facts, at(0));
    facts.sandbox_lost();
    assert_eq!(settle(&spec, &mut facts, at(5)), [Action::Stop { container: "c".into() }]);
    assert!(!pod_ready(&spec, &facts));
    end(&mut facts, "c", 143, at(6));
    settle(&spec, &mut facts, at(6));
    assert_eq!(facts.sandbox_attempts, 2);
    assert!(pod_ready(&spec, &facts));
}

#[test]
fn nothing_is_begun_twice() {
    let (spec, facts) = (one_container(), Facts::new(at(0)));
    let mut flight = Flight::default();
    let plan = decide(&spec, &facts, &flight, at(0));
    flight.running.extend(plan.actions.iter().map(Action::op));
    assert_eq!(decide(&spec, &facts, &flight, at(0)).actions, []);
}

/// Something that happens to a pod.
#[derive(Debug, Clone)]
enum Happening {
    Settle,
    Passes(u16),
    Ends { container: u8, code: i32 },
    SandboxLost,
    PullFails(u8),
    Deleted { grace: u8 },
    Gone,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => Just(Happening::Settle),
        2 => (0..400_u16).prop_map(Happening::Passes),
        3 => (0..3_u8, prop_oneof![Just(0), Just(1)]).prop_map(|(container, code)| Happening::Ends { container, code }),
        1 => Just(Happening::SandboxLost),
        1 => (0..3_u8).prop_map(Happening::PullFails),
        1 => (0..40_u8).prop_map(|grace| Happening::Deleted { grace }),
        1 => Just(Happening::Gone),
    ]
}

proptest! {
    /// Whatever happens: never a container without sandbox or image, never two runs at once (asserted while the
    /// plan is carried out), and a pod that is deleted ends within its grace period with nothing left.
    #[test]
    fn every_life_is_orderly_and_ends(
        policy in prop_oneof![Just("Always"), Just("OnFailure"), Just("Never")],
        happenings in proptest::collection::vec(happening(), 0..40),
    ) {
        let spec = spec(serde_json::json!({
            "restartPolicy": policy,
            "initContainers": [{"name": "c0", "image": "i"}],
            "containers": [{"name": "c1", "image": "i"}, {"name": "c2", "image": "i"}],
        }));
        let mut facts = Facts::new(at(0));
        let mut now = at(0);
        for happening in happenings {
            match happening {
                Happening::Settle => { settle(&spec, &mut facts, now); }
                Happening::Passes(seconds) => now += SignedDuration::from_secs(seconds.into()),
                Happening::Ends { container, code } => end(&mut facts, &format!("c{container}"), code, now),
                Happening::SandboxLost => facts.sandbox_lost(),
                Happening::PullFails(container) => {
                    let known = facts.container_mut(&format!("c{container}"));
                    if !known.provided {
                        let error = ImageFailure { kind: ImageFailureKind::Pull, message: String::new() };
                        known.image_failed(error, now);
                    }
                }
                Happening::Deleted { grace } => {
                    facts.terminate(now, Duration::from_secs(grace.into()), Duration::from_secs(1), true);
                }
                Happening::Gone => {
                    facts.terminate(now, Duration::from_secs(1), Duration::ZERO, false);
                    facts.termination.as_mut().unwrap().gone = true;
                }
            }
        }
        facts.terminate(now, Duration::from_secs(30), Duration::from_secs(1), true);
        let deadline = facts.termination.as_ref().unwrap().kill_at;
        prop_assert!(deadline <= now + SignedDuration::from_secs(30));
        let done = settle(&spec, &mut facts, deadline);
        prop_assert_eq!(done.last(), Some(&Action::Forget));
        prop_assert!(!facts.any_running());
        prop_assert_eq!(&facts.sandbox, &Sandbox::Absent);
    }

    /// While time passes nothing is missed: if the plan at some time has nothing to do, it has nothing to do until
    /// the time at which it asks to be woken.
    #[test]
    fn the_wake_is_never_late(crashes in 0..4_u32, ended in 0..100_i64, ask in 0..400_i64) {
        let spec = one_container();
        let mut facts = Facts::new(at(0));
        settle(&spec, &mut facts, at(0));
        for _ in 0..crashes {
            end(&mut facts, "c", 1, at(0));
            facts.container_mut("c").crashes += 1;
            facts.container_mut("c").run = Run::Running { id: "x".into(), started: at(0) };
        }
        end(&mut facts, "c", 1, at(ended));
        carry_out(&spec, &mut facts, Action::Remove { container: "c".into() }, at(ended));
        let begins = |now| decide(&spec, &facts, &Flight::default(), now)
            .actions.iter().any(|action| !is_watch(action));
        let now = at(ended);
        if !begins(now) {
            let wake = decide(&spec, &facts, &Flight::default(), now).wake.unwrap();
            let asked = now + SignedDuration::from_secs(ask);
            prop_assert_eq!(begins(asked), asked >= wake);
        }
    }
}

fn kinds(spec: &PodSpec, facts: &Facts, now: Timestamp) -> Vec<ProbeKind> {
    let actions = decide(spec, facts, &Flight::default(), now).actions;
    let kind = |action: Action| match action {
        Action::Check { probe, .. } => Some(probe),
        _ => None,
    };
    actions.into_iter().filter_map(kind).collect()
}

#[test]
fn the_other_probes_wait_for_the_startup_probe() {
    let probe = serde_json::json!({"exec": {"command": ["true"]}});
    let spec = spec(serde_json::json!({"containers": [{
        "name": "c", "image": "i", "startupProbe": probe, "livenessProbe": probe, "readinessProbe": probe,
    }]}));
    let mut facts = Facts::new(at(0));
    settle(&spec, &mut facts, at(0));
    assert_eq!(kinds(&spec, &facts, at(1)), [ProbeKind::Startup]);
    facts.container_mut("c").came_up();
    assert_eq!(kinds(&spec, &facts, at(1)), [ProbeKind::Liveness, ProbeKind::Readiness]);
    assert!(!pod_ready(&spec, &facts));
}

#[test]
fn a_doomed_run_is_stopped_killed_and_followed_by_another() {
    let (spec, mut facts) = (one_container(), Facts::new(at(0)));
    settle(&spec, &mut facts, at(0));
    facts.container_mut("c").doom(at(5), Duration::from_secs(3));
    assert!(!pod_ready(&spec, &facts));
    assert_eq!(settle(&spec, &mut facts, at(5)), [Action::Stop { container: "c".into() }]);
    let plan = decide(&spec, &facts, &Flight::default(), at(6));
    assert_eq!(plan.wake, Some(at(8)));
    let done = settle(&spec, &mut facts, at(8));
    assert_eq!(done[0], Action::Kill { container: "c".into() });
    assert!(done.contains(&Action::Start { container: "c".into(), attempt: 2 }), "{done:?}");
    assert_eq!(facts.containers["c"].doom, None);
}

#[test]
fn a_hook_comes_before_probes_and_traffic() {
    let spec = spec(serde_json::json!({"containers": [{
        "name": "c", "image": "i", "lifecycle": {"postStart": {"exec": {"command": ["true"]}}},
        "livenessProbe": {"exec": {"command": ["true"]}},
    }]}));
    let mut facts = Facts::new(at(0));
    let done = settle(&spec, &mut facts, at(0));
    assert_eq!(done.last(), Some(&Action::StartHook { container: "c".into() }));
    assert!(pod_ready(&spec, &facts));
    assert_eq!(kinds(&spec, &facts, at(1)), [ProbeKind::Liveness]);
}

fn with_sidecars(restart: &str) -> PodSpec {
    spec(serde_json::json!({
        "restartPolicy": restart,
        "initContainers": [
            {"name": "s1", "image": "i", "restartPolicy": "Always"},
            {"name": "init", "image": "i"},
            {"name": "s2", "image": "i", "restartPolicy": "Always"},
        ],
        "containers": [{"name": "c", "image": "i"}],
    }))
}

fn names_of(actions: &[Action], wanted: fn(&Action) -> Option<&String>) -> Vec<&str> {
    actions.iter().filter_map(wanted).map(String::as_str).collect()
}

fn starts(actions: &[Action]) -> Vec<&str> {
    names_of(actions, |action| match action {
        Action::Start { container, .. } => Some(container),
        _ => None,
    })
}

fn stops(actions: &[Action]) -> Vec<&str> {
    names_of(actions, |action| match action {
        Action::Stop { container } => Some(container),
        _ => None,
    })
}

#[test]
fn sidecars_start_in_their_turn_and_run_beside_the_others() {
    let (spec, mut facts) = (with_sidecars("Always"), Facts::new(at(0)));
    assert_eq!(starts(&settle(&spec, &mut facts, at(0))), ["s1", "init"]);
    end(&mut facts, "init", 0, at(1));
    assert_eq!(starts(&settle(&spec, &mut facts, at(1))), ["s2", "c"]);
    assert!(initialized(&spec, &facts) && pod_ready(&spec, &facts));
    end(&mut facts, "s1", 0, at(2));
    assert!(initialized(&spec, &facts) && !pod_ready(&spec, &facts));
    assert_eq!(starts(&settle(&spec, &mut facts, at(2))), ["s1"]);
}

#[test]
fn sidecars_go_last_in_reverse_order() {
    let (spec, mut facts) = (with_sidecars("Never"), Facts::new(at(0)));
    settle(&spec, &mut facts, at(0));
    end(&mut facts, "init", 0, at(1));
    settle(&spec, &mut facts, at(1));
    end(&mut facts, "c", 0, at(2));
    assert!(finished(&spec, &facts));
    for sidecar in ["s2", "s1"] {
        assert_eq!(stops(&settle(&spec, &mut facts, at(3))), [sidecar]);
        end(&mut facts, sidecar, 143, at(3));
    }
    assert_eq!(settle(&spec, &mut facts, at(4)).last(), Some(&Action::RemoveSandbox));

    let (spec, mut facts) = (with_sidecars("Always"), Facts::new(at(0)));
    settle(&spec, &mut facts, at(0));
    end(&mut facts, "init", 0, at(1));
    settle(&spec, &mut facts, at(1));
    facts.terminate(at(10), Duration::from_secs(30), Duration::ZERO, false);
    for container in ["c", "s2", "s1"] {
        assert_eq!(stops(&settle(&spec, &mut facts, at(10))), [container]);
        end(&mut facts, container, 143, at(10));
    }
}

#[test]
fn volumes_come_before_the_sandbox_and_are_brought_up_to_date() {
    let spec = spec(serde_json::json!({
        "containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", "configMap": {"name": "cm"}}],
    }));
    let mut facts = Facts::new(at(0));
    let mut flight = Flight::default();
    let actions = decide(&spec, &facts, &flight, at(0)).actions;
    assert_eq!(actions, [Action::SetUpVolumes, Action::Provide { container: "c".into() }]);
    flight.volumes = Volumes::Ready(Some(at(10)));
    let actions = decide(&spec, &facts, &flight, at(0)).actions;
    assert_eq!(actions[0], Action::StartSandbox { attempt: 1 });
    facts.sandbox_begins(1, []);
    facts.sandbox_ready(sandbox());
    facts.container_mut("c").image_ready(image());
    facts.container_mut("c").start_begins(1);
    facts.container_mut("c").started("c-1".into(), at(1));
    facts.container_mut("c").awaits(false, false);
    let plan = decide(&spec, &facts, &flight, at(5));
    assert_eq!(plan.wake, Some(at(10)));
    assert!(decide(&spec, &facts, &flight, at(10)).actions.contains(&Action::SetUpVolumes));
}
