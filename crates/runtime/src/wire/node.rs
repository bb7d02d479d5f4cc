use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::ClusterResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::{Kind, NodeName, Object, ObjectKey, Parsed, Problem};
use serde::Deserialize;

use crate::watch::Aside;

use super::{Skipped, Wire, label, or_default, resource, slim_metadata};

/// The zone of a node (well-known label).
const ZONE: &str = "topology.kubernetes.io/zone";

/// The taint of a node that the cluster autoscaler is about to remove.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// A Node of `v1`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Node {
    #[serde(deserialize_with = "slim_metadata")]
    metadata: ObjectMeta,
    #[serde(default, deserialize_with = "or_default")]
    spec: Spec,
    #[serde(default, deserialize_with = "or_default")]
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Spec {
    #[serde(rename = "podCIDR")]
    pod_cidr: Option<String>,
    #[serde(rename = "podCIDRs", default, deserialize_with = "or_default")]
    pod_cidrs: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    taints: Vec<Taint>,
}

#[derive(Debug, Clone, Deserialize)]
struct Taint {
    #[serde(default, deserialize_with = "or_default")]
    key: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Status {
    #[serde(default, deserialize_with = "or_default")]
    addresses: Vec<NodeAddress>,
}

#[derive(Debug, Clone, Deserialize)]
struct NodeAddress {
    r#type: String,
    address: String,
}

resource!(Node, ClusterResourceScope, "", "Node", "nodes");

impl Node {
    fn name(&self) -> Option<NodeName> {
        self.metadata.name.as_deref().map(Into::into)
    }
}

impl Wire for Node {
    const KIND: Kind = Kind::Node;

    fn object_key(&self) -> Option<ObjectKey> {
        self.name().map(ObjectKey::Node)
    }

    fn parse(&self) -> Parsed<Option<Object>> {
        let mut skipped = Skipped::default();
        let name = || "metadata.name".to_owned();
        let Some(name) = skipped.ok(name, self.name().ok_or(Problem::Missing)) else {
            return skipped.finish(None);
        };
        let node = model::Node {
            name,
            addresses: self.status.addresses(&mut skipped),
            pod_ranges: self.spec.pod_ranges(&mut skipped),
            zone: label(&self.metadata, ZONE).map(Into::into),
        };
        skipped.finish(Some(Object::Node(node)))
    }

    fn aside(&self) -> Option<Aside> {
        let leaves = self.metadata.deletion_timestamp.is_some()
            || self.spec.taints.iter().any(|taint| taint.key == TO_BE_DELETED);
        Some(Aside::NodeLeaves(leaves))
    }
}

impl Status {
    fn addresses(&self, skipped: &mut Skipped) -> Vec<IpAddr> {
        let mut parsed = Vec::new();
        for (index, entry) in
            self.addresses.iter().enumerate().filter(|(_, entry)| entry.r#type == "InternalIP")
        {
            let address =
                entry.address.parse::<IpAddr>().map_err(|_| Problem::Address(entry.address.clone()));
            parsed.extend(skipped.ok(|| format!("status.addresses[{index}].address"), address));
        }
        parsed
    }
}

impl Spec {
    fn pod_ranges(&self, skipped: &mut Skipped) -> Vec<IpNet> {
        let (field, ranges) = match self.pod_cidrs.as_slice() {
            [] => ("spec.podCIDR", self.pod_cidr.as_slice()),
            several => ("spec.podCIDRs", several),
        };
        let mut parsed = Vec::new();
        for (index, text) in ranges.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
            let range = text.parse::<IpNet>().map_err(|_| Problem::Prefix(text.clone()));
            parsed.extend(skipped.ok(|| format!("{field}[{index}]"), range));
        }
        parsed
    }
}
