//! A lab as a whole: what it is asked to be, made, looked at, removed.
//!
//! ```text
//! LabRequest ─► LabSpec (lab.json) ─► up:   network ─► certificates ─► control plane ─► agents ─► nodes ready
//!                                     down: processes ─► mounts ─► network ─► files
//! ```
//!
//! Every step of `up` looks first and does only what is missing, so `up` also heals. `down` needs nothing to be in
//! order: it finds processes by the lab's control group and namespaces by their names.

mod audit;
mod credentials;
mod daemon;
mod down;
mod exec;
mod lock;
mod paths;
mod preflight;
mod progress;
mod routes;
mod spec;
mod status;
mod up;

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

pub use audit::AuditLogSpec;
pub use credentials::{api_server, client, ensure as ensure_credentials, node_client, node_server_files};
pub use down::down;
pub use exec::{Place, exec};
pub use paths::{LabPaths, ProcessPaths, StateRoot};
pub use routes::keep as keep_routes;
pub use spec::{API_PORT, LabName, LabRequest, LabSpec, NodeSpec, ProxyMode, ProxyModeChoice, SpecError};
pub use status::{LabState, LabStatus, LabSummary, Part, list, status, wait_until_serving};
pub use up::up;

/// The lab called `name`.
///
/// # Errors
/// When there is none; the message names those that there are.
pub fn load(state: &StateRoot, name: &LabName) -> Result<LabSpec> {
    match LabSpec::load(&state.lab(name).spec()) {
        Err(error) if error.is_not_found() => {
            let others: Vec<String> = specs(state)?.into_iter().map(|spec| spec.name.to_string()).collect();
            if others.is_empty() {
                bail!("there is no lab '{name}'; `portolan lab up --name {name}` makes it");
            }
            bail!("there is no lab '{name}'; there are: {}", others.join(", "))
        }
        other => Ok(other?),
    }
}

/// All labs below the state root, by name.
///
/// # Errors
/// When a `lab.json` is damaged.
pub fn specs(state: &StateRoot) -> Result<Vec<LabSpec>> {
    let entries = match fs::read_dir(state.labs()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("cannot read {}", state.labs().display()))?,
    };
    let mut specs = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_str().and_then(|name| name.parse::<LabName>().ok());
        let Some(name) = name else { continue };
        match LabSpec::load(&state.lab(&name).spec()) {
            Ok(spec) => specs.push(spec),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    specs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(specs)
}

/// The path of a lab's kubeconfig.
///
/// # Errors
/// When there is no such lab.
pub fn kubeconfig(state: &StateRoot, name: &LabName) -> Result<PathBuf> {
    load(state, name)?;
    Ok(state.lab(name).kubeconfig())
}
