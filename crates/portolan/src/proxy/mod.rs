//! `portolan proxy`: the service proxy in kube-proxy's place, on a node of any cluster.

mod flags;
mod node;
mod pages;

pub use flags::Arguments;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use ::proxy::Mode;
use anyhow::{Context, Result};
use runtime::configuration::ProxyConfiguration;
use runtime::{ProxyStatus, ProxyTask, pages as http};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::leftovers::{self, Whose};
use crate::output::Format;
use crate::process::{self, until_stopped};
use crate::{cleanup, dataplane};

/// Runs until TERM or INT. Rules stay.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (configuration, notes) = arguments.configuration()?;
    if arguments.cleanup == Some(true) {
        return cleanup::finish(&leftovers::remove(Whose::Ours(None)), Format::default());
    }
    kernel::memory::hold_little();
    process::serve_with_log(log_filter(configuration.verbosity), |stopped| async move {
        for note in &notes {
            tracing::warn!("{note}");
        }
        node::set_up(&configuration);
        if arguments.init_only == Some(true) {
            return Ok(());
        }
        serve(&configuration, arguments.master.as_deref(), stopped).await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// klog's verbosity in our words. Our own watches say once that the API server is away; the client would say it at
/// each try.
fn log_filter(verbosity: u32) -> &'static str {
    match verbosity {
        0..=3 => "info,kube_client=off",
        4 | 5 => "debug,kube_client=off,hyper_util=info,h2=info,rustls=info,tower=info",
        _ => "debug",
    }
}

async fn serve(
    configuration: &ProxyConfiguration,
    server: Option<&str>,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let status = Arc::new(ProxyStatus::default());
    // Health is told from the first moment: who starts is well.
    if let Some(address) = configuration.health {
        publish("health", address, configuration.must_bind, pages::health(status.clone())).await?;
    }
    let client = runtime::client_of(configuration.kubeconfig.as_deref(), server, status.requests()).await?;
    let context = tokio::select! {
        context = node::context(configuration, &client) => context?,
        () = until_stopped(stopped.clone()) => return Ok(()),
    };
    tracing::info!(node = %context.node, pods = ?context.pods, node_ports = ?context.node_port_addresses, "this node");
    let opened = dataplane::open(configuration.mode, &context, &configuration.ipvs)?;
    if let Some(address) = configuration.metrics {
        let pages = pages::metrics(status.clone(), opened.mode, opened.relays.clone(), opened.sent);
        publish("metrics", address, configuration.must_bind, pages).await?;
    }
    let mode = opened.mode;
    let once_served: Box<dyn FnOnce() + Send> = Box::new(move || remove_former_modes(mode));
    let task =
        ProxyTask { client, context, dataplane: opened.dataplane, status, once_served: Some(once_served) };
    Ok(runtime::run_proxy(task, until_stopped(stopped)).await?)
}

/// What we wrote in another mode goes once this one serves, so that at every moment one of them does.
fn remove_former_modes(mode: Mode) {
    let outcome = leftovers::remove(Whose::Ours(Some(mode)));
    for removed in outcome.removed {
        tracing::info!(mode = removed.mode, what = removed.what, "removed what a former mode left");
    }
    for error in outcome.failures {
        tracing::warn!(error = format!("{error:#}"), "a former mode's objects stay");
    }
}

/// As with kube-proxy, an address that cannot be had is no reason to serve no Services.
async fn publish(
    what: &'static str,
    address: SocketAddr,
    must: bool,
    pages: impl Fn(&str) -> Option<http::Page> + Clone + Send + 'static,
) -> Result<()> {
    match TcpListener::bind(address).await {
        Ok(listener) => {
            tokio::spawn(http::serve(listener, pages));
        }
        Err(error) if must => {
            return Err(error).with_context(|| format!("cannot serve {what} on {address}"));
        }
        Err(error) => tracing::error!(%address, %error, "{what} cannot be served, Services are all the same"),
    }
    Ok(())
}
