//! The parsed form of `numbers.txt`.

use std::collections::HashMap;
use std::sync::LazyLock;

/// How a value looks on the wire, and in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    String,
    Bytes,
    Int,
    Bool,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    /// A message that holds texts alone and is a list of them in JSON.
    Strings,
    /// Not shown.
    Skip,
    Message(&'static str),
}

/// How often a value comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Many {
    One,
    List,
    /// Keys are texts.
    Map,
}

/// A field of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    /// Its name in JSON; `None` when its fields stand in the JSON of the message around it.
    pub(super) name: Option<&'static str>,
    pub(super) ty: Type,
    pub(super) many: Many,
    /// Zero, false and the empty text are values, not absence.
    pub(super) zero: bool,
}

pub(super) type Message = HashMap<u32, Field>;

static MESSAGES: LazyLock<HashMap<&'static str, Message>> =
    LazyLock::new(|| parse(include_str!("numbers.txt")));

/// The message of that full name.
pub(super) fn message(name: &str) -> Option<&'static Message> {
    MESSAGES.get(name)
}

/// The table is part of the program; a test reads every line of it.
fn parse(text: &'static str) -> HashMap<&'static str, Message> {
    let mut messages: HashMap<&'static str, Message> = HashMap::new();
    let mut current = "";
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if !line.starts_with(' ') {
            current = line;
            messages.entry(current).or_default();
        } else if let Some((number, field)) = field(line) {
            messages.entry(current).or_default().insert(number, field);
        }
    }
    messages
}

fn field(line: &'static str) -> Option<(u32, Field)> {
    let mut words = line.split_whitespace();
    let (number, name, ty) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
    let list = ty.strip_prefix('[').and_then(|ty| ty.strip_suffix(']'));
    let map = ty.strip_prefix('{').and_then(|ty| ty.strip_suffix('}'));
    let (many, ty) = match (list, map) {
        (Some(ty), _) => (Many::List, ty),
        (_, Some(ty)) => (Many::Map, ty),
        (None, None) => (Many::One, ty),
    };
    let ty = match ty {
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "int32" | "int64" => Type::Int,
        "bool" => Type::Bool,
        "quantity" => Type::Quantity,
        "intstr" => Type::IntOrString,
        "time" => Type::Time,
        "microtime" => Type::MicroTime,
        "strings" => Type::Strings,
        "skip" => Type::Skip,
        name => Type::Message(name),
    };
    let name = (name != "-").then_some(name);
    Some((number, Field { name, ty, many, zero: words.next() == Some("=") }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_and_every_message_is_there() {
        let text = include_str!("numbers.txt");
        let lines = text.lines().filter(|line| line.starts_with(' ')).count();
        assert_eq!(MESSAGES.values().map(HashMap::len).sum::<usize>(), lines);
        for field in MESSAGES.values().flat_map(HashMap::values) {
            if let Type::Message(name) = field.ty {
                assert!(message(name).is_some(), "{name}");
            }
        }
    }
}
