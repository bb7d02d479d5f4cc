//! Every namespace has a ServiceAccount `default`: pods that name no other run as it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::context::Context;
use crate::error::Error;
use crate::objects::{ObjectKey, is_deleting};
use crate::queue::{Again, Queue};

const NAME: &str = "default";

/// Creates what is missing, for ever.
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
    context.stores.service_accounts.on_change(move |change| {
        if let (Some(gone), None) = (change.old, change.new)
            && gone.metadata.name.as_deref() == Some(NAME)
        {
            wake.add(gone.metadata.namespace.clone().unwrap_or_default());
        }
    });
    async move { queue.run("service accounts", 4, |namespace| reconcile(&context, namespace)).await }
}

async fn reconcile(context: &Context, namespace: String) -> Result<Again, Error> {
    let found = context.stores.namespaces.find(&ObjectKey::new("", &namespace));
    let wanted = found.is_some_and(|found| !is_deleting(&found.metadata));
    if !wanted || context.stores.service_accounts.find(&ObjectKey::new(&namespace, NAME)).is_some() {
        return Ok(Again::OnEvent);
    }
    let account = ServiceAccount {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    };
    match context.create(&account).await {
        Err(error) if error.is_already_exists() || error.is_namespace_terminating() => Ok(Again::OnEvent),
        other => other.map(|()| Again::OnEvent),
    }
}
