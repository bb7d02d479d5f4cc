//! What must be unique in the cluster: cluster IPs and node ports.
//!
//! The stored services are the truth; this is the index of what they hold, rebuilt at start with
//! [`Allocation::restore`]. A request takes values before its write through a [`Reservation`], commits it when the write
//! has succeeded, and drops it otherwise: then everything taken is free again.

mod pool;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use serde_json::Value;
use thiserror::Error;

use pool::Pool;

/// The fewest addresses a service range can do with: those of the smallest range that is accepted, a /29.
const SMALLEST: u64 = 6;

/// The ranges that addresses and ports are taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllocationConfig {
    /// One range, or one per IP family; the first one's family is the cluster's primary.
    pub service_ranges: Vec<IpNet>,
    /// Ranges whose addresses belong to something else, such as nodes or pods. No Service gets one of them, asked for or
    /// not. They may lie in a service range, touch it or lie elsewhere, and may overlap each other.
    pub reserved: Vec<IpNet>,
    /// Node ports; Kubernetes' default is 30000-32767.
    pub node_ports: RangeInclusive<u16>,
}

/// A configuration that cannot work.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum AllocationConfigError {
    /// No range, or two of one family.
    #[error("service ranges: give one range, or one of each IP family, not {0}")]
    Families(usize),
    /// Not even room for the API server's own service and one more.
    #[error("service range {0} is too small: it must hold at least 8 addresses")]
    TooSmall(IpNet),
    /// A reserved range holds the address of the Service `kubernetes`, or leaves hardly any other.
    #[error(
        "service range {range}: its first address or nearly all of its addresses are reserved for something else"
    )]
    Reserved {
        /// The service range.
        range: IpNet,
    },
    /// The range of ports is empty or starts at 0.
    #[error("node ports {first}-{last}: not a range of ports")]
    NodePorts {
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
    },
}

/// Why a value could not be had.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub(super) enum AllocationError {
    #[error("the provided IP ({address}) is not in the valid range. The range of valid IPs is {ranges}")]
    AddressRange { address: IpAddr, ranges: String },
    #[error(
        "the provided IP ({address}) is in {range}, which is reserved for other addresses of this cluster"
    )]
    AddressReserved { address: IpAddr, range: IpNet },
    #[error("provided IP is already allocated")]
    AddressTaken,
    #[error("failed to allocate a serviceIP: range is full")]
    AddressesExhausted,
    #[error("no IPv{0} service range is configured")]
    NoFamily(u8),
    #[error("provided port is not in the valid range. The range of valid ports is {first}-{last}")]
    PortRange { first: u16, last: u16 },
    #[error("provided port is already allocated")]
    PortTaken,
    #[error("failed to allocate a nodePort: range is full")]
    PortsExhausted,
}

/// Cluster IPs and node ports in use. Cheap to clone; clones share the state.
#[derive(Debug, Clone)]
pub struct Allocation {
    config: Arc<AllocationConfig>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// One per service range, in the configuration's order.
    addresses: Vec<Pool>,
    ports: Pool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Address(IpAddr),
    Port(u16),
}

/// Values taken for a write that has not happened yet, and values to give back when it has.
///
/// Dropping it gives back what was taken; [`Reservation::commit`] keeps that and frees what the write made free.
#[derive(Debug, Default)]
#[must_use = "dropping a reservation gives back what was allocated"]
pub struct Reservation {
    allocation: Option<Allocation>,
    taken: Vec<Item>,
    freed: Vec<Item>,
}

impl Allocation {
    /// Everything free but what is reserved and the first address of each range, which belongs to the Service
    /// `kubernetes`.
    ///
    /// # Errors
    /// When the ranges cannot be used.
    pub fn new(config: AllocationConfig) -> Result<Self, AllocationConfigError> {
        let families = config.service_ranges.iter().map(|range| range.addr().is_ipv4());
        let distinct = families.collect::<std::collections::BTreeSet<_>>().len();
        if config.service_ranges.is_empty() || distinct != config.service_ranges.len() {
            return Err(AllocationConfigError::Families(config.service_ranges.len()));
        }
        let (first, last) = (*config.node_ports.start(), *config.node_ports.end());
        if first == 0 || first > last {
            return Err(AllocationConfigError::NodePorts { first, last });
        }
        let addresses = config.service_ranges.iter().map(|range| {
            let size = Pool::range_size(range);
            if size < SMALLEST {
                return Err(AllocationConfigError::TooSmall(*range));
            }
            let reserved = config.reserved.iter().filter_map(|other| Pool::overlap(range, other));
            let pool = Pool::addresses(size, reserved.collect());
            if pool.is_reserved(0) || pool.usable() < SMALLEST {
                return Err(AllocationConfigError::Reserved { range: *range });
            }
            Ok(pool)
        });
        let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
        let ports = Pool::ports(u64::from(last - first) + 1);
        Ok(Self { config: Arc::new(config), state: Arc::new(Mutex::new(State { addresses, ports })) })
    }

    /// Marks what a stored Service holds as taken; values out of the ranges are left alone.
    pub fn restore(&self, service: &Value) {
        let mut state = self.lock();
        for item in held(service) {
            if let Some((pool, offset)) = state.locate(&self.config, item) {
                pool.take(offset);
            }
        }
    }

    /// The first address of the primary range: the cluster IP of `default/kubernetes`.
    pub fn api_service_address(&self) -> IpAddr {
        Pool::address(&self.config.service_ranges[0], 0)
    }

    /// IP families with a range, the primary first; true is IPv4.
    pub(super) fn families(&self) -> impl Iterator<Item = bool> {
        self.config.service_ranges.iter().map(|range| range.addr().is_ipv4())
    }

    /// An empty reservation to take values with.
    pub(super) fn reserve(&self) -> Reservation {
        Reservation { allocation: Some(self.clone()), taken: Vec::new(), freed: Vec::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the pools is complete before anything in it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The pool and place of an item; `None` when it is in no range.
    fn locate(&mut self, config: &AllocationConfig, item: Item) -> Option<(&mut Pool, u64)> {
        match item {
            Item::Address(address) => {
                let found = config.service_ranges.iter().position(|range| range.contains(&address))?;
                let offset = Pool::offset(&config.service_ranges[found], address)?;
                Some((&mut self.addresses[found], offset))
            }
            Item::Port(port) if config.node_ports.contains(&port) => {
                Some((&mut self.ports, u64::from(port - config.node_ports.start())))
            }
            Item::Port(_) => None,
        }
    }
}

impl Reservation {
    /// Nothing taken, nothing freed.
    pub fn none() -> Self {
        Self::default()
    }

    /// The write has succeeded: what was taken stays taken, what it gave up is free.
    pub fn commit(mut self) {
        self.taken.clear();
        let freed = std::mem::take(&mut self.freed);
        self.give_back(&freed);
    }

    /// Takes the address asked for. `api_service` may have the first address of the range.
    pub(super) fn take_address(&mut self, address: IpAddr, api_service: bool) -> Result<(), AllocationError> {
        let Some(allocation) = &self.allocation else { return Ok(()) };
        let config = &allocation.config;
        let mut state = allocation.lock();
        let Some((pool, offset)) = state.locate(config, Item::Address(address)) else {
            let ranges: Vec<String> = config.service_ranges.iter().map(ToString::to_string).collect();
            return Err(AllocationError::AddressRange { address, ranges: ranges.join(", ") });
        };
        if let Some(range) = config.reserved.iter().find(|range| range.contains(&address)) {
            return Err(AllocationError::AddressReserved { address, range: *range });
        }
        let kept = offset == 0 && !api_service;
        if kept || !pool.take(offset) {
            return Err(AllocationError::AddressTaken);
        }
        drop(state);
        self.taken.push(Item::Address(address));
        Ok(())
    }

    /// Takes any free address of the family.
    pub(super) fn pick_address(&mut self, ipv4: bool) -> Result<IpAddr, AllocationError> {
        let family = if ipv4 { 4 } else { 6 };
        let Some(allocation) = &self.allocation else { return Err(AllocationError::NoFamily(family)) };
        let ranges = &allocation.config.service_ranges;
        let Some(index) = ranges.iter().position(|range| range.addr().is_ipv4() == ipv4) else {
            return Err(AllocationError::NoFamily(family));
        };
        let range = ranges[index];
        let picked = allocation.lock().addresses[index].pick(&mut rand::rng());
        let address = Pool::address(&range, picked.ok_or(AllocationError::AddressesExhausted)?);
        self.taken.push(Item::Address(address));
        Ok(address)
    }

    /// Takes the node port asked for.
    pub(super) fn take_port(&mut self, port: u16) -> Result<(), AllocationError> {
        let Some(allocation) = &self.allocation else { return Ok(()) };
        let mut state = allocation.lock();
        let Some((pool, offset)) = state.locate(&allocation.config, Item::Port(port)) else {
            let ports = &allocation.config.node_ports;
            return Err(AllocationError::PortRange { first: *ports.start(), last: *ports.end() });
        };
        if !pool.take(offset) {
            return Err(AllocationError::PortTaken);
        }
        drop(state);
        self.taken.push(Item::Port(port));
        Ok(())
    }

    /// Takes any free node port.
    pub(super) fn pick_port(&mut self) -> Result<u16, AllocationError> {
        let Some(allocation) = &self.allocation else { return Err(AllocationError::PortsExhausted) };
        let picked = allocation.lock().ports.pick(&mut rand::rng()).ok_or(AllocationError::PortsExhausted)?;
        let offset = u16::try_from(picked).map_err(|_| AllocationError::PortsExhausted)?;
        let port = allocation.config.node_ports.start() + offset;
        self.taken.push(Item::Port(port));
        Ok(port)
    }

    /// The address is free once the write has succeeded.
    pub(super) fn free_address(&mut self, address: IpAddr) {
        self.freed.push(Item::Address(address));
    }

    /// The node port is free once the write has succeeded.
    pub(super) fn free_port(&mut self, port: u16) {
        self.freed.push(Item::Port(port));
    }

    fn give_back(&self, items: &[Item]) {
        let Some(allocation) = self.allocation.as_ref().filter(|_| !items.is_empty()) else { return };
        let mut state = allocation.lock();
        for item in items {
            if let Some((pool, offset)) = state.locate(&allocation.config, *item) {
                pool.give_back(offset);
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        self.give_back(&taken);
    }
}

/// What a stored Service holds: its cluster IPs and node ports.
fn held(service: &Value) -> Vec<Item> {
    let addresses = cluster_addresses(service).into_iter().map(Item::Address);
    addresses.chain(node_ports(service).into_iter().map(Item::Port)).collect()
}

/// The cluster IPs of a Service, without `None` and the empty text.
pub(super) fn cluster_addresses(service: &Value) -> Vec<IpAddr> {
    let list = service.pointer("/spec/clusterIPs").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|address| address.as_str()?.parse().ok()).collect()
}

/// The node ports of a Service, each once, the health check's included.
pub(super) fn node_ports(service: &Value) -> std::collections::BTreeSet<u16> {
    let list = service.pointer("/spec/ports").and_then(Value::as_array);
    let ports = list.into_iter().flatten().filter_map(|port| port.get("nodePort"));
    let all = ports.chain(service.pointer("/spec/healthCheckNodePort"));
    all.filter_map(|port| u16::try_from(port.as_u64()?).ok()).filter(|port| *port != 0).collect()
}
