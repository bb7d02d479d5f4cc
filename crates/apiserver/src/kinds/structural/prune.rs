//! Fields that a schema does not have go (`apiserver/schema/pruning`).

use serde_json::{Map, Value};

use super::{Additional, META_FIELDS, Schema};
use crate::kinds::schema::{Mismatch, check_metadata};

impl Schema {
    /// Removes what the schema does not have from a whole resource, its metadata's unknown fields and every embedded
    /// resource's included; says what was removed (`unknown field "spec.foo"`), in the order of the object.
    ///
    /// # Errors
    /// When metadata does not have the types of metadata.
    pub(in crate::kinds) fn prune(&self, object: &mut Map<String, Value>) -> Result<Vec<String>, Mismatch> {
        let mut pruner = Pruner { path: String::new(), unknown: Vec::new() };
        pruner.object(object, self)?;
        Ok(pruner.unknown)
    }

    /// Whether pruning takes something from a value of this schema.
    pub(super) fn has_unknown(&self, value: &Value) -> bool {
        let mut pruner = Pruner { path: String::new(), unknown: Vec::new() };
        pruner.value(&mut value.clone(), self).is_err() || !pruner.unknown.is_empty()
    }
}

struct Pruner {
    path: String,
    unknown: Vec<String>,
}

impl Pruner {
    fn object(&mut self, map: &mut Map<String, Value>, schema: &Schema) -> Result<(), Mismatch> {
        let mut dropped = Vec::new();
        for (name, value) in map.iter_mut() {
            let length = self.path.len();
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(name);
            if schema.embedded && META_FIELDS.contains(&name.as_str()) {
                if name == "metadata" {
                    self.unknown.extend(check_metadata(&self.path, value)?);
                }
            } else {
                match schema.member(name) {
                    Some(member) => self.value(value, member)?,
                    None if schema.preserve || matches!(schema.additional, Additional::Any) => {}
                    None => {
                        self.unknown.push(format!("unknown field {:?}", self.path));
                        dropped.push(name.clone());
                    }
                }
            }
            self.path.truncate(length);
        }
        for name in dropped {
            map.shift_remove(&name);
        }
        Ok(())
    }

    fn value(&mut self, value: &mut Value, schema: &Schema) -> Result<(), Mismatch> {
        match value {
            Value::Object(map) => self.object(map, schema),
            Value::Array(items) => {
                let Some(item_schema) = schema.item() else { return Ok(()) };
                for (index, item) in items.iter_mut().enumerate() {
                    let length = self.path.len();
                    self.path.push_str(&format!("[{index}]"));
                    self.value(item, item_schema)?;
                    self.path.truncate(length);
                }
                Ok(())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }
}
