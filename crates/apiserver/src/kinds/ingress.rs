//! Ingress and IngressClass of networking.k8s.io. They are kept and checked; nothing serves them.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::endpoints::port_number;
use super::field::{self, items, list, member, text};
use super::names::{dns1035_label, dns1123_subdomain, port_name, wildcard_subdomain};
use super::strategy::Rules;
use super::table::{self, Column};
use crate::status::Cause;

const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];

pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::text("Class"),
    Column::text("Hosts"),
    Column::text("Address"),
    Column::text("Ports"),
    Column::AGE,
];

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let hosts: Vec<&str> = items(object, "/spec/rules")
        .iter()
        .map(|rule| member(rule, "host"))
        .filter(|host| !host.is_empty())
        .collect();
    let hosts = match hosts.as_slice() {
        [] => "*".to_owned(),
        // More than three are counted, as Kubernetes' printer does.
        [first @ .., _] if hosts.len() > 3 => {
            format!("{} + {} more...", first[..3].join(","), hosts.len() - 3)
        }
        all => all.join(","),
    };
    let addresses = items(object, "/status/loadBalancer/ingress").iter().map(|address| {
        let ip = member(address, "ip");
        if ip.is_empty() { member(address, "hostname") } else { ip }
    });
    let ports = if items(object, "/spec/tls").is_empty() { "80" } else { "80, 443" };
    vec![
        table::name(object),
        table::or_none(text(object, "/spec/ingressClassName")),
        hosts.into(),
        addresses.collect::<Vec<_>>().join(",").into(),
        ports.into(),
        table::age(object, now),
    ]
}

/// Ingress's rules.
pub(super) struct Ingress;

impl Rules for Ingress {
    fn fresh_status(&self) -> Option<Value> {
        Some(json!({"loadBalancer": {}}))
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let rules = list(spec, "rules");
        match spec.get("defaultBackend") {
            Some(default) => backend(default, "spec.defaultBackend", causes),
            None if rules.is_empty() => {
                let detail = "either `defaultBackend` or `rules` must be specified";
                causes.push(Cause::invalid("spec", &Value::Array(Vec::new()), detail));
            }
            None => {}
        }
        for (index, rule) in rules.iter().enumerate() {
            validate_rule(rule, &format!("spec.rules[{index}]"), causes);
        }
        for (index, tls) in list(spec, "tls").iter().enumerate() {
            for (inner, host) in list(tls, "hosts").iter().enumerate() {
                let path = format!("spec.tls[{index}].hosts[{inner}]");
                host_name(host.as_str().unwrap_or_default(), &path, causes);
            }
        }
        let class = member(spec, "ingressClassName");
        if !class.is_empty() {
            wrong(dns1123_subdomain(class), class, "spec.ingressClassName", causes);
        }
    }
}

fn wrong(problems: Vec<String>, value: &str, path: &str, causes: &mut Vec<Cause>) {
    causes.extend(problems.into_iter().map(|problem| Cause::invalid(path, &Value::from(value), problem)));
}

fn host_name(host: &str, path: &str, causes: &mut Vec<Cause>) {
    let problems = if host.contains('*') { wildcard_subdomain(host) } else { dns1123_subdomain(host) };
    wrong(problems, host, path, causes);
}

fn validate_rule(rule: &Value, path: &str, causes: &mut Vec<Cause>) {
    let host = member(rule, "host");
    if host.parse::<IpAddr>().is_ok() {
        let detail = "must be a DNS name, not an IP address";
        causes.push(Cause::invalid(format!("{path}.host"), &Value::from(host), detail));
    } else if !host.is_empty() {
        host_name(host, &format!("{path}.host"), causes);
    }
    let Some(http) = rule.get("http") else { return };
    let paths = list(http, "paths");
    if paths.is_empty() {
        causes.push(Cause::required(format!("{path}.http.paths"), ""));
    }
    for (index, entry) in paths.iter().enumerate() {
        validate_path(entry, &format!("{path}.http.paths[{index}]"), causes);
    }
}

fn validate_path(entry: &Value, path: &str, causes: &mut Vec<Cause>) {
    let (given, kind) = (member(entry, "path"), member(entry, "pathType"));
    match kind {
        "" => causes.push(Cause::required(format!("{path}.pathType"), "pathType must be specified")),
        "Exact" | "Prefix" if !given.starts_with('/') => {
            let detail = "must be an absolute path";
            causes.push(Cause::invalid(format!("{path}.path"), &Value::from(given), detail));
        }
        "Exact" | "Prefix" => {
            for sequence in ["//", "/./", "/../", "%2f", "%2F"] {
                if given.contains(sequence) {
                    let detail = format!("must not contain '{sequence}'");
                    causes.push(Cause::invalid(format!("{path}.path"), &Value::from(given), detail));
                }
            }
        }
        "ImplementationSpecific" => {
            if !given.is_empty() && !given.starts_with('/') {
                let detail = "must be an absolute path";
                causes.push(Cause::invalid(format!("{path}.path"), &Value::from(given), detail));
            }
        }
        other => {
            causes.push(Cause::not_supported(format!("{path}.pathType"), &Value::from(other), PATH_TYPES));
        }
    }
    backend(entry.get("backend").unwrap_or(&Value::Null), &format!("{path}.backend"), causes);
}

fn backend(backend: &Value, path: &str, causes: &mut Vec<Cause>) {
    match (backend.get("service"), backend.get("resource")) {
        (Some(_), Some(_)) => {
            let detail = "cannot set both resource and service backends";
            causes.push(Cause::invalid(path, &Value::from(""), detail));
        }
        (None, Some(_)) => {}
        (None, None) => {
            causes.push(Cause::required(path, "cannot have both resource and service backends empty"));
        }
        (Some(service), None) => {
            let name = member(service, "name");
            if name.is_empty() {
                causes.push(Cause::required(format!("{path}.service.name"), ""));
            } else {
                wrong(dns1035_label(name), name, &format!("{path}.service.name"), causes);
            }
            let port = service.get("port").unwrap_or(&Value::Null);
            let number = port.get("number").filter(|number| number.as_i64() != Some(0));
            match (number, member(port, "name")) {
                (None, "") => causes.push(Cause::required(path, "port name or number is required")),
                (Some(_), name) if !name.is_empty() => {
                    let detail = "cannot set both port name & port number";
                    causes.push(Cause::invalid(path, &Value::from(name), detail));
                }
                (Some(_), _) => {
                    port_number(port, "number", &format!("{path}.service.port"), causes);
                }
                (None, name) => wrong(port_name(name), name, &format!("{path}.service.port.name"), causes),
            }
        }
    }
}

pub(super) const CLASS_COLUMNS: &[Column] =
    &[Column::NAME, Column::text("Controller"), Column::text("Parameters"), Column::AGE];

pub(super) fn class_row(object: &Value, now: Timestamp) -> Vec<Value> {
    let parameters = object.pointer("/spec/parameters").map(|parameters| {
        let group = member(parameters, "apiGroup");
        let dot = if group.is_empty() { "" } else { "." };
        format!("{}{dot}{group}/{}", member(parameters, "kind"), member(parameters, "name"))
    });
    vec![
        table::name(object),
        text(object, "/spec/controller").into(),
        table::or_none(parameters.unwrap_or_default()),
        table::age(object, now),
    ]
}

/// IngressClass's rules.
pub(super) struct IngressClass;

impl Rules for IngressClass {
    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        let controller = text(object, "/spec/controller");
        if controller.is_empty() {
            return causes.push(Cause::required("spec.controller", ""));
        }
        let prefixed = controller
            .split_once('/')
            .is_some_and(|(domain, path)| dns1123_subdomain(domain).is_empty() && !path.is_empty());
        if !prefixed {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            causes.push(Cause::invalid("spec.controller", &Value::from(controller), detail));
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
        field::immutable(new, old, "/spec/controller", causes);
    }
}
