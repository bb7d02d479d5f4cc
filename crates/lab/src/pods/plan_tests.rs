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
    SandboxFacts { pause: PauseProcess { pid: 2, start_ticks: 3 }, address: "10.244.1.2".parse().unwrap() }
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
        Action::WatchSandbox | Action::Watch { .. } | Action::Check { .. } | Action::Forget => {}
    }
}

fn end(facts: &mut Facts, container: &str, code: i32, now: Timestamp) {
    let known = facts.container_mut(container);
    let Run::Running { id, started } = known.run.clone() else { return };
    known.exited(Exit { id, code, cause: ExitCause::Process, started, finished: now, removed: false });
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
