//! Finding a pod's network namespace from outside the agent, by what the agent wrote down.

use std::path::PathBuf;

use anyhow::Context;
use netstate::link::NamespacePath;

use super::facts::Sandbox;
use super::record::Records;

/// The file of the network namespace of the running pod of that name, on whichever of the nodes, given by their
/// directories, it runs; `None` when it runs on none.
///
/// # Errors
/// When a node's records cannot be read, or the pod has its node's network.
pub fn find_sandbox(nodes: &[PathBuf], namespace: &str, name: &str) -> anyhow::Result<Option<PathBuf>> {
    for node in nodes {
        let records =
            Records::read(node).with_context(|| format!("cannot read the pods of {}", node.display()))?;
        for record in records {
            let metadata = &record.pod.metadata;
            if metadata.namespace.as_deref() == Some(namespace)
                && metadata.name.as_deref() == Some(name)
                && let Sandbox::Ready(sandbox) = &record.facts.sandbox
            {
                anyhow::ensure!(
                    !sandbox.host_network,
                    "pod {namespace}/{name} has the network of its node: name the node instead"
                );
                return Ok(Some(NamespacePath::of_process(sandbox.pause.pid).as_path().to_owned()));
            }
        }
    }
    Ok(None)
}
