//! `portolan image`: bring container images into the local store.

use std::path::PathBuf;
use std::process::ExitCode;

use ::lab::cluster::StateRoot;
use ::lab::images::{Image, Reference, Store};
use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::json;

use crate::output::{self, Format};
use crate::process;

/// `portolan image …`.
#[derive(Subcommand)]
pub enum Command {
    /// Read an OCI layout (directory or tar) or a docker archive.
    Import {
        /// The directory or file.
        path: PathBuf,
        /// Name the image so; needed when the archive names none.
        #[arg(long)]
        tag: Option<Reference>,
    },
    /// Fetch an image from its registry.
    Pull {
        /// The image, as in a pod's `image:`.
        reference: Reference,
    },
    /// Which images there are.
    List {
        /// The form of the output.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
}

/// Runs one of them.
pub fn run(command: Command, state: &StateRoot) -> Result<ExitCode> {
    let directory = state.images();
    std::fs::create_dir_all(state.path())
        .with_context(|| format!("cannot make {}", state.path().display()))?;
    let store = Store::open(&directory)?;
    match command {
        Command::Import { path, tag } => {
            for image in store.import(&path, tag.as_ref())? {
                output::line(&format!("{} {}", image.reference, image.digest))?;
            }
        }
        Command::Pull { reference } => {
            let image = process::block_on(async { Ok(store.pull(&reference).await?) })?;
            output::line(&format!("{} {}", image.reference, image.digest))?;
        }
        Command::List { output: format } => list(&store.list()?, format)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(images: &[Image], format: Format) -> Result<()> {
    let value: Vec<_> = images
        .iter()
        .map(|image| {
            json!({
                "reference": image.reference.to_string(),
                "digest": image.digest.to_string(),
                "id": image.id.to_string(),
                "bytes": image.size,
                "created": image.created.map(|time| time.to_string()),
            })
        })
        .collect();
    let rows = images.iter().map(|image| {
        let megabytes = format!("{:.1} MB", image.size as f64 / 1e6);
        vec![image.reference.to_string(), short(&image.id.to_string()), megabytes]
    });
    output::print(format, &value, &["REFERENCE", "ID", "SIZE"], rows)?;
    Ok(())
}

/// The first twelve digits of a digest, as people compare them.
fn short(digest: &str) -> String {
    digest.rsplit(':').next().unwrap_or(digest).chars().take(12).collect()
}
