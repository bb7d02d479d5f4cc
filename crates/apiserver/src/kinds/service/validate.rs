//! What is wrong with a Service (`ValidateService` and its kin in Kubernetes' core validation).

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{has_health_check_port, is_external, node_port, protocol};
use crate::kinds::endpoints::{PROTOCOLS, endpoint_address, port_number};
use crate::kinds::field::{self, Seen, items, list, member, number, text};
use crate::kinds::metadata;
use crate::kinds::names::{
    NO_ADDRESS, PORT_RANGE, dns1123_label, dns1123_subdomain, port_name, qualified_name,
};
use crate::status::Cause;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const POLICIES: &[&str] = &["Cluster", "Local"];
const FAMILY_POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
const FAMILIES: &[&str] = &["IPv4", "IPv6"];
/// A day in seconds.
const MAX_AFFINITY: i64 = 86_400;

pub(super) fn service(object: &Value, causes: &mut Vec<Cause>) {
    let Some(spec) = object.get("spec") else {
        causes.push(Cause::required("spec", ""));
        return;
    };
    let service_type = member(spec, "type");
    field::one_of(spec, "type", "spec", TYPES, causes);
    if items(spec, "/ports").is_empty() && !super::is_headless(object) && service_type != "ExternalName" {
        causes.push(Cause::required("spec.ports", ""));
    }
    match service_type {
        "NodePort" | "LoadBalancer" if super::is_headless(object) => {
            let detail = format!("may not be set to 'None' for {service_type} services");
            causes.push(Cause::invalid("spec.clusterIPs[0]", &json!("None"), detail));
        }
        "ExternalName" => external_name(spec, causes),
        _ => {}
    }
    cluster_addresses(spec, causes);
    for (index, port) in list(spec, "ports").iter().enumerate() {
        let named = list(spec, "ports").len() > 1;
        validate_port(port, &format!("spec.ports[{index}]"), named, service_type, causes);
    }
    duplicate_ports(spec, causes);
    affinity(spec, causes);
    metadata::labels(object, "/spec/selector", "spec.selector", causes);
    for (index, address) in list(spec, "externalIPs").iter().enumerate() {
        endpoint_address(address.as_str().unwrap_or_default(), &format!("spec.externalIPs[{index}]"), causes);
    }
    policies(object, spec, causes);
    balancer(object, spec, causes);
}

fn external_name(spec: &Value, causes: &mut Vec<Cause>) {
    if !list(spec, "clusterIPs").is_empty() {
        causes.push(Cause::forbidden("spec.clusterIPs[0]", "may not be set for ExternalName services"));
    }
    let name = member(spec, "externalName");
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        causes.push(Cause::required("spec.externalName", ""));
        return;
    }
    let wrong = dns1123_subdomain(name).into_iter();
    causes.extend(wrong.map(|wrong| Cause::invalid("spec.externalName", &Value::from(name), wrong)));
}

fn cluster_addresses(spec: &Value, causes: &mut Vec<Cause>) {
    let addresses = list(spec, "clusterIPs");
    let first = member(spec, "clusterIP");
    let whole = spec.get("clusterIPs").unwrap_or(&Value::Null);
    match addresses.first() {
        Some(_) if first.is_empty() => {
            causes.push(Cause::invalid(
                "spec.clusterIPs",
                whole,
                "must be empty when `clusterIP` is not specified",
            ));
        }
        Some(address) if address.as_str() != Some(first) => {
            causes.push(Cause::invalid("spec.clusterIPs", whole, "first value must match `clusterIP`"));
        }
        _ => {}
    }
    if addresses.len() > 2 {
        causes.push(Cause::invalid("spec.clusterIPs", whole, "may only hold up to 2 values"));
    }
    for (index, address) in addresses.iter().enumerate() {
        let (path, text) = (format!("spec.clusterIPs[{index}]"), address.as_str().unwrap_or_default());
        if text == "None" && addresses.len() > 1 {
            causes.push(Cause::invalid("spec.clusterIPs", whole, "'None' must be the first and only value"));
        } else if text != "None" && text.parse::<IpAddr>().is_err() {
            causes.push(Cause::invalid(path, address, NO_ADDRESS));
        }
    }
    let parsed: Vec<IpAddr> = addresses.iter().filter_map(|address| address.as_str()?.parse().ok()).collect();
    if matches!(parsed.as_slice(), [one, other] if one.is_ipv4() == other.is_ipv4()) {
        let detail = "may specify no more than one IP for each IP family";
        causes.push(Cause::invalid("spec.clusterIPs", whole, detail));
    }
    if spec.get("ipFamilyPolicy").is_some() {
        field::one_of(spec, "ipFamilyPolicy", "spec", FAMILY_POLICIES, causes);
    }
    let mut seen = Seen::new();
    for (index, family) in list(spec, "ipFamilies").iter().enumerate() {
        let (path, name) = (format!("spec.ipFamilies[{index}]"), family.as_str().unwrap_or_default());
        if !FAMILIES.contains(&name) {
            causes.push(Cause::not_supported(&*path, family, FAMILIES));
        }
        if seen.again(name) {
            causes.push(Cause::duplicate(path, family));
        }
    }
}

fn validate_port(port: &Value, path: &str, named: bool, service_type: &str, causes: &mut Vec<Cause>) {
    let name = member(port, "name");
    if name.is_empty() && named {
        causes.push(Cause::required(format!("{path}.name"), ""));
    }
    if !name.is_empty() {
        let wrong = dns1123_label(name).into_iter();
        causes.extend(wrong.map(|wrong| Cause::invalid(format!("{path}.name"), &Value::from(name), wrong)));
    }
    port_number(port, "port", path, causes);
    field::one_of(port, "protocol", path, PROTOCOLS, causes);
    let target = port.get("targetPort").unwrap_or(&Value::Null);
    let wrong = match target {
        Value::String(name) => port_name(name),
        Value::Number(number) if !number.as_i64().is_some_and(|number| (1..=65535).contains(&number)) => {
            vec![PORT_RANGE.to_owned()]
        }
        _ => Vec::new(),
    };
    causes.extend(wrong.into_iter().map(|wrong| Cause::invalid(format!("{path}.targetPort"), target, wrong)));
    if let Some(protocol) = port.get("appProtocol") {
        let wrong = qualified_name(protocol.as_str().unwrap_or_default()).into_iter();
        causes.extend(wrong.map(|wrong| Cause::invalid(format!("{path}.appProtocol"), protocol, wrong)));
    }
    if port.get("nodePort").is_some() {
        if matches!(service_type, "ClusterIP" | "ExternalName") {
            let detail = format!("may not be used when `type` is '{service_type}'");
            causes.push(Cause::forbidden(format!("{path}.nodePort"), &detail));
        } else {
            port_number(port, "nodePort", path, causes);
        }
    }
}

fn duplicate_ports(spec: &Value, causes: &mut Vec<Cause>) {
    let (mut names, mut numbers, mut node_ports) = (Seen::new(), Seen::new(), Seen::new());
    for (index, port) in list(spec, "ports").iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        let name = member(port, "name");
        if !name.is_empty() && names.again(name) {
            causes.push(Cause::duplicate(format!("{path}.name"), &Value::from(name)));
        }
        let number = number(port, "/port").unwrap_or_default();
        if numbers.again((protocol(port), number)) {
            // Kubernetes prints its internal type here.
            let shown = json!({"Name": "", "Protocol": protocol(port), "AppProtocol": null, "Port": number,
                "TargetPort": 0, "NodePort": 0});
            causes.push(Cause::duplicate(&*path, &shown));
        }
        let node_port = node_port(port);
        if node_port != 0 && node_ports.again((protocol(port), node_port)) {
            causes.push(Cause::duplicate(format!("{path}.nodePort"), &Value::from(node_port)));
        }
    }
}

fn affinity(spec: &Value, causes: &mut Vec<Cause>) {
    field::one_of(spec, "sessionAffinity", "spec", &["ClientIP", "None"], causes);
    if member(spec, "sessionAffinity") != "ClientIP" {
        return;
    }
    let seconds = number(spec, "/sessionAffinityConfig/clientIP/timeoutSeconds").unwrap_or_default();
    if !(1..=MAX_AFFINITY).contains(&seconds) {
        let detail = format!("must be greater than 0 and less than {MAX_AFFINITY}");
        let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        causes.push(Cause::invalid(field, &Value::from(seconds), detail));
    }
}

fn policies(object: &Value, spec: &Value, causes: &mut Vec<Cause>) {
    if spec.get("internalTrafficPolicy").is_some() {
        field::one_of(spec, "internalTrafficPolicy", "spec", POLICIES, causes);
    }
    if let Some(policy) = spec.get("externalTrafficPolicy").filter(|policy| !field::is_unset(policy)) {
        if is_external(object) {
            field::one_of(spec, "externalTrafficPolicy", "spec", POLICIES, causes);
        } else {
            let detail = "may only be set for externally-accessible services";
            causes.push(Cause::invalid("spec.externalTrafficPolicy", policy, detail));
        }
    }
    if spec.get("trafficDistribution").is_some() {
        field::one_of(
            spec,
            "trafficDistribution",
            "spec",
            &["PreferClose", "PreferSameZone", "PreferSameNode"],
            causes,
        );
    }
}

fn balancer(object: &Value, spec: &Value, causes: &mut Vec<Cause>) {
    let is_balancer = member(spec, "type") == "LoadBalancer";
    for (index, range) in list(spec, "loadBalancerSourceRanges").iter().enumerate() {
        let text = range.as_str().unwrap_or_default().trim();
        if text.parse::<IpNet>().is_err() {
            let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            causes.push(Cause::invalid(format!("spec.loadBalancerSourceRanges[{index}]"), range, detail));
        }
    }
    for key in ["loadBalancerSourceRanges", "allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if !is_balancer && spec.get(key).is_some() {
            let detail = "may only be used when `type` is 'LoadBalancer'";
            causes.push(Cause::forbidden(format!("spec.{key}"), detail));
        }
    }
    if let Some(port) = spec.get("healthCheckNodePort").filter(|port| port.as_i64() != Some(0)) {
        if !has_health_check_port(object) {
            let detail =
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            causes.push(Cause::invalid("spec.healthCheckNodePort", port, detail));
        } else {
            port_number(spec, "healthCheckNodePort", "spec", causes);
        }
    }
}

pub(super) fn status(new: &Value, causes: &mut Vec<Cause>) {
    let path = "status.loadBalancer.ingress";
    let ingress = items(new, "/status/loadBalancer/ingress");
    if !ingress.is_empty() && text(new, "/spec/type") != "LoadBalancer" {
        causes.push(Cause::forbidden(path, "may only be used when `spec.type` is \"LoadBalancer\""));
    }
    for (index, one) in ingress.iter().enumerate() {
        let (address, host) = (member(one, "ip"), member(one, "hostname"));
        if !address.is_empty() && address.parse::<IpAddr>().is_err() {
            causes.push(Cause::invalid(format!("{path}[{index}].ip"), &Value::from(address), NO_ADDRESS));
        }
        if !host.is_empty() {
            let wrong = dns1123_subdomain(host).into_iter();
            let field = format!("{path}[{index}].hostname");
            causes.extend(wrong.map(|wrong| Cause::invalid(&*field, &Value::from(host), wrong)));
        }
    }
}

pub(super) fn update(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let typed =
        |service: &Value| matches!(text(service, "/spec/type"), "ClusterIP" | "NodePort" | "LoadBalancer");
    let (now, before) = (items(new, "/spec/clusterIPs"), items(old, "/spec/clusterIPs"));
    if typed(new) && typed(old) && !before.is_empty() {
        for (index, address) in before.iter().enumerate() {
            // The second address goes when the Service becomes single-stack.
            let gone = index > 0 && now.len() <= index;
            if now.get(index) != Some(address) && !gone {
                let list = new.pointer("/spec/clusterIPs").unwrap_or(&Value::Null);
                causes.push(Cause::invalid(
                    format!("spec.clusterIPs[{index}]"),
                    list,
                    "may not change once set",
                ));
            }
        }
        if text(new, "/spec/ipFamilies/0") != text(old, "/spec/ipFamilies/0") {
            let families = new.pointer("/spec/ipFamilies").unwrap_or(&Value::Null);
            causes.push(Cause::invalid("spec.ipFamilies[0]", families, "may not change once set"));
        }
    }
    if has_health_check_port(new) && has_health_check_port(old) {
        field::immutable(new, old, "/spec/healthCheckNodePort", causes);
    }
    let class = "/spec/loadBalancerClass";
    let balancers = [new, old].iter().all(|service| text(service, "/spec/type") == "LoadBalancer");
    if balancers && new.pointer(class) != old.pointer(class) {
        let value = new.pointer(class).unwrap_or(&Value::Null);
        causes.push(Cause::invalid("spec.loadBalancerClass", value, "may not change once set"));
    }
}
