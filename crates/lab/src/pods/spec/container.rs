//! The containers of a pod, parsed.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{
    ContainerSpec, Handler, MessagePolicy, MountSpec, Probe, PullPolicy, Resources, Security, SubPath,
    TerminationMessage,
};
use crate::containers::{Stdin, Terminal};
use crate::pods::environment::{EnvironmentFrom, FieldPath, ResourceField, Source, Variable};
use crate::pods::objects::ObjectName;
use crate::pods::quantity::Amounts;

/// Where a container leaves its last words when the manifest does not say.
const MESSAGE_PATH: &str = "/dev/termination-log";

/// The first thing that a container asks for and the node does not have.
#[derive(Default)]
struct Problem(Option<String>);

impl Problem {
    /// The value; nothing, and a note, when there is a problem.
    fn keep<T>(&mut self, found: Result<Option<T>, String>) -> Option<T> {
        found.unwrap_or_else(|text| {
            self.0.get_or_insert(text);
            None
        })
    }
}

/// Parses a container of the pod, and says what of it this node cannot do.
pub(super) fn parse(container: &core::Container, pod: &core::PodSpec) -> (ContainerSpec, Option<String>) {
    let mut problem = Problem::default();
    let mut probe =
        |probe: Option<&core::Probe>| probe.and_then(|probe| problem.keep(parse_probe(probe, container)));
    let readiness = probe(container.readiness_probe.as_ref());
    let liveness = probe(container.liveness_probe.as_ref());
    let startup = probe(container.startup_probe.as_ref());
    let mut hook = |hook: Option<&core::LifecycleHandler>| {
        hook.and_then(|hook| problem.keep(hook_handler(hook, container)))
    };
    let lifecycle = container.lifecycle.as_ref();
    let pre_stop = hook(lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref()));
    let post_start = hook(lifecycle.and_then(|lifecycle| lifecycle.post_start.as_ref()));
    let environment = container
        .env
        .iter()
        .flatten()
        .filter_map(|variable| problem.keep(parse_variable(variable)))
        .collect();
    let parsed = ContainerSpec {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        pull: match container.image_pull_policy.as_deref() {
            Some("Never") => PullPolicy::Never,
            Some("Always") => PullPolicy::Always,
            _ => PullPolicy::IfNotPresent,
        },
        sidecar: container.restart_policy.as_deref() == Some("Always"),
        command: container.command.clone().unwrap_or_default(),
        args: container.args.clone().unwrap_or_default(),
        environment_from: container.env_from.iter().flatten().filter_map(environment_from).collect(),
        environment,
        stdin: match (container.stdin, container.stdin_once) {
            (Some(true), Some(true)) => Stdin::UntilDetached,
            (Some(true), _) => Stdin::Open,
            _ => Stdin::Null,
        },
        terminal: Terminal::from_flag(container.tty == Some(true)),
        working_dir: container.working_dir.clone(),
        security: security(container.security_context.as_ref(), pod.security_context.as_ref()),
        resources: Resources {
            requests: Amounts::of(container.resources.as_ref().and_then(|all| all.requests.as_ref())),
            limits: Amounts::of(container.resources.as_ref().and_then(|all| all.limits.as_ref())),
        },
        mounts: container.volume_mounts.iter().flatten().map(mount).collect(),
        readiness,
        liveness,
        startup,
        post_start,
        pre_stop,
        message: TerminationMessage {
            path: container.termination_message_path.clone().unwrap_or_else(|| MESSAGE_PATH.to_owned()),
            policy: match container.termination_message_policy.as_deref() {
                Some("FallbackToLogsOnError") => MessagePolicy::FallbackToLogsOnError,
                _ => MessagePolicy::File,
            },
        },
    };
    (parsed, problem.0)
}

fn mount(mount: &core::VolumeMount) -> MountSpec {
    let given = |path: &Option<String>| path.clone().filter(|path| !path.is_empty());
    let expanded = given(&mount.sub_path_expr).map(SubPath::Expanded);
    MountSpec {
        volume: mount.name.clone(),
        path: mount.mount_path.clone(),
        read_only: mount.read_only.unwrap_or(false),
        sub_path: expanded.or_else(|| given(&mount.sub_path).map(SubPath::Fixed)),
    }
}

/// What a container asks for comes before what its pod does.
fn security(own: Option<&core::SecurityContext>, pod: Option<&core::PodSecurityContext>) -> Security {
    let id = |own: Option<i64>, of_pod: Option<i64>| own.or(of_pod).and_then(|id| u32::try_from(id).ok());
    let names = |names: Option<&Vec<String>>| -> BTreeSet<String> {
        names.into_iter().flatten().map(|name| name.to_uppercase()).collect()
    };
    let capabilities = own.and_then(|own| own.capabilities.as_ref());
    let groups = pod.and_then(|pod| pod.supplemental_groups.as_deref()).unwrap_or_default();
    let groups = groups.iter().copied().chain(pod.and_then(|pod| pod.fs_group));
    Security {
        user: id(own.and_then(|own| own.run_as_user), pod.and_then(|pod| pod.run_as_user)),
        group: id(own.and_then(|own| own.run_as_group), pod.and_then(|pod| pod.run_as_group)),
        groups: groups.filter_map(|group| u32::try_from(group).ok()).collect(),
        not_root: own.and_then(|own| own.run_as_non_root).or(pod.and_then(|pod| pod.run_as_non_root))
            == Some(true),
        read_only_root: own.and_then(|own| own.read_only_root_filesystem).unwrap_or(false),
        no_escalation: own.and_then(|own| own.allow_privilege_escalation) == Some(false),
        privileged: own.and_then(|own| own.privileged) == Some(true),
        add: names(capabilities.and_then(|capabilities| capabilities.add.as_ref())),
        drop: names(capabilities.and_then(|capabilities| capabilities.drop.as_ref())),
    }
}

fn environment_from(source: &core::EnvFromSource) -> Option<EnvironmentFrom> {
    let (name, optional) = match (&source.config_map_ref, &source.secret_ref) {
        (Some(source), _) => (ObjectName::ConfigMap(source.name.clone()), source.optional),
        (None, Some(source)) => (ObjectName::Secret(source.name.clone()), source.optional),
        (None, None) => return None,
    };
    let prefix = source.prefix.clone().unwrap_or_default();
    Some(EnvironmentFrom { object: name, prefix, optional: optional == Some(true) })
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
    if let Some(resource) = &from.resource_field_ref {
        let field =
            ResourceField::parse(resource).map_err(|error| format!("env {:?}: {error}", variable.name))?;
        return named(Source::Resource(field));
    }
    let key = |object, key: &str, optional: Option<bool>| Source::Key {
        object,
        key: key.to_owned(),
        optional: optional == Some(true),
    };
    if let Some(source) = &from.config_map_key_ref {
        return named(key(ObjectName::ConfigMap(source.name.clone()), &source.key, source.optional));
    }
    if let Some(source) = &from.secret_key_ref {
        return named(key(ObjectName::Secret(source.name.clone()), &source.key, source.optional));
    }
    Err(format!("env {:?}: the valueFrom is none that is supported", variable.name))
}

fn parse_probe(probe: &core::Probe, container: &core::Container) -> Result<Option<Probe>, String> {
    let Some(handler) = probe_handler(probe, container)? else { return Ok(None) };
    let at_least_one =
        |value: Option<i32>, default: i32| u32::try_from(value.unwrap_or(default).max(1)).unwrap_or(1);
    Ok(Some(Probe {
        handler,
        initial_delay: Duration::from_secs(
            u64::try_from(probe.initial_delay_seconds.unwrap_or(0)).unwrap_or(0),
        ),
        period: Duration::from_secs(at_least_one(probe.period_seconds, 10).into()),
        timeout: Duration::from_secs(at_least_one(probe.timeout_seconds, 1).into()),
        success_threshold: at_least_one(probe.success_threshold, 1),
        failure_threshold: at_least_one(probe.failure_threshold, 3),
        grace: probe
            .termination_grace_period_seconds
            .map(|grace| super::seconds(Some(grace), Duration::ZERO)),
    }))
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
        return Ok(Some(Handler::Sleep { duration: super::seconds(Some(sleep.seconds), Duration::ZERO) }));
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
