//! `lab list` and `lab status`: what there is, and how it is.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::{Node, Pod};
use kernel::netns;
use kube::api::ListParams;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;

use super::daemon;
use super::paths::StateRoot;
use super::spec::{LabName, LabSpec};
use crate::topology;

/// One line of `lab list`.
#[derive(Debug, Serialize)]
pub struct LabSummary {
    /// The lab's name.
    pub name: LabName,
    /// How many nodes it has.
    pub nodes: usize,
    /// Whether its processes run.
    pub state: LabState,
    /// Where its API server listens on this machine.
    pub api: String,
}

/// How a lab is, by its processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LabState {
    /// The control plane and all agents run.
    Running,
    /// Some of them run.
    Partial,
    /// None of them runs.
    Stopped,
}

impl fmt::Display for LabState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Partial => "partial",
            Self::Stopped => "stopped",
        })
    }
}

/// The answer of `lab status`.
#[derive(Debug, Serialize)]
pub struct LabStatus {
    /// The lab as it was made.
    pub spec: LabSpec,
    /// Its parts: router, outside, control plane, nodes.
    pub parts: Vec<Part>,
}

/// One part of a lab.
#[derive(Debug, Serialize)]
pub struct Part {
    /// Its name, as `lab exec` takes it.
    pub name: String,
    /// Its address in the node network (`outside`: beyond it).
    pub address: Ipv4Addr,
    /// `running`, `ready`, `not ready`, `stopped`, `missing`.
    pub state: String,
    /// Its process, where it has one that runs.
    pub pid: Option<u32>,
    /// What else is worth knowing.
    pub detail: String,
}

/// All labs below the state root.
///
/// # Errors
/// When a `lab.json` is damaged.
pub fn list(state: &StateRoot) -> Result<Vec<LabSummary>> {
    let summary = |spec: LabSpec| {
        let paths = state.lab(&spec.name);
        let nodes =
            spec.nodes.iter().filter(|node| daemon::running(&paths.node(&node.name)).is_some()).count();
        let running = nodes + usize::from(daemon::running(&paths.control_plane()).is_some());
        let lab_state = match running {
            0 => LabState::Stopped,
            all if all == spec.nodes.len() + 1 => LabState::Running,
            _ => LabState::Partial,
        };
        LabSummary {
            nodes: spec.nodes.len(),
            state: lab_state,
            api: format!("https://127.0.0.1:{}", spec.api_port),
            name: spec.name,
        }
    };
    Ok(super::specs(state)?.into_iter().map(summary).collect())
}

/// Looks at every part of a lab.
///
/// # Errors
/// When there is no such lab. Parts that do not answer are part of the answer.
pub async fn status(state: &StateRoot, name: &LabName) -> Result<LabStatus> {
    let spec = super::load(state, name)?;
    let paths = state.lab(name);
    let api = match super::up::client(&paths).await {
        Ok(client) => observe(&client).await,
        Err(error) => Err(error),
    };
    let present = |part: &str| {
        let there = spec.namespace(part).is_some_and(|name| netns::open(&name).is_ok());
        if there { "running" } else { "missing" }
    };
    let mut parts = vec![
        part(
            "router",
            spec.network().gateway(),
            present("router"),
            None,
            format!("gateway of {}", spec.node_cidr),
        ),
        part(
            "outside",
            topology::plan::OUTSIDE_ADDRESS,
            present("outside"),
            None,
            "beyond the router, no member".to_owned(),
        ),
    ];
    let pid = daemon::running(&paths.control_plane()).map(|process| process.pid);
    let (word, detail) = match (&api, pid) {
        (_, None) => ("stopped", format!("`portolan lab up --name {name}` starts it")),
        (Ok(_), _) => ("ready", format!("https://127.0.0.1:{}", spec.api_port)),
        (Err(error), _) => ("not ready", format!("{error:#}")),
    };
    parts.push(part("control-plane", spec.control_plane, word, pid, detail));
    let api = api.unwrap_or_default();
    for node in &spec.nodes {
        let pid = daemon::running(&paths.node(&node.name)).map(|process| process.pid);
        let word = match pid {
            None => "stopped",
            Some(_) if api.ready.contains(&node.name) => "ready",
            Some(_) => "not ready",
        };
        let pods = api.pods.iter().filter(|on| **on == node.name).count();
        let detail = format!("proxy {}, {pods} pods", node.proxy_mode);
        parts.push(part(&node.name, node.address, word, pid, detail));
    }
    Ok(LabStatus { spec, parts })
}

fn part(name: &str, address: Ipv4Addr, state: &str, pid: Option<u32>, detail: String) -> Part {
    Part { name: name.to_owned(), address, state: state.to_owned(), pid, detail }
}

/// What the API server says.
#[derive(Default)]
struct Observed {
    /// Names of the ready nodes.
    ready: BTreeSet<String>,
    /// For each pod the node it is on.
    pods: Vec<String>,
}

async fn observe(client: &Client) -> Result<Observed> {
    let limit = Duration::from_secs(5);
    let asking = async {
        let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
        let pods = Api::<Pod>::all(client.clone()).list(&ListParams::default()).await?;
        anyhow::Ok(Observed {
            ready: nodes.into_iter().filter(is_ready).map(|node| node.name_any()).collect(),
            pods: pods.into_iter().filter_map(|pod| pod.spec?.node_name).collect(),
        })
    };
    tokio::time::timeout(limit, asking).await.context("the API server does not answer")?
}

/// Waits until all nodes of a lab are ready; those that are not by then.
///
/// # Errors
/// When the watch ends for good.
pub async fn wait_for_nodes(
    client: &Client,
    spec: &LabSpec,
    limit: Duration,
    progress: impl Fn(usize),
) -> Result<Vec<String>> {
    let mut waiting: BTreeSet<String> = spec.nodes.iter().map(|node| node.name.clone()).collect();
    let events = watcher(Api::<Node>::all(client.clone()), watcher::Config::default());
    let watching = async {
        pin_mut!(events);
        while let Some(event) = events.next().await {
            // An error is a connection that broke; the watcher makes a new one.
            let Ok(Event::Apply(node) | Event::InitApply(node)) = event else { continue };
            if is_ready(&node) {
                waiting.remove(&node.name_any());
            } else if spec.node(&node.name_any()).is_some() {
                waiting.insert(node.name_any());
            }
            progress(spec.nodes.len() - waiting.len());
            if waiting.is_empty() {
                return;
            }
        }
    };
    // Running out of time is an answer: who is still waited for.
    let _ = tokio::time::timeout(limit, watching).await;
    Ok(waiting.into_iter().collect())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

/// Waits until the API server answers, half a minute at the most.
///
/// # Errors
/// When it does not.
pub async fn wait_until_serving(client: &Client) -> Result<()> {
    let asking = async {
        while client.apiserver_version().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asking).await.context("the API server does not answer")
}
