//! Loads an API server that somebody else runs.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};
use load::{Client, Fleet};

/// `load`.
#[derive(clap::Args)]
pub struct Arguments {
    /// How the API server is reached; its current context counts.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// How many Services: load-0/checkout-api-0 and so on, in the namespaces load-0 to load-9.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    services: u32,
    /// How many endpoints each has.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    endpoints: u32,
    /// Remove them. The namespaces stay.
    #[arg(long)]
    delete: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Result<()> {
    // An error says that a provider is installed already, which is all that is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let &Arguments { services, endpoints, delete, .. } = arguments;
    let fleet = Fleet { services, endpoints };
    let begin = Instant::now();
    let progress = |done| {
        let verb = if delete { "removed" } else { "made" };
        eprintln!(
            "{done} of {services} Services x {endpoints} {verb}, {:.1} s",
            begin.elapsed().as_secs_f64()
        );
    };
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        let file = &arguments.kubeconfig;
        let client = Client::from_kubeconfig(file).await.with_context(|| file.display().to_string())?;
        if delete {
            fleet.delete(&client, progress).await?;
        } else {
            fleet.create(&client, progress).await?;
        }
        Ok(())
    })
}
