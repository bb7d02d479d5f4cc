use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::plan::{Plan, Sets, Update, plan};
use super::progress::{Seen, is_complete, same_status, status};
use super::revision::{REVISION, revision};
use super::template::find_new;
use crate::context::{BY_CONTROLLER, Context, Deletion, uncontrolled_in};
use crate::error::Error;
use crate::objects::{ObjectKey, controller_of, controller_reference, is_deleting, pod_is_finished, uid};
use crate::queue::{Again, Queue};
use crate::recorder::Severity;
use crate::selector::matches;

const COMPONENT: &str = "deployment-controller";
/// Deployments looked at side by side.
const WORKERS: usize = 16;

/// Keeps the ReplicaSets of every Deployment right, for ever.
/// The stores wake it from this call on, not only once the future is polled.
pub(crate) fn run(context: Arc<Context>) -> impl Future<Output = ()> + Send {
    let queue = Queue::new();
    let wake = queue.clone();
    context.stores.deployments.on_change(move |change| {
        if let Some(deployment) = change.new {
            wake.add(ObjectKey::of(&deployment.metadata));
        }
    });
    let wake = queue.clone();
    let weak = Arc::downgrade(&context);
    context.stores.replica_sets.on_change(move |change| {
        for set in change.sides() {
            let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
            match controller_of(&set.metadata) {
                Some(owner) if owner.kind == "Deployment" => wake.add(ObjectKey::new(namespace, &owner.name)),
                Some(_) => {}
                None => {
                    let Some(context) = weak.upgrade() else { continue };
                    let adopters = context.stores.deployments.in_namespace(namespace);
                    let adopters = adopters.iter().filter(|deployment| would_adopt(deployment, set));
                    adopters.for_each(|deployment| wake.add(ObjectKey::of(&deployment.metadata)));
                }
            }
        }
    });
    // Recreate waits for the last old pod: its end must wake the Deployment.
    let wake = queue.clone();
    let weak = Arc::downgrade(&context);
    context.stores.pods.on_change(move |change| {
        let Some(old) = change.old else { return };
        if change.new.is_some_and(|new| pod_is_finished(new) == pod_is_finished(old)) {
            return;
        }
        let Some(context) = weak.upgrade() else { return };
        let Some(owner) = controller_of(&old.metadata).filter(|owner| owner.kind == "ReplicaSet") else {
            return;
        };
        let namespace = old.metadata.namespace.as_deref().unwrap_or_default();
        let set = context.stores.replica_sets.find(&ObjectKey::new(namespace, &owner.name));
        if let Some(deployment) = set.as_ref().and_then(|set| controller_of(&set.metadata)) {
            wake.add(ObjectKey::new(namespace, &deployment.name));
        }
    });
    async move { queue.run("deployments", WORKERS, |key| reconcile(&context, key)).await }
}

fn would_adopt(deployment: &Deployment, set: &ReplicaSet) -> bool {
    controller_of(&set.metadata).is_none()
        && !is_deleting(&set.metadata)
        && !is_deleting(&deployment.metadata)
        && deployment.spec.as_ref().is_some_and(|spec| matches(&spec.selector, set.metadata.labels.as_ref()))
}

async fn reconcile(context: &Context, key: ObjectKey) -> Result<Again, Error> {
    let Some(deployment) = context.stores.deployments.find(&key) else {
        return Ok(Again::OnEvent);
    };
    adopt(context, &deployment).await?;
    let all = context.stores.replica_sets.indexed(BY_CONTROLLER, uid(&deployment.metadata));
    let known = deployment.status.clone().unwrap_or_default();
    let old_pods = Sets::of(&deployment, &all).old.iter().any(|set| has_unfinished_pods(context, set));
    let planned = plan(&deployment, &all, old_pods, is_complete(&deployment, &known));
    let carried_out = carry_out(context, &deployment, planned).await;
    note_revision(context, &key).await?;
    let again = update_status(context, &key, &carried_out).await?;
    match carried_out {
        Err(error) if !error.is_namespace_terminating() => Err(error),
        _ => Ok(again),
    }
}

async fn adopt(context: &Context, deployment: &Deployment) -> Result<(), Error> {
    let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
    for set in context.stores.replica_sets.indexed(BY_CONTROLLER, &uncontrolled_in(namespace)) {
        if would_adopt(deployment, &set) {
            let mut changed = set.as_ref().clone();
            let owners = changed.metadata.owner_references.get_or_insert_default();
            owners.push(controller_reference::<Deployment>(&deployment.metadata));
            context.update(&changed).await?;
        }
    }
    Ok(())
}

fn has_unfinished_pods(context: &Context, set: &ReplicaSet) -> bool {
    context.stores.pods.indexed(BY_CONTROLLER, uid(&set.metadata)).iter().any(|pod| !pod_is_finished(pod))
}

/// Carries a step out; returns the name of the ReplicaSet it created.
async fn carry_out(context: &Context, deployment: &Deployment, plan: Plan) -> Result<Option<String>, Error> {
    let mut created = None;
    if let Some(set) = plan.create {
        let name = set.metadata.name.clone().unwrap_or_default();
        match context.create(&set).await {
            Ok(()) => {
                let to = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
                if to > 0 {
                    say_scaled(context, deployment, &name, 0, to);
                }
                created = Some(name);
            }
            Err(error) if error.is_already_exists() => resolve_name(context, deployment, &set, error).await?,
            Err(error) => return Err(error),
        }
    }
    for Update { set, from, to } in plan.updates {
        context.update(&set).await?;
        if from != to {
            say_scaled(context, deployment, set.metadata.name.as_deref().unwrap_or_default(), from, to);
        }
    }
    try_join_all(plan.delete.iter().map(|set| context.delete(set.as_ref(), Deletion::default()))).await?;
    Ok(created)
}

fn say_scaled(context: &Context, deployment: &Deployment, name: &str, from: i32, to: i32) {
    let direction = if to > from { "up" } else { "down" };
    let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
    context.recorder.record(COMPONENT, deployment, Severity::Normal, "ScalingReplicaSet", message);
}

/// The name of the new ReplicaSet is taken: either an earlier try of ours got through, or two templates have one hash.
async fn resolve_name(
    context: &Context,
    deployment: &Deployment,
    wanted: &ReplicaSet,
    taken: Error,
) -> Result<(), Error> {
    let Some(found) = context.read::<ReplicaSet>(&ObjectKey::of(&wanted.metadata)).await? else {
        return Err(taken);
    };
    let ours = controller_of(&found.metadata).is_some_and(|owner| owner.uid == uid(&deployment.metadata));
    let found = Arc::new(found);
    if ours && find_new(deployment, std::slice::from_ref(&found)).is_some() {
        context.stores.replica_sets.apply_written(found.as_ref().clone());
        return Ok(());
    }
    let mut changed = deployment.clone();
    let status = changed.status.get_or_insert_default();
    status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
    context.update_status(&changed).await
}

/// Writes the revision of the present template on the Deployment itself.
async fn note_revision(context: &Context, key: &ObjectKey) -> Result<(), Error> {
    let Some(deployment) = context.stores.deployments.find(key) else { return Ok(()) };
    let all = context.stores.replica_sets.indexed(BY_CONTROLLER, uid(&deployment.metadata));
    let Some(new) = find_new(&deployment, &all) else { return Ok(()) };
    let wanted = revision(new.metadata.annotations.as_ref());
    if wanted == 0
        || is_deleting(&deployment.metadata)
        || revision(deployment.metadata.annotations.as_ref()) == wanted
    {
        return Ok(());
    }
    let mut changed = deployment.as_ref().clone();
    let annotations = changed.metadata.annotations.get_or_insert_default();
    annotations.insert(REVISION.to_owned(), wanted.to_string());
    context.update(&changed).await
}

async fn update_status(
    context: &Context,
    key: &ObjectKey,
    carried_out: &Result<Option<String>, Error>,
) -> Result<Again, Error> {
    let Some(deployment) = context.stores.deployments.find(key) else { return Ok(Again::OnEvent) };
    let sets = context.stores.replica_sets.indexed(BY_CONTROLLER, uid(&deployment.metadata));
    let failure = carried_out.as_ref().err().filter(|error| !error.is_transient()).map(ToString::to_string);
    let created = carried_out.as_ref().ok().and_then(Option::as_deref);
    let seen = Seen { sets: &sets, created, failure: failure.as_deref(), now: Timestamp::now() };
    let (wanted, overdue) = status(&deployment, &seen);
    if !same_status(&wanted, &deployment.status.clone().unwrap_or_default()) {
        let mut changed = deployment.as_ref().clone();
        changed.status = Some(wanted);
        context.update_status(&changed).await?;
    }
    Ok(overdue.map_or(Again::OnEvent, |left| Again::After(Duration::try_from(left).unwrap_or_default())))
}
