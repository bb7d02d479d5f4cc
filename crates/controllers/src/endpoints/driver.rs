use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Node, Pod, Service, ServiceSpec};

use super::legacy;
use super::members::{Family, families, members, selecting};
use super::slices;
use crate::context::{
    Context, Deletion, PODS_BY_LABEL, SERVICES_BY_SELECTOR, SLICES_BY_SERVICE, slice_service,
};
use crate::error::Error;
use crate::objects::{ObjectKey, is_deleting, pod_condition, pod_phase};
use crate::queue::{Again, Queue};
use crate::recorder::Severity;
use crate::selector::{has_all, label_index_name};

const COMPONENT: &str = "endpoint-slice-controller";
/// The zone of a node (well-known label).
const ZONE: &str = "topology.kubernetes.io/zone";
/// Services looked at side by side.
const WORKERS: usize = 16;

/// Keeps the EndpointSlices of every Service right, for ever.
/// The stores wake it from this call on, not only once the future is polled.
pub(crate) fn run_slices(context: Arc<Context>) -> impl Future<Output = ()> + Send {
    let queue = Queue::new();
    wake_by_services_and_pods(&context, &queue);
    let wake = queue.clone();
    context.stores.nodes.on_change({
        let (wake, weak) = (queue.clone(), Arc::downgrade(&context));
        move |change| {
            if change.old.and_then(zone) == change.new.and_then(zone) {
                return;
            }
            // Hardly ever: a node that joins, or moves to another zone.
            let Some(context) = weak.upgrade() else { return };
            context
                .stores
                .services
                .all()
                .iter()
                .for_each(|service| wake.add(ObjectKey::of(&service.metadata)));
        }
    });
    context.stores.slices.on_change(move |change| {
        for slice in change.sides().filter(|slice| slices::is_managed(slice)) {
            slice_service(slice).into_iter().for_each(|key| wake.add(key));
        }
    });
    async move { queue.run("endpoint slices", WORKERS, |key| reconcile_slices(&context, key)).await }
}

/// Keeps the Endpoints of every Service right, for ever.
/// The stores wake it from this call on, not only once the future is polled.
pub(crate) fn run_legacy(context: Arc<Context>) -> impl Future<Output = ()> + Send {
    let queue = Queue::new();
    wake_by_services_and_pods(&context, &queue);
    let wake = queue.clone();
    context.stores.endpoints.on_change(move |change| {
        for endpoints in change.sides() {
            wake.add(ObjectKey::of(&endpoints.metadata));
        }
    });
    async move { queue.run("endpoints", WORKERS, |key| reconcile_legacy(&context, key)).await }
}

fn wake_by_services_and_pods(context: &Arc<Context>, queue: &Arc<Queue<ObjectKey>>) {
    let wake = queue.clone();
    context.stores.services.on_change(move |change| {
        for service in change.sides() {
            wake.add(ObjectKey::of(&service.metadata));
        }
    });
    let wake = queue.clone();
    let weak = Arc::downgrade(context);
    context.stores.pods.on_change(move |change| {
        if change.old.map(Shown::of) == change.new.map(Shown::of) {
            return;
        }
        let Some(context) = weak.upgrade() else { return };
        let services: BTreeSet<ObjectKey> =
            change.sides().flat_map(|pod| services_of(&context, pod)).collect();
        services.into_iter().for_each(|key| wake.add(key));
    });
}

/// All that a Service shows of a pod; other changes of pods, such as restarts, wake nobody.
#[derive(PartialEq)]
struct Shown<'a> {
    labels: Option<&'a std::collections::BTreeMap<String, String>>,
    uid: Option<&'a str>,
    phase: &'a str,
    ready: bool,
    deleting: bool,
    addresses: Vec<&'a str>,
    spec: Option<(Option<&'a str>, Option<&'a str>, Option<&'a str>)>,
}

impl<'a> Shown<'a> {
    fn of(pod: &'a Pod) -> Self {
        let status = pod.status.as_ref();
        let listed = status.into_iter().flat_map(|status| status.pod_ips.iter().flatten());
        let first = status.and_then(|status| status.pod_ip.as_deref());
        Self {
            labels: pod.metadata.labels.as_ref(),
            uid: pod.metadata.uid.as_deref(),
            phase: pod_phase(pod),
            ready: pod_condition(pod, "Ready").is_some_and(|condition| condition.status == "True"),
            deleting: is_deleting(&pod.metadata),
            addresses: listed.map(|address| address.ip.as_str()).chain(first).collect(),
            // A pod's ports never change; these may be set when it is bound.
            spec: pod
                .spec
                .as_ref()
                .map(|spec| (spec.node_name.as_deref(), spec.hostname.as_deref(), spec.subdomain.as_deref())),
        }
    }
}

/// The Services that choose a pod, found by the first pair of their selectors.
fn services_of(context: &Context, pod: &Pod) -> Vec<ObjectKey> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let labels = pod.metadata.labels.iter().flatten();
    labels
        .flat_map(|(key, value)| {
            context.stores.services.indexed(SERVICES_BY_SELECTOR, &label_index_name(namespace, key, value))
        })
        .filter(|service| {
            let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            selector.is_some_and(|selector| has_all(pod.metadata.labels.as_ref(), selector))
        })
        .map(|service| ObjectKey::of(&service.metadata))
        .collect()
}

/// The pods that a Service may choose: by the pair of its selector that the fewest pods carry.
fn candidates(context: &Context, service: &Service, spec: &ServiceSpec) -> Vec<Arc<Pod>> {
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let names = spec.selector.iter().flatten().map(|(key, value)| label_index_name(namespace, key, value));
    let rarest = names.min_by_key(|name| context.stores.pods.count(PODS_BY_LABEL, name));
    rarest.map(|name| context.stores.pods.indexed(PODS_BY_LABEL, &name)).unwrap_or_default()
}

fn zone(node: &Node) -> Option<&str> {
    node.metadata.labels.as_ref()?.get(ZONE).map(String::as_str)
}

fn zone_of(context: &Context, name: &str) -> Option<String> {
    let key = ObjectKey::new("", name);
    context.stores.nodes.find(&key).as_deref().and_then(zone).map(ToOwned::to_owned)
}

async fn reconcile_slices(context: &Context, key: ObjectKey) -> Result<Again, Error> {
    let existing: Vec<_> = context
        .stores
        .slices
        .indexed(SLICES_BY_SERVICE, &key.to_string())
        .into_iter()
        .filter(|slice| slices::is_managed(slice))
        .collect();
    let service = context.stores.services.find(&key);
    let plan = match service.as_ref().and_then(|service| Some((service, selecting(service)?))) {
        Some((service, _)) if is_deleting(&service.metadata) => return Ok(Again::OnEvent),
        Some((service, spec)) => {
            let pods = candidates(context, service, spec);
            let members = |family| members(service, spec, &pods, family);
            slices::plan(service, spec, members, |node| zone_of(context, node), &existing)
        }
        // The Service is gone, or has lost its selector or become an ExternalName.
        None => slices::Plan { delete: existing, ..slices::Plan::default() },
    };
    // What exists is changed before anything is deleted, so that no endpoint is missing in between.
    let created = join_all(plan.create.iter().map(|slice| context.create(slice))).await;
    let updated = join_all(plan.update.iter().map(|slice| context.update(slice))).await;
    let written = settle(created.into_iter().chain(updated));
    let reason = "FailedToUpdateEndpointSlices";
    tell_failure(context, service.as_deref(), reason, "Error updating Endpoint Slices", &written);
    written?;
    let deletions = plan.delete.iter().map(|slice| context.delete(slice.as_ref(), Deletion::default()));
    settle(join_all(deletions).await)
}

/// Tells on the Service why its endpoints cannot be written, unless trying again may help.
fn tell_failure(
    context: &Context,
    service: Option<&Service>,
    reason: &'static str,
    what: &str,
    outcome: &Result<Again, Error>,
) {
    if let (Some(service), Err(error)) = (service, outcome)
        && !error.is_transient()
    {
        let message = format!("{what} for Service {}: {error}", ObjectKey::of(&service.metadata));
        context.recorder.record(COMPONENT, service, Severity::Warning, reason, message);
    }
}

async fn reconcile_legacy(context: &Context, key: ObjectKey) -> Result<Again, Error> {
    let existing = context.stores.endpoints.find(&key);
    let service = context.stores.services.find(&key);
    let Some((service, spec)) = service.as_ref().and_then(|service| Some((service, selecting(service)?)))
    else {
        // Endpoints that a person wrote for a Service without a selector are theirs.
        return match existing.filter(|existing| legacy::is_managed(existing)) {
            Some(ours) => settle([context.delete(ours.as_ref(), Deletion::default()).await]),
            None => Ok(Again::OnEvent),
        };
    };
    if is_deleting(&service.metadata) {
        return Ok(Again::OnEvent);
    }
    let pods = candidates(context, service, spec);
    // The older form has one family: the Service's first.
    let family = families(spec).first().copied().unwrap_or(Family::V4);
    let found = members(service, spec, &pods, family);
    let written = match legacy::plan(service, spec, found, existing.as_deref()) {
        Some(wanted) if existing.is_some() => settle([context.update(&wanted).await]),
        Some(wanted) => settle([context.create(&wanted).await]),
        None => Ok(Again::OnEvent),
    };
    tell_failure(context, Some(service), "FailedToUpdateEndpoint", "Error updating Endpoints", &written);
    written
}

/// The first failure, after all was tried. A namespace that is going needs no endpoints.
fn settle(outcomes: impl IntoIterator<Item = Result<(), Error>>) -> Result<Again, Error> {
    let mut failed =
        outcomes.into_iter().filter_map(Result::err).filter(|error| !error.is_namespace_terminating());
    failed.next().map_or(Ok(Again::OnEvent), Err)
}
