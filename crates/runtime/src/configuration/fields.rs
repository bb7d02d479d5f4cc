//! A document, read field by field. What is asked for is taken out, so that what is left at the end is unknown.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{ConfigurationError, Note, forms};

/// One object of the document.
pub(super) struct Fields {
    /// Where it stands, with a dot at the end; empty at the top.
    path: String,
    left: Map<String, Value>,
    notes: Vec<Note>,
}

impl Fields {
    pub(super) fn top(left: Map<String, Value>) -> Self {
        Self { path: String::new(), left, notes: Vec::new() }
    }

    /// A text; empty when it is not there.
    pub(super) fn text(&mut self, name: &str) -> Result<String, ConfigurationError> {
        match self.take(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.wrong(name, format!("{other} is no text"))),
        }
    }

    /// A text that something is made of.
    pub(super) fn parsed<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ConfigurationError> {
        let text = self.text(name)?;
        parse(&text).map_err(|problem| self.wrong(name, problem))
    }

    /// A list of texts; empty when it is not there.
    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<String>, ConfigurationError> {
        let entries = match self.take(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(entries)) => entries,
            Some(other) => return Err(self.wrong(name, format!("{other} is no list"))),
        };
        let text = |(place, entry)| match entry {
            Value::String(text) => Ok(text),
            other => Err(self.wrong(&format!("{name}[{place}]"), format!("{other} is no text"))),
        };
        entries.into_iter().enumerate().map(text).collect()
    }

    /// Yes or no; no when it is not there.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, ConfigurationError> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(self.wrong(name, format!("{other} is neither true nor false"))),
        }
    }

    /// A whole number within a range.
    pub(super) fn number(
        &mut self,
        name: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<Option<i64>, ConfigurationError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match value.as_i64().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let (least, most) = range.into_inner();
                Err(self.wrong(name, format!("{value} is no whole number from {least} to {most}")))
            }
        }
    }

    /// A duration.
    pub(super) fn duration(&mut self, name: &str) -> Result<Option<Duration>, ConfigurationError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => {
                forms::duration(&text).map(Some).map_err(|problem| self.wrong(name, problem))
            }
            Some(other) => Err(self.wrong(name, format!("{other} is no duration such as 30s"))),
        }
    }

    /// Reads an object within this one; without it, an empty one.
    pub(super) fn section<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self) -> Result<T, ConfigurationError>,
    ) -> Result<T, ConfigurationError> {
        let left = match self.take(name) {
            None => Map::new(),
            Some(Value::Object(fields)) => fields,
            Some(other) => return Err(self.wrong(name, format!("{other} is no object"))),
        };
        let mut section = Self { path: format!("{}{name}.", self.path), left, notes: Vec::new() };
        let value = read(&mut section)?;
        self.notes.extend(section.finish());
        Ok(value)
    }

    /// Fields that have no effect here. They are named only when they say something.
    pub(super) fn ignored(&mut self, names: &[&str], why: &'static str) {
        for name in names {
            if self.take(name).is_some_and(|value| says_something(&value)) {
                self.notes.push(Note { what: format!("{}{name}", self.path), why });
            }
        }
    }

    /// What had no effect, unknown fields last.
    pub(super) fn finish(mut self) -> Vec<Note> {
        let unknown = self.left.keys().map(|name| Note {
            what: format!("{}{name}", self.path),
            why: "KubeProxyConfiguration v1alpha1 has no such field",
        });
        self.notes.extend(unknown);
        self.notes
    }

    /// What is wrong with a field of this object.
    pub(super) fn wrong(&self, name: &str, problem: String) -> ConfigurationError {
        ConfigurationError::Field { field: format!("{}{name}", self.path), problem }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }
}

/// Files are often written out whole, with the zero of each kind where nothing is meant.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !matches!(text.as_str(), "" | "0s"),
        Value::Array(entries) => !entries.is_empty(),
        Value::Object(fields) => fields.values().any(says_something),
    }
}
