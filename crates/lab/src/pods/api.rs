//! The API server's side of pods: status, removal, and how requests that fail are tried again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodStatus, Secret, ServiceAccount};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::utils::Backoff;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::events::Recorder;
use super::objects::{Data, ObjectName, ObjectNames, Objects, TOKEN_KEY, TokenName};
use super::ports::{ApiOutcome, Failure, Job, ObjectSource, PodApi, PodEvent, PodRef};

/// A request that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How long to wait before a watch is begun anew: short, because the API server of a lab is near.
#[derive(Debug, Clone)]
pub struct Retry {
    next: Duration,
}

impl Retry {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(2);
}

impl Default for Retry {
    fn default() -> Self {
        Self { next: Self::FIRST }
    }
}

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.next;
        self.next = (wait * 2).min(Self::LONGEST);
        Some(wait)
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Pods through the Kubernetes API.
#[derive(Clone)]
pub struct KubePods {
    client: Client,
    recorder: Recorder,
}

impl KubePods {
    /// Pods of the cluster that the client talks to.
    #[must_use]
    pub fn new(client: Client, recorder: Recorder) -> Self {
        Self { client, recorder }
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

impl PodApi for KubePods {
    fn write_status(&self, pod: PodRef, status: PodStatus) -> Job<ApiOutcome> {
        let api = self.pods(&pod.namespace);
        Box::pin(async move {
            let patch = match status_patch(&pod.uid, &status) {
                Ok(patch) => patch,
                Err(error) => return ApiOutcome::Failed(Failure::of(&error)),
            };
            let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
            let request = api.patch_status(&pod.name, &params, &patch);
            match tokio::time::timeout(TIMEOUT, request).await {
                Ok(Ok(_)) => ApiOutcome::Done,
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => ApiOutcome::Gone,
                Ok(Err(error)) => ApiOutcome::Failed(Failure::of(&error)),
                Err(_) => timed_out(),
            }
        })
    }

    fn remove(&self, pod: PodRef) -> Job<ApiOutcome> {
        let api = self.pods(&pod.namespace);
        Box::pin(async move {
            let params = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(Preconditions { uid: Some(pod.uid), resource_version: None }),
                ..DeleteParams::default()
            };
            match tokio::time::timeout(TIMEOUT, api.delete(&pod.name, &params)).await {
                Ok(Ok(_)) => ApiOutcome::Done,
                // A conflict means that the name belongs to a successor already.
                Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => ApiOutcome::Gone,
                Ok(Err(error)) => ApiOutcome::Failed(Failure::of(&error)),
                Err(_) => timed_out(),
            }
        })
    }

    fn record(&self, pod: &PodRef, event: PodEvent) {
        self.recorder.record(pod.clone(), event);
    }
}

/// ConfigMaps, Secrets and tokens through the Kubernetes API.
#[derive(Clone)]
pub struct KubeObjects {
    client: Client,
    tokens: Arc<Mutex<BTreeMap<TokenName, HeldToken>>>,
}

/// A token that pods have, and when they get a new one.
#[derive(Clone)]
struct HeldToken {
    data: Data,
    renew: Instant,
}

impl KubeObjects {
    /// Objects of the cluster that the client talks to.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, tokens: Arc::default() }
    }

    /// The token of before while it has a fifth of its life left (as the kubelet's token manager), else a new one.
    async fn token(&self, namespace: &str, name: &TokenName) -> kube::Result<Data> {
        let held = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(held) = held.filter(|held| Instant::now() < held.renew) {
            return Ok(held.data);
        }
        let audiences: Vec<&String> = name.audience.iter().collect();
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {},
            "spec": {
                "audiences": audiences, "expirationSeconds": name.seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": name.pod, "uid": name.uid},
            },
        });
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let asked = Instant::now();
        let answer: Value =
            api.create_subresource("token", &name.account, &PostParams::default(), &request).await?;
        let token = answer.pointer("/status/token").and_then(Value::as_str).unwrap_or_default();
        let data = Data::from([(TOKEN_KEY.to_owned(), token.as_bytes().to_vec())]);
        let life = Duration::from_secs(name.seconds.unsigned_abs());
        let held = HeldToken { data: data.clone(), renew: asked + life * 4 / 5 };
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of pods that are gone are not asked for again.
        tokens.retain(|_, held| asked < held.renew);
        tokens.insert(name.clone(), held);
        Ok(data)
    }

    async fn read_one(&self, namespace: &str, name: &ObjectName) -> kube::Result<Option<Data>> {
        match name {
            ObjectName::Token(name) => self.token(namespace, name).await.map(Some),
            ObjectName::ConfigMap(name) => {
                let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
                let Some(found) = api.get_opt(name).await? else { return Ok(None) };
                let text = found.data.into_iter().flatten().map(|(key, value)| (key, value.into_bytes()));
                let bytes = found.binary_data.into_iter().flatten().map(|(key, value)| (key, value.0));
                Ok(Some(text.chain(bytes).collect()))
            }
            ObjectName::Secret(name) => {
                let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
                let Some(found) = api.get_opt(name).await? else { return Ok(None) };
                Ok(Some(found.data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect()))
            }
        }
    }
}

impl ObjectSource for KubeObjects {
    fn read(&self, namespace: String, names: ObjectNames) -> Job<Result<Objects, Failure>> {
        let this = self.clone();
        Box::pin(async move {
            let work = async {
                let mut found = BTreeMap::new();
                for name in names {
                    if let Some(data) = this.read_one(&namespace, &name).await? {
                        found.insert(name, data);
                    }
                }
                Ok(Objects::new(found))
            };
            match tokio::time::timeout(TIMEOUT, work).await {
                Ok(result) => result.map_err(|error: kube::Error| Failure::of(&error)),
                Err(_) => Err(Failure { message: "the API server does not answer".to_owned() }),
            }
        })
    }
}

fn timed_out() -> ApiOutcome {
    ApiOutcome::Failed(Failure { message: "the API server does not answer".to_owned() })
}

/// The fields of a status that are the node's; those that are absent now must go on the server too.
const OWN_FIELDS: [&str; 10] = [
    "phase",
    "conditions",
    "message",
    "reason",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "initContainerStatuses",
    "containerStatuses",
];

/// A merge patch that makes the pod's status this one, if it still is the pod of that uid.
fn status_patch(uid: &str, status: &PodStatus) -> serde_json::Result<Value> {
    let mut status = serde_json::to_value(status)?;
    if let Value::Object(fields) = &mut status {
        for field in OWN_FIELDS {
            fields.entry(field).or_insert(Value::Null);
        }
    }
    Ok(json!({ "metadata": { "uid": uid }, "status": status }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_is_taken_away() {
        let status = PodStatus { phase: Some("Pending".into()), ..PodStatus::default() };
        let patch = status_patch("u1", &status).unwrap();
        assert_eq!(patch["metadata"]["uid"], "u1");
        assert_eq!(patch["status"]["phase"], "Pending");
        assert_eq!(patch["status"].get("podIP"), Some(&Value::Null));
        assert_eq!(patch["status"].get("qosClass"), None);
    }

    #[test]
    fn waits_grow_to_two_seconds() {
        let waits: Vec<_> = Retry::default().take(7).map(|wait| wait.as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000]);
    }
}
