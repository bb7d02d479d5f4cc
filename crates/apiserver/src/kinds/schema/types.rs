//! The parsed form of `types.txt`.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The JSON type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kinds) enum Type {
    /// Text.
    String,
    /// Base64.
    Bytes,
    /// Whole number of 32 bits.
    Int32,
    /// Whole number of 64 bits.
    Int64,
    /// Any number.
    Number,
    /// True or false.
    Bool,
    /// `100m`, `1Gi`; numbers are taken as text.
    Quantity,
    /// A number, or a text (a port's name, a percentage).
    IntOrString,
    /// RFC 3339 in seconds.
    Time,
    /// RFC 3339 in microseconds.
    MicroTime,
    /// Not looked into.
    Any,
    /// An object with the fields of the named type.
    Object(&'static str),
    /// A list.
    List(Box<Type>),
    /// An object with any keys.
    Map(Box<Type>),
}

/// How a strategic merge patch treats a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kinds) enum Merge {
    /// Objects and maps key by key; lists are replaced.
    Plain,
    /// A list of objects, told apart by this key.
    ByKey(&'static str),
    /// A list of scalars, used as a set.
    Set,
}

/// A field of a type.
#[derive(Debug, Clone)]
pub(in crate::kinds) struct Field {
    /// Its type.
    pub(in crate::kinds) ty: Type,
    /// Written even when empty (Go's JSON tag has no `omitempty`).
    pub(in crate::kinds) always: bool,
    /// Its patch strategy.
    pub(in crate::kinds) merge: Merge,
}

/// A type: its fields by name.
#[derive(Debug, Default)]
pub(in crate::kinds) struct TypeDef {
    pub(in crate::kinds) fields: HashMap<&'static str, Field>,
}

static TYPES: LazyLock<HashMap<&'static str, TypeDef>> = LazyLock::new(|| parse(include_str!("types.txt")));

/// The type of that name, `None` for a name that the table does not have.
pub(in crate::kinds) fn type_def(name: &str) -> Option<&'static TypeDef> {
    TYPES.get(name)
}

/// The table's names, for the tests that walk it.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = (&'static str, &'static TypeDef)> {
    TYPES.iter().map(|(name, def)| (*name, def))
}

fn parse(text: &'static str) -> HashMap<&'static str, TypeDef> {
    let mut types: HashMap<&'static str, TypeDef> = HashMap::new();
    let mut current = "";
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(rest) = line.strip_prefix("  ") else {
            current = line;
            types.entry(current).or_default();
            continue;
        };
        let mut words = rest.split(' ');
        let (Some(name), Some(ty)) = (words.next(), words.next()) else { continue };
        let merge = words.find_map(|word| match word.split_once('=') {
            Some(("merge", key)) => Some(Merge::ByKey(key)),
            None if word == "merge" => Some(Merge::Set),
            _ => None,
        });
        let always = name.ends_with('!');
        let field = Field { ty: parse_type(ty), always, merge: merge.unwrap_or(Merge::Plain) };
        types.entry(current).or_default().fields.insert(name.trim_end_matches('!'), field);
    }
    types
}

fn parse_type(text: &'static str) -> Type {
    if let Some(inner) = text.strip_prefix('[') {
        return Type::List(Box::new(parse_type(inner.strip_suffix(']').unwrap_or(inner))));
    }
    if let Some(inner) = text.strip_prefix('{') {
        return Type::Map(Box::new(parse_type(inner.strip_suffix('}').unwrap_or(inner))));
    }
    match text {
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "int32" => Type::Int32,
        "int64" => Type::Int64,
        "number" => Type::Number,
        "bool" => Type::Bool,
        "quantity" => Type::Quantity,
        "intstr" => Type::IntOrString,
        "time" => Type::Time,
        "microtime" => Type::MicroTime,
        "any" => Type::Any,
        name => Type::Object(name),
    }
}
