//! The entries of `managedFields`: who owns what (`managedfields/internal/managedfields.go`).

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::codec::CodecError;
use super::set::Set;

/// Most entries of updates; older ones are united (`DefaultMaxUpdateManagers`).
const MOST_UPDATES: usize = 10;
/// Who owns what is united.
const ANCIENT: &str = "ancient-changes";

/// How a manager came to own its fields. The order is that of the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    /// It applied them, and says with every apply which ones it wants.
    Apply,
    /// It wrote them.
    Update,
}

/// Who writes an object, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Author<'a> {
    /// Name of the manager.
    pub(crate) manager: &'a str,
    /// The version in which the manager sees the object (`apps/v1`).
    pub(crate) api_version: &'a str,
    /// The subresource it writes through; empty for the object itself.
    pub(crate) subresource: &'a str,
    /// Now: RFC 3339 in seconds.
    pub(crate) time: &'a str,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner<'a> {
    pub(super) manager: Cow<'a, str>,
    pub(super) operation: Operation,
    pub(super) api_version: Cow<'a, str>,
    pub(super) subresource: Cow<'a, str>,
    pub(super) time: Option<Cow<'a, str>>,
    pub(super) set: Set<'a>,
}

impl<'a> Owner<'a> {
    /// The entry of the one who writes.
    pub(super) fn of(author: &Author<'a>, operation: Operation, set: Set<'a>) -> Self {
        Self {
            manager: Cow::Borrowed(author.manager),
            operation,
            api_version: Cow::Borrowed(author.api_version),
            subresource: Cow::Borrowed(author.subresource),
            time: Some(Cow::Borrowed(author.time)),
            set,
        }
    }

    /// The entry is this author's. One that applies keeps its entry when it goes on to another version.
    pub(super) fn is(&self, author: &Author<'_>, operation: Operation) -> bool {
        self.operation == operation
            && self.manager == author.manager
            && self.subresource == author.subresource
            && (operation == Operation::Apply || self.api_version == author.api_version)
    }

    /// The manager as conflicts name it.
    pub(super) fn describe(&self) -> String {
        let mut out = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            out.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            out.push_str(&format!(" using {}", self.api_version));
        }
        out
    }

    fn decode(entry: &'a Value) -> Result<Self, CodecError> {
        let text = |name| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        let operation = match text("operation") {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err(CodecError::Entry("operation must be `Apply` or `Update`")),
        };
        if text("apiVersion").is_empty() {
            return Err(CodecError::Entry("apiVersion must not be empty"));
        }
        if text("fieldsType") != "FieldsV1" {
            return Err(CodecError::Entry("fieldsType must be `FieldsV1`"));
        }
        Ok(Self {
            manager: Cow::Borrowed(text("manager")),
            operation,
            api_version: Cow::Borrowed(text("apiVersion")),
            subresource: Cow::Borrowed(text("subresource")),
            time: entry.get("time").and_then(Value::as_str).map(Cow::Borrowed),
            set: entry.get("fieldsV1").map_or(Ok(Set::default()), Set::decode)?,
        })
    }

    fn encode(&self) -> Value {
        let mut out = Map::with_capacity(7);
        let operation = match self.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        out.insert("manager".to_owned(), self.manager.as_ref().into());
        out.insert("operation".to_owned(), operation.into());
        out.insert("apiVersion".to_owned(), self.api_version.as_ref().into());
        if let Some(time) = &self.time {
            out.insert("time".to_owned(), time.as_ref().into());
        }
        out.insert("fieldsType".to_owned(), "FieldsV1".into());
        out.insert("fieldsV1".to_owned(), self.set.encode());
        if !self.subresource.is_empty() {
            out.insert("subresource".to_owned(), self.subresource.as_ref().into());
        }
        Value::Object(out)
    }
}

/// Reads the entries of an object; entries of nothing are left out.
pub(super) fn decode(managed: Option<&Value>) -> Result<Vec<Owner<'_>>, CodecError> {
    let entries = managed.and_then(Value::as_array).into_iter().flatten();
    let owners: Result<Vec<Owner<'_>>, CodecError> = entries.map(Owner::decode).collect();
    Ok(owners?.into_iter().filter(|owner| !owner.set.is_empty()).collect())
}

/// Writes the entries in their order; `None` when there are none.
pub(super) fn encode(mut owners: Vec<Owner<'_>>) -> Option<Value> {
    owners.retain(|owner| !owner.set.is_empty());
    fn place<'b>(owner: &'b Owner<'_>) -> (Operation, Option<&'b str>, &'b str, &'b str, &'b str) {
        (owner.operation, owner.time.as_deref(), &owner.manager, &owner.api_version, &owner.subresource)
    }
    owners.sort_by(|one, other| place(one).cmp(&place(other)));
    (!owners.is_empty()).then(|| owners.iter().map(Owner::encode).collect())
}

/// Whether two lists of entries say the same but for when it was written.
pub(crate) fn same_but_times(one: Option<&Value>, other: Option<&Value>) -> bool {
    fn entries(list: Option<&Value>) -> Vec<&Map<String, Value>> {
        list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object).collect()
    }
    if one == other {
        return true;
    }
    let (one, other) = (entries(one), entries(other));
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_but_time(one, other))
}

fn same_but_time(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    let timeless = |entry: &Map<String, Value>| entry.len() - usize::from(entry.contains_key("time"));
    let mut fields = one.iter().filter(|(name, _)| *name != "time");
    timeless(one) == timeless(other) && fields.all(|(name, value)| other.get(name) == Some(value))
}

/// Unites the oldest updates, by version, until there are few enough (`managedfields/internal/capmanagers.go`).
pub(super) fn cap(owners: &mut Vec<Owner<'_>>) {
    let (mut updates, applies): (Vec<_>, Vec<_>) =
        owners.drain(..).partition(|owner| owner.operation == Operation::Update);
    updates.sort_by(|one, other| (&one.time, &one.manager).cmp(&(&other.time, &other.manager)));
    let mut place = 0;
    while updates.len() > MOST_UPDATES && place < updates.len() {
        let version = updates[place].api_version.clone();
        // The first of a version is united with the next one of it, under a name of its own.
        let Some(next) = updates[place + 1..].iter().position(|other| other.api_version == version) else {
            place += 1;
            continue;
        };
        let next = updates.remove(place + 1 + next);
        let first = &mut updates[place];
        first.set = std::mem::take(&mut first.set).union(next.set);
        first.time = next.time;
        first.manager = Cow::Borrowed(ANCIENT);
        first.subresource = Cow::Borrowed("");
    }
    *owners = applies;
    owners.append(&mut updates);
}
