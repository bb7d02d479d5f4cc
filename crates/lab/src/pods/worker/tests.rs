use std::collections::BTreeSet;

use super::fakes::{State, World};
use super::*;
use crate::pods::adopt::adopt;
use crate::pods::ports::Containers;
use crate::pods::record::Records;

/// A pod on a node with a world around it.
struct Scene {
    world: World,
    records: Records,
    pod: core::Pod,
    _directory: tempfile::TempDir,
}

impl Scene {
    fn new(spec: serde_json::Value) -> Self {
        let pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u1"}, "spec": spec,
        }));
        let directory = tempfile::tempdir().unwrap();
        let records = Records::open(directory.path()).unwrap();
        Self { world: World::new(), records, pod: pod.unwrap(), _directory: directory }
    }

    fn one() -> Self {
        Self::new(serde_json::json!({"containers": [{"name": "c", "image": "httpd"}]}))
    }

    /// Starts an agent for the pod, from what the one before has left.
    async fn agent(&self) -> (mpsc::UnboundedSender<Input>, tokio::task::JoinHandle<()>) {
        let now = Timestamp::now();
        let (pod, facts) = match self.records.load().unwrap().pop() {
            None => (self.pod.clone(), Facts::new(now)),
            Some(mut record) => {
                let known = self.world.list().await.unwrap();
                let known = known.into_iter().map(|container| (container.id, container.state)).collect();
                adopt("u1", &mut record.facts, &known, now);
                // What `PauseSandboxes::reconcile` does: pause processes of no sandbox go.
                let kept = record.facts.sandbox.facts().map(|facts| facts.pause.pid);
                self.world.change(|state| state.pauses.retain(|pid, _| Some(*pid) == kept));
                (record.pod, record.facts)
            }
        };
        let settings = Settings {
            host: "10.100.0.2".parse().unwrap(),
            dns_server: "10.96.0.10".parse().unwrap(),
            dns_domain: "cluster.local".into(),
            withdrawal_delay: Duration::from_millis(50),
            capacity: Amounts::default(),
            services: Services::of(&[]),
        };
        let (inbox, messages) = mpsc::unbounded_channel();
        let spec = PodSpec::parse(&pod).unwrap();
        let begin = Begin { pod, spec, facts, directory: self.records.pod("u1") };
        let worker = Worker::new(begin, self.world.ports(), Arc::new(settings), messages);
        (inbox, tokio::spawn(worker.run()))
    }

    fn deleted(&self, grace: i64) -> Input {
        let mut pod = self.pod.clone();
        pod.metadata.deletion_timestamp = Some(status::time(Timestamp::now()));
        pod.metadata.deletion_grace_period_seconds = Some(grace);
        Input::Pod(Box::new(pod))
    }
}

fn is_up(state: &State) -> bool {
    state.phase() == Some("Running") && state.is_ready() && state.running() == ["c"]
}

async fn ends(worker: tokio::task::JoinHandle<()>) {
    tokio::time::timeout(Duration::from_secs(20), worker).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_pod_that_was_given_up_says_that_it_is_ready_after_all() {
    let scene = Scene::one();
    let (inbox, worker) = scene.agent().await;
    scene.world.until("up", is_up).await;
    let said = scene.world.look(|state| state.status.clone());
    let marked = |second: i64| {
        let mut status = said.clone().unwrap();
        for condition in status.conditions.iter_mut().flatten().filter(|it| it.type_ == "Ready") {
            condition.status = "False".to_owned();
            let at = Timestamp::now() + jiff::SignedDuration::from_secs(second);
            condition.last_transition_time = Some(status::time(at));
        }
        status
    };
    assert!(!overruled(said.as_ref(), Some(&marked(-60))), "what the watch brings late is no news");
    assert!(!overruled(said.as_ref(), said.as_ref()));
    scene.world.change(|state| state.status = None);
    let pod = core::Pod { status: Some(marked(1)), ..scene.pod.clone() };
    inbox.send(Input::Pod(Box::new(pod))).unwrap();
    scene.world.until("said again", is_up).await;
    inbox.send(scene.deleted(1)).unwrap();
    ends(worker).await;
}

#[tokio::test]
async fn a_life_from_start_to_deletion() {
    let scene = Scene::one();
    let (inbox, worker) = scene.agent().await;
    scene.world.until("running", is_up).await;
    assert_eq!(scene.world.look(|state| state.events.clone()), ["Pulled", "Created", "Started"]);
    inbox.send(scene.deleted(30)).unwrap();
    ends(worker).await;
    scene.world.look(|state| {
        assert!(state.removed && state.containers.is_empty() && state.pauses.is_empty());
        assert_eq!(state.signals, [nix::libc::SIGQUIT], "the image's stop signal");
        assert_eq!(state.events.last(), Some(&"Killing"));
    });
    assert_eq!(scene.records.load().unwrap(), []);
}

#[tokio::test]
async fn one_that_does_not_listen_is_killed_after_its_grace() {
    let scene = Scene::one();
    scene.world.change(|state| state.deaf = true);
    let (inbox, worker) = scene.agent().await;
    scene.world.until("running", is_up).await;
    inbox.send(scene.deleted(1)).unwrap();
    ends(worker).await;
    assert_eq!(scene.world.look(|state| state.signals.clone()), [nix::libc::SIGQUIT, nix::libc::SIGKILL]);
}

#[tokio::test]
async fn a_pod_that_vanished_from_the_server_is_ended_and_not_asked_for() {
    let scene = Scene::one();
    let (inbox, worker) = scene.agent().await;
    scene.world.until("running", is_up).await;
    inbox.send(Input::Gone).unwrap();
    ends(worker).await;
    scene
        .world
        .look(|state| assert!(!state.removed && state.containers.is_empty() && state.pauses.is_empty()));
}

#[tokio::test]
async fn a_crash_is_restarted_and_the_second_is_backed_off() {
    let scene = Scene::one();
    let (_inbox, worker) = scene.agent().await;
    scene.world.until("running", is_up).await;
    scene.world.change(|state| state.end("c", 1));
    let restarts = |state: &State| {
        state
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_ref()?.first())
            .map(|c| c.restart_count)
    };
    scene.world.until("restarted", |state| is_up(state) && restarts(state) == Some(1)).await;
    scene.world.change(|state| state.end("c", 1));
    scene
        .world
        .until("backed off", |state| {
            let container =
                state.status.as_ref().and_then(|status| status.container_statuses.as_ref()?.first().cloned());
            let waiting = container.and_then(|container| container.state?.waiting?.reason);
            waiting.as_deref() == Some("CrashLoopBackOff")
        })
        .await;
    assert!(scene.world.look(|state| state.events.contains(&"BackOff")));
    worker.abort();
}

#[tokio::test]
async fn a_killed_pause_makes_a_new_sandbox() {
    let scene = Scene::one();
    let (_inbox, worker) = scene.agent().await;
    scene.world.until("running", is_up).await;
    scene.world.change(|state| state.pauses.clear());
    scene.world.until("running again", |state| is_up(state) && state.pauses.contains_key(&2)).await;
    assert!(scene.world.look(|state| state.events.contains(&"SandboxChanged")));
    worker.abort();
}

#[tokio::test]
async fn readiness_follows_the_probe() {
    let scene = Scene::new(serde_json::json!({"containers": [{
        "name": "c", "image": "httpd",
        "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 1, "failureThreshold": 1},
    }]}));
    scene.world.change(|state| state.unanswering = true);
    let (_inbox, worker) = scene.agent().await;
    scene
        .world
        .until("unhealthy", |state| {
            state.phase() == Some("Running") && !state.is_ready() && state.events.contains(&"Unhealthy")
        })
        .await;
    scene.world.change(|state| state.unanswering = false);
    scene.world.until("ready", State::is_ready).await;
    scene.world.change(|state| state.unanswering = true);
    scene.world.until("not ready", |state| !state.is_ready()).await;
    worker.abort();
}

#[tokio::test]
async fn pods_go_on_without_the_server_and_tell_it_later() {
    let scene = Scene::one();
    scene.world.change(|state| state.api_away = true);
    let (inbox, worker) = scene.agent().await;
    scene.world.until("running", |state| state.running() == ["c"]).await;
    scene.world.change(|state| state.end("c", 1));
    scene.world.until("restarted", |state| state.running() == ["c"]).await;
    scene.world.change(|state| state.api_away = false);
    scene.world.until("told", is_up).await;
    inbox.send(scene.deleted(0)).unwrap();
    ends(worker).await;
}

#[tokio::test]
async fn an_image_that_is_nowhere() {
    let scene = Scene::one();
    scene.world.change(|state| state.no_images = true);
    let (inbox, worker) = scene.agent().await;
    scene
        .world
        .until("backed off", |state| {
            let container =
                state.status.as_ref().and_then(|status| status.container_statuses.as_ref()?.first().cloned());
            let waiting = container.and_then(|container| container.state?.waiting?.reason);
            waiting.as_deref() == Some("ImagePullBackOff")
        })
        .await;
    let events: BTreeSet<_> = scene.world.look(|state| state.events.iter().copied().collect());
    assert_eq!(events, BTreeSet::from(["BackOff", "Failed", "Pulling"]));
    inbox.send(scene.deleted(30)).unwrap();
    ends(worker).await;
}

/// The agent is killed after each number of calls, while the pod comes up and while it goes; each time the next
/// one brings it to its end. The world fails the test on a second sandbox or a second run of a container.
#[tokio::test]
async fn an_agent_killed_anywhere_is_taken_over_from() {
    for cut in 1..40 {
        let scene = Scene::one();
        let (inbox, worker) = scene.agent().await;
        let mut last = (inbox, worker);
        for (calls, deleted) in [(cut, false), (cut + 3, false), (cut + 8, true)] {
            let told = deleted.then(|| last.0.send(scene.deleted(30)).is_ok());
            let reached = scene.world.until("cut", |state| {
                state.calls >= calls || (told.is_none() && is_up(state)) || state.removed
            });
            reached.await;
            last.1.abort();
            let _ = (&mut last.1).await;
            last = scene.agent().await;
        }
        let _ = last.0.send(scene.deleted(30));
        ends(last.1).await;
        scene.world.look(|state| {
            assert!(state.removed, "cut {cut}");
            assert!(state.running().is_empty() && state.pauses.is_empty(), "cut {cut}: {state:#?}");
        });
    }
}

#[tokio::test]
async fn a_failed_liveness_probe_starts_the_container_anew() {
    let scene = Scene::new(serde_json::json!({"terminationGracePeriodSeconds": 1, "containers": [{
        "name": "c", "image": "httpd",
        "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 1, "failureThreshold": 1},
    }]}));
    let (_inbox, worker) = scene.agent().await;
    scene.world.until("running", is_up).await;
    scene.world.change(|state| state.unanswering = true);
    scene.world.until("killed", |state| state.events.contains(&"Killing")).await;
    scene.world.change(|state| state.unanswering = false);
    let restarted = |state: &State| {
        let statuses = state.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        is_up(state) && statuses.is_some_and(|statuses| statuses[0].restart_count == 1)
    };
    scene.world.until("restarted", restarted).await;
    assert!(scene.world.look(|state| state.events.contains(&"Unhealthy")));
    worker.abort();
}

#[tokio::test]
async fn what_a_container_names_is_waited_for() {
    let scene = Scene::new(serde_json::json!({
        "containers": [{"name": "c", "image": "httpd"}], "volumes": [{"name": "v", "configMap": {"name": "cm"}}],
    }));
    let (_inbox, worker) = scene.agent().await;
    scene.world.until("missed", |state| state.events.contains(&"FailedMount")).await;
    let name = crate::pods::objects::ObjectName::ConfigMap("cm".into());
    scene.world.change(|state| state.objects.insert(name, [("k".to_owned(), b"v".to_vec())].into()));
    scene.world.until("running", is_up).await;
    let file = scene.records.pod("u1").volume("v").join("k");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "v");
    worker.abort();
}
