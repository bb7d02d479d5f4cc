use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::{
    AddressFamily, Kind, Object, ObjectKey, Parsed, Port, Problem, Protocol, ServiceKey, SliceKey, SlicePort,
};
use serde::Deserialize;

use crate::watch::Aside;

use super::{CHANGED_AT, Named, Skipped, Wire, is_reachable, label, or_default, resource, slim_metadata};

/// Names the Service that a slice belongs to (well-known label).
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// An EndpointSlice of `discovery.k8s.io/v1`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointSlice {
    #[serde(deserialize_with = "slim_metadata")]
    metadata: ObjectMeta,
    address_type: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    endpoints: Vec<Endpoint>,
    #[serde(default, deserialize_with = "or_default")]
    ports: Vec<SlicePortWire>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    #[serde(default, deserialize_with = "or_default")]
    addresses: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    conditions: Conditions,
    hostname: Option<String>,
    node_name: Option<String>,
    zone: Option<String>,
    target_ref: Option<Target>,
    hints: Option<Hints>,
}

/// For whom an endpoint is meant.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hints {
    #[serde(default, deserialize_with = "or_default")]
    for_zones: Vec<Hint>,
    #[serde(default, deserialize_with = "or_default")]
    for_nodes: Vec<Hint>,
}

/// A zone or a node.
#[derive(Debug, Clone, Deserialize)]
struct Hint {
    name: String,
}

/// What an endpoint stands for.
#[derive(Debug, Clone, Deserialize)]
struct Target {
    kind: Option<String>,
    name: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Debug, Clone, Deserialize)]
struct SlicePortWire {
    name: Option<String>,
    protocol: Option<String>,
    port: Option<i64>,
}

resource!(EndpointSlice, NamespaceResourceScope, "discovery.k8s.io", "EndpointSlice", "endpointslices");

impl EndpointSlice {
    fn key(&self) -> Option<SliceKey> {
        Some(SliceKey::new(self.metadata.namespace.as_deref()?, self.metadata.name.as_deref()?))
    }
}

impl Wire for EndpointSlice {
    const KIND: Kind = Kind::EndpointSlice;

    fn object_key(&self) -> Option<ObjectKey> {
        self.key().map(ObjectKey::EndpointSlice)
    }

    fn aside(&self) -> Option<Aside> {
        let changed_at: Timestamp = self.metadata.annotations.as_ref()?.get(CHANGED_AT)?.parse().ok()?;
        Some(Aside::ChangedAt(changed_at.into()))
    }

    fn parse(&self) -> Parsed<Option<Object>> {
        let mut skipped = Skipped::default();
        let name = || "metadata.name".to_owned();
        let Some(key) = skipped.ok(name, self.key().ok_or(Problem::Missing)) else {
            return skipped.finish(None);
        };
        let family = match self.address_type.as_deref() {
            Some("IPv4") => Ok(AddressFamily::V4),
            Some("IPv6") => Ok(AddressFamily::V6),
            // Names instead of addresses; no proxy serves them, and they are no mistake.
            Some("FQDN") => return skipped.finish(None),
            Some(other) => Err(Problem::Unknown(other.to_owned())),
            None => Err(Problem::Missing),
        };
        let Some(family) = skipped.ok(|| "addressType".to_owned(), family) else {
            return skipped.finish(None);
        };
        let service = label(&self.metadata, SERVICE_NAME)
            .filter(|name| !name.is_empty())
            .map(|name| ServiceKey { namespace: key.namespace.clone(), name: name.into() });
        let ports = self
            .ports
            .iter()
            .enumerate()
            .filter_map(|(index, port)| port.parse(&format!("ports[{index}]"), &mut skipped))
            .collect();
        let endpoints = self
            .endpoints
            .iter()
            .enumerate()
            .filter_map(|(index, endpoint)| endpoint.parse(index, family, &mut skipped))
            .collect();
        skipped.finish(Some(Object::EndpointSlice(model::EndpointSlice {
            key,
            service,
            family,
            ports,
            endpoints,
        })))
    }
}

impl Named for EndpointSlice {
    const KIND: dns::Kind = dns::Kind::Slice;

    fn named_key(&self) -> Option<dns::ObjectKey> {
        self.key().map(dns::ObjectKey::Slice)
    }

    /// What the proxy reads, with the names of endpoints, which it does not keep.
    fn named(&self) -> Parsed<Option<dns::Object>> {
        let Parsed { value, errors } = self.parse();
        let Some(Object::EndpointSlice(slice)) = value else {
            return Parsed { value: None, errors };
        };
        let named = self
            .endpoints
            .iter()
            .filter_map(|endpoint| Some((endpoint.addresses.first()?.parse::<IpAddr>().ok()?, endpoint)));
        let named: BTreeMap<IpAddr, &Endpoint> = named.collect();
        let endpoints = slice.endpoints.iter().map(|endpoint| {
            let wire = named.get(&endpoint.address);
            dns::Endpoint {
                address: endpoint.address,
                hostname: wire.and_then(|wire| wire.hostname()).map(Into::into),
                pod: wire.and_then(|wire| wire.pod()).map(Into::into),
                ready: endpoint.ready,
            }
        });
        let slice = dns::Slice {
            endpoints: endpoints.collect(),
            key: slice.key,
            service: slice.service,
            ports: slice.ports,
        };
        Parsed { value: Some(dns::Object::Slice(slice)), errors }
    }
}

impl SlicePortWire {
    /// A port without a number means all ports, which no proxy can serve.
    fn parse(&self, field: &str, skipped: &mut Skipped) -> Option<SlicePort> {
        let number = self.port.ok_or(Problem::Missing).and_then(Port::try_from);
        let port = skipped.ok(|| format!("{field}.port"), number);
        let protocol = self.protocol.as_deref().map_or(Ok(Protocol::Tcp), str::parse);
        let protocol = skipped.ok(|| format!("{field}.protocol"), protocol);
        Some(SlicePort {
            name: self.name.as_deref().unwrap_or_default().into(),
            protocol: protocol?,
            port: port?,
        })
    }
}

impl Endpoint {
    fn hostname(&self) -> Option<&str> {
        self.hostname.as_deref().filter(|hostname| !hostname.is_empty())
    }

    fn pod(&self) -> Option<&str> {
        let target = self.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"))?;
        target.name.as_deref()
    }

    fn parse(&self, index: usize, family: AddressFamily, skipped: &mut Skipped) -> Option<model::Endpoint> {
        let text = self.addresses.first().ok_or(Problem::Missing);
        let address = text.and_then(|text| {
            let address: IpAddr = text.parse().map_err(|_| Problem::Address(text.clone()))?;
            if AddressFamily::of(address) != family {
                Err(Problem::Family { address: text.clone(), expected: family.to_string() })
            } else if is_reachable(address) {
                Ok(address)
            } else {
                Err(Problem::Unreachable(text.clone()))
            }
        });
        let address = skipped.ok(|| format!("endpoints[{index}].addresses[0]"), address)?;
        // A condition that is not given means what the API documents for it.
        let ready = self.conditions.ready.unwrap_or(true);
        Some(model::Endpoint {
            address,
            ready,
            serving: self.conditions.serving.unwrap_or(ready),
            terminating: self.conditions.terminating.unwrap_or(false),
            node: self.node_name.as_deref().map(Into::into),
            zone: self.zone.as_deref().map(Into::into),
            hints: self.hints.as_ref().and_then(Hints::parse),
        })
    }
}

impl Hints {
    fn parse(&self) -> Option<Box<model::Hints>> {
        let zones: Vec<_> = self.for_zones.iter().map(|zone| zone.name.as_str().into()).collect();
        let nodes: Vec<_> = self.for_nodes.iter().map(|node| node.name.as_str().into()).collect();
        (!zones.is_empty() || !nodes.is_empty()).then(|| Box::new(model::Hints { zones, nodes }))
    }
}
