mod shared_names;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use self::shared_names::SharedNames;
use crate::{EndpointSlice, Node, NodeName, Service, ServiceKey, SliceKey};

/// A kind of object that the index must have listed before it says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Services.
    Service,
    /// EndpointSlices.
    EndpointSlice,
    /// Nodes; one that only ever sees its own is enough.
    Node,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Service, Self::EndpointSlice, Self::Node];
}

/// A parsed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A Service.
    Service(Service),
    /// An EndpointSlice.
    EndpointSlice(EndpointSlice),
    /// A node.
    Node(Node),
}

impl Object {
    /// What the object is known by.
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Service(service) => ObjectKey::Service(service.key.clone()),
            Self::EndpointSlice(slice) => ObjectKey::EndpointSlice(slice.key.clone()),
            Self::Node(node) => ObjectKey::Node(node.name.clone()),
        }
    }
}

/// What an object is known by, across all kinds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKey {
    /// A Service.
    Service(ServiceKey),
    /// An EndpointSlice.
    EndpointSlice(SliceKey),
    /// A node.
    Node(NodeName),
}

impl ObjectKey {
    /// The kind it belongs to.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Node(_) => Kind::Node,
        }
    }
}

/// What has to be planned again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// All of it: the first time, after a failed commit, or when a node has moved to another zone.
    Everything,
    /// These services, which may no longer exist.
    Services(BTreeSet<ServiceKey>),
}

impl Changes {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Everything => false,
            Self::Services(keys) => keys.is_empty(),
        }
    }

    /// These and those.
    pub fn add(&mut self, more: Self) {
        match (&mut *self, more) {
            (Self::Services(keys), Self::Services(more)) => keys.extend(more),
            (Self::Services(_), Self::Everything) => *self = Self::Everything,
            (Self::Everything, _) => {}
        }
    }
}

/// Everything known of the cluster, kept up event by event.
///
/// An event touches the one object it names: the work is proportional to the change.
#[derive(Debug, Default)]
pub struct Index {
    /// Boxed: a tree filled in order has as much room as it has entries.
    services: BTreeMap<ServiceKey, Box<Service>>,
    /// In order of their names. Nearly every service has one slice, for which a map would be wasteful.
    slices: BTreeMap<ServiceKey, Vec<EndpointSlice>>,
    /// Which service a slice was filed under, to find it when it is deleted or relabelled.
    owners: BTreeMap<SliceKey, ServiceKey>,
    nodes: BTreeMap<NodeName, Node>,
    names: SharedNames,
    /// Objects seen in a listing that is under way.
    listings: BTreeMap<Kind, BTreeSet<ObjectKey>>,
    synced: BTreeSet<Kind>,
    dirty: BTreeSet<ServiceKey>,
    /// A node changed its zone, which may concern every service.
    moved: bool,
}

impl Index {
    /// An index that knows nothing and is in sync with nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the newest state of an object. The same state again changes nothing.
    pub fn apply(&mut self, object: Object) {
        let key = object.key();
        if let Some(seen) = self.listings.get_mut(&key.kind()) {
            seen.insert(key);
        }
        match object {
            Object::Service(service) => self.apply_service(service),
            Object::EndpointSlice(slice) => self.apply_slice(slice),
            Object::Node(node) => {
                let zone = node.zone.clone();
                let before = self.nodes.insert(node.name.clone(), node).and_then(|before| before.zone);
                self.moved |= before != zone;
            }
        }
    }

    /// Forgets an object. One that is not known is no error: a watch may tell the end of what it never
    /// told the beginning of.
    pub fn delete(&mut self, key: &ObjectKey) {
        if let Some(seen) = self.listings.get_mut(&key.kind()) {
            seen.remove(key);
        }
        match key {
            ObjectKey::Service(key) => {
                if self.services.remove(key).is_some() {
                    self.dirty.insert(key.clone());
                }
            }
            ObjectKey::EndpointSlice(key) => self.remove_slice(key),
            ObjectKey::Node(name) => {
                self.moved |= self.nodes.remove(name).is_some_and(|node| node.zone.is_some());
            }
        }
    }

    /// A full listing of a kind begins, at the start or after a watch was lost.
    ///
    /// What is known stays until [`Index::end_listing`]: a restart of the API server takes nothing away.
    pub fn begin_listing(&mut self, kind: Kind) {
        self.listings.insert(kind, BTreeSet::new());
    }

    /// The listing is complete: objects that it did not name are gone, and the kind is in sync.
    ///
    /// Without [`Index::begin_listing`] before it, nothing happens.
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

    /// Whether every kind has been listed in full once.
    pub fn is_in_sync(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.synced.contains(kind))
    }

    /// The cluster as known now, once every kind is in sync; before that nobody may act on it.
    pub fn snapshot(&self) -> Option<Snapshot<'_>> {
        self.is_in_sync().then_some(Snapshot { index: self })
    }

    /// What changed since this was last asked, and forgets it.
    pub fn take_changes(&mut self) -> Changes {
        let services = std::mem::take(&mut self.dirty);
        if std::mem::take(&mut self.moved) { Changes::Everything } else { Changes::Services(services) }
    }

    fn apply_service(&mut self, mut service: Service) {
        self.names.share(&mut service.key.namespace);
        service.ports.iter_mut().for_each(|port| self.names.share(&mut port.name));
        if self.services.get(&service.key).is_none_or(|known| **known != service) {
            self.dirty.insert(service.key.clone());
            self.services.insert(service.key.clone(), Box::new(service));
        }
    }

    fn apply_slice(&mut self, mut slice: EndpointSlice) {
        slice.endpoints.shrink_to_fit();
        self.share_names(&mut slice);
        let owner = self.owners.get(&slice.key);
        if owner.is_some() && owner != slice.service.as_ref() {
            self.remove_slice(&slice.key.clone());
        }
        let Some(service) = slice.service.clone() else {
            return;
        };
        let key = slice.key.clone();
        match self.slices.entry(service.clone()) {
            Entry::Vacant(nobody) => {
                nobody.insert(vec![slice]);
            }
            Entry::Occupied(mut siblings) => {
                let siblings = siblings.get_mut();
                match siblings.binary_search_by(|sibling| sibling.key.name.cmp(&slice.key.name)) {
                    Ok(place) if siblings[place] == slice => return,
                    Ok(place) => siblings[place] = slice,
                    Err(place) => siblings.insert(place, slice),
                }
            }
        }
        self.owners.insert(key, service.clone());
        self.dirty.insert(service);
    }

    fn share_names(&mut self, slice: &mut EndpointSlice) {
        self.names.share(&mut slice.key.namespace);
        if let Some(service) = &mut slice.service {
            self.names.share(&mut service.namespace);
            if let Some((known, _)) = self.services.get_key_value(service) {
                service.clone_from(known);
            }
        }
        slice.ports.iter_mut().for_each(|port| self.names.share(&mut port.name));
        for endpoint in &mut slice.endpoints {
            if let Some(node) = &mut endpoint.node {
                self.names.share(node.text_mut());
            }
            if let Some(zone) = &mut endpoint.zone {
                self.names.share(zone);
            }
        }
    }

    fn remove_slice(&mut self, key: &SliceKey) {
        let Some(service) = self.owners.remove(key) else {
            return;
        };
        if let Some(siblings) = self.slices.get_mut(&service) {
            siblings.retain(|sibling| sibling.key.name != key.name);
            if siblings.is_empty() {
                self.slices.remove(&service);
            }
        }
        self.dirty.insert(service);
    }

    fn keys(&self, kind: Kind) -> Box<dyn Iterator<Item = ObjectKey> + '_> {
        match kind {
            Kind::Service => Box::new(self.services.keys().cloned().map(ObjectKey::Service)),
            Kind::EndpointSlice => Box::new(self.owners.keys().cloned().map(ObjectKey::EndpointSlice)),
            Kind::Node => Box::new(self.nodes.keys().cloned().map(ObjectKey::Node)),
        }
    }
}

/// The cluster at one moment, every kind in sync.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    index: &'a Index,
}

impl<'a> Snapshot<'a> {
    /// All services, in order.
    pub fn services(&self) -> impl Iterator<Item = &'a Service> + use<'a> {
        self.index.services.values().map(Box::as_ref)
    }

    /// One service, if it exists.
    pub fn service(&self, key: &ServiceKey) -> Option<&'a Service> {
        self.index.services.get(key).map(Box::as_ref)
    }

    /// The EndpointSlices of one service, in order of their names.
    pub fn slices(&self, key: &ServiceKey) -> impl Iterator<Item = &'a EndpointSlice> + use<'a> {
        self.index.slices.get(key).into_iter().flatten()
    }

    /// One node, if it is known.
    pub fn node(&self, name: &NodeName) -> Option<&'a Node> {
        self.index.nodes.get(name)
    }
}

#[cfg(test)]
mod tests;
