//! `lab exec`: a command somewhere in the lab's network, with the caller's files and terminal.

use std::convert::Infallible;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};
use std::str::FromStr;

use anyhow::{Context, Result};
use kernel::netns::{self, Netns};

use super::paths::StateRoot;
use super::spec::{LabName, LabSpec};

/// Where in a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A named namespace of the lab: a node, `router`, `outside` or `control-plane`.
    Machine(String),
    /// A pod's namespace.
    Pod {
        /// The pod's namespace in the API.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl FromStr for Place {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix("pod/") {
            None => Self::Machine(text.to_owned()),
            Some(pod) => {
                let (namespace, name) = pod.split_once('/').unwrap_or(("default", pod));
                Self::Pod { namespace: namespace.to_owned(), name: name.to_owned() }
            }
        })
    }
}

/// Runs `command` at `place` and gives its exit code (128 + N after signal N).
///
/// # Errors
/// When there is no such lab or place, or the command cannot be started.
pub fn exec(state: &StateRoot, lab: &LabName, place: &Place, command: &[String]) -> Result<ExitCode> {
    let (program, arguments) = command.split_first().context("no command given")?;
    let spec = super::load(state, lab)?;
    let namespace = find(state, &spec, place)?;
    let status = namespace
        .run(|| Command::new(program).args(arguments).status())?
        .with_context(|| format!("cannot run {program}"))?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

fn find(state: &StateRoot, spec: &LabSpec, place: &Place) -> Result<Netns> {
    match place {
        Place::Machine(machine) => {
            let nodes = spec.nodes.len();
            let namespace = spec.namespace(machine).with_context(|| {
                format!(
                    "the lab '{}' has no '{machine}'; there are node1 to node{nodes}, router, outside, control-plane, \
                     and pod/[NAMESPACE/]NAME",
                    spec.name
                )
            })?;
            let missing =
                || format!("{machine} is gone; `portolan lab up --name {}` heals the lab", spec.name);
            netns::open(&namespace).with_context(missing)
        }
        Place::Pod { namespace, name } => {
            let nodes: Vec<_> = spec
                .nodes
                .iter()
                .map(|node| state.lab(&spec.name).node(&node.name).root().to_owned())
                .collect();
            let pod = crate::pods::find_sandbox(&nodes, namespace, name)?
                .with_context(|| format!("no pod {namespace}/{name} runs on the lab's nodes"))?;
            Ok(Netns::open_path(&pod)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_machines_and_pods() {
        let place = |text: &str| text.parse::<Place>().unwrap();
        let pod = |namespace: &str, name: &str| Place::Pod { namespace: namespace.into(), name: name.into() };
        assert_eq!(place("node1"), Place::Machine("node1".into()));
        assert_eq!(place("pod/a"), pod("default", "a"));
        assert_eq!(place("pod/kube-system/a"), pod("kube-system", "a"));
    }
}
