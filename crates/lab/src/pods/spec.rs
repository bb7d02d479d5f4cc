//! A Pod of the API, parsed into what the agent acts on.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::environment::{FieldPath, Source, Variable};

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
    /// What `hostname` says inside: spec.hostname or the name, at most 63 characters.
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
    /// Names of the emptyDir volumes.
    pub empty_dirs: Vec<String>,
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
    /// Replaces the image's entrypoint unless empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments unless empty.
    pub args: Vec<String>,
    /// In order: later ones may refer to earlier ones.
    pub environment: Vec<Variable>,
    /// Replaces the image's working directory.
    pub working_dir: Option<String>,
    /// securityContext.runAsUser of the container or the pod.
    pub user: Option<u32>,
    /// securityContext.runAsGroup of the container or the pod.
    pub group: Option<u32>,
    /// securityContext.readOnlyRootFilesystem.
    pub read_only_root: bool,
    /// Volumes seen inside.
    pub mounts: Vec<MountSpec>,
    /// Decides whether the pod gets traffic.
    pub readiness: Option<Probe>,
    /// lifecycle.preStop.
    pub pre_stop: Option<Handler>,
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
                    let (parsed, problem) = parse_container(container, spec);
                    if let Some(problem) = problem {
                        unsupported.get_or_insert(format!("{field}[{}]: {problem}", container.name));
                    }
                    parsed
                })
                .collect()
        };
        let init = parse_all(spec.init_containers.as_deref().unwrap_or_default(), "spec.initContainers");
        let containers = parse_all(&spec.containers, "spec.containers");
        let hostname = spec.hostname.clone().unwrap_or_else(|| name.clone());
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
            empty_dirs: spec.volumes.iter().flatten().map(|volume| volume.name.clone()).collect(),
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
    if spec.host_network == Some(true) {
        return Some("spec.hostNetwork is not supported".to_owned());
    }
    if spec.host_pid == Some(true) || spec.host_ipc == Some(true) {
        return Some("spec.hostPID and spec.hostIPC are not supported".to_owned());
    }
    for volume in spec.volumes.iter().flatten() {
        // The API server's default for a volume without a source is an emptyDir.
        let bare = core::Volume { name: volume.name.clone(), ..core::Volume::default() };
        if volume.empty_dir.is_none() && *volume != bare {
            return Some(format!("volume {:?}: only emptyDir volumes are supported", volume.name));
        }
    }
    None
}

fn parse_container(container: &core::Container, pod: &core::PodSpec) -> (ContainerSpec, Option<String>) {
    let mut problem = None;
    let mut keep = |found: Result<Option<Handler>, String>| match found {
        Ok(handler) => handler,
        Err(text) => {
            problem.get_or_insert(text);
            None
        }
    };
    let readiness = container
        .readiness_probe
        .as_ref()
        .and_then(|probe| keep(probe_handler(probe, container)).map(|handler| parse_probe(probe, handler)));
    let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    let pre_stop = hook.and_then(|hook| keep(hook_handler(hook, container)));
    let mut environment = Vec::new();
    for variable in container.env.iter().flatten() {
        match parse_variable(variable) {
            Ok(Some(parsed)) => environment.push(parsed),
            Ok(None) => {}
            Err(text) => {
                problem.get_or_insert(text);
            }
        }
    }
    if container.env_from.iter().flatten().next().is_some() {
        problem.get_or_insert("envFrom is not supported".to_owned());
    }
    if container.restart_policy.is_some() {
        problem.get_or_insert("restartPolicy of an init container is not supported".to_owned());
    }
    let own = container.security_context.as_ref();
    let of_pod = pod.security_context.as_ref();
    let id = |own: Option<i64>, of_pod: Option<i64>| own.or(of_pod).and_then(|id| u32::try_from(id).ok());
    let parsed = ContainerSpec {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        pull: match container.image_pull_policy.as_deref() {
            Some("Never") => PullPolicy::Never,
            Some("Always") => PullPolicy::Always,
            _ => PullPolicy::IfNotPresent,
        },
        command: container.command.clone().unwrap_or_default(),
        args: container.args.clone().unwrap_or_default(),
        environment,
        working_dir: container.working_dir.clone(),
        user: id(own.and_then(|own| own.run_as_user), of_pod.and_then(|pod| pod.run_as_user)),
        group: id(own.and_then(|own| own.run_as_group), of_pod.and_then(|pod| pod.run_as_group)),
        read_only_root: own.and_then(|own| own.read_only_root_filesystem).unwrap_or(false),
        mounts: container
            .volume_mounts
            .iter()
            .flatten()
            .map(|mount| MountSpec {
                volume: mount.name.clone(),
                path: mount.mount_path.clone(),
                read_only: mount.read_only.unwrap_or(false),
            })
            .collect(),
        readiness,
        pre_stop,
    };
    (parsed, problem)
}

fn parse_variable(variable: &core::EnvVar) -> Result<Option<Variable>, String> {
    let named = |source| Ok(Some(Variable { name: variable.name.clone(), source }));
    let Some(from) = &variable.value_from else {
        return named(Source::Literal(variable.value.clone().unwrap_or_default()));
    };
    if let Some(field) = &from.field_ref {
        return match FieldPath::parse(&field.field_path) {
            Some(path) => named(Source::Field(path)),
            None => Err(format!("env {:?}: no field {:?}", variable.name, field.field_path)),
        };
    }
    let optional = from.config_map_key_ref.as_ref().is_some_and(|key| key.optional == Some(true))
        || from.secret_key_ref.as_ref().is_some_and(|key| key.optional == Some(true));
    if optional {
        return Ok(None);
    }
    Err(format!("env {:?}: only value and fieldRef are supported", variable.name))
}

fn parse_probe(probe: &core::Probe, handler: Handler) -> Probe {
    let at_least_one =
        |value: Option<i32>, default: i32| u32::try_from(value.unwrap_or(default).max(1)).unwrap_or(1);
    Probe {
        handler,
        initial_delay: Duration::from_secs(
            u64::try_from(probe.initial_delay_seconds.unwrap_or(0)).unwrap_or(0),
        ),
        period: Duration::from_secs(at_least_one(probe.period_seconds, 10).into()),
        timeout: Duration::from_secs(at_least_one(probe.timeout_seconds, 1).into()),
        success_threshold: at_least_one(probe.success_threshold, 1),
        failure_threshold: at_least_one(probe.failure_threshold, 3),
    }
}

fn probe_handler(probe: &core::Probe, container: &core::Container) -> Result<Option<Handler>, String> {
    if let Some(http) = &probe.http_get {
        return http_handler(http, container).map(Some);
    }
    if let Some(tcp) = &probe.tcp_socket {
        let port = resolve_port(&tcp.port, container)?;
        return Ok(Some(Handler::Tcp { host: tcp.host.clone(), port }));
    }
    if let Some(exec) = &probe.exec {
        return Ok(Some(Handler::Exec { command: exec.command.clone().unwrap_or_default() }));
    }
    if probe.grpc.is_some() {
        return Err("grpc probes are not supported".to_owned());
    }
    Ok(None)
}

fn hook_handler(
    hook: &core::LifecycleHandler,
    container: &core::Container,
) -> Result<Option<Handler>, String> {
    if let Some(http) = &hook.http_get {
        return http_handler(http, container).map(Some);
    }
    if let Some(exec) = &hook.exec {
        return Ok(Some(Handler::Exec { command: exec.command.clone().unwrap_or_default() }));
    }
    if let Some(sleep) = &hook.sleep {
        return Ok(Some(Handler::Sleep { duration: seconds(Some(sleep.seconds), Duration::ZERO) }));
    }
    Ok(None)
}

fn http_handler(http: &core::HTTPGetAction, container: &core::Container) -> Result<Handler, String> {
    let path = http.path.clone().unwrap_or_default();
    Ok(Handler::Http {
        host: http.host.clone(),
        port: resolve_port(&http.port, container)?,
        path: if path.starts_with('/') { path } else { format!("/{path}") },
        tls: http.scheme.as_deref() == Some("HTTPS"),
        headers: http
            .http_headers
            .iter()
            .flatten()
            .map(|header| (header.name.clone(), header.value.clone()))
            .collect(),
    })
}

/// A probe's port: a number, or the name of one of the container's ports.
fn resolve_port(port: &IntOrString, container: &core::Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_deref() == Some(name))
            .map(|port| port.container_port)
            .or_else(|| name.parse().ok()),
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|number| *number != 0)
        .ok_or_else(|| format!("no container port {port:?}"))
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
            "volumes": [{"name": "etc", "hostPath": {"path": "/etc"}}],
        }));
        assert!(volume.unsupported.unwrap().contains("etc"));
        let probe = pod(serde_json::json!({"containers": [{
            "name": "c", "image": "i", "readinessProbe": {"tcpSocket": {"port": "absent"}},
        }]}));
        assert!(probe.unsupported.unwrap().contains("absent"));
    }
}
