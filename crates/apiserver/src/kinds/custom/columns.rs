//! Printed columns of custom resources (`customresource/tableconvertor`).

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::field::{list, member, number};
use crate::kinds::structural::{JsonPath, is_date_time};
use crate::kinds::table::{Column, since};

/// How one column's cell comes from an object.
#[derive(Debug)]
pub(super) struct Cell {
    path: JsonPath,
    kind: String,
}

impl Cell {
    pub(super) fn show(&self, object: &Value, now: Timestamp) -> Value {
        let found = self.path.find(object);
        let Some(value) = found.first() else { return Value::Null };
        match (self.kind.as_str(), value) {
            ("string", Value::String(text)) => text.as_str().into(),
            ("string", Value::Null) => Value::Null,
            ("string", other) => other.to_string().into(),
            ("integer", Value::Number(number)) => {
                // As Go converts: towards zero.
                number.as_i64().or_else(|| number.as_f64().map(|number| number as i64)).into()
            }
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => (*value).clone(),
            ("date", Value::String(text)) if is_date_time(text) => since(text, now).into(),
            ("date", Value::String(_)) => "<invalid>".into(),
            _ => Value::Null,
        }
    }
}

/// The columns of a version behind the name: those of the definition, or the age.
pub(super) fn columns(version: &Value) -> (Vec<Column>, Vec<Cell>) {
    let age = [json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"})];
    let described = match list(version, "additionalPrinterColumns") {
        [] => &age[..],
        described => described,
    };
    let (mut columns, mut cells) = (vec![Column::NAME], Vec::new());
    for column in described {
        // Validation lets no path in that cannot be read.
        let Ok(path) = JsonPath::parse(member(column, "jsonPath")) else { continue };
        let text = |key: &str| member(column, key).to_owned().into();
        let description = match member(column, "description") {
            "" => {
                format!(
                    "Custom resource definition column (in JSONPath format): {}",
                    member(column, "jsonPath")
                )
            }
            given => given.to_owned(),
        };
        columns.push(Column {
            name: text("name"),
            kind: text("type"),
            format: text("format"),
            description: description.into(),
            priority: number(column, "/priority").and_then(|number| i32::try_from(number).ok()).unwrap_or(0),
        });
        cells.push(Cell { path, kind: member(column, "type").to_owned() });
    }
    (columns, cells)
}
