//! One kind: its names, and what the server asks of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::Scale;
use crate::kinds::allocation::Reservation;
use crate::kinds::custom::CustomKind;
use crate::kinds::schema::{self, Shape};
use crate::kinds::strategy::{Context, Refusal, Rules};
use crate::kinds::table::Column;
use crate::kinds::{field, metadata, review};
use crate::status::{Cause, Status};

/// A word of a kind: fixed for built-in kinds, owned for others.
pub(crate) type Word = Cow<'static, str>;

/// One kind, as stored: where it is served, how it is named, and its rules.
pub struct Kind {
    /// API group, empty for the core group.
    pub group: Word,
    /// The version that is stored.
    pub version: Word,
    /// `Service`.
    pub kind: Word,
    /// `services`: the path segment, and the resource in messages.
    pub plural: Word,
    /// `service`.
    pub singular: Word,
    /// `svc`.
    pub short_names: Vec<Word>,
    /// `all`.
    pub categories: Vec<Word>,
    /// Lives in a namespace.
    pub namespaced: bool,
    /// Has a status subresource.
    pub status: bool,
    /// Has a scale subresource.
    pub scale: Option<Scale>,
    /// `metadata.generation` counts changes of everything but metadata and status.
    pub generation: bool,
    /// Further group and version pairs it is served under; see [`crate::kinds::convert_in`].
    pub also: Vec<(Word, Word)>,
    /// Columns of the Table, without `Name`'s special handling: the first column is the name.
    pub columns: Cow<'static, [Column]>,
    /// `ServiceList`.
    pub list_kind: Word,
    /// How an object's name must look; the texts of what is wrong.
    pub(in crate::kinds) name_rule: fn(&str, bool) -> Vec<String>,
    /// Where its schema, its rules and its rows come from.
    pub(in crate::kinds) behaviour: Behaviour,
}

/// What a kind does with its objects.
pub(in crate::kinds) enum Behaviour {
    /// The server brings it along.
    BuiltIn {
        /// Name of the type in the schema.
        schema: &'static str,
        /// Defaults, validation, allocation.
        rules: &'static dyn Rules,
        /// Cells of one object, one per column.
        row: fn(&Value, Timestamp) -> Vec<Value>,
    },
    /// A CustomResourceDefinition says it.
    Custom(Box<CustomKind>),
}

/// A kind that the server brings along, as the table of them says it; the fields are those of [`Kind`].
pub(super) struct BuiltIn {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    pub(super) singular: &'static str,
    pub(super) short_names: &'static [&'static str],
    pub(super) categories: &'static [&'static str],
    pub(super) namespaced: bool,
    pub(super) status: bool,
    /// Where the fields of [`Scale`] are, in their order.
    pub(super) scale: Option<[&'static str; 3]>,
    pub(super) generation: bool,
    pub(super) also: &'static [(&'static str, &'static str)],
    pub(super) columns: &'static [Column],
    pub(super) row: fn(&Value, Timestamp) -> Vec<Value>,
    pub(super) name_rule: fn(&str, bool) -> Vec<String>,
    pub(super) schema: &'static str,
    pub(super) rules: &'static dyn Rules,
}

impl From<&'static BuiltIn> for Kind {
    fn from(built_in: &'static BuiltIn) -> Self {
        let words = |list: &'static [&'static str]| list.iter().copied().map(Word::Borrowed).collect();
        let also = built_in.also.iter().map(|&(group, version)| (group.into(), version.into()));
        Self {
            group: built_in.group.into(),
            version: built_in.version.into(),
            kind: built_in.kind.into(),
            plural: built_in.plural.into(),
            singular: built_in.singular.into(),
            short_names: words(built_in.short_names),
            categories: words(built_in.categories),
            namespaced: built_in.namespaced,
            status: built_in.status,
            scale: built_in.scale.map(|[spec_replicas, status_replicas, selector]| Scale {
                spec_replicas: spec_replicas.into(),
                status_replicas: status_replicas.into(),
                selector: selector.into(),
            }),
            generation: built_in.generation,
            also: also.collect(),
            columns: Cow::Borrowed(built_in.columns),
            list_kind: format!("{}List", built_in.kind).into(),
            name_rule: built_in.name_rule,
            behaviour: Behaviour::BuiltIn {
                schema: built_in.schema,
                rules: built_in.rules,
                row: built_in.row,
            },
        }
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Kind({} {}/{})", self.kind, self.group, self.version)
    }
}

impl Kind {
    /// A question that is answered and not stored: it has the verb create alone.
    pub fn is_review(&self) -> bool {
        [review::AUTHENTICATION, review::AUTHORIZATION].contains(&&*self.group)
    }

    /// `v1`, `apps/v1`: the apiVersion that is stored.
    pub fn api_version(&self) -> String {
        super::api_version(&self.group, &self.version)
    }

    /// This is the kind of that name and group (empty for the core group): another group may have one of the same name.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.kind == kind && self.group == group
    }

    /// What a CustomResourceDefinition says of the kind; `None` for a kind that the server brings along.
    pub fn custom(&self) -> Option<&CustomKind> {
        match &self.behaviour {
            Behaviour::BuiltIn { .. } => None,
            Behaviour::Custom(custom) => Some(custom),
        }
    }

    /// Checks the JSON types of all fields and finds those that the kind does not have.
    ///
    /// `null` fields are removed (for Kubernetes they are absent), numbers sent as quantities become strings.
    ///
    /// # Errors
    /// 400 when a field has the wrong type (`json: cannot unmarshal string into Go struct field …`).
    pub fn check_shape(&self, object: &mut Value) -> Result<Shape, Status> {
        schema::check(self, object)
    }

    /// Makes an object ready to be stored for the first time: defaults and validation; [`Kind::allocate`] follows.
    ///
    /// Its metadata must hold the final name (after generateName) and namespace.
    ///
    /// # Errors
    /// 422 with every wrong field.
    pub fn prepare_create(&self, new: &mut Value) -> Result<(), Status> {
        self.complete_new(new);
        let mut causes = Vec::new();
        metadata::validate(self, new, &mut causes);
        self.rules().validate(new, &mut causes);
        self.refuse(new, causes)
    }

    /// The first half of [`Kind::prepare_create`]: what the sender may not set goes, defaults come.
    pub fn complete_new(&self, new: &mut Value) {
        self.rules().reset_for_create(new);
        self.rules().default(new);
    }

    /// JSON pointers of what will belong to no manager although a new object has it: the status of kinds that have a
    /// subresource for it, and what admission fills in for the sender of `object`.
    pub fn unowned(&self, object: &Value) -> Vec<&'static str> {
        let filled_in =
            self.rules().filled_in().iter().copied().filter(|place| object.pointer(place).is_none());
        self.status.then_some("/status").into_iter().chain(filled_in).collect()
    }

    /// Makes a new version of an object ready to be stored; the status of `old` is kept. [`Kind::allocate`] follows.
    ///
    /// # Errors
    /// 422 with every wrong field.
    pub fn prepare_update(&self, new: &mut Value, old: &Value) -> Result<(), Status> {
        self.rules().reset_for_update(new, old);
        self.rules().default(new);
        let mut causes = Vec::new();
        metadata::validate(self, new, &mut causes);
        metadata::validate_update(new, old, &mut causes);
        self.rules().validate_step(new, old, &mut causes);
        self.refuse(new, causes)
    }

    /// Makes a new status ready to be stored; everything else of `old` is kept but labels and annotations.
    ///
    /// # Errors
    /// 422 with every wrong field.
    pub fn prepare_status_update(&self, new: &mut Value, old: &Value) -> Result<(), Status> {
        self.rules().reset_for_status(new, old);
        self.rules().default(new);
        let mut causes = Vec::new();
        metadata::validate_update(new, old, &mut causes);
        self.rules().validate_status(new, old, &mut causes);
        self.refuse(new, causes)
    }

    /// What becomes free with the object: commit the reservation after it was removed from the store.
    pub fn prepare_delete(&self, old: &Value, context: &Context<'_>) -> Reservation {
        self.rules().release(old, context.allocation)
    }

    /// The generation that `new` must carry: one more than `old`'s when anything but metadata and status differs.
    /// `None` for kinds that have no generation.
    pub fn next_generation(&self, new: &Value, old: Option<&Value>) -> Option<i64> {
        if !self.generation {
            return None;
        }
        let Some(old) = old else { return Some(1) };
        let current = old.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(1);
        let changed = self.described(new) != self.described(old);
        Some(if changed { current + 1 } else { current })
    }

    /// The value of a field that a field selector names; empty when the object does not have it, `None` when the kind
    /// does not offer the field.
    pub fn selectable(&self, object: &Value, field: &str) -> Option<String> {
        let pointer = match field {
            "metadata.name" => "/metadata/name",
            "metadata.namespace" if self.namespaced => "/metadata/namespace",
            other => self.rules().selectable(other)?,
        };
        Some(match object.pointer(pointer) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        })
    }

    /// Whether the kind offers the field to field selectors (`field label not supported: X` otherwise).
    pub fn offers_field(&self, field: &str) -> bool {
        field == "metadata.name"
            || (field == "metadata.namespace" && self.namespaced)
            || self.rules().selectable(field).is_some()
    }

    /// The cells of the object's row in a Table, one per column.
    pub fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        match &self.behaviour {
            Behaviour::BuiltIn { row, .. } => row(object, now),
            Behaviour::Custom(custom) => custom.row(object, now),
        }
    }

    pub(super) fn rules(&self) -> &dyn Rules {
        match &self.behaviour {
            Behaviour::BuiltIn { rules, .. } => *rules,
            Behaviour::Custom(custom) => &**custom,
        }
    }

    /// The members that a client describes, sorted; the status is one of them where no subresource sets it apart.
    fn described<'a>(&self, object: &'a Value) -> BTreeMap<&'a str, &'a Value> {
        let members = object.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value));
        members
            .filter(|(key, _)| {
                let of_server = matches!(*key, "apiVersion" | "kind" | "metadata");
                !of_server && (*key != "status" || !self.status)
            })
            .collect()
    }

    /// Gives a prepared object what must be unique in the cluster (cluster IPs, node ports); `old` is the object before,
    /// `None` on creation. Commit the reservation after the object was stored; dropping it gives back what was allocated.
    ///
    /// These fields belong to no manager: Kubernetes, too, looks at who changed what before it allocates.
    ///
    /// # Errors
    /// 422 when a value asked for cannot be had, 500 when a range is used up.
    pub fn allocate(
        &self,
        new: &mut Value,
        old: Option<&Value>,
        context: &Context<'_>,
    ) -> Result<Reservation, Status> {
        match self.rules().allocate(new, old, context.allocation) {
            Ok(reservation) => Ok(reservation),
            Err(Refusal::Field(cause)) => Err(self.invalid(new, vec![cause])),
            Err(Refusal::Exhausted(error)) => Err(Status::internal(error)),
        }
    }

    fn refuse(&self, object: &Value, causes: Vec<Cause>) -> Result<(), Status> {
        if causes.is_empty() { Ok(()) } else { Err(self.invalid(object, causes)) }
    }

    fn invalid(&self, object: &Value, causes: Vec<Cause>) -> Status {
        Status::invalid(&self.group, &self.kind, field::text(object, "/metadata/name"), causes)
    }
}
