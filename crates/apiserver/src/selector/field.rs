//! Field selectors, in the grammar of `apimachinery/pkg/fields`: `a=b`, `a==b`, `a!=b` joined by commas; `\` escapes
//! `,`, `=` and itself in values.

use std::fmt;

/// All requirements must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<FieldRequirement>);

/// One field, compared with one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRequirement {
    /// `spec.nodeName`.
    pub field: String,
    value: String,
    equal: bool,
}

impl FieldRequirement {
    /// Whether a field with this value is selected.
    pub fn matches(&self, value: &str) -> bool {
        (value == self.value) == self.equal
    }
}

impl FieldSelector {
    /// Parses the text; an empty one selects everything.
    ///
    /// # Errors
    /// The part that does not follow the grammar.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = split(text).into_iter().filter(|part| !part.is_empty());
        parts.map(requirement).collect::<Result<_, _>>().map(Self)
    }

    /// Everything is selected.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields that are looked at.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|requirement| requirement.field.as_str())
    }

    /// The single requirements.
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.0
    }

    /// The value that the field must have.
    pub fn exact(&self, field: &str) -> Option<&str> {
        let found = self.0.iter().find(|requirement| requirement.equal && requirement.field == field);
        found.map(|requirement| requirement.value.as_str())
    }

    /// Whether an object is selected; `value_of` reads its fields.
    pub fn matches(&self, value_of: impl Fn(&str) -> String) -> bool {
        self.0.iter().all(|requirement| requirement.matches(&value_of(&requirement.field)))
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, FieldRequirement { field, value, equal }) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let operator = if *equal { "=" } else { "!=" };
            write!(out, "{comma}{field}{operator}{value}")?;
        }
        Ok(())
    }
}

/// At commas that are not escaped.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn requirement(part: &str) -> Result<FieldRequirement, String> {
    for (at, _) in part.char_indices() {
        let rest = &part[at..];
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = rest.strip_prefix(operator) {
                let field = part[..at].to_owned();
                return unescape(value).map(|value| FieldRequirement { field, value, equal });
            }
        }
    }
    Err(format!("{part:?}; can't understand {part:?}"))
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                _ => return Err(format!("invalid escape sequence in {value:?}")),
            },
            ',' | '=' => return Err(format!("unescaped character in {value:?}")),
            other => out.push(other),
        }
    }
    Ok(out)
}
