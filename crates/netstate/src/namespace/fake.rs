//! A world of namespaces in memory that refuses what the kernel refuses.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::{LinkError, LinkOp, LinkPort, NamespacePorts, NetworkState};
use crate::link::{Link, LinkKind, LinkName, NamespacePath, VethPeer};
use crate::route::Route;

const ENOENT: i32 = 2;
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
const EADDRNOTAVAIL: i32 = 99;
const ENETDOWN: i32 = 100;
const ENETUNREACH: i32 = 101;

/// Links in memory: one world of namespaces, seen from one of them. Clones share the world.
///
/// A veth's peer appears in its namespace, down, and both ends go together; routes go with their link, with its
/// last address of their family, and when it goes down; what the kernel would
/// refuse is refused with its error number.
#[derive(Debug, Clone)]
pub struct FakeLinks {
    here: NamespacePath,
    world: Arc<Mutex<World>>,
}

#[derive(Debug, Default)]
struct World {
    namespaces: BTreeMap<NamespacePath, NetworkState>,
    peers: BTreeMap<(NamespacePath, LinkName), (NamespacePath, LinkName)>,
    operations: Vec<LinkOp>,
}

impl FakeLinks {
    /// A world of one namespace, seen from there.
    #[must_use]
    pub fn new(here: NamespacePath) -> Self {
        let fake = Self { here: here.clone(), world: Arc::default() };
        fake.add_namespace(here);
        fake
    }

    /// Adds a namespace with nothing in it but a loopback that is down.
    pub fn add_namespace(&self, namespace: NamespacePath) {
        let mut state = NetworkState::default();
        state.insert_link(Link { up: false, ..Link::loopback() });
        self.with(|world| world.namespaces.insert(namespace, state));
    }

    /// Removes a namespace with its links, as the kernel does when its last process ends.
    pub fn delete_namespace(&self, namespace: &NamespacePath) {
        self.with(|world| {
            let links: Vec<LinkName> = world
                .namespaces
                .get(namespace)
                .map(|s| s.links.keys().cloned().collect())
                .unwrap_or_default();
            for link in links {
                world.remove_link(namespace, &link);
            }
            world.namespaces.remove(namespace);
        });
    }

    /// The operations carried out since the last call, in all namespaces.
    #[must_use]
    pub fn take_operations(&self) -> Vec<LinkOp> {
        self.with(|world| std::mem::take(&mut world.operations))
    }

    fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        act(&mut self.world.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl LinkPort for FakeLinks {
    fn observe(&self) -> Result<NetworkState, LinkError> {
        self.with(|world| world.namespaces.get(&self.here).cloned()).ok_or_else(|| missing(&self.here))
    }

    fn commit(&self, operations: &[LinkOp]) -> Result<(), LinkError> {
        self.with(|world| {
            for operation in operations {
                world.apply(&self.here, operation)?;
                world.operations.push(operation.clone());
            }
            Ok(())
        })
    }
}

impl NamespacePorts for FakeLinks {
    fn open(&self, namespace: &NamespacePath) -> Result<Box<dyn LinkPort>, LinkError> {
        if !self.with(|world| world.namespaces.contains_key(namespace)) {
            return Err(missing(namespace));
        }
        Ok(Box::new(Self { here: namespace.clone(), world: Arc::clone(&self.world) }))
    }
}

fn missing(namespace: &NamespacePath) -> LinkError {
    LinkError::Namespace {
        path: PathBuf::from(namespace.as_path()),
        source: io::Error::from_raw_os_error(ENOENT),
    }
}

fn refused(operation: &LinkOp, errno: i32) -> LinkError {
    LinkError::Operation { operation: operation.to_string(), source: io::Error::from_raw_os_error(errno) }
}

impl World {
    fn state(&mut self, namespace: &NamespacePath) -> Result<&mut NetworkState, LinkError> {
        self.namespaces.get_mut(namespace).ok_or_else(|| missing(namespace))
    }

    fn apply(&mut self, here: &NamespacePath, operation: &LinkOp) -> Result<(), LinkError> {
        match operation {
            LinkOp::CreateLink(link) => self.create(here, operation, link),
            LinkOp::DeleteLink(name) => {
                self.link(here, operation, name)?;
                self.remove_link(here, name);
                Ok(())
            }
            LinkOp::SetMaster { link, master } => {
                if let Some(master) = master {
                    self.link(here, operation, master)?;
                }
                let port = self.link(here, operation, link)?;
                port.master.clone_from(master);
                port.hairpin = false;
                Ok(())
            }
            LinkOp::SetUp { link, up } => {
                self.link(here, operation, link)?.up = *up;
                if !up {
                    self.flush_routes(here, link, |_| true);
                }
                Ok(())
            }
            LinkOp::SetMtu { link, mtu } => self.link(here, operation, link).map(|l| l.mtu = Some(*mtu)),
            LinkOp::SetMac { link, mac } => self.link(here, operation, link).map(|l| l.mac = Some(*mac)),
            LinkOp::SetHairpin { link, hairpin } => {
                let port = self.link(here, operation, link)?;
                if port.master.is_none() {
                    return Err(refused(operation, ENODEV));
                }
                port.hairpin = *hairpin;
                Ok(())
            }
            LinkOp::AddAddress { link, address } => {
                if !self.link(here, operation, link)?.addresses.insert(*address) {
                    return Err(refused(operation, EEXIST));
                }
                Ok(())
            }
            LinkOp::DeleteAddress { link, address } => {
                let addresses = &mut self.link(here, operation, link)?.addresses;
                if !addresses.remove(address) {
                    return Err(refused(operation, EADDRNOTAVAIL));
                }
                let is_ipv6 = address.addr().is_ipv6();
                if !addresses.iter().any(|other| other.addr().is_ipv6() == is_ipv6) {
                    self.flush_routes(here, link, |route| route.key.destination.addr().is_ipv6() == is_ipv6);
                }
                Ok(())
            }
            LinkOp::ReplaceRoute(route) => self.replace_route(here, operation, route),
            LinkOp::DeleteRoute(route) => match self.state(here)?.routes.remove(&route.key) {
                Some(_) => Ok(()),
                None => Err(refused(operation, ENOENT)),
            },
        }
    }

    fn link(
        &mut self,
        here: &NamespacePath,
        operation: &LinkOp,
        name: &LinkName,
    ) -> Result<&mut Link, LinkError> {
        self.state(here)?
            .links
            .get_mut(name)
            .ok_or_else(|| LinkError::NoSuchLink { operation: operation.to_string(), link: name.clone() })
    }

    fn create(&mut self, here: &NamespacePath, operation: &LinkOp, link: &Link) -> Result<(), LinkError> {
        let state = self.state(here)?;
        if state.links.contains_key(&link.name) {
            return Err(refused(operation, EEXIST));
        }
        if let Some(master) = &link.master
            && !state.links.contains_key(master)
        {
            return Err(LinkError::NoSuchLink { operation: operation.to_string(), link: master.clone() });
        }
        if let LinkKind::Veth { peer: Some(peer) } = &link.kind {
            self.create_peer(here, operation, link, peer)?;
        }
        let kind = match &link.kind {
            LinkKind::Veth { .. } => LinkKind::Veth { peer: None },
            other => other.clone(),
        };
        let mtu = link.mtu.or(Some(1500));
        self.state(here)?.insert_link(Link {
            kind,
            mtu,
            hairpin: false,
            addresses: Default::default(),
            ..link.clone()
        });
        Ok(())
    }

    fn create_peer(
        &mut self,
        here: &NamespacePath,
        operation: &LinkOp,
        link: &Link,
        peer: &VethPeer,
    ) -> Result<(), LinkError> {
        let there = peer.namespace.clone().unwrap_or_else(|| here.clone());
        let state = self.state(&there)?;
        if state.links.contains_key(&peer.name) {
            return Err(refused(operation, EEXIST));
        }
        let mut far =
            Link::new(peer.name.clone(), LinkKind::Veth { peer: None }).with_mtu(link.mtu.unwrap_or(1500));
        far.mac = peer.mac;
        far.up = false;
        state.insert_link(far);
        let (near_end, far_end) = ((here.clone(), link.name.clone()), (there, peer.name.clone()));
        self.peers.insert(near_end.clone(), far_end.clone());
        self.peers.insert(far_end, near_end);
        Ok(())
    }

    fn remove_link(&mut self, namespace: &NamespacePath, name: &LinkName) {
        self.flush_routes(namespace, name, |_| true);
        if let Some(state) = self.namespaces.get_mut(namespace) {
            state.links.remove(name);
            for port in state.links.values_mut().filter(|port| port.master.as_ref() == Some(name)) {
                port.master = None;
                port.hairpin = false;
            }
        }
        if let Some((there, far)) = self.peers.remove(&(namespace.clone(), name.clone())) {
            self.peers.remove(&(there.clone(), far.clone()));
            self.remove_link(&there, &far);
        }
    }

    fn flush_routes(
        &mut self,
        namespace: &NamespacePath,
        link: &LinkName,
        is_flushed: impl Fn(&Route) -> bool,
    ) {
        if let Some(state) = self.namespaces.get_mut(namespace) {
            state.routes.retain(|_, route| route.device.as_ref() != Some(link) || !is_flushed(route));
        }
    }

    fn replace_route(
        &mut self,
        here: &NamespacePath,
        operation: &LinkOp,
        route: &Route,
    ) -> Result<(), LinkError> {
        let mut route = route.clone();
        if let Some(gateway) = route.gateway {
            let state = self.state(here)?;
            let on_address = state
                .links
                .values()
                .find(|link| link.up && link.addresses.iter().any(|net| net.contains(&gateway)))
                .map(|link| link.name.clone());
            let on_route = || {
                let reaches = |r: &&Route| r.gateway.is_none() && r.key.destination.contains(&gateway);
                state.routes.values().find(reaches).and_then(|r| r.device.clone())
            };
            let Some(device) = on_address.or_else(on_route) else {
                return Err(refused(operation, ENETUNREACH));
            };
            route.device.get_or_insert(device);
        }
        if let Some(device) = &route.device
            && !self.link(here, operation, device)?.up
        {
            return Err(refused(operation, ENETDOWN));
        }
        self.state(here)?.insert_route(route);
        Ok(())
    }
}
