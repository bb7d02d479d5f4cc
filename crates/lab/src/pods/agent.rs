//! The node's pods: who has a worker, and what each is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::adopt::{adopt, owned};
use super::api::Retry;
use super::catalog::Catalog;
use super::facts::Facts;
use super::ports::{KnownContainer, Ports};
use super::record::{Record, Records};
use super::spec::PodSpec;
use super::worker::{Begin, Input, Settings, Worker};

/// The workers of a node.
pub struct Agent {
    ports: Ports,
    settings: Arc<Settings>,
    records: Records,
    catalog: Catalog,
    known: BTreeMap<String, Known>,
    workers: JoinSet<String>,
}

/// A pod with a worker.
struct Known {
    namespace: String,
    name: String,
    inbox: mpsc::UnboundedSender<Input>,
}

impl Agent {
    /// An agent without pods.
    #[must_use]
    pub fn new(ports: Ports, settings: Settings, records: Records, catalog: Catalog) -> Self {
        Self {
            ports,
            settings: Arc::new(settings),
            records,
            catalog,
            known: BTreeMap::new(),
            workers: JoinSet::new(),
        }
    }

    /// Takes up the pods that were written down, and removes containers that belong to none of them.
    pub async fn resume(&mut self, written: Vec<Record>) {
        let containers = self.list_containers().await;
        let states: BTreeMap<_, _> =
            containers.into_iter().map(|container| (container.id, container.state)).collect();
        let mut claimed = BTreeSet::new();
        for mut record in written {
            match PodSpec::parse(&record.pod) {
                Ok(spec) => {
                    adopt(&spec.uid, &mut record.facts, &states, Timestamp::now());
                    claimed.append(&mut owned(&record.facts));
                    self.begin(record.pod, spec, record.facts);
                }
                Err(error) => warn!(%error, "unusable record of a pod"),
            }
        }
        info!(pods = self.known.len(), containers = claimed.len(), "resumed");
        for id in states.into_keys().filter(|id| !claimed.contains(id)) {
            if let Err(error) = self.ports.containers.remove(id.clone()).await {
                warn!(id, %error, "cannot remove a container that belongs to no pod");
            }
        }
    }

    async fn list_containers(&self) -> Vec<KnownContainer> {
        let mut retry = Retry::default();
        loop {
            match self.ports.containers.list().await {
                Ok(containers) => return containers,
                Err(error) => {
                    // Going on without would take every running container for ended.
                    warn!(%error, "cannot list the containers yet");
                    tokio::time::sleep(retry.next().unwrap_or_default()).await;
                }
            }
        }
    }

    /// Follows the node's pods for ever. Dropping this leaves everything as it is.
    pub async fn follow(&mut self, client: Client, node: &str) {
        let api: Api<Pod> = Api::all(client);
        let selector = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
        let events = watcher(api, selector).backoff(Retry::default());
        tokio::pin!(events);
        let mut listed: Option<BTreeSet<String>> = None;
        let mut in_sight = true;
        loop {
            tokio::select! {
                Some(ended) = self.workers.join_next() => self.forget(ended),
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        in_sight = true;
                        self.apply(event, &mut listed);
                    }
                    Some(Err(error)) => if std::mem::replace(&mut in_sight, false) {
                        warn!(%error, "lost sight of the pods");
                    },
                    None => return,
                },
            }
        }
    }

    fn apply(&mut self, event: watcher::Event<Pod>, listed: &mut Option<BTreeSet<String>>) {
        match event {
            watcher::Event::Init => *listed = Some(BTreeSet::new()),
            watcher::Event::InitApply(pod) => {
                if let (Some(listed), Some(uid)) = (listed.as_mut(), pod.metadata.uid.clone()) {
                    listed.insert(uid);
                }
                self.tell(pod);
            }
            watcher::Event::InitDone => {
                let Some(listed) = listed.take() else { return };
                for known in
                    self.known.iter().filter(|(uid, _)| !listed.contains(*uid)).map(|(_, known)| known)
                {
                    let _ = known.inbox.send(Input::Gone);
                }
            }
            watcher::Event::Apply(pod) => self.tell(pod),
            watcher::Event::Delete(pod) => {
                if let Some(known) = pod.metadata.uid.as_ref().and_then(|uid| self.known.get(uid)) {
                    let _ = known.inbox.send(Input::Gone);
                }
            }
        }
    }

    fn tell(&mut self, pod: Pod) {
        let spec = match PodSpec::parse(&pod) {
            Ok(spec) => spec,
            Err(error) => return warn!(name = pod.metadata.name, %error, "unusable pod"),
        };
        if let Some(known) = self.known.get(&spec.uid) {
            // Fails only for a worker that is ending: it has nothing left to do.
            let _ = known.inbox.send(Input::Pod(Box::new(pod)));
            return;
        }
        let ended = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(ended, Some("Succeeded" | "Failed")) && spec.deletion.is_none() {
            // It ran to its end on a node of this name that has since been made anew.
            return;
        }
        for known in self.known.values() {
            if known.namespace == spec.namespace && known.name == spec.name {
                let _ = known.inbox.send(Input::Gone);
            }
        }
        self.begin(pod, spec, Facts::new(Timestamp::now()));
    }

    fn begin(&mut self, pod: Pod, spec: PodSpec, facts: Facts) {
        let (inbox, messages) = mpsc::unbounded_channel();
        let uid = spec.uid.clone();
        self.catalog.insert(&spec.namespace, &spec.name, &uid);
        let known = Known { namespace: spec.namespace.clone(), name: spec.name.clone(), inbox };
        self.known.insert(uid.clone(), known);
        let begin = Begin { pod, spec, facts, directory: self.records.pod(&uid) };
        let worker = Worker::new(begin, self.ports.clone(), Arc::clone(&self.settings), messages);
        self.workers.spawn(async move {
            worker.run().await;
            uid
        });
    }

    fn forget(&mut self, ended: Result<String, tokio::task::JoinError>) {
        match ended {
            Ok(uid) => {
                if let Some(known) = self.known.remove(&uid) {
                    self.catalog.remove(&known.namespace, &known.name, &uid);
                }
            }
            Err(error) => warn!(%error, "the task of a pod failed"),
        }
    }
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
