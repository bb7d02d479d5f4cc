use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Endpoints;

use super::plan::{CAPACITY, Plan, is_mirrored, plan, wants_mirror};
use crate::context::{Context, Deletion, SLICES_BY_SERVICE, slice_service};
use crate::endpoints::is_managed_endpoints;
use crate::error::Error;
use crate::objects::{ObjectKey, is_deleting};
use crate::queue::{Again, Queue};
use crate::recorder::Severity;

const COMPONENT: &str = "endpoint-slice-mirroring-controller";
/// Objects looked at side by side.
const WORKERS: usize = 4;

/// Keeps the slices of hand-written Endpoints right, for ever.
/// The stores wake it from this call on, not only once the future is polled.
pub(crate) fn run(context: Arc<Context>) -> impl Future<Output = ()> + Send {
    let queue = Queue::new();
    let wake = queue.clone();
    context.stores.endpoints.on_change(move |change| {
        change.sides().for_each(|endpoints| wake.add(ObjectKey::of(&endpoints.metadata)));
    });
    let wake = queue.clone();
    context.stores.services.on_change(move |change| {
        change.sides().for_each(|service| wake.add(ObjectKey::of(&service.metadata)));
    });
    let wake = queue.clone();
    context.stores.slices.on_change(move |change| {
        for slice in change.sides().filter(|slice| is_mirrored(slice)) {
            slice_service(slice).into_iter().for_each(|key| wake.add(key));
        }
    });
    async move { queue.run("endpoint slice mirroring", WORKERS, |key| reconcile(&context, key)).await }
}

/// The object of that name, when it is to be mirrored: for a Service without a selector, and written by a person.
fn mirrored(context: &Context, key: &ObjectKey) -> Option<Arc<Endpoints>> {
    let service = context.stores.services.find(key)?;
    if service.spec.as_ref().is_some_and(|spec| spec.selector.as_ref().is_some_and(|all| !all.is_empty())) {
        return None;
    }
    let endpoints = context.stores.endpoints.find(key)?;
    (wants_mirror(&endpoints) && !is_managed_endpoints(&endpoints)).then_some(endpoints)
}

async fn reconcile(context: &Context, key: ObjectKey) -> Result<Again, Error> {
    let slices = context.stores.slices.indexed(SLICES_BY_SERVICE, &key.to_string());
    let existing: Vec<_> = slices.into_iter().filter(|slice| is_mirrored(slice)).collect();
    let planned = match mirrored(context, &key) {
        // The garbage collector takes its slices.
        Some(endpoints) if is_deleting(&endpoints.metadata) => return Ok(Again::OnEvent),
        Some(endpoints) => {
            let planned = plan(&endpoints, &existing);
            tell(context, &endpoints, &planned);
            planned
        }
        None => Plan { delete: existing, ..Plan::default() },
    };
    let created = join_all(planned.create.iter().map(|slice| context.create(slice))).await;
    let updated = join_all(planned.update.iter().map(|slice| context.update(slice))).await;
    settle(created.into_iter().chain(updated))?;
    let deletions = planned.delete.iter().map(|slice| context.delete(slice.as_ref(), Deletion::default()));
    settle(join_all(deletions).await)?;
    Ok(Again::OnEvent)
}

/// The first failure, after all was tried. A namespace that is going needs no slices.
fn settle(outcomes: impl IntoIterator<Item = Result<(), Error>>) -> Result<(), Error> {
    let failed = outcomes.into_iter().filter_map(Result::err);
    failed.into_iter().find(|error| !error.is_namespace_terminating()).map_or(Ok(()), Err)
}

/// Tells on the object what was left out of its mirror.
fn tell(context: &Context, endpoints: &Endpoints, planned: &Plan) {
    if planned.create.is_empty() && planned.update.is_empty() {
        return;
    }
    let say = |reason, message| {
        context.recorder.record(COMPONENT, endpoints, Severity::Warning, reason, message);
    };
    if planned.invalid > 0 {
        let message =
            format!("Skipped {} invalid IP addresses when mirroring to EndpointSlices", planned.invalid);
        say("InvalidIPAddress", message);
    }
    if planned.skipped > 0 {
        let message = format!(
            "A max of {CAPACITY} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses were skipped",
            planned.skipped
        );
        say("TooManyAddressesToMirror", message);
    }
}
