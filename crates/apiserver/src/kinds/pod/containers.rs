//! What is wrong with the containers of a pod.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::kinds::endpoints::{PROTOCOLS, port_number};
use crate::kinds::field::{self, Seen, list, member, non_negative, number, texts};
use crate::kinds::names::{PORT_RANGE, dns1123_label, env_name, port_name, qualified_name};
use crate::kinds::schema::quantity::nanos;
use crate::status::Cause;

const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: &[&str] = &["FallbackToLogsOnError", "File"];
const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
const HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];

/// What a container is checked against.
pub(super) struct Context<'a> {
    /// The pod's volumes.
    pub(super) volumes: &'a BTreeSet<&'a str>,
    /// These are init containers.
    pub(super) init: bool,
}

pub(super) fn validate<'a>(
    containers: &'a [Value],
    path: &str,
    context: &Context<'_>,
    names: &mut Seen<&'a str>,
    causes: &mut Vec<Cause>,
) {
    for (index, container) in containers.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let name = member(container, "name");
        if name.is_empty() {
            causes.push(Cause::required(format!("{path}.name"), ""));
        } else {
            let wrong = dns1123_label(name).into_iter();
            causes
                .extend(wrong.map(|wrong| Cause::invalid(format!("{path}.name"), &Value::from(name), wrong)));
            if names.again(name) {
                causes.push(Cause::duplicate(format!("{path}.name"), &Value::from(name)));
            }
        }
        image(container, &path, causes);
        restart_policy(container, &path, context.init, causes);
        ports(container, &path, causes);
        environment(container, &path, causes);
        mounts(container, &path, context.volumes, causes);
        resources(container, &path, causes);
        probes(container, &path, causes);
    }
}

fn image(container: &Value, path: &str, causes: &mut Vec<Cause>) {
    let image = member(container, "image");
    if image.is_empty() {
        causes.push(Cause::required(format!("{path}.image"), ""));
    } else if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        causes.push(Cause::invalid(format!("{path}.image"), &Value::from(image), detail));
    }
    field::one_of(container, "imagePullPolicy", path, PULL_POLICIES, causes);
    field::one_of(container, "terminationMessagePolicy", path, MESSAGE_POLICIES, causes);
}

fn restart_policy(container: &Value, path: &str, init: bool, causes: &mut Vec<Cause>) {
    let policy = member(container, "restartPolicy");
    if !init {
        if !policy.is_empty() {
            let detail = "may not be set for non-init containers";
            causes.push(Cause::forbidden(format!("{path}.restartPolicy"), detail));
        }
        return;
    }
    if !policy.is_empty() && policy != "Always" {
        causes.push(Cause::not_supported(format!("{path}.restartPolicy"), &Value::from(policy), &["Always"]));
    }
    if policy.is_empty() {
        for key in ["lifecycle"].into_iter().chain(PROBES).filter(|key| container.get(key).is_some()) {
            let detail = "may not be set for init containers without restartPolicy=Always";
            causes.push(Cause::forbidden(format!("{path}.{key}"), detail));
        }
    }
}

fn ports(container: &Value, path: &str, causes: &mut Vec<Cause>) {
    let mut names = Seen::new();
    for (index, port) in list(container, "ports").iter().enumerate() {
        let path = format!("{path}.ports[{index}]");
        let name = member(port, "name");
        if !name.is_empty() {
            let wrong = port_name(name);
            let fine = wrong.is_empty();
            let wrong = wrong.into_iter();
            causes
                .extend(wrong.map(|wrong| Cause::invalid(format!("{path}.name"), &Value::from(name), wrong)));
            if fine && names.again(name) {
                causes.push(Cause::duplicate(format!("{path}.name"), &Value::from(name)));
            }
        }
        if number(port, "/containerPort").unwrap_or_default() == 0 {
            causes.push(Cause::required(format!("{path}.containerPort"), ""));
        } else {
            port_number(port, "containerPort", &path, causes);
        }
        if number(port, "/hostPort").is_some_and(|port| port != 0) {
            port_number(port, "hostPort", &path, causes);
        }
        field::one_of(port, "protocol", &path, PROTOCOLS, causes);
    }
}

fn environment(container: &Value, path: &str, causes: &mut Vec<Cause>) {
    for (index, variable) in list(container, "env").iter().enumerate() {
        let path = format!("{path}.env[{index}]");
        let name = member(variable, "name");
        if name.is_empty() {
            causes.push(Cause::required(format!("{path}.name"), ""));
        } else {
            let wrong = env_name(name).into_iter();
            causes
                .extend(wrong.map(|wrong| Cause::invalid(format!("{path}.name"), &Value::from(name), wrong)));
        }
        let Some(source) = variable.get("valueFrom") else { continue };
        let path = format!("{path}.valueFrom");
        let count = source.as_object().map_or(0, serde_json::Map::len);
        let detail = match count {
            0 => "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
            _ if !member(variable, "value").is_empty() => "may not be specified when `value` is not empty",
            1 => continue,
            _ => "may not have more than one field specified at a time",
        };
        causes.push(Cause::invalid(path, &Value::from(""), detail));
    }
}

fn mounts(container: &Value, path: &str, volumes: &BTreeSet<&str>, causes: &mut Vec<Cause>) {
    let mut places = Seen::new();
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let path = format!("{path}.volumeMounts[{index}]");
        let (name, place) = (member(mount, "name"), member(mount, "mountPath"));
        if name.is_empty() {
            causes.push(Cause::required(format!("{path}.name"), ""));
        }
        if place.is_empty() {
            causes.push(Cause::required(format!("{path}.mountPath"), ""));
        }
        if !volumes.contains(name) {
            causes.push(Cause::not_found(format!("{path}.name"), &Value::from(name)));
        }
        if places.again(place) {
            causes.push(Cause::invalid(format!("{path}.mountPath"), &Value::from(place), "must be unique"));
        }
    }
}

fn resources(container: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(resources) = container.get("resources") else { return };
    let path = format!("{path}.resources");
    for part in ["limits", "requests"] {
        for (name, amount) in texts(resources, &format!("/{part}")) {
            let field = format!("{path}.{part}[{name}]");
            let known =
                matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
            let wrong = qualified_name(name);
            if wrong.is_empty() && !known && !name.contains('/') {
                let path = format!("{path}.{part}");
                let detail = "must be a standard resource type or fully qualified";
                causes.push(Cause::invalid(&*path, &Value::from(name), detail));
                causes.push(Cause::invalid(
                    path,
                    &Value::from(name),
                    "must be a standard resource for containers",
                ));
            }
            causes.extend(
                wrong
                    .into_iter()
                    .map(|wrong| Cause::invalid(format!("{path}.{part}"), &Value::from(name), wrong)),
            );
            if nanos(amount).is_none_or(|amount| amount < 0) {
                causes.push(Cause::invalid(
                    field,
                    &Value::from(amount),
                    "must be greater than or equal to 0",
                ));
            }
        }
    }
    for (name, request) in texts(resources, "/requests") {
        let Some((_, limit)) = texts(resources, "/limits").find(|(limited, _)| *limited == name) else {
            continue;
        };
        if nanos(request) > nanos(limit) {
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            causes.push(Cause::invalid(format!("{path}.requests"), &Value::from(request), detail));
        }
    }
}

fn probes(container: &Value, path: &str, causes: &mut Vec<Cause>) {
    for name in PROBES {
        let Some(probe) = container.get(name) else { continue };
        let path = format!("{path}.{name}");
        handler(probe, &path, causes);
        for key in
            ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
        {
            non_negative(probe, key, &path, causes);
        }
        let successes = number(probe, "/successThreshold").unwrap_or(1);
        if name != "readinessProbe" && successes != 1 {
            causes.push(Cause::invalid(
                format!("{path}.successThreshold"),
                &Value::from(successes),
                "must be 1",
            ));
        }
    }
    for name in ["postStart", "preStop"] {
        if let Some(hook) = container.get("lifecycle").and_then(|lifecycle| lifecycle.get(name)) {
            let path = format!("{path}.lifecycle.{name}");
            if hook.get("sleep").is_none() {
                handler(hook, &path, causes);
            }
        }
    }
}

fn handler(holder: &Value, path: &str, causes: &mut Vec<Cause>) {
    let given: Vec<&str> = HANDLERS.into_iter().filter(|key| holder.get(key).is_some()).collect();
    match given.as_slice() {
        [] => causes.push(Cause::required(path, "must specify a handler type")),
        [_] => {}
        [_, others @ ..] => {
            for key in others {
                causes.push(Cause::forbidden(
                    format!("{path}.{key}"),
                    "may not specify more than 1 handler type",
                ));
            }
        }
    }
    if let Some(exec) = holder.get("exec")
        && list(exec, "command").is_empty()
    {
        causes.push(Cause::required(format!("{path}.exec.command"), ""));
    }
    for key in ["httpGet", "tcpSocket", "grpc"] {
        let Some(action) = holder.get(key) else { continue };
        let port = action.get("port").unwrap_or(&Value::Null);
        let wrong = match port {
            Value::String(name) => port_name(name),
            number if number.as_i64().is_some_and(|number| (1..=65535).contains(&number)) => Vec::new(),
            _ => vec![PORT_RANGE.to_owned()],
        };
        causes
            .extend(wrong.into_iter().map(|wrong| Cause::invalid(format!("{path}.{key}.port"), port, wrong)));
    }
    if let Some(get) = holder.get("httpGet") {
        field::one_of(get, "scheme", &format!("{path}.httpGet"), &["HTTP", "HTTPS"], causes);
    }
}
