//! Selectors: which objects a list, a watch or a collection's deletion is about.

mod field;
mod label;

use std::sync::Arc;

use serde_json::Value;

pub use field::FieldSelector;
pub use label::LabelSelector;

use crate::kinds::Kind;
use crate::status::Status;
use crate::store::{Event, EventKind, Record, labels_of};

/// A label selector and a field selector together.
#[derive(Debug, Clone)]
pub struct Selector {
    kind: Arc<Kind>,
    labels: LabelSelector,
    fields: FieldSelector,
}

/// What an event is to a watcher who sees only the selected objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The object came into sight.
    Added,
    /// It changed within sight.
    Modified,
    /// It is gone, or out of sight.
    Deleted,
}

impl Selector {
    /// Parses both texts; empty texts select everything.
    ///
    /// # Errors
    /// 400 when one of them does not follow the grammar, or names a field that the kind does not offer.
    pub fn parse(kind: &Arc<Kind>, labels: &str, fields: &str) -> Result<Self, Status> {
        let labels = LabelSelector::parse(labels)
            .map_err(|detail| Status::bad_request(format!("unable to parse requirement: {detail}")))?;
        let fields = FieldSelector::parse(fields)
            .map_err(|detail| Status::bad_request(format!("invalid field selector: {detail}")))?;
        if let Some(unknown) = fields.fields().find(|field| !kind.offers_field(field)) {
            return Err(Status::bad_request(format!("field label not supported: {unknown}")));
        }
        Ok(Self { kind: Arc::clone(kind), labels, fields })
    }

    /// Everything is selected.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The only name that can match, when a requirement on `metadata.name` says so.
    pub fn single_name(&self) -> Option<&str> {
        self.fields.exact("metadata.name")
    }

    /// Whether a stored object is selected.
    pub fn selects(&self, record: &Record) -> bool {
        // The name stands in the key: no need to read the object of every other one.
        if self.single_name().is_some_and(|name| name != record.key.name()) {
            return false;
        }
        if !self.labels.is_empty() && !self.labels.matches(&labels_of(&record.json)) {
            return false;
        }
        if self.fields.is_empty() {
            return true;
        }
        let object = serde_json::from_slice(&record.json).unwrap_or(Value::Null);
        self.fields.matches(|field| self.kind.selectable(&object, field).unwrap_or_default())
    }

    /// What the event is within the selection; `None` when it concerns only objects out of sight.
    pub fn judge(&self, event: &Event) -> Option<Seen> {
        let (before, after) = self.sides(event);
        let before = before && event.kind != EventKind::Created;
        let after = after && event.kind != EventKind::Deleted;
        match (before, after) {
            (false, true) => Some(Seen::Added),
            (true, true) => Some(Seen::Modified),
            (true, false) => Some(Seen::Deleted),
            (false, false) => None,
        }
    }

    fn sides(&self, event: &Event) -> (bool, bool) {
        let (mut before, mut after) = (true, true);
        if !self.labels.is_empty() {
            (before, after) =
                event.with_labels(|old, new| (self.labels.matches(old), self.labels.matches(new)));
        }
        let extract = |field: &str, json: &[u8]| {
            let object = serde_json::from_slice(json).unwrap_or(Value::Null);
            self.kind.selectable(&object, field).unwrap_or_default()
        };
        for requirement in self.fields.requirements() {
            let field = requirement.field.as_str();
            event.with_field(
                field,
                |json| extract(field, json),
                |old, new| {
                    before &= requirement.matches(old);
                    after &= requirement.matches(new);
                },
            );
        }
        (before, after)
    }
}

#[cfg(test)]
mod tests;
