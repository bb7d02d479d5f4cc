//! Every namespace has a ConfigMap `kube-root-ca.crt`: by it pods know the API server
//! (`pkg/controller/certificates/rootcacertpublisher`).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::context::Context;
use crate::error::Error;
use crate::objects::{ObjectKey, is_deleting};
use crate::queue::{Again, Queue};

/// Name of the ConfigMap.
pub(crate) const NAME: &str = "kube-root-ca.crt";
/// Its one key.
const KEY: &str = "ca.crt";

/// Creates and mends, for ever.
/// The stores wake it from this call on, not only once the future is polled.
pub(crate) fn run(context: Arc<Context>) -> impl Future<Output = ()> + Send {
    let queue = Queue::new();
    let wake = queue.clone();
    context.stores.namespaces.on_change(move |change| {
        if let Some(namespace) = change.new {
            wake.add(namespace.metadata.name.clone().unwrap_or_default());
        }
    });
    let wake = queue.clone();
    context.stores.config_maps.on_change(move |change| {
        if let Some(map) = change.new.or(change.old)
            && map.metadata.name.as_deref() == Some(NAME)
        {
            wake.add(map.metadata.namespace.clone().unwrap_or_default());
        }
    });
    async move { queue.run("root authority", 4, |namespace| reconcile(&context, namespace)).await }
}

async fn reconcile(context: &Context, namespace: String) -> Result<Again, Error> {
    let Some(authority) = context.config.root_ca.clone() else { return Ok(Again::OnEvent) };
    let found = context.stores.namespaces.find(&ObjectKey::new("", &namespace));
    if found.is_none_or(|found| is_deleting(&found.metadata)) {
        return Ok(Again::OnEvent);
    }
    let data = Some(BTreeMap::from([(KEY.to_owned(), authority)]));
    let written = match context.stores.config_maps.find(&ObjectKey::new(&namespace, NAME)) {
        Some(found) if found.data == data => return Ok(Again::OnEvent),
        Some(found) => context.update(&ConfigMap { data, ..(*found).clone() }).await,
        None => {
            let (name, namespace) = (Some(NAME.to_owned()), Some(namespace));
            let metadata = ObjectMeta { name, namespace, ..ObjectMeta::default() };
            context.create(&ConfigMap { metadata, data, ..ConfigMap::default() }).await
        }
    };
    match written {
        Err(error) if error.is_already_exists() || error.is_namespace_terminating() => Ok(Again::OnEvent),
        other => other.map(|()| Again::OnEvent),
    }
}
