//! The fields of every kind and their types: what a body may hold, and how patches merge it.
//!
//! The table `types.txt` is written by `generate.py` from Kubernetes' own schema.

mod check;
mod node;
pub(super) mod quantity;
mod types;

use serde_json::Value;

pub(super) use check::{Mismatch, check_metadata};
pub use node::Node;
pub use types::ListKind;
pub(super) use types::{Field, ListType, Merge, Type, TypeDef, type_def};

use super::registry::{Behaviour, Kind};
use crate::status::Status;

/// What the check of a body found besides errors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// `unknown field "spec.foo"`, in the order of the body. Such fields have been removed from the object.
    pub unknown: Vec<String>,
}

/// See [`Kind::check_shape`].
pub(super) fn check(kind: &Kind, object: &mut Value) -> Result<Shape, Status> {
    let found = match &kind.behaviour {
        Behaviour::BuiltIn { schema, .. } => check::check(schema, object),
        Behaviour::Custom(custom) => custom.prune(object),
    };
    let unknown = found.map_err(|mismatch| {
        let (name, version) = (&kind.kind, &kind.version);
        Status::bad_request(format!(
            "{name} in version {version:?} cannot be handled as a {name}: {mismatch}"
        ))
    })?;
    Ok(Shape { unknown })
}

#[cfg(test)]
mod tests;
