//! What the sender left out (`apiserver/schema/defaulting`).

use serde_json::{Map, Value};

use super::{Additional, Schema};

impl Schema {
    /// Fills in defaults, and removes nulls where null is no value and there is no default. Idempotent.
    pub(in crate::kinds) fn fill(&self, value: &mut Value) {
        match value {
            Value::Object(map) => self.fill_object(map),
            Value::Array(items) => {
                let Some(schema) = self.item() else { return };
                for item in items {
                    if item.is_null()
                        && !schema.nullable
                        && let Some(default) = &schema.default
                    {
                        *item = default.clone();
                    }
                    schema.fill(item);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn fill_object(&self, map: &mut Map<String, Value>) {
        map.retain(|name, value| {
            !value.is_null()
                || self.member(name).is_none_or(|schema| schema.nullable || schema.default.is_some())
        });
        for (name, schema) in &self.properties {
            let Some(default) = &schema.default else { continue };
            let unset = match map.get(name) {
                None => true,
                Some(value) => value.is_null() && !schema.nullable,
            };
            if unset {
                map.insert(name.clone(), default.clone());
            }
        }
        for (name, value) in map.iter_mut() {
            let schema = match (self.properties.get(name), &self.additional) {
                (Some(schema), _) => schema,
                (None, Additional::Schema(schema)) => {
                    if value.is_null()
                        && !schema.nullable
                        && let Some(default) = &schema.default
                    {
                        *value = default.clone();
                    }
                    &**schema
                }
                (None, Additional::None | Additional::Any) => continue,
            };
            schema.fill(value);
        }
    }
}
