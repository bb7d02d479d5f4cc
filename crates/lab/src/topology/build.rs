//! Makes and removes what is planned.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::thread;

use ipnet::Ipv4Net;
use kernel::link::Links;
use kernel::netns::{self, Netns, NetnsError};
use kernel::sysctl::Sysctls;
use netstate::link::{LinkName, NamespacePath};
use netstate::namespace::{LinkError, LinkOp, LinkPort, NetworkState, Ownership, diff};
use netstate::route::RouteProtocol;
use netstate::sysctl::{SysctlError, SysctlKey, SysctlPort, apply};

use super::plan::{self, Machine};
use super::{LabNetwork, RemovalErrors, TopologyError, names};

/// Namespaces made at a time. Making one is mostly waiting for the kernel's locks.
const AT_A_TIME: usize = 8;

/// Makes the network of a lab, or repairs what is missing of it. Routes to pods are left as they are.
///
/// # Errors
/// The first step that failed; what was done stays, for another call or [`remove`].
pub fn ensure(network: &LabNetwork) -> Result<(), TopologyError> {
    let machines = plan::machines(network);
    let router_name = names::router(&network.lab);
    let router_namespace = netns::ensure(&router_name)?;
    let machine_namespaces = ensure_namespaces(&machines)?;
    let router = Place::open(router_name, &router_namespace)?;
    let places = machines
        .iter()
        .zip(&machine_namespaces)
        .map(|(machine, namespace)| Place::open(machine.namespace.clone(), namespace))
        .collect::<Result<Vec<_>, _>>()?;

    unplug_halves(&router, &machines, &places)?;
    router.repair(&plan::router(network, &machines, path_of), &Ownership::default())?;
    router.set(router_namespace, &plan::router_settings())?;
    for ((machine, place), namespace) in machines.iter().zip(&places).zip(machine_namespaces) {
        place.repair(&plan::machine(machine), &Ownership::default())?;
        place.set(namespace, &[])?;
    }
    Ok(())
}

/// Removes every namespace of a lab, found by name, whatever state it is in. What runs in one keeps it alive unseen:
/// end that first.
///
/// # Errors
/// All that could not be removed; the rest is gone.
pub fn remove(lab: &str) -> Result<(), RemovalErrors> {
    let names = netns::list("").map_err(|error| RemovalErrors { errors: vec![error] })?;
    let errors: Vec<NetnsError> = names
        .iter()
        .filter(|name| names::lab_of(name) == Some(lab))
        .filter_map(|name| netns::delete(name).err())
        .filter(|error| !error.is_not_found())
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(RemovalErrors { errors }) }
}

/// Makes the router's routes to pods those given, node's pod range → node's address, and removes others of ours. One
/// that the kernel refuses does not keep the others out.
///
/// # Errors
/// The first that was refused, or that there is no router.
pub fn set_pod_routes(lab: &str, routes: &BTreeMap<Ipv4Net, Ipv4Addr>) -> Result<(), TopologyError> {
    let name = names::router(lab);
    let router = Place::open(name.clone(), &netns::open(&name)?)?;
    let ours = Ownership { link_prefix: None, route_protocol: Some(RouteProtocol::PORTOLAN) };
    let mut first_error = None;
    for operation in diff(&router.observe()?, &plan::pod_routes(routes), &ours) {
        if let Err(error) = router.commit(&[operation]) {
            tracing::warn!(%error, "route to pods refused");
            first_error.get_or_insert(error);
        }
    }
    first_error.map_or(Ok(()), Err)
}

fn path_of(name: &str) -> NamespacePath {
    NamespacePath::new(std::path::Path::new(netns::DIRECTORY).join(name))
}

fn ensure_namespaces(machines: &[Machine]) -> Result<Vec<Netns>, TopologyError> {
    let mut namespaces = Vec::with_capacity(machines.len());
    for some in machines.chunks(AT_A_TIME) {
        let made: Vec<Result<Netns, NetnsError>> = thread::scope(|scope| {
            let helpers: Vec<_> =
                some.iter().map(|machine| scope.spawn(|| netns::ensure(&machine.namespace))).collect();
            helpers
                .into_iter()
                .map(|helper| helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        for namespace in made {
            namespaces.push(namespace?);
        }
    }
    Ok(namespaces)
}

/// Removes halves of links: one of the two namespaces was removed and made anew, and the kernel has not yet got to
/// removing what is left in the other.
fn unplug_halves(router: &Place, machines: &[Machine], places: &[Place]) -> Result<(), TopologyError> {
    let plugged = router.observe()?;
    for (machine, place) in machines.iter().zip(places) {
        let (near, far) = (
            plugged.links.contains_key(&machine.port),
            place.observe()?.links.contains_key(&LinkName::eth0()),
        );
        match (near, far) {
            (true, false) => router.unplug(machine.port.clone())?,
            (false, true) => place.unplug(LinkName::eth0())?,
            (true, true) | (false, false) => {}
        }
    }
    Ok(())
}

/// One namespace with its links, and its name for messages.
struct Place {
    name: String,
    links: Links,
}

impl Place {
    fn open(name: String, namespace: &Netns) -> Result<Self, TopologyError> {
        match Links::in_namespace(namespace) {
            Ok(links) => Ok(Self { name, links }),
            Err(source) => Err(TopologyError::Link { namespace: name, source }),
        }
    }

    fn observe(&self) -> Result<NetworkState, TopologyError> {
        self.links.observe().map_err(|source| self.link_error(source))
    }

    fn commit(&self, operations: &[LinkOp]) -> Result<(), TopologyError> {
        self.links.commit(operations).map_err(|source| self.link_error(source))
    }

    /// Removes a link, unless the kernel was faster.
    fn unplug(&self, link: LinkName) -> Result<(), TopologyError> {
        match self.links.commit(&[LinkOp::DeleteLink(link)]) {
            Err(error) if error.is_not_found() => Ok(()),
            other => other.map_err(|source| self.link_error(source)),
        }
    }

    fn repair(&self, wanted: &NetworkState, ours: &Ownership) -> Result<(), TopologyError> {
        self.commit(&diff(&self.observe()?, wanted, ours))
    }

    /// Makes the settings, and the one for bridges where the kernel has it.
    fn set(&self, namespace: Netns, settings: &[(SysctlKey, &str)]) -> Result<(), TopologyError> {
        let failed = |source: SysctlError| TopologyError::Setting { namespace: self.name.clone(), source };
        let port = Sysctls::in_namespace(namespace);
        apply(&port, settings).map_err(failed)?;
        let (key, value) = plan::bridge_setting();
        if port.read(&key).map_err(failed)?.is_some() {
            apply(&port, &[(key, value)]).map_err(failed)?;
        }
        Ok(())
    }

    fn link_error(&self, source: LinkError) -> TopologyError {
        TopologyError::Link { namespace: self.name.clone(), source }
    }
}
