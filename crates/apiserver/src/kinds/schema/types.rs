//! The parsed form of `types.txt`.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

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
    /// An object with the fields of the named type, or anything that is no object (`JSONSchemaPropsOrBool`).
    ObjectOr(&'static str),
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

/// What a list is to server-side apply (`x-kubernetes-list-type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind<'a> {
    /// One value, owned as a whole.
    Atomic,
    /// Scalars, each an item of its own.
    Set,
    /// Objects, told apart by the values of these fields.
    Map(&'a [String]),
}

/// [`ListKind`], as a schema keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::kinds) enum ListType {
    /// One value.
    #[default]
    Atomic,
    /// Told apart by themselves.
    Set,
    /// Told apart by these fields.
    Map(Vec<String>),
}

impl ListType {
    pub(in crate::kinds) fn kind(&self) -> ListKind<'_> {
        match self {
            Self::Atomic => ListKind::Atomic,
            Self::Set => ListKind::Set,
            Self::Map(keys) => ListKind::Map(keys),
        }
    }
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
    /// What it is to server-side apply, if it is a list.
    pub(in crate::kinds) list: ListType,
    /// One value for server-side apply although it is a map.
    pub(in crate::kinds) atomic: bool,
    /// A struct that is never absent in Kubernetes' own form of the object.
    pub(in crate::kinds) embedded: bool,
    /// The value that the field has where it is left out and is a key of a list.
    pub(in crate::kinds) default: Option<Value>,
}

/// A type: its fields by name.
#[derive(Debug, Default)]
pub(in crate::kinds) struct TypeDef {
    /// One value for server-side apply (`x-kubernetes-map-type: atomic`).
    pub(in crate::kinds) atomic: bool,
    /// The fields.
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
            let (name, atomic) = line.strip_suffix(" atomic").map_or((line, false), |name| (name, true));
            current = name;
            types.entry(current).or_default().atomic = atomic;
            continue;
        };
        let mut words = rest.split(' ');
        let (Some(name), Some(ty)) = (words.next(), words.next()) else { continue };
        let mut field = Field {
            ty: parse_type(ty),
            always: name.ends_with('!'),
            merge: Merge::Plain,
            list: ListType::Atomic,
            atomic: false,
            embedded: false,
            default: None,
        };
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("merge", "") => field.merge = Merge::Set,
                ("merge", key) => field.merge = Merge::ByKey(key),
                ("list", "set") => field.list = ListType::Set,
                ("list", keys) => {
                    field.list = ListType::Map(keys.split_terminator(',').map(str::to_owned).collect());
                }
                ("atomic", _) => field.atomic = true,
                ("embedded", _) => field.embedded = true,
                ("default", value) => field.default = Some(value.into()),
                _ => {}
            }
        }
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
        name => match name.strip_suffix('?') {
            Some(name) => Type::ObjectOr(name),
            None => Type::Object(name),
        },
    }
}
