use std::net::IpAddr;
use std::sync::Arc;

use model::{Service, ServiceKey, SliceKey, SlicePort};

use super::PodNames;

/// A kind of object that names come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Services.
    Service,
    /// EndpointSlices.
    Slice,
    /// Namespaces.
    Namespace,
    /// Pods, only for [`PodNames::Verified`].
    Pod,
}

impl Kind {
    /// The kinds that must be listed before anything can be answered.
    pub fn needed(pods: PodNames) -> &'static [Self] {
        match pods {
            PodNames::Disabled | PodNames::Insecure => &[Self::Service, Self::Slice, Self::Namespace],
            PodNames::Verified => &[Self::Service, Self::Slice, Self::Namespace, Self::Pod],
        }
    }
}

/// An EndpointSlice, as far as names are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Namespace and name.
    pub key: SliceKey,
    /// The Service it belongs to.
    pub service: Option<ServiceKey>,
    /// The ports that each endpoint has.
    pub ports: Vec<SlicePort>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub address: IpAddr,
    /// What it is called inside its service; otherwise its address says.
    pub hostname: Option<Arc<str>>,
    /// The pod behind it.
    pub pod: Option<Arc<str>>,
    /// It takes connections, or its Service publishes it all the same.
    pub ready: bool,
}

/// Namespace and name of a Pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodKey {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

/// A parsed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A Service.
    Service(Service),
    /// An EndpointSlice.
    Slice(Slice),
    /// A Namespace.
    Namespace(Arc<str>),
    /// A Pod with its addresses.
    Pod(PodKey, Vec<IpAddr>),
}

impl Object {
    /// What it is known by.
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Service(service) => ObjectKey::Service(service.key.clone()),
            Self::Slice(slice) => ObjectKey::Slice(slice.key.clone()),
            Self::Namespace(name) => ObjectKey::Namespace(name.clone()),
            Self::Pod(key, _) => ObjectKey::Pod(key.clone()),
        }
    }
}

/// What an object is known by, across all kinds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKey {
    /// A Service.
    Service(ServiceKey),
    /// An EndpointSlice.
    Slice(SliceKey),
    /// A Namespace.
    Namespace(Arc<str>),
    /// A Pod.
    Pod(PodKey),
}

impl ObjectKey {
    /// The namespace that it is in, or that it is.
    pub fn namespace(&self) -> &str {
        match self {
            Self::Service(key) => &key.namespace,
            Self::Slice(key) => &key.namespace,
            Self::Namespace(name) => name,
            Self::Pod(key) => &key.namespace,
        }
    }

    /// The kind it belongs to.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::Slice(_) => Kind::Slice,
            Self::Namespace(_) => Kind::Namespace,
            Self::Pod(_) => Kind::Pod,
        }
    }
}
