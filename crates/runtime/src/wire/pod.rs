use std::net::IpAddr;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::{Parsed, Problem};
use serde::Deserialize;

use super::{Named, Skipped, or_default, resource, slim_metadata};

/// A Pod of `v1`, as far as its name and addresses.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Pod {
    #[serde(deserialize_with = "slim_metadata")]
    metadata: ObjectMeta,
    #[serde(default, deserialize_with = "or_default")]
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Status {
    phase: Option<String>,
    #[serde(rename = "podIPs", default, deserialize_with = "or_default")]
    pod_ips: Vec<PodIp>,
}

#[derive(Debug, Clone, Deserialize)]
struct PodIp {
    #[serde(default, deserialize_with = "or_default")]
    ip: String,
}

resource!(Pod, NamespaceResourceScope, "", "Pod", "pods");

impl Pod {
    fn key(&self) -> Option<dns::PodKey> {
        Some(dns::PodKey {
            namespace: self.metadata.namespace.as_deref()?.into(),
            name: self.metadata.name.as_deref()?.into(),
        })
    }
}

impl Named for Pod {
    const KIND: dns::Kind = dns::Kind::Pod;

    fn named_key(&self) -> Option<dns::ObjectKey> {
        self.key().map(dns::ObjectKey::Pod)
    }

    /// A pod that has ended has given its address back.
    fn named(&self) -> Parsed<Option<dns::Object>> {
        let mut skipped = Skipped::default();
        if matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return skipped.finish(None);
        }
        let mut addresses = Vec::new();
        for (index, text) in self.status.pod_ips.iter().map(|pod| &pod.ip).enumerate() {
            let address = text.parse::<IpAddr>().map_err(|_| Problem::Address(text.clone()));
            addresses.extend(skipped.ok(|| format!("status.podIPs[{index}].ip"), address));
        }
        skipped.finish(self.key().map(|key| dns::Object::Pod(key, addresses)))
    }
}
