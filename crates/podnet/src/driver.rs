//! The pod network of a node, done through ports. Every call may be repeated: it changes only what is not yet so.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use netstate::conntrack::ConntrackPort;
use netstate::link::{LinkName, MacAddress, NamespacePath};
use netstate::namespace::{LinkError, LinkOp, LinkPort, NamespacePorts, NetworkState, Ownership, diff};
use netstate::nft::NftPort;
use netstate::sysctl::{self, SysctlPort};

use crate::host_ports::{HostPort, Published};
use crate::plan::{self, Config};
use crate::pool::{Pool, Record, SandboxId};
use crate::rules::Rules;
use crate::{AddressStore, PodnetError};

/// What the pod network needs from the world. All but `namespaces` are the node's own.
pub struct Ports {
    /// The node's links.
    pub links: Box<dyn LinkPort>,
    /// The pods' namespaces.
    pub namespaces: Box<dyn NamespacePorts>,
    /// The node's kernel settings.
    pub settings: Box<dyn SysctlPort>,
    /// The node's nftables.
    pub nft: Box<dyn NftPort + Send>,
    /// The node's connection tracking.
    pub conntrack: Box<dyn ConntrackPort + Send>,
    /// Where the addresses are written down.
    pub store: Box<dyn AddressStore>,
}

/// Where a pod is in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodAddress {
    /// The pod's address.
    pub address: IpAddr,
    /// What it sends everything to: the bridge of its node.
    pub gateway: IpAddr,
}

/// What [`PodNetwork::reconcile`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconciliation {
    /// Sandboxes that are no more; their addresses are free again.
    pub released: Vec<SandboxId>,
    /// Live sandboxes without a working network. They keep their addresses until they are deleted.
    pub broken: Vec<SandboxId>,
}

/// The pod network of one node. Calls block for a few milliseconds at most; threads may share it.
pub struct PodNetwork {
    config: Config,
    mtu: u32,
    links: Box<dyn LinkPort>,
    namespaces: Box<dyn NamespacePorts>,
    settings: Box<dyn SysctlPort>,
    rules: Mutex<Rules>,
    pool: Mutex<StoredPool>,
}

impl fmt::Debug for PodNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PodNetwork")
            .field("config", &self.config)
            .field("mtu", &self.mtu)
            .finish_non_exhaustive()
    }
}

impl PodNetwork {
    /// Reads the addresses written down and the uplink's MTU; changes nothing. Addresses of another range, or a record
    /// that cannot be read, are forgotten: [`PodNetwork::reconcile`] finds the living ones again.
    ///
    /// # Errors
    /// When the range is too small or the uplink is not there.
    pub fn new(config: Config, ports: Ports) -> Result<Self, PodnetError> {
        let pool = StoredPool::load(config.range, ports.store)?;
        let node = ports.links.observe()?;
        let mtu = node
            .links
            .get(&config.uplink)
            .and_then(|uplink| uplink.mtu)
            .ok_or_else(|| PodnetError::NoUplink { link: config.uplink.clone() })?;
        let rules = Rules::new(config.clone(), ports.nft, ports.conntrack);
        Ok(Self {
            config,
            mtu,
            links: ports.links,
            namespaces: ports.namespaces,
            settings: ports.settings,
            rules: Mutex::new(rules),
            pool: Mutex::new(pool),
        })
    }

    /// Sees to the bridge, the kernel settings and the masquerade. Links and host ports of pods are not touched.
    ///
    /// # Errors
    /// The first step that failed; what was done stays.
    pub fn setup_node(&self) -> Result<(), PodnetError> {
        let mut wanted = NetworkState::default();
        wanted.insert_link(plan::bridge(&self.config, self.mtu));
        self.links.commit(&diff(&self.links.observe()?, &wanted, &Ownership::default()))?;
        let written = sysctl::apply(self.settings.as_ref(), &plan::settings())?;
        let changes = self.rules().set_up()?;
        tracing::debug!(settings = written, rules = changes, "node set up");
        Ok(())
    }

    /// Makes ports of the node lead to a sandbox that has been added, instead of those that it had.
    ///
    /// # Errors
    /// When the rules cannot be written, or UDP connections not be forgotten; calling again mends it.
    pub fn publish(&self, sandbox: &SandboxId, ports: &[HostPort]) -> Result<(), PodnetError> {
        let mut rules = self.rules();
        let mut published = rules.published().clone();
        match self.address(sandbox).filter(|_| !ports.is_empty()) {
            Some(address) => drop(published.insert(sandbox.clone(), (address, ports.to_vec()))),
            None if published.remove(sandbox).is_none() => return Ok(()),
            None => {}
        }
        rules.publish(published, self.settings.as_ref())
    }

    /// Makes these the only ports of the node that lead to pods: after a restart, with those of the living.
    ///
    /// # Errors
    /// As [`PodNetwork::publish`].
    pub fn publish_all(&self, ports: &BTreeMap<SandboxId, Vec<HostPort>>) -> Result<(), PodnetError> {
        let with_address = |(sandbox, ports): (&SandboxId, &Vec<HostPort>)| {
            Some((sandbox.clone(), (self.address(sandbox)?, ports.clone())))
        };
        let published: Published =
            ports.iter().filter(|(_, ports)| !ports.is_empty()).filter_map(with_address).collect();
        self.rules().publish(published, self.settings.as_ref())
    }

    /// Looks whether somebody else has changed our nftables rules, and mends them; whether that was so. May be asked
    /// every few seconds.
    ///
    /// # Errors
    /// When the rules cannot be read or written.
    pub fn mend(&self) -> Result<bool, PodnetError> {
        Ok(self.rules().mend()? > 0)
    }

    /// Connects a sandbox, by the file of its network namespace: an address, both ends of its link, its routes. What is
    /// there already stays, with the same address.
    ///
    /// # Errors
    /// Nothing is left behind of a sandbox that had no address before.
    pub fn add(&self, sandbox: &SandboxId, namespace: &NamespacePath) -> Result<PodAddress, PodnetError> {
        let (address, is_new) = self.pool().allocate(sandbox)?;
        let connected = self.connect(address, namespace);
        if connected.is_err() && is_new {
            if let Err(error) = self.disconnect(address) {
                tracing::warn!(%sandbox, %address, %error, "half-made pod link not removed");
            }
            self.pool().release(sandbox)?;
        }
        connected?;
        Ok(self.pod_address(address))
    }

    /// Disconnects a sandbox and takes its address back. One that is not known is gone already.
    ///
    /// # Errors
    /// Its address is kept then, so that nobody else gets it.
    pub fn delete(&self, sandbox: &SandboxId) -> Result<(), PodnetError> {
        let Some(address) = self.address(sandbox) else {
            return Ok(());
        };
        self.publish(sandbox, &[])?;
        self.disconnect(address)?;
        self.pool().release(sandbox)
    }

    /// Where a sandbox is, if it has an address.
    #[must_use]
    pub fn pod_address_of(&self, sandbox: &SandboxId) -> Option<PodAddress> {
        self.address(sandbox).map(|address| self.pod_address(address))
    }

    /// After a restart: given the sandboxes that live and their namespaces, takes the addresses of all others back,
    /// removes links that are nobody's, and repairs the links of the living. A sandbox whose address was forgotten is
    /// asked for it. One broken sandbox does not keep the others from being repaired.
    ///
    /// # Errors
    /// When the node's own links cannot be read or changed.
    pub fn reconcile(
        &self,
        live: &BTreeMap<SandboxId, NamespacePath>,
    ) -> Result<Reconciliation, PodnetError> {
        let mut outcome = Reconciliation::default();
        let known: Vec<SandboxId> = self.pool().pool.allocated().keys().cloned().collect();
        for sandbox in known.into_iter().filter(|sandbox| !live.contains_key(sandbox)) {
            self.delete(&sandbox)?;
            outcome.released.push(sandbox);
        }
        let mut living = BTreeMap::new();
        for (sandbox, namespace) in live {
            match self.address(sandbox).or_else(|| self.ask_for_address(sandbox, namespace)) {
                Some(address) => {
                    living.insert(sandbox, (address, namespace));
                }
                None => outcome.broken.push(sandbox.clone()),
            }
        }
        let node = self.repair_node_side(living.values().map(|(address, _)| *address))?;
        for (sandbox, (address, namespace)) in living {
            if let Err(error) = self.check_connected(&node, address, namespace) {
                tracing::warn!(%sandbox, %address, %error, "sandbox has no working network");
                outcome.broken.push(sandbox.clone());
            }
        }
        Ok(outcome)
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self) -> MutexGuard<'_, StoredPool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn address(&self, sandbox: &SandboxId) -> Option<Ipv4Addr> {
        self.pool().pool.allocated().get(sandbox).copied()
    }

    fn pod_address(&self, address: Ipv4Addr) -> PodAddress {
        PodAddress { address: IpAddr::V4(address), gateway: IpAddr::V4(self.config.gateway()) }
    }

    /// Makes both ends, or repairs what is there of them.
    fn connect(&self, address: Ipv4Addr, namespace: &NamespacePath) -> Result<(), PodnetError> {
        let inside = self.namespaces.open(namespace)?;
        let is_paired = self.has_pod_end(address, inside.as_ref())?
            && self.links.observe()?.links.contains_key(&self.config.host_link(address));
        if !is_paired {
            // An end without the other is a remnant of another pod or another network.
            remove_link(self.links.as_ref(), self.config.host_link(address))?;
            remove_link(inside.as_ref(), LinkName::eth0())?;
            let mut wanted = NetworkState::default();
            wanted.insert_link(plan::host_side(&self.config, self.mtu, address, Some(namespace)));
            self.links.commit(&diff(&NetworkState::default(), &wanted, &Ownership::default()))?;
        }
        self.repair_pod_side(address, inside.as_ref())
    }

    /// Whether the pod has an `eth0` that was made for this address.
    fn has_pod_end(&self, address: Ipv4Addr, inside: &dyn LinkPort) -> Result<bool, PodnetError> {
        let pod = inside.observe()?;
        let mac = pod.links.get(&LinkName::eth0()).and_then(|link| link.mac);
        Ok(mac == Some(MacAddress::for_ipv4(address)))
    }

    fn repair_pod_side(&self, address: Ipv4Addr, inside: &dyn LinkPort) -> Result<(), PodnetError> {
        let wanted = plan::pod_side(&self.config, self.mtu, address);
        inside.commit(&diff(&inside.observe()?, &wanted, &Ownership::default()))?;
        Ok(())
    }

    fn disconnect(&self, address: Ipv4Addr) -> Result<(), PodnetError> {
        remove_link(self.links.as_ref(), self.config.host_link(address))
    }

    /// The bridge, and of every address the node's end where it exists; other ends of ours go. What the node held.
    fn repair_node_side(
        &self,
        addresses: impl Iterator<Item = Ipv4Addr>,
    ) -> Result<NetworkState, PodnetError> {
        let observed = self.links.observe()?;
        let mut wanted = NetworkState::default();
        wanted.insert_link(plan::bridge(&self.config, self.mtu));
        for address in addresses {
            let link = plan::host_side(&self.config, self.mtu, address, None);
            if observed.links.contains_key(&link.name) {
                wanted.insert_link(link);
            }
        }
        self.links.commit(&diff(&observed, &wanted, &plan::ownership()))?;
        Ok(observed)
    }

    fn check_connected(
        &self,
        node: &NetworkState,
        address: Ipv4Addr,
        namespace: &NamespacePath,
    ) -> Result<(), PodnetError> {
        let inside = self.namespaces.open(namespace)?;
        let has_node_end = node.links.contains_key(&self.config.host_link(address));
        if !has_node_end || !self.has_pod_end(address, inside.as_ref())? {
            return Err(PodnetError::Link(LinkError::NoSuchLink {
                operation: format!("reconcile {namespace}"),
                link: self.config.host_link(address),
            }));
        }
        self.repair_pod_side(address, inside.as_ref())
    }

    /// The address that a sandbox says it has, noted as its own when it can be.
    fn ask_for_address(&self, sandbox: &SandboxId, namespace: &NamespacePath) -> Option<Ipv4Addr> {
        let state = self.namespaces.open(namespace).and_then(|inside| inside.observe()).ok()?;
        let address = state.links.get(&LinkName::eth0())?.addresses.iter().find_map(|net| match net {
            IpNet::V4(net) => Some(net.addr()),
            IpNet::V6(_) => None,
        })?;
        match self.pool().claim(sandbox, address) {
            Ok(()) => Some(address),
            Err(error) => {
                tracing::warn!(%sandbox, %address, %error, "address of a sandbox not taken over");
                None
            }
        }
    }
}

fn remove_link(port: &dyn LinkPort, link: LinkName) -> Result<(), PodnetError> {
    match port.commit(&[LinkOp::DeleteLink(link)]) {
        Err(error) if error.is_not_found() => Ok(()),
        other => Ok(other?),
    }
}

/// The pool together with where it is written down: nobody learns of a change before it is saved.
struct StoredPool {
    pool: Pool,
    store: Box<dyn AddressStore>,
}

impl StoredPool {
    fn load(range: ipnet::Ipv4Net, store: Box<dyn AddressStore>) -> Result<Self, PodnetError> {
        let empty = Pool::new(range)?;
        let forget =
            |reason: String| tracing::warn!(%range, reason, "pod addresses written down are forgotten");
        let pool = match store.load()?.map(|text| serde_json::from_str::<Record>(&text)) {
            None => None,
            Some(Err(error)) => {
                forget(error.to_string());
                None
            }
            Some(Ok(record)) if record.range != empty.range() => {
                forget(format!("they are of {}", record.range));
                None
            }
            Some(Ok(record)) => {
                Pool::from_record(&record).inspect_err(|error| forget(error.to_string())).ok()
            }
        };
        Ok(Self { pool: pool.unwrap_or(empty), store })
    }

    /// The address of a sandbox, and whether it is new.
    fn allocate(&mut self, sandbox: &SandboxId) -> Result<(Ipv4Addr, bool), PodnetError> {
        if let Some(address) = self.pool.allocated().get(sandbox) {
            return Ok((*address, false));
        }
        self.change(|pool| pool.allocate(sandbox)).map(|address| (address, true))
    }

    fn claim(&mut self, sandbox: &SandboxId, address: Ipv4Addr) -> Result<(), PodnetError> {
        self.change(|pool| pool.claim(sandbox, address))
    }

    fn release(&mut self, sandbox: &SandboxId) -> Result<(), PodnetError> {
        self.change(|pool| {
            pool.release(sandbox);
            Ok(())
        })
    }

    fn change<T>(&mut self, act: impl FnOnce(&mut Pool) -> Result<T, PodnetError>) -> Result<T, PodnetError> {
        let mut changed = self.pool.clone();
        let value = act(&mut changed)?;
        // A map of strings and a list always have a JSON form.
        let text = serde_json::to_string(&changed.record()).expect("a record without exotic keys");
        self.store.save(&text)?;
        self.pool = changed;
        Ok(value)
    }
}

#[cfg(test)]
mod tests;
