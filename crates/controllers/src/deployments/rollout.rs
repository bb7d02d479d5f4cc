//! How many replicas each ReplicaSet of a Deployment should have next. Pure arithmetic on counts, as in Kubernetes'
//! `rolling.go`, `recreate.go` and `sync.go`.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// How a Deployment goes from one template to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// The old pods end before the new ones begin.
    Recreate,
    /// At most `surge` pods more than wanted, at most `unavailable` fewer than wanted available.
    RollingUpdate { surge: i32, unavailable: i32 },
}

/// The size of one ReplicaSet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// `spec.replicas`.
    pub(crate) replicas: i32,
    /// `status.availableReplicas`.
    pub(crate) available: i32,
    /// The most that the Deployment allowed in all when this one was last scaled.
    pub(crate) noted_max: Option<i32>,
}

impl Size {
    /// Available pods that will still be there once the ReplicaSet has followed its spec.
    fn lasting(&self) -> i32 {
        self.available.min(self.replicas)
    }
}

impl Strategy {
    /// Reads the Deployment's strategy; percentages are of its replicas, the surge rounded up and the unavailable
    /// rounded down, and both never zero together (`ResolveFenceposts`).
    pub(crate) fn of(deployment: &Deployment) -> Self {
        let spec = deployment.spec.as_ref();
        let strategy = spec.and_then(|spec| spec.strategy.as_ref());
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate") {
            return Self::Recreate;
        }
        let replicas = wanted(deployment);
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let quarter = IntOrString::String("25%".to_owned());
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&quarter);
        let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&quarter);
        let surge = scaled(surge, replicas, true);
        let mut unavailable = scaled(unavailable, replicas, false);
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        Self::RollingUpdate { surge, unavailable: unavailable.min(replicas) }
    }

    /// Pods in all at most.
    pub(crate) fn most(self, replicas: i32) -> i32 {
        match self {
            Self::Recreate => replicas,
            Self::RollingUpdate { surge, .. } => replicas.saturating_add(surge),
        }
    }

    /// Available pods at least.
    pub(crate) fn least_available(self, replicas: i32) -> i32 {
        match self {
            Self::Recreate => replicas,
            Self::RollingUpdate { unavailable, .. } => replicas - unavailable,
        }
    }
}

/// The replicas that a Deployment wants.
pub(crate) fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn scaled(value: &IntOrString, of: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => (*number).max(0),
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = percent.max(0) * i64::from(of);
            let rounded = if up { (product + 99) / 100 } else { product / 100 };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}

/// The replicas that the ReplicaSet of the present template should have, next to the others (`NewRSNewReplicas`).
pub(crate) fn grow_new(strategy: Strategy, wanted: i32, new: i32, total: i32) -> i32 {
    if new >= wanted {
        return wanted;
    }
    let room = strategy.most(wanted) - total;
    if room <= 0 { new } else { new + room.min(wanted - new) }
}

/// The replicas that the old ReplicaSets, oldest first, should have (`reconcileOldReplicaSets`): those that are not
/// available go first, then as many of the others as availability allows.
pub(crate) fn shrink_old(strategy: Strategy, wanted: i32, new: Size, old: &[Size]) -> Vec<i32> {
    let mut next: Vec<i32> = old.iter().map(|size| size.replicas).collect();
    let least = strategy.least_available(wanted);
    let total: i32 = new.replicas + next.iter().sum::<i32>();
    let mut may_go = total - least - (new.replicas - new.available).max(0);
    for (replicas, size) in next.iter_mut().zip(old) {
        let unhealthy = (size.replicas - size.available).max(0).min(may_go.max(0));
        *replicas -= unhealthy;
        may_go -= unhealthy;
    }
    if may_go <= 0 {
        return next;
    }
    let available: i32 = new.lasting()
        + next.iter().zip(old).map(|(replicas, size)| size.available.min(*replicas)).sum::<i32>();
    let mut may_go = available - least;
    for replicas in &mut next {
        let fewer = (*replicas).min(may_go.max(0));
        *replicas -= fewer;
        may_go -= fewer;
    }
    next
}

/// Spreads a change of the Deployment's size over its ReplicaSets while a rollout is under way, each by its share
/// (`scale` in sync.go). `sizes` come largest first; what rounding leaves over goes to the first.
pub(crate) fn scale_proportionally(strategy: Strategy, wanted: i32, sizes: &[Size]) -> Vec<i32> {
    let most = if wanted > 0 { strategy.most(wanted) } else { 0 };
    let total: i32 = sizes.iter().map(|size| size.replicas).sum();
    let to_add = most - total;
    let mut added = 0;
    let mut next: Vec<i32> = sizes
        .iter()
        .map(|size| {
            let left = to_add - added;
            let share = if wanted == 0 { -size.replicas } else { share(size, most, total) };
            let share = if to_add > 0 { share.clamp(0, left.max(0)) } else { share.clamp(left.min(0), 0) };
            added += share;
            (size.replicas + share).max(0)
        })
        .collect();
    if let Some(first) = next.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    next
}

/// By how much a ReplicaSet grows or shrinks when the most allowed goes from what was noted on it to `most`.
fn share(size: &Size, most: i32, total: i32) -> i32 {
    let noted = size.noted_max.filter(|noted| *noted > 0).unwrap_or(total.max(1));
    let exact = f64::from(size.replicas) * f64::from(most) / f64::from(noted);
    // The product of two replica counts over a third, rounded, stays far inside i32 or saturates.
    exact.round() as i32 - size.replicas
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
