//! What a Service has when its sender did not say, and what it keeps from one version to the next.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{has_cluster_ip, has_health_check_port, has_node_ports, is_external, node_port};
use crate::kinds::field::{self, fill, items, member, objects, set, text};

/// Seconds for which a client stays with its endpoint.
const AFFINITY_SECONDS: i64 = 10_800;

/// The defaults that do not depend on the cluster.
pub(super) fn fill_in(object: &mut Value) {
    let Some(spec) = field::spec(object) else { return };
    fill(spec, "type", "ClusterIP");
    fill(spec, "sessionAffinity", "None");
    match spec.get("sessionAffinity").and_then(Value::as_str) {
        Some("None") => {
            spec.shift_remove("sessionAffinityConfig");
        }
        Some("ClientIP") => {
            let client = field::object(spec, "sessionAffinityConfig")
                .and_then(|config| field::object(config, "clientIP"));
            if let Some(client) = client {
                fill(client, "timeoutSeconds", AFFINITY_SECONDS);
            }
        }
        _ => {}
    }
    for port in objects(spec, "ports") {
        fill_in_port(port);
    }
    let service_type = spec.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    if matches!(&*service_type, "ClusterIP" | "NodePort" | "LoadBalancer") {
        fill(spec, "internalTrafficPolicy", "Cluster");
    }
    if service_type == "LoadBalancer" {
        spec.entry("allocateLoadBalancerNodePorts").or_insert(Value::Bool(true));
    }
    if is_external(object)
        && let Some(spec) = field::spec(object)
    {
        fill(spec, "externalTrafficPolicy", "Cluster");
    }
    if let Some(Value::Object(balancer)) = object.pointer_mut("/status/loadBalancer") {
        for ingress in objects(balancer, "ingress").filter(|ingress| ingress.contains_key("ip")) {
            fill(ingress, "ipMode", "VIP");
        }
    }
}

fn fill_in_port(port: &mut Map<String, Value>) {
    fill(port, "protocol", "TCP");
    let unset =
        port.get("targetPort").is_none_or(|target| field::is_unset(target) || target.as_i64() == Some(0));
    if unset && let Some(number) = port.get("port").cloned() {
        set(port, "targetPort", number);
    }
    if node_port_of(port) == 0 {
        port.shift_remove("nodePort");
    }
}

fn node_port_of(port: &Map<String, Value>) -> i64 {
    port.get("nodePort").and_then(Value::as_i64).unwrap_or_default()
}

/// Keeps `clusterIP` and `clusterIPs` in step when only one of them was given or changed.
pub(super) fn normalise_addresses(new: &mut Value, old: Option<&Value>) {
    let address = text(new, "/spec/clusterIP").to_owned();
    let list = items(new, "/spec/clusterIPs").to_vec();
    let old_address = old.map(|old| text(old, "/spec/clusterIP")).unwrap_or_default();
    let old_list = old.map_or(&[][..], |old| items(old, "/spec/clusterIPs"));
    let Some(spec) = field::spec(new) else { return };
    if old.is_none() || old_list.is_empty() {
        if !address.is_empty() && list.is_empty() {
            set(spec, "clusterIPs", json!([address]));
        }
        return;
    }
    let same_list = list == old_list;
    if address.is_empty() && !old_address.is_empty() && same_list {
        spec.shift_remove("clusterIPs");
    } else if !address.is_empty() && old_address != address && same_list {
        let mut list = list;
        list[0] = address.into();
        set(spec, "clusterIPs", list);
    }
}

/// What was allocated stays when the new version does not say otherwise.
pub(super) fn keep_allocated(new: &mut Value, old: &Value) {
    let both_addresses = has_cluster_ip(new) && has_cluster_ip(old);
    let both_ports = has_node_ports(new) && has_node_ports(old);
    let both_checks = has_health_check_port(new) && has_health_check_port(old);
    let used: BTreeSet<u64> = items(new, "/spec/ports").iter().map(node_port).collect();
    let Some(spec) = field::spec(new) else { return };
    if both_addresses {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let unset = spec.get(key).is_none_or(field::is_unset);
            if let Some(kept) = old.pointer(&format!("/spec/{key}")).filter(|_| unset) {
                let other_address =
                    key == "clusterIPs" && spec.get("clusterIP") != old.pointer("/spec/clusterIP");
                if !other_address {
                    set(spec, key, kept.clone());
                }
            }
        }
    }
    if both_ports {
        let before: BTreeMap<&str, u64> =
            items(old, "/spec/ports").iter().map(|port| (member(port, "name"), node_port(port))).collect();
        for port in objects(spec, "ports") {
            let name = port.get("name").and_then(Value::as_str).unwrap_or_default();
            let kept = before.get(name).copied().unwrap_or_default();
            if node_port_of(port) == 0 && kept != 0 && !used.contains(&kept) {
                set(port, "nodePort", kept);
            }
        }
    }
    if both_checks && let Some(kept) = old.pointer("/spec/healthCheckNodePort") {
        fill(spec, "healthCheckNodePort", kept.clone());
    }
}

/// After a change of type, fields that only the old type has are dropped where the sender left them as they were.
pub(super) fn drop_what_the_type_does_not_have(new: &mut Value, old: &Value) {
    let gone = |has: fn(&Value) -> bool| has(old) && !has(new);
    let (address, ports) = (gone(has_cluster_ip), gone(has_node_ports));
    let (check, external) = (gone(has_health_check_port), gone(is_external));
    let balancer = gone(|service| text(service, "/spec/type") == "LoadBalancer");
    let same = |key: &str| new.pointer(&format!("/spec/{key}")) == old.pointer(&format!("/spec/{key}"));
    let node_ports =
        |service: &Value| -> BTreeSet<u64> { items(service, "/spec/ports").iter().map(node_port).collect() };
    let same_ports = node_ports(new).is_subset(&node_ports(old));
    let mut dropped: Vec<&str> = Vec::new();
    if address && same("clusterIPs") {
        dropped.extend(
            ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"].into_iter().filter(|key| same(key)),
        );
        dropped.extend(["internalTrafficPolicy"].into_iter().filter(|key| same(key)));
    }
    dropped.extend(["healthCheckNodePort"].into_iter().filter(|key| check && same(key)));
    dropped.extend(["externalTrafficPolicy"].into_iter().filter(|key| external && same(key)));
    let of_balancers = ["allocateLoadBalancerNodePorts", "loadBalancerClass"];
    dropped.extend(of_balancers.into_iter().filter(|key| balancer && same(key)));
    let Some(spec) = field::spec(new) else { return };
    for key in dropped {
        spec.shift_remove(key);
    }
    if ports && same_ports {
        for port in objects(spec, "ports") {
            port.shift_remove("nodePort");
        }
    }
}
