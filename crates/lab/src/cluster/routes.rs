//! The router's table: one route per node, pod range → the node's address ("routes mode").
//!
//! On a cloud this is the route controller writing the VPC's table; here the control plane keeps the router's.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use futures::{StreamExt, pin_mut};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};

use super::spec::LabName;
use crate::topology;

/// Keeps the router's routes equal to the nodes' pod ranges until `shutdown` resolves.
///
/// # Errors
/// None that end it: a router that refuses is asked again at the next change, and every ten seconds.
pub async fn keep(client: Client, lab: LabName, shutdown: impl Future<Output = ()>) -> Result<()> {
    let events = watcher(Api::<Node>::all(client), watcher::Config::default());
    pin_mut!(events, shutdown);
    let mut nodes = BTreeMap::new();
    let mut listed = BTreeMap::new();
    let mut synced = false;
    let mut retry = tokio::time::interval(Duration::from_secs(10));
    let mut dirty = false;
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            _ = retry.tick(), if dirty => {}
            event = events.next() => match event {
                Some(Ok(event)) => match event {
                    Event::Init => listed.clear(),
                    Event::InitApply(node) => { listed.extend(route(&node)); continue }
                    Event::InitDone => { nodes = std::mem::take(&mut listed); synced = true }
                    Event::Apply(node) => {
                        nodes.remove(&node.name_any());
                        nodes.extend(route(&node));
                    }
                    Event::Delete(node) => { nodes.remove(&node.name_any()); }
                },
                Some(Err(error)) => {
                    tracing::warn!(%error, "watching nodes for the router's routes");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
                None => return Ok(()),
            }
        }
        if synced {
            dirty = !write(&lab, &nodes).await;
        }
    }
}

/// Writes the routes; whether it went well.
async fn write(lab: &LabName, nodes: &BTreeMap<String, (Ipv4Net, Ipv4Addr)>) -> bool {
    let lab = lab.to_string();
    let routes: BTreeMap<Ipv4Net, Ipv4Addr> = nodes.values().copied().collect();
    let result = tokio::task::spawn_blocking(move || topology::set_pod_routes(&lab, &routes)).await;
    match result {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::error!(%error, "the router refuses the routes to the pods");
            false
        }
        Err(error) => {
            tracing::error!(%error, "writing the router's routes");
            false
        }
    }
}

/// A node's name with its pod range and address, once it has both.
fn route(node: &Node) -> Option<(String, (Ipv4Net, Ipv4Addr))> {
    let range = node.spec.as_ref()?.pod_cidr.as_ref()?.parse().ok()?;
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let address = addresses.iter().find(|address| address.type_ == "InternalIP")?.address.parse().ok()?;
    Some((node.name_any(), (range, address)))
}
