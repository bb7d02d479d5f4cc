use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::revision::{DESIRED, MAX, highest, inherited_annotations, note_size, noted, raise};
use super::rollout::{Size, Strategy, grow_new, scale_proportionally, shrink_old, wanted};
use super::template::{find_new, new_set};
use crate::objects::{is_deleting, uid};

/// The next step of a Deployment. Its effects bring events, and those the step after it.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) create: Option<ReplicaSet>,
    pub(crate) updates: Vec<Update>,
    /// ReplicaSets beyond the history that is to be kept.
    pub(crate) delete: Vec<Arc<ReplicaSet>>,
}

/// A ReplicaSet as it should be, and by how much its size changes.
#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) set: ReplicaSet,
    pub(crate) from: i32,
    pub(crate) to: i32,
}

/// A Deployment's ReplicaSets told apart.
pub(crate) struct Sets<'a> {
    pub(crate) new: Option<&'a Arc<ReplicaSet>>,
    /// Oldest first.
    pub(crate) old: Vec<&'a Arc<ReplicaSet>>,
}

impl<'a> Sets<'a> {
    pub(crate) fn of(deployment: &Deployment, all: &'a [Arc<ReplicaSet>]) -> Self {
        let new = find_new(deployment, all);
        let mut old: Vec<_> =
            all.iter().filter(|set| new.is_none_or(|new| uid(&new.metadata) != uid(&set.metadata))).collect();
        old.sort_by_key(|set| (set.metadata.creation_timestamp.clone(), set.metadata.name.clone()));
        Self { new, old }
    }

    fn active(&self) -> Vec<&'a Arc<ReplicaSet>> {
        self.new.into_iter().chain(self.old.iter().copied()).filter(|set| replicas(set) > 0).collect()
    }
}

/// The replicas that a ReplicaSet is asked for.
pub(crate) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn size(set: &ReplicaSet) -> Size {
    Size {
        replicas: replicas(set),
        available: set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0),
        noted_max: noted(set, MAX),
    }
}

/// Whether a Deployment is paused.
pub(crate) fn is_paused(deployment: &Deployment) -> bool {
    deployment.spec.as_ref().and_then(|spec| spec.paused) == Some(true)
}

/// Decides the next step. `all` are the ReplicaSets that the Deployment controls; `old_pods` tells whether a pod of an
/// old one has not ended yet (Recreate waits for that); `complete` whether the last rollout is over.
pub(crate) fn plan(deployment: &Deployment, all: &[Arc<ReplicaSet>], old_pods: bool, complete: bool) -> Plan {
    if is_deleting(&deployment.metadata) {
        return Plan::default();
    }
    let sets = Sets::of(deployment, all);
    let sizes = if is_paused(deployment) || is_rescaled(deployment, &sets) {
        rescale(deployment, &sets)
    } else {
        match (Strategy::of(deployment), sets.new) {
            (Strategy::Recreate, _) => recreate(deployment, &sets, old_pods),
            (strategy @ Strategy::RollingUpdate { .. }, Some(new)) => roll(deployment, strategy, &sets, new),
            (strategy @ Strategy::RollingUpdate { .. }, None) => {
                let total = sets.old.iter().map(|set| replicas(set)).sum();
                Sizes { create: Some(grow_new(strategy, wanted(deployment), 0, total)), sets: Vec::new() }
            }
        }
    };
    let mut plan = Plan {
        create: sizes.create.map(|replicas| created(deployment, &sets, replicas)),
        updates: updates(deployment, &sets, &sizes.sets),
        delete: Vec::new(),
    };
    if complete && plan.create.is_none() && plan.updates.is_empty() {
        plan.delete = beyond_history(deployment, &sets);
    }
    plan
}

/// How large ReplicaSets should be next; those not named stay.
#[derive(Default)]
struct Sizes<'a> {
    create: Option<i32>,
    sets: Vec<(&'a Arc<ReplicaSet>, i32)>,
}

/// Somebody changed the Deployment's size since its ReplicaSets were last sized.
fn is_rescaled(deployment: &Deployment, sets: &Sets<'_>) -> bool {
    sets.active().iter().any(|set| noted(set, DESIRED).is_some_and(|desired| desired != wanted(deployment)))
}

fn rescale<'a>(deployment: &Deployment, sets: &Sets<'a>) -> Sizes<'a> {
    let wanted = wanted(deployment);
    let mut active = sets.active();
    let only = match active.as_slice() {
        [] => sets.new.or(sets.old.last().copied()),
        [only] => Some(*only),
        _ => None,
    };
    if let Some(only) = only {
        return Sizes { create: None, sets: vec![(only, wanted)] };
    }
    let strategy = Strategy::of(deployment);
    let saturated = sets.new.filter(|new| replicas(new) == wanted && size(new).available >= wanted);
    if let Some(new) = saturated {
        let old = active.into_iter().filter(|set| uid(&set.metadata) != uid(&new.metadata));
        let sets = old.map(|set| (set, 0)).chain([(new, wanted)]).collect();
        return Sizes { create: None, sets };
    }
    if strategy == Strategy::Recreate {
        // While one template is exchanged for another the new pods wait for the old ones, so only noting is left to do.
        let sets = active.into_iter().map(|set| (set, replicas(set))).collect();
        return Sizes { create: None, sets };
    }
    let growing = active.iter().map(|set| replicas(set)).sum::<i32>() < strategy.most(wanted);
    active.sort_by(|a, b| {
        let age = a.metadata.creation_timestamp.cmp(&b.metadata.creation_timestamp);
        replicas(b).cmp(&replicas(a)).then(if growing { age.reverse() } else { age })
    });
    let sizes: Vec<Size> = active.iter().map(|set| size(set)).collect();
    let next = scale_proportionally(strategy, wanted, &sizes);
    Sizes { create: None, sets: active.into_iter().zip(next).collect() }
}

fn recreate<'a>(deployment: &Deployment, sets: &Sets<'a>, old_pods: bool) -> Sizes<'a> {
    let shrinking: Vec<_> = sets.old.iter().filter(|set| replicas(set) > 0).map(|set| (*set, 0)).collect();
    if !shrinking.is_empty() {
        return Sizes { create: None, sets: shrinking };
    }
    match (old_pods, sets.new) {
        (true, _) => Sizes::default(),
        (false, None) => Sizes { create: Some(wanted(deployment)), sets: Vec::new() },
        (false, Some(new)) => Sizes { create: None, sets: vec![(new, wanted(deployment))] },
    }
}

fn roll<'a>(
    deployment: &Deployment,
    strategy: Strategy,
    sets: &Sets<'a>,
    new: &'a Arc<ReplicaSet>,
) -> Sizes<'a> {
    let wanted = wanted(deployment);
    let total = replicas(new) + sets.old.iter().map(|set| replicas(set)).sum::<i32>();
    let grown = grow_new(strategy, wanted, replicas(new), total);
    if grown != replicas(new) {
        return Sizes { create: None, sets: vec![(new, grown)] };
    }
    let old: Vec<Size> = sets.old.iter().map(|set| size(set)).collect();
    let next = shrink_old(strategy, wanted, size(new), &old);
    Sizes { create: None, sets: sets.old.iter().copied().zip(next).collect() }
}

fn created(deployment: &Deployment, sets: &Sets<'_>, replicas: i32) -> ReplicaSet {
    let mut set = new_set(deployment, replicas);
    let annotations = set.metadata.annotations.get_or_insert_default();
    raise(annotations, highest(sets.old.iter().copied()) + 1);
    note_size(annotations, wanted(deployment), Strategy::of(deployment).most(wanted(deployment)));
    set
}

/// The ReplicaSets that change: in size, or in what is written on them.
fn updates(deployment: &Deployment, sets: &Sets<'_>, sizes: &[(&Arc<ReplicaSet>, i32)]) -> Vec<Update> {
    let wanted = wanted(deployment);
    let most = Strategy::of(deployment).most(wanted);
    let mut updates = Vec::new();
    for set in sets.new.into_iter().chain(sets.old.iter().copied()) {
        let target = sizes.iter().find(|(sized, _)| uid(&sized.metadata) == uid(&set.metadata));
        let from = replicas(set);
        let to = target.map_or(from, |(_, to)| *to);
        let mut next = set.as_ref().clone();
        let annotations = next.metadata.annotations.get_or_insert_default();
        let is_new = sets.new.is_some_and(|new| uid(&new.metadata) == uid(&set.metadata));
        let mut changed = from != to;
        if is_new {
            changed |= raise(annotations, highest(sets.old.iter().copied()) + 1);
            for (key, value) in inherited_annotations(deployment) {
                changed |= annotations.insert(key, value.clone()).as_ref() != Some(&value);
            }
        }
        if target.is_some() && (from != to || from > 0) {
            changed |= note_size(annotations, wanted, most);
        }
        let spec = next.spec.get_or_insert_default();
        spec.replicas = Some(to);
        let min_ready = deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
        if is_new && spec.min_ready_seconds.unwrap_or(0) != min_ready.unwrap_or(0) {
            spec.min_ready_seconds = min_ready;
            changed = true;
        }
        if changed {
            updates.push(Update { set: next, from, to });
        }
    }
    updates
}

/// Old ReplicaSets without pods, the lowest revisions first, beyond `spec.revisionHistoryLimit`.
fn beyond_history(deployment: &Deployment, sets: &Sets<'_>) -> Vec<Arc<ReplicaSet>> {
    let limit = deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit).unwrap_or(10);
    let mut idle: Vec<&Arc<ReplicaSet>> = sets
        .old
        .iter()
        .copied()
        .filter(|set| {
            let status = set.status.clone().unwrap_or_default();
            replicas(set) == 0
                && status.replicas == 0
                && !is_deleting(&set.metadata)
                && status.observed_generation >= set.metadata.generation
        })
        .collect();
    let surplus = sets.old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    idle.sort_by_key(|set| super::revision::revision(set.metadata.annotations.as_ref()));
    idle.into_iter().take(surplus).cloned().collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
