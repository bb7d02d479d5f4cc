use k8s_openapi::ClusterResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::Parsed;
use serde::Deserialize;

use super::{Named, resource, slim_metadata};

/// A Namespace of `v1`: that it is there is all we read.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Namespace {
    #[serde(deserialize_with = "slim_metadata")]
    metadata: ObjectMeta,
}

resource!(Namespace, ClusterResourceScope, "", "Namespace", "namespaces");

impl Named for Namespace {
    const KIND: dns::Kind = dns::Kind::Namespace;

    fn named_key(&self) -> Option<dns::ObjectKey> {
        Some(dns::ObjectKey::Namespace(self.metadata.name.as_deref()?.into()))
    }

    fn named(&self) -> Parsed<Option<dns::Object>> {
        let name = self.metadata.name.as_deref().map(Into::into);
        Parsed { value: name.map(dns::Object::Namespace), errors: Vec::new() }
    }
}
