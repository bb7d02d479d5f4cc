//! Keeps the queries of a node's pods and processes on the node, as long as this process answers them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ::dns::SharedZone;
use anyhow::{Context, Result};
use kernel::link::Links;
use kernel::nft::Nftables;
use model::ServiceKey;
use netstate::nft::NftError;
use proxy::node_names::NodeNames;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use crate::process::until_stopped;

/// How often to look who else answers, and whether somebody wrote over our rules. It costs one question to the kernel.
const EVERY: Duration = Duration::from_millis(200);

/// Where a node's queries are answered.
#[derive(Debug, Clone)]
pub struct Place {
    /// The cluster's DNS address.
    pub address: Ipv4Addr,
    /// The node's own.
    pub node: Ipv4Addr,
    /// The Service whose endpoints are the servers of all nodes.
    pub service: ServiceKey,
}

/// Makes the cluster's DNS address this node's own, so that it can be bound.
pub fn claim(place: &Place) -> Result<()> {
    let links = Links::in_current()?;
    links
        .add_local_address(place.address, place.node)
        .with_context(|| format!("cannot make {} an address of this node", place.address))
}

/// Keeps queries here from when the zone is known until told to stop. When this ends, in whatever way, they go to the
/// other nodes.
pub async fn keep(place: Place, zone: Arc<SharedZone>, stopped: watch::Receiver<bool>) -> Result<()> {
    let mut names = NodeNames::new(place.address, Nftables::open()?, Nftables::open_owner()?);
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stopped = until_stopped(stopped);
    tokio::pin!(stopped);
    let mut was_answering = false;
    let mut complaint: Option<String> = None;
    loop {
        tokio::select! {
            () = &mut stopped => return Ok(()),
            _ = ticks.tick() => {}
        }
        let (answering, others) = state(&place, &zone);
        let (returned, result) = spawn_blocking(move || {
            let result = names.sync(answering, &others);
            (names, result)
        })
        .await?;
        names = returned;
        if result.is_ok() && answering && !was_answering {
            tracing::info!(address = %place.address, "this node's queries are answered here");
            was_answering = true;
        }
        complaint = complain(complaint, result);
    }
}

/// An error is said when it comes and not again while it lasts.
fn complain(before: Option<String>, result: Result<usize, NftError>) -> Option<String> {
    let error = result.err().map(|error| error.to_string());
    if let Some(error) = error.as_ref().filter(|_| before != error) {
        tracing::error!(%error, "queries cannot be kept on this node; trying again");
    }
    error
}

/// Whether we can answer, and the other nodes' servers.
fn state(place: &Place, zone: &SharedZone) -> (bool, BTreeSet<Ipv4Addr>) {
    let zone = zone.read();
    let servers = zone.ready_endpoints(&place.service).into_iter().filter_map(|address| match address {
        IpAddr::V4(address) if address != place.node => Some(address),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    });
    (zone.is_in_sync(), servers.collect())
}
