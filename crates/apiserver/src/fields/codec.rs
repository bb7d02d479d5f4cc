//! Sets as `fieldsV1`: `{"f:spec":{".":{},"f:ports":{…}}}`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::path::{Leaf, PathElement};
use super::set::{Entry, Set};

/// The path that ends at a step, where others go on.
const SELF: &str = ".";

/// Why an entry of `managedFields` cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum CodecError {
    /// A set is not an object.
    #[error("a set of fields must be an object")]
    NotAnObject,
    /// A step is no `f:`, `k:`, `v:` or `i:`.
    #[error("{0:?} is no path element")]
    Element(String),
    /// What the entry says of itself.
    #[error("{0}")]
    Entry(&'static str),
}

impl<'a> Set<'a> {
    /// Reads a set; it borrows names from the value.
    pub(super) fn decode(value: &'a Value) -> Result<Self, CodecError> {
        let Value::Object(map) = value else { return Err(CodecError::NotAnObject) };
        let mut entries = Vec::with_capacity(map.len());
        for (name, below) in map.iter().filter(|(name, _)| *name != SELF) {
            let Some(element) = PathElement::decode(name)? else { continue };
            let member = below.as_object().is_some_and(|below| below.is_empty() || below.contains_key(SELF));
            entries.push(Entry { element, member, children: Set::decode(below)? });
        }
        Ok(Self::new(entries))
    }

    /// Writes the set.
    pub(super) fn encode(&self) -> Value {
        self.encode_below(false)
    }

    fn encode_below(&self, member: bool) -> Value {
        let mut out = Map::with_capacity(self.entries().len() + usize::from(member));
        if member && !self.is_empty() {
            out.insert(SELF.to_owned(), Value::Object(Map::new()));
        }
        for entry in self.entries() {
            out.insert(entry.element.encode(), entry.children.encode_below(entry.member));
        }
        Value::Object(out)
    }
}

impl<'a> PathElement<'a> {
    /// Reads a step; `None` for kinds of steps that are not invented yet, which are passed over as Kubernetes does.
    fn decode(text: &'a str) -> Result<Option<Self>, CodecError> {
        let wrong = || CodecError::Element(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        let leaf = |value| Leaf(Cow::Owned(value));
        Ok(Some(match kind {
            "f" => Self::Field(Cow::Borrowed(rest)),
            "k" => {
                let map: Map<String, Value> = serde_json::from_str(rest).map_err(|_| wrong())?;
                let mut keys: Vec<_> =
                    map.into_iter().map(|(name, value)| (Cow::Owned(name), leaf(value))).collect();
                keys.sort();
                Self::Key(keys)
            }
            "v" => Self::Value(leaf(serde_json::from_str(rest).map_err(|_| wrong())?)),
            "i" => Self::Index(rest.parse().map_err(|_| wrong())?),
            other if other.len() == 1 => return Ok(None),
            _ => return Err(wrong()),
        }))
    }

    fn encode(&self) -> String {
        match self {
            Self::Field(name) => ["f:", name].concat(),
            Self::Key(keys) => {
                let map: Map<String, Value> = keys
                    .iter()
                    .map(|(name, value)| (name.clone().into_owned(), value.0.clone().into_owned()))
                    .collect();
                format!("k:{}", Value::Object(map))
            }
            Self::Value(value) => format!("v:{}", value.0),
            Self::Index(place) => format!("i:{place}"),
        }
    }
}
