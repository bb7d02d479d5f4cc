//! Fields that an applier wants to change and somebody else owns.

use super::owner::Owner;
use super::set::Set;

/// A field and its other owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// The owner, as messages name it: `"kubectl" using apps/v1`.
    pub(crate) owner: String,
    /// The field: `.spec.replicas`.
    pub(crate) field: String,
}

/// Names every field of `set` as `owner`'s.
pub(super) fn conflicts_with(owner: &Owner<'_>, set: &Set<'_>) -> Vec<Conflict> {
    let name = owner.describe();
    set.paths().into_iter().map(|field| Conflict { owner: name.clone(), field }).collect()
}

/// The message of Kubernetes (`managedfields/internal/conflict.go`): one conflict in a line, more by owner.
pub(crate) fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {}: {}", one.owner, one.field);
    }
    let mut owners: Vec<&str> = conflicts.iter().map(|conflict| conflict.owner.as_str()).collect();
    owners.sort_unstable();
    owners.dedup();
    let mut lines = Vec::with_capacity(conflicts.len() + owners.len());
    for owner in owners {
        lines.push(format!("conflicts with {owner}:"));
        let fields = conflicts.iter().filter(|conflict| conflict.owner == owner);
        lines.extend(fields.map(|conflict| format!("- {}", conflict.field)));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}
