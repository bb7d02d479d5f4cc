//! What is known of the cluster, kept up event by event, and what stands at a name.

mod lookup;
mod objects;
mod shared;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::{Service, ServiceKey, ServiceKind, SliceKey};

pub(crate) use lookup::{At, Place, reverse_address};
pub use objects::{Endpoint, Kind, Object, ObjectKey, PodKey, Slice};
pub use shared::SharedZone;

use crate::Name;

/// Whether names such as `10-244-1-7.default.pod.cluster.local` mean something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PodNames {
    /// There are none.
    Disabled,
    /// The name itself says the address, whether or not there is such a pod.
    #[default]
    Insecure,
    /// Only of pods that there are, in that namespace.
    Verified,
}

/// What a zone is called and how it answers.
#[derive(Debug, Clone)]
pub struct ZoneConfig {
    /// The cluster's domain, normally `cluster.local`.
    pub zone: Name,
    /// How long clients may keep an answer, in seconds, 0 to 3600.
    pub ttl: u32,
    /// Names of pods by their addresses.
    pub pods: PodNames,
    /// Addresses whose names are looked for here.
    pub reverse: Vec<IpNet>,
    /// Addresses of which nobody else knows the names: no others are asked for them.
    pub own_addresses: Vec<IpNet>,
    /// What `ns.dns.<zone>` answers.
    pub name_servers: Vec<IpAddr>,
    /// The only namespaces that are shown; none means all.
    pub namespaces: BTreeSet<Arc<str>>,
    /// Endpoints without a hostname are called by their pods' names.
    pub endpoint_pod_names: bool,
    /// Services without a ready endpoint do not exist.
    pub ignore_empty_services: bool,
    /// Names that do not exist here are somebody else's to answer for.
    pub fallthrough: bool,
}

impl ZoneConfig {
    /// TTL of CoreDNS's `kubernetes` plugin.
    pub const TTL: u32 = 5;

    /// The zone of that name with CoreDNS's defaults: every namespace, no names of pods, names of all addresses.
    pub fn new(zone: Name) -> Self {
        Self {
            zone,
            ttl: Self::TTL,
            pods: PodNames::Disabled,
            reverse: vec![IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())],
            own_addresses: Vec::new(),
            name_servers: Vec::new(),
            namespaces: BTreeSet::new(),
            endpoint_pod_names: false,
            ignore_empty_services: false,
            fallthrough: false,
        }
    }

    fn shows(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.contains(namespace)
    }
}

/// The names of a cluster.
///
/// Nothing is derived that a query could not derive as fast, so that an event costs what it changes; only
/// addresses are indexed, for `PTR`.
#[derive(Debug)]
pub struct Zone {
    config: ZoneConfig,
    /// By namespace, then name. A service of which only slices are known has no object.
    services: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Known>>,
    /// Which service a slice was filed under.
    owners: BTreeMap<SliceKey, ServiceKey>,
    namespaces: BTreeSet<Arc<str>>,
    pods: BTreeMap<PodKey, Vec<IpAddr>>,
    /// By namespace and address, for `verified` pod names.
    pod_addresses: BTreeSet<(Arc<str>, IpAddr, Arc<str>)>,
    /// Who is to be found at an address: services at theirs, headless ones at their endpoints'.
    addresses: BTreeSet<(IpAddr, ServiceKey)>,
    listings: BTreeMap<Kind, BTreeSet<ObjectKey>>,
    synced: BTreeSet<Kind>,
    serial: u32,
}

/// What is known of one service.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) service: Option<Service>,
    /// In order of their names.
    pub(crate) slices: Vec<Slice>,
}

impl Known {
    /// Whether its name leads to its endpoints instead of an address of its own.
    pub(crate) fn is_headless(&self) -> bool {
        self.service.as_ref().is_some_and(|service| {
            service.cluster_addresses.is_empty() && !matches!(service.kind, ServiceKind::ExternalName(_))
        })
    }

    /// Ready endpoints with the slice they are in.
    pub(crate) fn ready(&self) -> impl Iterator<Item = (&Slice, &Endpoint)> {
        self.slices.iter().flat_map(|slice| {
            slice.endpoints.iter().filter(|endpoint| endpoint.ready).map(move |endpoint| (slice, endpoint))
        })
    }

    /// Whether connections to it can only fail. An alias never is.
    pub(crate) fn is_empty(&self) -> bool {
        let alias = self.service.as_ref().is_some_and(|s| matches!(s.kind, ServiceKind::ExternalName(_)));
        !alias && self.ready().next().is_none()
    }

    fn addresses(&self) -> BTreeSet<IpAddr> {
        match &self.service {
            Some(_) if self.is_headless() => self.ready().map(|(_, endpoint)| endpoint.address).collect(),
            Some(service) if matches!(service.kind, ServiceKind::ExternalName(_)) => BTreeSet::new(),
            Some(service) => service.cluster_addresses.iter().copied().collect(),
            None => BTreeSet::new(),
        }
    }
}

impl Zone {
    /// A zone that knows nothing and is in sync with nothing.
    pub fn new(config: ZoneConfig) -> Self {
        Self {
            config,
            services: BTreeMap::new(),
            owners: BTreeMap::new(),
            namespaces: BTreeSet::new(),
            pods: BTreeMap::new(),
            pod_addresses: BTreeSet::new(),
            addresses: BTreeSet::new(),
            listings: BTreeMap::new(),
            synced: BTreeSet::new(),
            serial: 1,
        }
    }

    /// What it was made with.
    pub fn config(&self) -> &ZoneConfig {
        &self.config
    }

    /// Counts changes; the serial of the SOA record.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Takes in the newest state of an object.
    pub fn apply(&mut self, object: Object) {
        let key = object.key();
        if !self.config.shows(key.namespace()) {
            return;
        }
        if let Some(seen) = self.listings.get_mut(&key.kind()) {
            seen.insert(key);
        }
        self.serial = self.serial.wrapping_add(1);
        match object {
            Object::Service(service) => {
                let key = service.key.clone();
                self.change(&key, |known| known.service = Some(service));
            }
            Object::Slice(slice) => self.apply_slice(slice),
            Object::Namespace(name) => {
                self.namespaces.insert(name);
            }
            Object::Pod(key, addresses) => {
                self.remove_pod(&key);
                for address in &addresses {
                    self.pod_addresses.insert((key.namespace.clone(), *address, key.name.clone()));
                }
                self.pods.insert(key, addresses);
            }
        }
    }

    /// Forgets an object; one that is not known is no error.
    pub fn delete(&mut self, key: &ObjectKey) {
        if let Some(seen) = self.listings.get_mut(&key.kind()) {
            seen.remove(key);
        }
        self.serial = self.serial.wrapping_add(1);
        match key {
            ObjectKey::Service(key) => self.change(key, |known| known.service = None),
            ObjectKey::Slice(key) => self.remove_slice(key),
            ObjectKey::Namespace(name) => {
                self.namespaces.remove(name);
            }
            ObjectKey::Pod(key) => self.remove_pod(key),
        }
    }

    /// A full listing of a kind begins. What is known stays until it ends.
    pub fn begin_listing(&mut self, kind: Kind) {
        self.listings.insert(kind, BTreeSet::new());
    }

    /// The listing is complete: what it did not name is gone, and the kind is in sync.
    pub fn end_listing(&mut self, kind: Kind) {
        let Some(seen) = self.listings.remove(&kind) else {
            return;
        };
        let gone: Vec<ObjectKey> = self.keys(kind).filter(|key| !seen.contains(key)).collect();
        for key in gone {
            self.delete(&key);
        }
        self.synced.insert(kind);
    }

    /// Whether every kind that answers depend on has been listed in full once.
    pub fn is_in_sync(&self) -> bool {
        Kind::needed(self.config.pods).iter().all(|kind| self.synced.contains(kind))
    }

    /// The addresses of a service's ready endpoints, in order.
    pub fn ready_endpoints(&self, service: &ServiceKey) -> BTreeSet<IpAddr> {
        let known = self.services.get(&service.namespace).and_then(|names| names.get(&service.name));
        known.iter().flat_map(|known| known.ready()).map(|(_, endpoint)| endpoint.address).collect()
    }

    /// Services known, for metrics.
    pub fn service_count(&self) -> usize {
        self.services.values().map(BTreeMap::len).sum()
    }

    /// Changes what is known of one service and brings the index of addresses along.
    fn change(&mut self, key: &ServiceKey, change: impl FnOnce(&mut Known)) {
        let names = self.services.entry(key.namespace.clone()).or_default();
        let mut entry = match names.entry(key.name.clone()) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => entry.insert_entry(Known::default()),
        };
        let before = entry.get().addresses();
        change(entry.get_mut());
        let after = entry.get().addresses();
        if entry.get().service.is_none() && entry.get().slices.is_empty() {
            entry.remove();
            if names.is_empty() {
                self.services.remove(&key.namespace);
            }
        }
        for address in before.difference(&after) {
            self.addresses.remove(&(*address, key.clone()));
        }
        for address in after.difference(&before) {
            self.addresses.insert((*address, key.clone()));
        }
    }

    fn apply_slice(&mut self, mut slice: Slice) {
        let owner = self.owners.get(&slice.key);
        if owner.is_some() && owner != slice.service.as_ref() {
            self.remove_slice(&slice.key.clone());
        }
        let Some(service) = slice.service.clone() else {
            return;
        };
        for endpoint in &mut slice.endpoints {
            let pod = endpoint.pod.take().filter(|_| self.config.endpoint_pod_names);
            endpoint.hostname = endpoint.hostname.take().or(pod);
        }
        slice.endpoints.shrink_to_fit();
        self.owners.insert(slice.key.clone(), service.clone());
        self.change(&service, |known| {
            match known.slices.binary_search_by(|other| other.key.name.cmp(&slice.key.name)) {
                Ok(place) => known.slices[place] = slice,
                Err(place) => known.slices.insert(place, slice),
            }
        });
    }

    fn remove_slice(&mut self, key: &SliceKey) {
        if let Some(service) = self.owners.remove(key) {
            self.change(&service, |known| known.slices.retain(|slice| slice.key != *key));
        }
    }

    fn remove_pod(&mut self, key: &PodKey) {
        for address in self.pods.remove(key).unwrap_or_default() {
            self.pod_addresses.remove(&(key.namespace.clone(), address, key.name.clone()));
        }
    }

    fn keys(&self, kind: Kind) -> Box<dyn Iterator<Item = ObjectKey> + '_> {
        match kind {
            Kind::Service => Box::new(self.services.iter().flat_map(|(namespace, names)| {
                names.iter().filter(|(_, known)| known.service.is_some()).map(move |(name, _)| {
                    ObjectKey::Service(ServiceKey { namespace: namespace.clone(), name: name.clone() })
                })
            })),
            Kind::Slice => Box::new(self.owners.keys().cloned().map(ObjectKey::Slice)),
            Kind::Namespace => Box::new(self.namespaces.iter().cloned().map(ObjectKey::Namespace)),
            Kind::Pod => Box::new(self.pods.keys().cloned().map(ObjectKey::Pod)),
        }
    }
}

#[cfg(test)]
mod tests;
