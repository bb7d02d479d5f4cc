//! A world for workers: containers run, sandboxes hold, the API server keeps statuses. It outlives the agent.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;
use tokio::sync::watch;

use crate::pods::facts::SandboxFacts;
use crate::pods::objects::{Data, ObjectName, ObjectNames, Objects};
use crate::pods::ports::*;
use crate::pods::spec::Handler;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
pub(in crate::pods) struct State {
    /// Calls so far, of any port.
    pub(in crate::pods) calls: usize,
    /// Pause processes that live, by number.
    pub(in crate::pods) pauses: BTreeMap<u32, SandboxId>,
    next_pause: u32,
    /// Containers that the runtime knows: name, pause process, state.
    pub(in crate::pods) containers: BTreeMap<String, (String, u32, KnownState)>,
    /// Whether the signals that a container gets end it.
    pub(in crate::pods) deaf: bool,
    /// Signals sent, in order.
    pub(in crate::pods) signals: Vec<i32>,
    /// Whether images can be had.
    pub(in crate::pods) no_images: bool,
    /// Whether the pods answer probes.
    pub(in crate::pods) unanswering: bool,
    /// Whether the API server is away.
    pub(in crate::pods) api_away: bool,
    /// Last status written.
    pub(in crate::pods) status: Option<PodStatus>,
    /// Whether the pod's object was removed.
    pub(in crate::pods) removed: bool,
    /// ConfigMaps and Secrets.
    pub(in crate::pods) objects: BTreeMap<ObjectName, Data>,
    /// Reasons of events.
    pub(in crate::pods) events: Vec<&'static str>,
}

impl State {
    pub(in crate::pods) fn running(&self) -> Vec<&str> {
        let running =
            self.containers.values().filter(|(_, _, state)| matches!(state, KnownState::Running { .. }));
        running.map(|(name, _, _)| name.as_str()).collect()
    }

    pub(in crate::pods) fn phase(&self) -> Option<&str> {
        self.status.as_ref()?.phase.as_deref()
    }

    pub(in crate::pods) fn is_ready(&self) -> bool {
        let conditions = self.status.as_ref().and_then(|status| status.conditions.as_deref());
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    }

    /// Ends a container with that exit code.
    pub(in crate::pods) fn end(&mut self, container: &str, code: i32) {
        for (name, _, state) in self.containers.values_mut() {
            if let KnownState::Running { started } = *state
                && name == container
            {
                let exit = ExitReport { code, finished: Timestamp::now(), cause: ExitCause::Process };
                *state = KnownState::Exited { started, exit };
            }
        }
    }
}

#[derive(Clone)]
pub(in crate::pods) struct World {
    state: Arc<Mutex<State>>,
    changes: Arc<watch::Sender<()>>,
}

impl World {
    pub(in crate::pods) fn new() -> Self {
        Self { state: Arc::default(), changes: Arc::new(watch::channel(()).0) }
    }

    pub(in crate::pods) fn ports(&self) -> Ports {
        Ports {
            images: Arc::new(self.clone()),
            sandboxes: Arc::new(self.clone()),
            containers: Arc::new(self.clone()),
            prober: Arc::new(self.clone()),
            api: Arc::new(self.clone()),
            objects: Arc::new(self.clone()),
        }
    }

    pub(in crate::pods) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    pub(in crate::pods) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changes.send_replace(());
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Returns once the condition holds; fails the test when it does not in time.
    pub(in crate::pods) async fn until(&self, what: &str, mut holds: impl FnMut(&State) -> bool) {
        let mut changes = self.changes.subscribe();
        let waiting = async {
            while !self.look(&mut holds) {
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("not reached: {what}; {:#?}", self.lock());
        }
    }

    /// Counts the call and lets others run before and after its effect: an agent can be cut off at both places.
    fn job<T: Send + 'static>(&self, act: impl FnOnce(&mut State) -> T + Send + 'static) -> Job<T> {
        let world = self.clone();
        Box::pin(async move {
            world.change(|state| state.calls += 1);
            tokio::task::yield_now().await;
            let result = world.change(act);
            tokio::task::yield_now().await;
            result
        })
    }
}

impl Images for World {
    fn find(&self, name: &str) -> Result<Option<ResolvedImage>, ImageFailure> {
        let image = ResolvedImage {
            reference: name.to_owned(),
            digest: "sha256:0".to_owned(),
            stop_signal: nix::libc::SIGQUIT,
            size: 1,
        };
        Ok((!self.lock().no_images).then_some(image))
    }

    fn pull(&self, _: String) -> Job<Result<ResolvedImage, ImageFailure>> {
        let message = "no such host".to_owned();
        self.job(|_| Err(ImageFailure { kind: ImageFailureKind::Pull, message }))
    }
}

impl Sandboxes for World {
    fn start(&self, request: SandboxRequest) -> Job<Result<SandboxFacts, Failure>> {
        self.job(|state| {
            assert!(state.pauses.is_empty(), "two sandboxes of one pod");
            state.next_pause += 1;
            state.pauses.insert(state.next_pause, request.id);
            let pause = PauseProcess { pid: state.next_pause, start_ticks: 1 };
            Ok(SandboxFacts { pause, address: Ipv4Addr::new(10, 244, 1, 2), host_network: false })
        })
    }

    fn lost(&self, pause: PauseProcess) -> Job<()> {
        let world = self.clone();
        Box::pin(async move { world.until("", |state| !state.pauses.contains_key(&pause.pid)).await })
    }

    fn remove(&self, id: SandboxId, _: Option<PauseProcess>) -> Job<Result<(), Failure>> {
        self.job(move |state| {
            state.pauses.retain(|_, living| *living != id);
            Ok(())
        })
    }
}

impl Containers for World {
    fn list(&self) -> Job<Result<Vec<KnownContainer>, Failure>> {
        self.job(|state| {
            let known = state.containers.iter();
            Ok(known
                .map(|(id, (_, _, state))| KnownContainer { id: id.clone(), state: state.clone() })
                .collect())
        })
    }

    fn start(&self, request: ContainerRequest) -> Job<Result<Timestamp, StartFailure>> {
        self.job(move |state| {
            assert!(state.pauses.contains_key(&request.pause.pid), "a container in a sandbox that is gone");
            let name = request.spec.name;
            assert!(!state.running().contains(&name.as_str()), "two runs of {name}");
            let started = Timestamp::now();
            let known = (name, request.pause.pid, KnownState::Running { started });
            assert!(state.containers.insert(request.id, known).is_none(), "an id used twice");
            Ok(started)
        })
    }

    fn exited(&self, id: String) -> Job<ExitReport> {
        let world = self.clone();
        Box::pin(async move {
            let mut report = None;
            let mut look = |state: &State| {
                report = match state.containers.get(&id) {
                    Some((_, _, KnownState::Exited { exit, .. })) => Some(*exit),
                    Some(_) => None,
                    None => {
                        Some(ExitReport { code: 137, finished: Timestamp::now(), cause: ExitCause::Lost })
                    }
                };
                report.is_some()
            };
            let mut changes = world.changes.subscribe();
            while !world.look(&mut look) {
                changes.changed().await.unwrap();
            }
            report.unwrap()
        })
    }

    fn signal(&self, id: String, signal: i32) -> Job<Result<(), Failure>> {
        self.job(move |state| {
            state.signals.push(signal);
            let deaf = state.deaf && signal != nix::libc::SIGKILL;
            if let Some(name) = state.containers.get(&id).map(|(name, _, _)| name.clone()).filter(|_| !deaf) {
                state.end(&name, if signal == nix::libc::SIGKILL { 137 } else { 0 });
            }
            Ok(())
        })
    }

    fn exec(&self, _: String, _: Vec<String>, _: Duration) -> Job<Result<ExecReport, Failure>> {
        self.job(|state| Ok(ExecReport { code: i32::from(state.unanswering), output: "not yet".to_owned() }))
    }

    fn remove(&self, id: String) -> Job<Result<(), Failure>> {
        self.job(move |state| {
            state.containers.remove(&id);
            Ok(())
        })
    }
}

impl Prober for World {
    fn check(&self, _: Handler, _: Ipv4Addr, _: Duration) -> Job<Result<(), Failure>> {
        self.job(|state| {
            if state.unanswering { Err(Failure { message: "connection refused".to_owned() }) } else { Ok(()) }
        })
    }
}

impl ObjectSource for World {
    fn read(&self, _: String, names: ObjectNames) -> Job<Result<Objects, Failure>> {
        self.job(move |state| {
            let found = state.objects.iter().filter(|(name, _)| names.contains(name));
            Ok(Objects::new(found.map(|(name, data)| (name.clone(), data.clone())).collect()))
        })
    }
}

impl PodApi for World {
    fn write_status(&self, _: PodRef, status: PodStatus) -> Job<ApiOutcome> {
        self.job(|state| {
            if state.api_away {
                return ApiOutcome::Failed(Failure { message: "connection refused".to_owned() });
            }
            state.status = Some(status);
            ApiOutcome::Done
        })
    }

    fn remove(&self, _: PodRef) -> Job<ApiOutcome> {
        self.job(|state| {
            if state.api_away {
                return ApiOutcome::Failed(Failure { message: "connection refused".to_owned() });
            }
            state.removed = true;
            ApiOutcome::Done
        })
    }

    fn record(&self, _: &PodRef, event: PodEvent) {
        self.change(|state| state.events.push(event.reason));
    }
}
