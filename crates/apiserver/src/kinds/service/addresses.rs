//! The allocated fields of a Service: IP families, cluster IPs, node ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Value, json};

use super::{has_cluster_ip, has_health_check_port, has_node_ports, is_headless, node_port};
use crate::kinds::allocation::{Allocation, AllocationError, Reservation, cluster_addresses, node_ports};
use crate::kinds::field::{self, items, set, text, texts};
use crate::kinds::strategy::Refusal;
use crate::status::Cause;

const HEALTH_CHECK: &str = "/spec/healthCheckNodePort";

/// Takes what the Service needs and does not have, frees (on commit) what `old` had and it has no longer.
pub(super) fn allocate(
    new: &mut Value,
    old: Option<&Value>,
    allocation: &Allocation,
) -> Result<Reservation, Refusal> {
    let mut reservation = allocation.reserve();
    let before = old.map(cluster_addresses).unwrap_or_default();
    if has_cluster_ip(new) {
        families(new, allocation)?;
        if !is_headless(new) {
            addresses(new, &before, &mut reservation)?;
        }
    }
    let after = cluster_addresses(new);
    for address in before.into_iter().filter(|address| !after.contains(address)) {
        reservation.free_address(address);
    }
    let before = old.map(node_ports).unwrap_or_default();
    let taken_before = |port: u64| u16::try_from(port).is_ok_and(|port| before.contains(&port));
    // Everything asked for comes first: a pick must not take it.
    let mut taken = |port: u64, path: &str| {
        if taken_before(port) { Ok(()) } else { take_port(port, path, &mut reservation) }
    };
    requested_ports(new, &mut taken)?;
    if has_node_ports(new) {
        pick_ports(new, &mut reservation)?;
    }
    if has_health_check_port(new) && whole(new, HEALTH_CHECK) == 0 {
        let picked = reservation.pick_port().map_err(Refusal::Exhausted)?;
        if let Some(spec) = field::spec(new) {
            set(spec, "healthCheckNodePort", picked);
        }
    }
    let after = node_ports(new);
    for port in before.into_iter().filter(|port| !after.contains(port)) {
        reservation.free_port(port);
    }
    Ok(reservation)
}

/// Everything the Service holds is free once it is gone.
pub(super) fn release(old: &Value, allocation: &Allocation) -> Reservation {
    let mut reservation = allocation.reserve();
    for address in cluster_addresses(old) {
        reservation.free_address(address);
    }
    for port in node_ports(old) {
        reservation.free_port(port);
    }
    reservation
}

fn family(ipv4: bool) -> &'static str {
    if ipv4 { "IPv4" } else { "IPv6" }
}

/// Fills in `ipFamilyPolicy` and `ipFamilies` from what is asked for and what the cluster has.
fn families(new: &mut Value, allocation: &Allocation) -> Result<(), Refusal> {
    let configured: Vec<&str> = allocation.families().map(family).collect();
    let mut wanted: Vec<String> = items(new, "/spec/ipFamilies")
        .iter()
        .filter_map(|family| family.as_str().map(ToOwned::to_owned))
        .collect();
    let given = cluster_addresses(new);
    for (index, address) in given.iter().enumerate() {
        let found = family(address.is_ipv4());
        match wanted.get(index) {
            Some(family) if family != found => {
                let detail = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
                let value = Value::from(address.to_string());
                return Err(Refusal::Field(Cause::invalid(
                    format!("spec.clusterIPs[{index}]"),
                    &value,
                    detail,
                )));
            }
            Some(_) => {}
            None => wanted.push(found.to_owned()),
        }
    }
    // Headless without a selector: its addresses come from outside the cluster, of any family.
    let any_family = is_headless(new) && texts(new, "/spec/selector").next().is_none();
    let unknown = wanted.iter().position(|family| !configured.contains(&family.as_str()));
    if let Some(index) = unknown.filter(|_| !any_family) {
        let value = Value::from(wanted[index].as_str());
        let detail = "not configured on this cluster";
        return Err(Refusal::Field(Cause::invalid(format!("spec.ipFamilies[{index}]"), &value, detail)));
    }
    let policy = match text(new, "/spec/ipFamilyPolicy") {
        "" if any_family || wanted.len() > 1 => "RequireDualStack".to_owned(),
        "" => "SingleStack".to_owned(),
        given => given.to_owned(),
    };
    if policy == "RequireDualStack" && configured.len() < 2 && !any_family {
        let detail = "this cluster is not configured for dual-stack services";
        return Err(Refusal::Field(Cause::invalid("spec.ipFamilyPolicy", &Value::from(policy), detail)));
    }
    if wanted.is_empty() {
        wanted.push(configured[0].to_owned());
    }
    let second = family(wanted[0] != "IPv4");
    let dual = policy == "RequireDualStack" || (policy == "PreferDualStack" && configured.contains(&second));
    if dual && wanted.len() == 1 {
        wanted.push(second.to_owned());
    }
    if policy == "SingleStack" {
        wanted.truncate(1);
    }
    if let Some(spec) = field::spec(new) {
        set(spec, "ipFamilies", wanted);
        set(spec, "ipFamilyPolicy", policy);
    }
    Ok(())
}

fn addresses(new: &mut Value, before: &[IpAddr], reservation: &mut Reservation) -> Result<(), Refusal> {
    let api_service =
        text(new, "/metadata/namespace") == "default" && text(new, "/metadata/name") == "kubernetes";
    let given = cluster_addresses(new);
    let families: Vec<bool> = items(new, "/spec/ipFamilies").iter().map(|family| family == "IPv4").collect();
    let mut got: Vec<String> = Vec::with_capacity(families.len());
    for (index, ipv4) in families.into_iter().enumerate() {
        let address = match given.get(index) {
            Some(address) if before.contains(address) => *address,
            Some(address) => {
                reservation.take_address(*address, api_service).map_err(|error| {
                    let list = new.pointer("/spec/clusterIPs").unwrap_or(&Value::Null);
                    let detail = format!("failed to allocate IP {address}: {error}");
                    Refusal::Field(Cause::invalid("spec.clusterIPs", list, detail))
                })?;
                *address
            }
            None => reservation.pick_address(ipv4).map_err(Refusal::Exhausted)?,
        };
        got.push(address.to_string());
    }
    if let Some(spec) = field::spec(new) {
        set(spec, "clusterIP", got[0].as_str());
        set(spec, "clusterIPs", got);
    }
    Ok(())
}

/// Takes the node ports that the Service names, each once: one serves several protocols.
fn requested_ports(
    new: &Value,
    take: &mut dyn FnMut(u64, &str) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut held: BTreeSet<u64> = BTreeSet::new();
    for (index, port) in items(new, "/spec/ports").iter().enumerate() {
        let wanted = node_port(port);
        if wanted != 0 && held.insert(wanted) {
            take(wanted, &format!("spec.ports[{index}].nodePort"))?;
        }
    }
    let check = whole(new, HEALTH_CHECK);
    if has_health_check_port(new) && check != 0 {
        take(check, "spec.healthCheckNodePort")?;
    }
    Ok(())
}

/// Gives the ports without a node port one; ports of one number and several protocols share theirs.
fn pick_ports(new: &mut Value, reservation: &mut Reservation) -> Result<(), Refusal> {
    let mut ports = items(new, "/spec/ports").to_vec();
    let number = |port: &Value| field::number(port, "/port").unwrap_or_default();
    let named = ports.iter().filter(|port| node_port(port) != 0);
    let mut by_number: BTreeMap<i64, u64> = named.map(|port| (number(port), node_port(port))).collect();
    for port in ports.iter_mut().filter(|port| node_port(port) == 0) {
        let picked = match by_number.get(&number(port)) {
            Some(shared) => *shared,
            None => u64::from(reservation.pick_port().map_err(Refusal::Exhausted)?),
        };
        by_number.insert(number(port), picked);
        port["nodePort"] = json!(picked);
    }
    if let Some(spec) = field::spec(new).filter(|_| !ports.is_empty()) {
        set(spec, "ports", ports);
    }
    Ok(())
}

fn whole(object: &Value, pointer: &str) -> u64 {
    object.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

fn take_port(port: u64, path: &str, reservation: &mut Reservation) -> Result<(), Refusal> {
    // Validation has refused numbers above 65535; 0 is in no range either.
    let number = u16::try_from(port).unwrap_or_default();
    let refused = |error: AllocationError| Refusal::Field(Cause::invalid(path, &Value::from(port), error));
    reservation.take_port(number).map_err(refused)
}
