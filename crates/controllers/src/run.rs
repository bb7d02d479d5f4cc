use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::api::Api;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::context::{Context, Stored, Stores};
use crate::error::Error;
use crate::recorder::{Writers, recorder};
use crate::reflector::reflect;
use crate::{
    cluster_dns, daemonsets, deployments, endpoints, garbage, kubernetes_service, mirroring, namespaces,
    node_lifecycle, node_ranges, orphaned_pods, replicasets, root_ca, scheduler, service_accounts,
    taint_eviction,
};

/// Runs every controller until `shutdown` completes.
///
/// An API server that is not there yet, or goes away, is waited for; nothing is decided before every kind is in sync.
///
/// # Errors
/// When the configuration cannot work, or a controller ended by a defect. Errors of single objects are logged and retried,
/// never returned.
pub async fn run(
    client: Client,
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    config.check()?;
    let (recorder, writers) = recorder(&client);
    let context = Arc::new(Context { client, config, stores: Stores::new(), recorder });
    let ended = tokio::select! {
        () = shutdown => Ok(()),
        ended = work(&context, writers) => ended,
    };
    context.stores.detach();
    ended
}

/// Fills every store, then runs all controllers. Ends only by a defect; dropping it ends every task.
async fn work(context: &Arc<Context>, writers: Writers) -> Result<(), Error> {
    // Controllers listen to the stores before anything is in them, so that they miss nothing.
    let controllers: [BoxFuture<'static, ()>; 17] = [
        node_ranges::run(context.clone()).boxed(),
        node_lifecycle::run(context.clone()).boxed(),
        taint_eviction::run(context.clone()).boxed(),
        kubernetes_service::run(context.clone()).boxed(),
        cluster_dns::run(context.clone()).boxed(),
        service_accounts::run(context.clone()).boxed(),
        root_ca::run(context.clone()).boxed(),
        endpoints::run_slices(context.clone()).boxed(),
        endpoints::run_legacy(context.clone()).boxed(),
        mirroring::run(context.clone()).boxed(),
        deployments::run(context.clone()).boxed(),
        replicasets::run(context.clone()).boxed(),
        daemonsets::run(context.clone()).boxed(),
        scheduler::run(context.clone()).boxed(),
        orphaned_pods::run(context.clone()).boxed(),
        namespaces::run(context.clone()).boxed(),
        garbage::run(context.clone()).boxed(),
    ];
    let mut tasks = JoinSet::new();
    watch(context, &mut tasks);
    context.stores.synced().await;
    tracing::info!("controllers in sync with the API server");
    tasks.spawn(writers.run());
    for controller in controllers {
        tasks.spawn(controller);
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|source| Error::Stopped { source })?;
    }
    Ok(())
}

fn watch(context: &Arc<Context>, tasks: &mut JoinSet<()>) {
    watch_kind::<k8s_openapi::api::core::v1::Namespace>(context, tasks);
    watch_kind::<k8s_openapi::api::core::v1::Node>(context, tasks);
    watch_kind::<k8s_openapi::api::core::v1::Pod>(context, tasks);
    watch_kind::<k8s_openapi::api::core::v1::Service>(context, tasks);
    watch_kind::<k8s_openapi::api::core::v1::Endpoints>(context, tasks);
    watch_kind::<k8s_openapi::api::core::v1::ServiceAccount>(context, tasks);
    watch_kind::<k8s_openapi::api::discovery::v1::EndpointSlice>(context, tasks);
    watch_kind::<k8s_openapi::api::apps::v1::Deployment>(context, tasks);
    watch_kind::<k8s_openapi::api::apps::v1::ReplicaSet>(context, tasks);
    watch_kind::<k8s_openapi::api::apps::v1::DaemonSet>(context, tasks);
    watch_kind::<k8s_openapi::api::apps::v1::ControllerRevision>(context, tasks);
    let client = &context.client;
    let (of, config_maps) = (context.clone(), Api::<ConfigMap>::all(client.clone()));
    tasks.spawn(async move {
        let trim = |found: &mut ConfigMap| {
            if found.metadata.name.as_deref() != Some(root_ca::NAME) {
                (found.data, found.binary_data) = (None, None);
            }
        };
        reflect(config_maps, &of.stores.config_maps, trim).await;
    });
    let (of, secrets) = (context.clone(), Api::<Secret>::all(client.clone()));
    tasks.spawn(async move {
        reflect(secrets, &of.stores.secrets, |found: &mut Secret| found.data = None).await;
    });
    let (of, leases) = (context.clone(), Api::<Lease>::all(client.clone()));
    tasks.spawn(async move {
        reflect(leases, &of.stores.leases, |found: &mut Lease| found.metadata.managed_fields = None).await;
    });
}

/// Keeps the store of one kind up to date, without the bookkeeping of server-side apply, which no controller reads.
fn watch_kind<K: Stored + 'static>(context: &Arc<Context>, tasks: &mut JoinSet<()>) {
    let context = context.clone();
    tasks.spawn(async move {
        let api = K::everywhere(&context.client);
        reflect(api, K::store(&context.stores), |found: &mut K| found.meta_mut().managed_fields = None).await;
    });
}
