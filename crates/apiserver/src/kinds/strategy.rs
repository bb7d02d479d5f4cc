//! What a kind does with an object on its way into the store.

use jiff::Timestamp;
use serde_json::Value;

use super::allocation::{Allocation, AllocationError, Reservation};
use crate::status::Cause;

/// What preparing an object needs to know of the world.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The time of the request.
    pub now: Timestamp,
    /// Cluster IPs and node ports in use.
    pub allocation: &'a Allocation,
    /// A dry run: allocations are tried, and given back when the reservation is dropped.
    pub dry_run: bool,
}

/// Why nothing could be allocated.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A value asked for cannot be had.
    Field(Cause),
    /// A range is used up.
    Exhausted(AllocationError),
}

/// The rules of one kind. The default of every method is "nothing special".
///
/// `default` must be idempotent; no method may panic on an object that passed the shape check.
pub(super) trait Rules: Sync {
    /// Fills in what the sender left out.
    fn default(&self, _object: &mut Value) {}

    /// The status of an object that no controller has seen yet. `None` for kinds without one.
    fn fresh_status(&self) -> Option<Value> {
        None
    }

    /// Drops or sets what a client may not set when it creates the object (the status, above all).
    fn reset_for_create(&self, object: &mut Value) {
        let Some(map) = object.as_object_mut() else { return };
        match self.fresh_status() {
            Some(status) => super::field::set(map, "status", status),
            None => _ = map.shift_remove("status"),
        }
    }

    /// JSON pointers of what Kubernetes' admission plugins and strategies fill in when an object is made: it belongs to no
    /// manager, unless the creator said it.
    fn filled_in(&self) -> &'static [&'static str] {
        &[]
    }

    /// Keeps what an update of the object itself may not change (the status).
    fn reset_for_update(&self, new: &mut Value, old: &Value) {
        super::field::copy(new, old, "status");
    }

    /// Keeps what an update of the status may not change: everything but the status and part of the metadata.
    fn reset_for_status(&self, new: &mut Value, old: &Value) {
        super::field::copy(new, old, "spec");
    }

    /// What is wrong with the object by itself.
    fn validate(&self, _object: &Value, _causes: &mut Vec<Cause>) {}

    /// What is wrong with the step from `old` to `new`; `new` by itself has been validated.
    fn validate_update(&self, _new: &Value, _old: &Value, _causes: &mut Vec<Cause>) {}

    /// What is wrong with `new` by itself and with the step from `old` to it.
    fn validate_step(&self, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
        self.validate(new, causes);
        self.validate_update(new, old, causes);
    }

    /// What is wrong with the step from `old` to `new` through the status subresource.
    fn validate_status(&self, _new: &Value, _old: &Value, _causes: &mut Vec<Cause>) {}

    /// Takes what must be unique in the cluster; `old` is `None` on creation.
    fn allocate(
        &self,
        _new: &mut Value,
        _old: Option<&Value>,
        _allocation: &Allocation,
    ) -> Result<Reservation, Refusal> {
        Ok(Reservation::none())
    }

    /// What becomes free once the object is gone.
    fn release(&self, _old: &Value, _allocation: &Allocation) -> Reservation {
        Reservation::none()
    }

    /// The fields that field selectors may name, besides metadata.name and metadata.namespace, and where they are (JSON
    /// pointers).
    fn selectable_fields(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Where the field is that a field selector names; `None` when selectors may not name it.
    fn selectable(&self, field: &str) -> Option<&str> {
        self.selectable_fields().iter().find(|(name, _)| *name == field).map(|(_, pointer)| *pointer)
    }
}
