//! A Pod of the API, parsed into what the agent acts on.

mod container;
mod host_port;
mod volume;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use podnet::HostPort;

pub use self::volume::{DownwardContent, DownwardFile, HostPathKind, Item, Part, VolumeSource, VolumeSpec};
use super::environment::{EnvironmentFrom, Source, Variable};
use super::names::PodNames;
use super::objects::ObjectNames;
use super::quantity::Amounts;
use crate::containers::{Stdin, Terminal};

/// Grace period of a pod that names none, as the API server defaults it.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// A Pod that cannot be acted on at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A field that the API server always sets is absent.
    #[error("the pod has no {field}")]
    Missing {
        /// The field's path.
        field: &'static str,
    },
}

/// What the agent knows of a pod from the API server.
#[derive(Debug, Clone, PartialEq)]
pub struct PodSpec {
    /// metadata.uid: tells a pod from its successor of the same name.
    pub uid: String,
    /// metadata.namespace.
    pub namespace: String,
    /// metadata.name.
    pub name: String,
    /// What `hostname` says inside: spec.hostname or the name, the node's with hostNetwork; at most 63 characters.
    pub hostname: String,
    /// spec.nodeName.
    pub node: String,
    /// spec.serviceAccountName.
    pub service_account: String,
    /// metadata.labels.
    pub labels: BTreeMap<String, String>,
    /// metadata.annotations.
    pub annotations: BTreeMap<String, String>,
    /// Set once somebody asked for the pod's deletion.
    pub deletion: Option<Deletion>,
    /// spec.terminationGracePeriodSeconds.
    pub grace: Duration,
    /// spec.restartPolicy.
    pub restart: RestartPolicy,
    /// spec.initContainers, in order.
    pub init: Vec<ContainerSpec>,
    /// spec.containers.
    pub containers: Vec<ContainerSpec>,
    /// spec.volumes.
    pub volumes: Vec<VolumeSpec>,
    /// spec.hostNetwork: the containers are in the node's network namespace.
    pub host_network: bool,
    /// Ports of the node that lead to the pod; none with `host_network`, whose ports are the node's already.
    pub host_ports: Vec<HostPort>,
    /// Containers get the variables of their namespace's Services.
    pub service_links: bool,
    /// How it finds others by name, and what it is called.
    pub names: PodNames,
    /// securityContext.fsGroup: the group that the pod's volumes belong to.
    pub volume_group: Option<u32>,
    /// What this node cannot do for the pod, in words for its user; nothing is started then.
    pub unsupported: Option<String>,
}

/// A request to delete a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// metadata.deletionTimestamp: when the grace period ends.
    pub deadline: Timestamp,
    /// metadata.deletionGracePeriodSeconds.
    pub grace: Duration,
}

/// Which exits are followed by a new start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// All.
    Always,
    /// Those with another code than 0.
    OnFailure,
    /// None.
    Never,
}

/// When an image is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// Before each start. The lab's image store stands for the registry: what was imported is current.
    Always,
    /// When the store does not have it.
    IfNotPresent,
    /// Never: the store must have it.
    Never,
}

/// One container of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSpec {
    /// Unique within the pod, init containers included.
    pub name: String,
    /// As the manifest names it.
    pub image: String,
    /// imagePullPolicy.
    pub pull: PullPolicy,
    /// An init container with restartPolicy Always: it starts in its turn and runs beside all that come later.
    pub sidecar: bool,
    /// Replaces the image's entrypoint unless empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments unless empty.
    pub args: Vec<String>,
    /// envFrom, in order: later ones win, and `environment` wins over all of them.
    pub environment_from: Vec<EnvironmentFrom>,
    /// In order: later ones may refer to earlier ones.
    pub environment: Vec<Variable>,
    /// stdin and stdinOnce: what attached clients can send it.
    pub stdin: Stdin,
    /// tty.
    pub terminal: Terminal,
    /// Replaces the image's working directory.
    pub working_dir: Option<String>,
    /// What the container may do.
    pub security: Security,
    /// What it asks for and is held to.
    pub resources: Resources,
    /// Volumes seen inside.
    pub mounts: Vec<MountSpec>,
    /// Decides whether the pod gets traffic.
    pub readiness: Option<Probe>,
    /// Decides whether the container is started anew.
    pub liveness: Option<Probe>,
    /// The other two wait until this one has succeeded once; its failure starts the container anew.
    pub startup: Option<Probe>,
    /// lifecycle.postStart: the container counts as started once it is done.
    pub post_start: Option<Handler>,
    /// lifecycle.preStop.
    pub pre_stop: Option<Handler>,
    /// Where its last words are found.
    pub message: TerminationMessage,
}

impl ContainerSpec {
    /// The probe of that kind.
    #[must_use]
    pub fn probe(&self, kind: ProbeKind) -> Option<&Probe> {
        match kind {
            ProbeKind::Startup => self.startup.as_ref(),
            ProbeKind::Liveness => self.liveness.as_ref(),
            ProbeKind::Readiness => self.readiness.as_ref(),
        }
    }

    /// The ConfigMaps and Secrets that its environment is made from.
    #[must_use]
    pub fn objects(&self) -> ObjectNames {
        let keys = self.environment.iter().filter_map(|variable| match &variable.source {
            Source::Key { object, .. } => Some(object.clone()),
            Source::Literal(_) | Source::Field(_) | Source::Resource(_) => None,
        });
        self.environment_from.iter().map(|from| from.object.clone()).chain(keys).collect()
    }
}

/// What a container may do: its own securityContext over its pod's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Security {
    /// runAsUser.
    pub user: Option<u32>,
    /// runAsGroup.
    pub group: Option<u32>,
    /// supplementalGroups and fsGroup.
    pub groups: Vec<u32>,
    /// runAsNonRoot: refused as user 0.
    pub not_root: bool,
    /// readOnlyRootFilesystem.
    pub read_only_root: bool,
    /// allowPrivilegeEscalation is false.
    pub no_escalation: bool,
    /// privileged.
    pub privileged: bool,
    /// capabilities.add.
    pub add: BTreeSet<String>,
    /// capabilities.drop.
    pub drop: BTreeSet<String>,
}

/// What a container asks for and is held to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resources {
    /// resources.requests.
    pub requests: Amounts,
    /// resources.limits.
    pub limits: Amounts,
}

/// Where a container's last words are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TerminationMessage {
    /// The file inside.
    pub path: String,
    /// Whether its log may stand in.
    pub policy: MessagePolicy,
}

/// terminationMessagePolicy
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessagePolicy {
    /// Only the file.
    File,
    /// The end of the log when the file is empty and the container failed.
    FallbackToLogsOnError,
}

/// A volume seen inside a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountSpec {
    /// The volume's name.
    pub volume: String,
    /// Absolute path inside the container.
    pub path: String,
    /// volumeMounts.readOnly.
    pub read_only: bool,
    /// What of the volume is seen; all of it when absent.
    pub sub_path: Option<SubPath>,
}

/// A place in a volume, relative to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubPath {
    /// As written.
    Fixed(String),
    /// `$(NAME)` stands for the container's variables.
    Expanded(String),
}

/// What a probe decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Whether the container has come up.
    Startup,
    /// Whether it is to be started anew.
    Liveness,
    /// Whether the pod gets traffic.
    Readiness,
}

impl ProbeKind {
    /// As events begin with it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// A check repeated while a container runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// What is done.
    pub handler: Handler,
    /// From the container's start to the first check.
    pub initial_delay: Duration,
    /// Between two checks.
    pub period: Duration,
    /// A check that takes longer has failed.
    pub timeout: Duration,
    /// Successes in a row that turn the verdict.
    pub success_threshold: u32,
    /// Failures in a row that turn the verdict.
    pub failure_threshold: u32,
    /// What a container that failed this probe gets to end, when not its pod's grace period.
    pub grace: Option<Duration>,
}

/// What a probe or a lifecycle hook does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handler {
    /// GET; 200 to 399 is success.
    Http {
        /// The pod's address when absent.
        host: Option<String>,
        /// 1..=65535.
        port: u16,
        /// Path and query.
        path: String,
        /// Whether to speak TLS (the certificate is not verified, as in the kubelet).
        tls: bool,
        /// httpHeaders, in order.
        headers: Vec<(String, String)>,
    },
    /// Open a connection; being accepted is success.
    Tcp {
        /// The pod's address when absent.
        host: Option<String>,
        /// 1..=65535.
        port: u16,
    },
    /// Run in the container; exit code 0 is success.
    Exec {
        /// Program and arguments; no shell.
        command: Vec<String>,
    },
    /// Wait.
    Sleep {
        /// How long.
        duration: Duration,
    },
}

impl PodSpec {
    /// Parses what the API server handed out.
    ///
    /// # Errors
    /// When a field that every stored Pod has is absent.
    pub fn parse(pod: &core::Pod) -> Result<Self, SpecError> {
        let metadata = &pod.metadata;
        let spec = pod.spec.as_ref().ok_or(SpecError::Missing { field: "spec" })?;
        let name = metadata.name.clone().ok_or(SpecError::Missing { field: "metadata.name" })?;
        let namespace =
            metadata.namespace.clone().ok_or(SpecError::Missing { field: "metadata.namespace" })?;
        let uid = metadata.uid.clone().ok_or(SpecError::Missing { field: "metadata.uid" })?;
        let mut unsupported = unsupported_feature(spec);
        let mut parse_all = |containers: &[core::Container], field: &str| -> Vec<ContainerSpec> {
            containers
                .iter()
                .map(|container| {
                    let (parsed, problem) = container::parse(container, spec);
                    if let Some(problem) = problem {
                        unsupported.get_or_insert(format!("{field}[{}]: {problem}", container.name));
                    }
                    parsed
                })
                .collect()
        };
        let init = parse_all(spec.init_containers.as_deref().unwrap_or_default(), "spec.initContainers");
        let containers = parse_all(&spec.containers, "spec.containers");
        let mut volumes = Vec::new();
        for volume in spec.volumes.iter().flatten() {
            match VolumeSpec::parse(volume) {
                Ok(volume) => volumes.push(volume),
                Err(problem) => {
                    unsupported.get_or_insert(problem);
                }
            }
        }
        let host_network = spec.host_network == Some(true);
        let host_ports = host_port::parse_all(spec).unwrap_or_else(|problem| {
            unsupported.get_or_insert(problem);
            Vec::new()
        });
        // In the node's network namespace names are the node's.
        let of_node = spec.node_name.clone().filter(|_| host_network);
        let hostname = of_node.or_else(|| spec.hostname.clone()).unwrap_or_else(|| name.clone());
        Ok(Self {
            hostname: hostname.chars().take(63).collect::<String>().trim_end_matches(['-', '.']).to_owned(),
            node: spec.node_name.clone().unwrap_or_default(),
            service_account: spec.service_account_name.clone().unwrap_or_else(|| "default".to_owned()),
            labels: metadata.labels.clone().unwrap_or_default(),
            annotations: metadata.annotations.clone().unwrap_or_default(),
            deletion: metadata.deletion_timestamp.as_ref().map(|deadline| Deletion {
                deadline: deadline.0,
                grace: seconds(metadata.deletion_grace_period_seconds, Duration::ZERO),
            }),
            grace: seconds(spec.termination_grace_period_seconds, DEFAULT_GRACE),
            restart: match spec.restart_policy.as_deref() {
                Some("Never") => RestartPolicy::Never,
                Some("OnFailure") => RestartPolicy::OnFailure,
                _ => RestartPolicy::Always,
            },
            volumes,
            host_network,
            host_ports,
            service_links: spec.enable_service_links.unwrap_or(true),
            names: PodNames::of(spec),
            volume_group: spec
                .security_context
                .as_ref()
                .and_then(|context| context.fs_group)
                .and_then(|group| u32::try_from(group).ok()),
            uid,
            namespace,
            name,
            init,
            containers,
            unsupported,
        })
    }

    /// The container of that name, init containers included.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&ContainerSpec> {
        self.init.iter().chain(&self.containers).find(|container| container.name == name)
    }

    /// `name_namespace(uid)`, as the kubelet's messages name a pod.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}_{}({})", self.name, self.namespace, self.uid)
    }
}

/// The first thing the pod asks for that this node does not have. Starting it without would be a lie.
fn unsupported_feature(spec: &core::PodSpec) -> Option<String> {
    if spec.host_pid == Some(true) || spec.host_ipc == Some(true) {
        return Some("spec.hostPID and spec.hostIPC are not supported".to_owned());
    }
    let sysctls = spec.security_context.as_ref().and_then(|context| context.sysctls.as_ref());
    if sysctls.is_some_and(|sysctls| !sysctls.is_empty()) {
        return Some("spec.securityContext.sysctls is not supported".to_owned());
    }
    None
}

fn seconds(value: Option<i64>, default: Duration) -> Duration {
    value.map_or(default, |value| Duration::from_secs(u64::try_from(value).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: serde_json::Value) -> PodSpec {
        let pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u1"},
            "spec": spec,
        }));
        PodSpec::parse(&pod.unwrap()).unwrap()
    }

    #[test]
    fn defaults_are_those_of_the_api() {
        let parsed = pod(serde_json::json!({"containers": [{"name": "c", "image": "httpd"}]}));
        assert_eq!(parsed.restart, RestartPolicy::Always);
        assert_eq!(parsed.grace, Duration::from_secs(30));
        assert_eq!(parsed.hostname, "web");
        assert_eq!(parsed.unsupported, None);
    }

    #[test]
    fn named_probe_ports_are_looked_up() {
        let parsed = pod(serde_json::json!({"containers": [{
            "name": "c", "image": "httpd",
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"port": "http", "path": "ready"}},
        }]}));
        let probe = parsed.containers[0].readiness.clone().unwrap();
        assert_eq!(
            probe.handler,
            Handler::Http { host: None, port: 8080, path: "/ready".into(), tls: false, headers: vec![] }
        );
        assert_eq!((probe.period, probe.failure_threshold), (Duration::from_secs(10), 3));
    }

    #[test]
    fn what_the_node_cannot_do_is_named_and_not_ignored() {
        let volume = pod(serde_json::json!({
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "etc", "nfs": {"server": "s", "path": "/etc"}}],
        }));
        assert!(volume.unsupported.unwrap().contains("etc"));
        let probe = pod(serde_json::json!({"containers": [{
            "name": "c", "image": "i", "readinessProbe": {"tcpSocket": {"port": "absent"}},
        }]}));
        assert!(probe.unsupported.unwrap().contains("absent"));
    }
}
