//! Everything that can be known to go wrong is said before anything is made.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::PathBuf;

use anyhow::{Result, bail};
use kernel::netns;

use super::spec::{API_PORT, LabName, LabRequest};
use crate::containers::cgroup::LabCgroup;
use crate::images::Store;
use crate::topology::names;

/// Programs that a lab runs, and the Debian packages they come in.
const TOOLS: [(&str, &str); 2] = [("runc", "runc"), ("conmon", "conmon")];

/// # Errors
/// When we are not root.
pub fn require_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    bail!("a lab is made of network namespaces, which takes root; run it with sudo")
}

/// # Errors
/// When a program that the lab needs is not on the path.
pub fn require_tools() -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |tool: &str| std::env::split_paths(&path).any(|directory| directory.join(tool).is_file());
    let missing: Vec<&str> =
        TOOLS.iter().filter(|(tool, _)| !found(tool)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("missing programs: {0}; install them with `apt-get install {0}`", missing.join(" "))
}

/// The port of the new lab's API server on the loopback: the one asked for, or the first free one.
///
/// # Errors
/// When the one asked for is taken, or none is free.
pub fn api_port(request: &LabRequest, taken: &[u16]) -> Result<u16> {
    let free = |port: &u16| {
        !taken.contains(port) && TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, *port)).is_ok()
    };
    match request.api_port {
        Some(port) if free(&port) => Ok(port),
        Some(port) => bail!("port {port} of 127.0.0.1 is in use; give another --api-port, or none"),
        None => match (API_PORT..API_PORT + 1000).find(free) {
            Some(port) => Ok(port),
            None => {
                bail!("no port from {API_PORT} to {} of 127.0.0.1 is free; give --api-port", API_PORT + 999)
            }
        },
    }
}

/// Whether the images of the walkthrough are in the store; a lab without them works, but has nothing to run.
pub fn has_images(store: PathBuf) -> bool {
    store.is_dir()
        && Store::open(&store).and_then(|store| store.list()).is_ok_and(|images| !images.is_empty())
}

/// Whether the machine holds nothing yet of a new lab: namespaces and processes are found by the lab's name alone, so
/// two labs of one name cannot stand side by side, not even in different state directories.
///
/// # Errors
/// When there is something of that name.
pub fn require_unused(name: &LabName) -> Result<()> {
    let lab = name.as_str();
    if netns::open(&names::router(lab)).is_ok() || LabCgroup::labs().contains(lab) {
        bail!(
            "a lab '{name}' is on this machine that this state directory knows nothing of: it is another's \
             (--state-dir), or the rest of one; `portolan lab down --name {name}` removes it, or choose another --name"
        );
    }
    Ok(())
}
