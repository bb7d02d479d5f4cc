//! Lists that are sets or maps hold nothing twice (`apiserver/schema/listtype`).

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::Schema;
use crate::kinds::schema::ListType;
use crate::status::Cause;

impl Schema {
    /// What stands twice in the list here, or is no object in a list of objects.
    pub(super) fn repeated(&self, items: &[Value], path: &str, causes: &mut Vec<Cause>) {
        let keys: Vec<Value> = match &self.list {
            ListType::Atomic => return,
            ListType::Set => items.to_vec(),
            ListType::Map(keys) => {
                let wrong = items.iter().position(|item| !item.is_null() && !item.is_object());
                if let Some(index) = wrong {
                    let detail = "must be an object for an array of list-type map";
                    causes.push(Cause::invalid(format!("{path}[{index}]"), &items[index], detail));
                    return;
                }
                items.iter().map(|item| key_of(item, keys)).collect()
            }
        };
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (index, key) in keys.iter().enumerate() {
            let times = seen.entry(sorted(key).to_string()).or_default();
            *times += 1;
            if *times == 2 {
                causes.push(Cause::duplicate(format!("{path}[{index}]"), key));
            }
        }
    }
}

/// The members that tell an item apart; what is left out stays out.
pub(super) fn key_of(item: &Value, keys: &[String]) -> Value {
    let pairs = keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
    Value::Object(pairs.collect())
}

/// The same value with the members of its objects in order: equal values have equal texts.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut members: Vec<(&String, &Value)> = map.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            let members = members.into_iter().map(|(name, value)| (name.clone(), sorted(value)));
            Value::Object(members.collect::<Map<String, Value>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        scalar => scalar.clone(),
    }
}
