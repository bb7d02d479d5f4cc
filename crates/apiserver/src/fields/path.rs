//! Steps of a path into an object.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde_json::{Number, Value};

/// One step: to a member of an object, or to an item of a list.
///
/// The order is the one in which `fieldsV1` lists steps: members, items by key, items by value, items by place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PathElement<'a> {
    /// `f:NAME`
    Field(Cow<'a, str>),
    /// `k:{"KEY":VALUE,…}`, keys in alphabetical order.
    Key(Vec<(Cow<'a, str>, Leaf<'a>)>),
    /// `v:VALUE`
    Value(Leaf<'a>),
    /// `i:NUMBER`
    Index(i64),
}

/// A JSON value with an order among values; numbers compare by what they are worth.
#[derive(Debug, Clone)]
pub(super) struct Leaf<'a>(pub(super) Cow<'a, Value>);

impl Ord for Leaf<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        order(&self.0, &other.0)
    }
}

impl PartialOrd for Leaf<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Leaf<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Leaf<'_> {}

/// The order of `structured-merge-diff/value`: numbers, strings, booleans, null, lists, objects.
fn order(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (Value::Number(one), Value::Number(other)) => number_order(one, other),
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        (Value::Array(one), Value::Array(other)) => {
            let unequal =
                one.iter().zip(other).map(|(one, other)| order(one, other)).find(|found| found.is_ne());
            unequal.unwrap_or_else(|| one.len().cmp(&other.len()))
        }
        (Value::Object(one), Value::Object(other)) => {
            let sorted = |map: &'_ serde_json::Map<String, Value>| {
                let mut names: Vec<String> = map.keys().cloned().collect();
                names.sort_unstable();
                names
            };
            let (names, others) = (sorted(one), sorted(other));
            let unequal = names.iter().zip(&others).map(|(name, theirs)| {
                name.cmp(theirs).then_with(|| order(&one[name.as_str()], &other[theirs.as_str()]))
            });
            unequal.into_iter().find(|found| found.is_ne()).unwrap_or_else(|| names.len().cmp(&others.len()))
        }
        _ => rank(one).cmp(&rank(other)),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Null => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

fn number_order(one: &Number, other: &Number) -> Ordering {
    if let (Some(one), Some(other)) = (one.as_i64(), other.as_i64()) {
        return one.cmp(&other);
    }
    // Adding zero makes one zero of the two; whole numbers that round to the same float differ by their digits.
    let float = |number: &Number| number.as_f64().unwrap_or_default() + 0.0;
    let whole = |number: &Number| {
        let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
        integer.unwrap_or_else(|| float(number) as i128)
    };
    float(one).total_cmp(&float(other)).then_with(|| whole(one).cmp(&whole(other)))
}

/// As conflicts name it: `.spec`, `[port=80,protocol="TCP"]`, `[="a"]`, `[0]`.
impl fmt::Display for PathElement<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(out, ".{name}"),
            Self::Key(keys) => {
                out.write_str("[")?;
                for (place, (name, value)) in keys.iter().enumerate() {
                    let comma = if place > 0 { "," } else { "" };
                    write!(out, "{comma}{name}={}", value.0)?;
                }
                out.write_str("]")
            }
            Self::Value(value) => write!(out, "[={}]", value.0),
            Self::Index(place) => write!(out, "[{place}]"),
        }
    }
}
