//! What a caller may write is more than a matter of verbs: roles grant, and nodes have things of their own.

use serde_json::Value;

use super::Api;
use super::target::Target;
use crate::access::{Grant, NodeChange, restrict};
use crate::kinds::rbac;
use crate::status::Status;

impl Api {
    /// Checks a write whose object is ready to be stored; `new` is null for a deletion, `old` for a creation.
    ///
    /// # Errors
    /// 403 that says why.
    pub(super) fn admit(&self, target: &Target, verb: &str, new: &Value, old: &Value) -> Result<(), Status> {
        let kind = &target.served.kind;
        let (resource, namespace, name) = (&*kind.plural, &*target.namespace, &*target.name);
        let part = target.part.name();
        restrict(&target.caller, NodeChange { verb, resource, part, namespace, name, new, old })?;
        if kind.group != rbac::GROUP || new.is_null() {
            return Ok(());
        }
        let old = (!old.is_null()).then_some(old);
        self.access.check_grant(&target.caller, Grant { resource, namespace, name, new, old })
    }
}
