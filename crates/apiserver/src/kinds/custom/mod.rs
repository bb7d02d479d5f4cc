//! Kinds that a CustomResourceDefinition brings: what it says of them, and what follows for their objects.

mod build;
mod columns;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde_json::Value;

pub use build::served_kinds;
use columns::Cell;

use super::field;
use super::schema::Mismatch;
use super::strategy::Rules;
use super::structural::Schema;
use crate::status::Cause;

/// One version of a kind, as its CustomResourceDefinition describes it.
#[derive(Debug)]
pub struct CustomKind {
    schema: Schema,
    /// `openAPIV3Schema`, as it stands in the definition.
    document: Value,
    cells: Vec<Cell>,
    /// Fields that field selectors may name, and where they are (JSON pointers).
    selectable: Vec<(String, String)>,
    /// There is a status subresource: the status is set through it alone.
    status: bool,
    /// Where the scale subresource reads and writes, as JSON pointers.
    replicas: Vec<String>,
    terminating: bool,
    deprecation: Option<String>,
}

impl CustomKind {
    /// The schema of the objects.
    pub(in crate::kinds) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The schema as the definition has it (OpenAPI v3).
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The definition is on its way out: no object may be created.
    pub fn is_terminating(&self) -> bool {
        self.terminating
    }

    /// What callers of this version are warned of.
    pub fn deprecation(&self) -> Option<&str> {
        self.deprecation.as_deref()
    }

    /// Removes what the schema does not have; gives `unknown field "spec.foo"` for each.
    pub(in crate::kinds) fn prune(&self, object: &mut Value) -> Result<Vec<String>, Mismatch> {
        let Some(map) = object.as_object_mut() else { return Ok(Vec::new()) };
        self.schema.prune(map)
    }

    /// Brings an object that was stored under an older definition to this one. What cannot be pruned stays as it is.
    pub(in crate::kinds) fn renew(&self, object: &mut Value) {
        if let Some(map) = object.as_object_mut() {
            _ = self.schema.prune(map);
        }
        self.schema.fill(object);
    }

    /// The cells of the object's row in a Table.
    pub(in crate::kinds) fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let name = super::table::name(object);
        std::iter::once(name).chain(self.cells.iter().map(|cell| cell.show(object, now))).collect()
    }

    /// Numbers of replicas that are none.
    fn check_replicas(&self, object: &Value, causes: &mut Vec<Cause>) {
        for pointer in &self.replicas {
            let Some(value) = object.pointer(pointer).filter(|value| !value.is_null()) else { continue };
            let field = pointer[1..].replace('/', ".");
            match value.as_i64() {
                Some(number) if number < 0 => {
                    causes.push(Cause::invalid(field, value, "should be a non-negative integer"));
                }
                Some(number) if number > i64::from(i32::MAX) => {
                    let detail = "should be less than or equal to 2147483647";
                    causes.push(Cause::invalid(field, value, detail));
                }
                Some(_) => {}
                None => causes.push(Cause::invalid(field, value, "should be an integer")),
            }
        }
    }
}

impl Rules for CustomKind {
    fn default(&self, object: &mut Value) {
        self.schema.fill(object);
    }

    fn reset_for_create(&self, object: &mut Value) {
        if let Some(map) = object.as_object_mut().filter(|_| self.status) {
            map.shift_remove("status");
        }
    }

    fn reset_for_update(&self, new: &mut Value, old: &Value) {
        if self.status {
            field::copy(new, old, "status");
        }
    }

    fn reset_for_status(&self, new: &mut Value, old: &Value) {
        let managed = new.pointer("/metadata/managedFields").cloned();
        let mut kept = old.clone();
        field::copy(&mut kept, new, "status");
        if let Some(metadata) = kept.get_mut("metadata").and_then(Value::as_object_mut) {
            match managed {
                Some(managed) => _ = metadata.insert("managedFields".to_owned(), managed),
                None => _ = metadata.shift_remove("managedFields"),
            }
        }
        *new = kept;
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        self.schema.validate(object, None, causes);
        self.check_replicas(object, causes);
    }

    fn validate_step(&self, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
        self.schema.validate(new, Some(old), causes);
        self.check_replicas(new, causes);
    }

    fn validate_status(&self, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
        self.validate_step(new, old, causes);
    }

    fn selectable(&self, name: &str) -> Option<&str> {
        self.selectable.iter().find(|(field, _)| field == name).map(|(_, pointer)| pointer.as_str())
    }
}
