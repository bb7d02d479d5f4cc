//! What is wrong with a pod spec (`ValidatePodSpec` in Kubernetes' core validation).

use std::collections::BTreeSet;

use serde_json::Value;

use super::containers::{self, Context};
use crate::kinds::endpoints::endpoint_address;
use crate::kinds::field::{Seen, flag, list, member, non_negative, number};
use crate::kinds::metadata;
use crate::kinds::names::{Rule, dns1123_label, dns1123_subdomain, label_value, qualified_name};
use crate::status::Cause;

const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
const TAINT_EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Checks the pod spec at `path`.
pub(in crate::kinds) fn spec(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    let volumes = volumes(list(spec, "volumes"), &format!("{path}.volumes"), causes);
    let regular = list(spec, "containers");
    if regular.is_empty() {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    let mut names = Seen::new();
    let mut context = Context { volumes: &volumes, init: false };
    containers::validate(regular, &format!("{path}.containers"), &context, &mut names, causes);
    context.init = true;
    containers::validate(
        list(spec, "initContainers"),
        &format!("{path}.initContainers"),
        &context,
        &mut names,
        causes,
    );
    host_ports(spec, path, causes);
    for (key, supported) in [("restartPolicy", RESTART_POLICIES), ("dnsPolicy", DNS_POLICIES)] {
        crate::kinds::field::one_of(spec, key, path, supported, causes);
    }
    non_negative(spec, "terminationGracePeriodSeconds", path, causes);
    if let Some(seconds) = spec.get("activeDeadlineSeconds").filter(|seconds| seconds.as_i64() < Some(1)) {
        let detail = "must be between 1 and 2147483647, inclusive";
        causes.push(Cause::invalid(format!("{path}.activeDeadlineSeconds"), seconds, detail));
    }
    let rules: [(&str, Rule); 5] = [
        ("hostname", dns1123_label),
        ("subdomain", dns1123_label),
        ("nodeName", dns1123_subdomain),
        ("serviceAccountName", dns1123_subdomain),
        ("runtimeClassName", dns1123_subdomain),
    ];
    for (key, rule) in rules {
        let value = member(spec, key);
        if !value.is_empty() {
            let wrong = rule(value).into_iter();
            causes.extend(
                wrong.map(|wrong| Cause::invalid(format!("{path}.{key}"), &Value::from(value), wrong)),
            );
        }
    }
    metadata::labels(spec, "/nodeSelector", &format!("{path}.nodeSelector"), causes);
    if member(spec, "dnsPolicy") == "None"
        && list(spec.get("dnsConfig").unwrap_or(&Value::Null), "nameservers").is_empty()
    {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        causes.push(Cause::required(format!("{path}.dnsConfig.nameservers"), detail));
    }
    tolerations(list(spec, "tolerations"), &format!("{path}.tolerations"), causes);
    for (index, alias) in list(spec, "hostAliases").iter().enumerate() {
        let path = format!("{path}.hostAliases[{index}]");
        if member(alias, "ip").parse::<std::net::IpAddr>().is_err() {
            endpoint_address(member(alias, "ip"), &format!("{path}.ip"), causes);
        }
        for (index, name) in list(alias, "hostnames").iter().enumerate() {
            let wrong = dns1123_subdomain(name.as_str().unwrap_or_default()).into_iter();
            causes
                .extend(wrong.map(|wrong| Cause::invalid(format!("{path}.hostnames[{index}]"), name, wrong)));
        }
    }
}

/// Checks the volumes and gives back their names.
fn volumes<'a>(volumes: &'a [Value], path: &str, causes: &mut Vec<Cause>) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let name = member(volume, "name");
        let sources = volume.as_object().map_or(0, |map| map.keys().filter(|key| *key != "name").count());
        if sources == 0 {
            causes.push(Cause::required(&*path, "must specify a volume type"));
        }
        if sources > 1 {
            causes.push(Cause::forbidden(&*path, "may not specify more than 1 volume type"));
        }
        if name.is_empty() {
            causes.push(Cause::required(format!("{path}.name"), ""));
            continue;
        }
        let wrong = dns1123_label(name).into_iter();
        causes.extend(wrong.map(|wrong| Cause::invalid(format!("{path}.name"), &Value::from(name), wrong)));
        if !names.insert(name) {
            causes.push(Cause::duplicate(format!("{path}.name"), &Value::from(name)));
        }
        for (source, key) in [
            ("configMap", "name"),
            ("secret", "secretName"),
            ("hostPath", "path"),
            ("persistentVolumeClaim", "claimName"),
        ] {
            if volume.get(source).is_some_and(|value| member(value, key).is_empty()) {
                causes.push(Cause::required(format!("{path}.{source}.{key}"), ""));
            }
        }
    }
    names
}

/// Two containers cannot take the same port of the node.
fn host_ports(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    let mut seen = Seen::new();
    for (outer, container) in list(spec, "containers").iter().enumerate() {
        for (inner, port) in list(container, "ports").iter().enumerate() {
            let host_port = number(port, "/hostPort").unwrap_or_default();
            let field = format!("{path}.containers[{outer}].ports[{inner}].hostPort");
            if host_port != 0 && seen.again((member(port, "protocol"), member(port, "hostIP"), host_port)) {
                let shown = format!("{}/{}/{host_port}", member(port, "protocol"), member(port, "hostIP"));
                causes.push(Cause::duplicate(&*field, &Value::from(shown)));
            }
            if flag(spec, "/hostNetwork")
                && port.get("containerPort").and_then(Value::as_i64) != Some(host_port)
            {
                let field = format!("{path}.containers[{outer}].ports[{inner}].containerPort");
                let value = port.get("containerPort").unwrap_or(&Value::Null);
                causes.push(Cause::invalid(field, value, "must match `hostPort` when `hostNetwork` is true"));
            }
        }
    }
}

fn tolerations(tolerations: &[Value], path: &str, causes: &mut Vec<Cause>) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let (key, operator) = (member(toleration, "key"), member(toleration, "operator"));
        if !key.is_empty() {
            let wrong = qualified_name(key).into_iter();
            causes.extend(wrong.map(|wrong| Cause::invalid(format!("{path}.key"), &Value::from(key), wrong)));
        } else if operator != "Exists" {
            let detail =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            causes.push(Cause::invalid(format!("{path}.operator"), &Value::from(operator), detail));
        }
        let value = member(toleration, "value");
        match operator {
            "" | "Equal" => {
                let wrong = label_value(value).into_iter();
                causes.extend(
                    wrong.map(|wrong| Cause::invalid(format!("{path}.value"), &Value::from(value), wrong)),
                );
            }
            "Exists" if !value.is_empty() => {
                let detail = "value must be empty when `operator` is 'Exists'";
                causes.push(Cause::invalid(format!("{path}.operator"), &Value::from(value), detail));
            }
            "Exists" => {}
            other => {
                causes.push(Cause::not_supported(
                    format!("{path}.operator"),
                    &Value::from(other),
                    &["Equal", "Exists"],
                ));
            }
        }
        let effect = member(toleration, "effect");
        if !effect.is_empty() && !TAINT_EFFECTS.contains(&effect) {
            causes.push(Cause::not_supported(format!("{path}.effect"), &Value::from(effect), TAINT_EFFECTS));
        }
        if toleration.get("tolerationSeconds").is_some() && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            causes.push(Cause::invalid(format!("{path}.effect"), &Value::from(effect), detail));
        }
    }
}
