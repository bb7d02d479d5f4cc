//! Service.

mod addresses;
mod defaults;
mod print;
#[cfg(test)]
mod tests;
mod validate;

pub(super) use print::{COLUMNS, row};

use serde_json::{Value, json};

use super::allocation::{Allocation, Reservation};
use super::field::{copy, member, set, text};
use super::strategy::{Refusal, Rules};
use crate::status::Cause;

/// Service's rules.
pub(super) struct Service;

impl Rules for Service {
    fn default(&self, object: &mut Value) {
        defaults::fill_in(object);
    }

    fn reset_for_create(&self, object: &mut Value) {
        defaults::normalise_addresses(object, None);
        if let Some(map) = object.as_object_mut() {
            set(map, "status", json!({"loadBalancer": {}}));
        }
    }

    fn reset_for_update(&self, new: &mut Value, old: &Value) {
        copy(new, old, "status");
        defaults::fill_in(new);
        defaults::normalise_addresses(new, Some(old));
        defaults::keep_allocated(new, old);
        defaults::drop_what_the_type_does_not_have(new, old);
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        validate::service(object, causes);
    }

    fn validate_update(&self, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
        validate::update(new, old, causes);
    }

    fn validate_status(&self, new: &Value, _old: &Value, causes: &mut Vec<Cause>) {
        validate::status(new, causes);
    }

    fn allocate(
        &self,
        new: &mut Value,
        old: Option<&Value>,
        allocation: &Allocation,
    ) -> Result<Reservation, Refusal> {
        addresses::allocate(new, old, allocation)
    }

    fn release(&self, old: &Value, allocation: &Allocation) -> Reservation {
        addresses::release(old, allocation)
    }

    fn selectable_fields(&self) -> &'static [(&'static str, &'static str)] {
        &[("spec.clusterIP", "/spec/clusterIP"), ("spec.type", "/spec/type")]
    }
}

/// ClusterIP, NodePort or LoadBalancer.
fn has_cluster_ip(service: &Value) -> bool {
    matches!(text(service, "/spec/type"), "ClusterIP" | "NodePort" | "LoadBalancer")
}

/// NodePort, or a LoadBalancer that wants node ports.
fn has_node_ports(service: &Value) -> bool {
    match text(service, "/spec/type") {
        "NodePort" => true,
        "LoadBalancer" => service.pointer("/spec/allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)),
        _ => false,
    }
}

/// A load balancer that asks the nodes whether they have endpoints.
fn has_health_check_port(service: &Value) -> bool {
    text(service, "/spec/type") == "LoadBalancer" && text(service, "/spec/externalTrafficPolicy") == "Local"
}

/// Traffic from outside of the cluster reaches it.
fn is_external(service: &Value) -> bool {
    match text(service, "/spec/type") {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !super::field::items(service, "/spec/externalIPs").is_empty(),
        _ => false,
    }
}

fn is_headless(service: &Value) -> bool {
    text(service, "/spec/clusterIP") == "None"
}

fn node_port(port: &Value) -> u64 {
    port.get("nodePort").and_then(Value::as_u64).unwrap_or_default()
}

fn protocol(port: &Value) -> &str {
    member(port, "protocol")
}
