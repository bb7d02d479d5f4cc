//! `lab up`: a cluster in a few steps, each of which looks first and does only what is missing.

use std::ffi::OsString;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kernel::netns;
use kube::Client;

use super::credentials;
use super::daemon;
use super::lock::{LabLock, PortLock};
use super::paths::{LabPaths, StateRoot};
use super::preflight;
use super::progress::Progress;
use super::spec::{LabRequest, LabSpec};
use super::status;
use crate::containers::cgroup::LabCgroup;
use crate::topology::{self, names};

/// How long the nodes may take until they are ready.
const READY: Duration = Duration::from_secs(60);

/// How often to look meanwhile whether every process still runs: one that was found so may have been about to end.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// Makes the lab that is asked for; a lab that is there already is healed.
///
/// # Errors
/// One clear line, before anything is made when the request cannot be met; otherwise the step that failed. What was
/// made until then stays, for another `up` to go on with or a `down` to remove.
pub async fn up(state: &StateRoot, request: &LabRequest) -> Result<()> {
    preflight::require_root()?;
    preflight::require_tools()?;
    let paths = state.lab(&request.name);
    fs::create_dir_all(state.labs()).with_context(|| format!("cannot make {}", state.labs().display()))?;
    let _lock = LabLock::take(state.lock(&request.name))?;
    let progress = Progress::start();
    let port_lock = PortLock::take()?;
    let spec = plan(state, request)?;
    fs::create_dir_all(paths.root()).with_context(|| format!("cannot make {}", paths.root().display()))?;
    spec.save(&paths.spec())?;

    let step = progress.step("network");
    let network = spec.network();
    let gateway = network.gateway();
    tokio::task::spawn_blocking(move || topology::ensure(&network)).await??;
    let nodes = spec.nodes.len();
    step.done(&format!("router {gateway}, {nodes} nodes in {}", spec.node_cidr));

    let step = progress.step("certificates");
    credentials::ensure(&spec, &paths)?;
    step.done("");

    let cgroup = LabCgroup::new(spec.name.as_str())?;
    let step = progress.step("control plane");
    start_control_plane(state, &spec, &paths, &cgroup)?;
    drop(port_lock);
    step.done(&format!("https://127.0.0.1:{}", spec.api_port));

    let step = progress.step("nodes");
    start_agents(state, &spec, &paths, &cgroup)?;
    let client = client(&paths).await?;
    let begin = Instant::now();
    let not_ready = loop {
        let detail = |ready| step.detail(&format!("{ready} of {nodes} ready"));
        let not_ready = status::wait_for_nodes(&client, &spec, LOOK_AGAIN, detail).await?;
        if not_ready.is_empty() || begin.elapsed() > READY {
            break not_ready;
        }
        start_control_plane(state, &spec, &paths, &cgroup)?;
        start_agents(state, &spec, &paths, &cgroup)?;
    };
    if !not_ready.is_empty() {
        bail!(
            "not ready after {} s: {}; their logs are {}/nodes/*/log",
            READY.as_secs(),
            not_ready.join(", "),
            paths.root().display()
        );
    }
    step.done(&format!("{nodes} ready"));
    say_what_to_try(state, &spec, &paths, progress.elapsed());
    Ok(())
}

/// What the lab is to be: what it was, or what is asked for.
fn plan(state: &StateRoot, request: &LabRequest) -> Result<LabSpec> {
    match LabSpec::load(&state.lab(&request.name).spec()) {
        Ok(spec) => {
            spec.accepts(request)?;
            return Ok(spec);
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    // A port is the last thing to complain of.
    LabSpec::plan(request, 0)?;
    preflight::require_unused(&request.name)?;
    let taken: Vec<u16> = super::specs(state)?.iter().map(|spec| spec.api_port).collect();
    Ok(LabSpec::plan(request, preflight::api_port(request, &taken)?)?)
}

fn start_control_plane(
    state: &StateRoot,
    spec: &LabSpec,
    paths: &LabPaths,
    cgroup: &LabCgroup,
) -> Result<()> {
    // It starts in the host's namespace, where it opens kubectl's port, and moves into its own.
    let home = netns::open(&names::control_plane(spec.name.as_str()))?;
    let arguments = arguments(state, &["control-plane", "--lab", spec.name.as_str()]);
    daemon::ensure(&paths.control_plane(), cgroup, arguments, None, &home).context("the control plane")?;
    Ok(())
}

fn start_agents(state: &StateRoot, spec: &LabSpec, paths: &LabPaths, cgroup: &LabCgroup) -> Result<()> {
    std::thread::scope(|scope| {
        let starting: Vec<_> = (1..)
            .zip(&spec.nodes)
            .map(|(number, node)| {
                scope.spawn(move || {
                    let home = netns::open(&names::node(spec.name.as_str(), number))?;
                    let words = ["agent", "--lab", spec.name.as_str(), "--node", &node.name];
                    daemon::ensure(
                        &paths.node(&node.name),
                        cgroup,
                        arguments(state, &words),
                        Some(&home),
                        &home,
                    )
                    .with_context(|| format!("the agent of {}", node.name))
                })
            })
            .collect();
        for agent in starting {
            match agent.join() {
                Ok(started) => started?,
                Err(panic) => std::panic::resume_unwind(panic),
            };
        }
        Ok(())
    })
}

fn arguments(state: &StateRoot, words: &[&str]) -> Vec<OsString> {
    let root = [OsString::from("--state-dir"), state.path().as_os_str().to_owned()];
    root.into_iter().chain(words.iter().map(OsString::from)).collect()
}

/// A client with the administrator's credentials.
///
/// # Errors
/// When the kubeconfig is missing or damaged.
pub async fn client(paths: &LabPaths) -> Result<Client> {
    credentials::client(&paths.kubeconfig(), "portolan-lab").await
}

fn say_what_to_try(state: &StateRoot, spec: &LabSpec, paths: &LabPaths, took: Duration) {
    // As the user called it, so that the lines below can be typed as they are.
    let portolan = std::env::args().next().unwrap_or_else(|| "portolan".to_owned());
    let option =
        if spec.name.as_str() == "default" { String::new() } else { format!(" --name {}", spec.name) };
    eprintln!(
        "\nThe lab '{}' runs: {} nodes, in {:.1} s. To use it:\n\n  export KUBECONFIG={}\n  kubectl get nodes -o wide",
        spec.name,
        spec.nodes.len(),
        took.as_secs_f64(),
        paths.kubeconfig().display()
    );
    if preflight::has_images(state.images()) {
        eprintln!(
            "  kubectl apply -f examples/httpd.yaml -f examples/httpd-svc.yaml\n  \
             {portolan} lab exec{option} node1 -- curl -s 10.96.203.6:8080"
        );
    } else {
        eprintln!("\nThere are no images yet; `{portolan} image import ARCHIVE` brings some.");
    }
    eprintln!("  {portolan} lab down{option}");
}
