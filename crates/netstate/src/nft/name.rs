//! Names and addresses of nftables objects.

use std::fmt;
use std::sync::Arc;

/// Longest name of a table, chain or set in bytes (`NFT_NAME_MAXLEN` less the terminating zero).
pub const NAME_MAX: usize = 255;

/// The name of a table, chain or set: a letter, `_` or `.`, then letters, digits and `/ - _ .`.
///
/// That is what the `nft` tool reads back; the kernel itself would take any string. Cloning is cheap.
#[derive(Clone)]
pub struct Name(Text);

#[derive(Clone)]
enum Text {
    Fixed(&'static str),
    Shared(Arc<str>),
}

/// Why a text is no [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no nftables name: it must start with a letter, `_` or `.`, go on with letters, digits and `/-_.`, \
     and have at most {NAME_MAX} bytes"
)]
pub struct InvalidName {
    /// The rejected text.
    pub text: String,
}

impl Name {
    /// Parses a name.
    ///
    /// # Errors
    /// [`InvalidName`] when `nft` could not read the name back.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        if is_name(text.as_bytes()) {
            Ok(Self(Text::Shared(Arc::from(text))))
        } else {
            Err(InvalidName { text: text.to_owned() })
        }
    }

    /// A name known when the program is compiled; use it in `const` items so that a bad one does not compile.
    ///
    /// # Panics
    /// When `text` is no name.
    pub const fn constant(text: &'static str) -> Self {
        assert!(is_name(text.as_bytes()), "not an nftables name");
        Self(Text::Fixed(text))
    }

    /// This name with a number behind it: `lb-` and 3 make `lb-3`.
    pub fn numbered(&self, number: u64) -> Self {
        Self(Text::Shared(Arc::from(format!("{self}{number}"))))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Fixed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

const fn is_name(bytes: &[u8]) -> bool {
    if bytes.is_empty() || bytes.len() > NAME_MAX {
        return false;
    }
    if !bytes[0].is_ascii_alphabetic() && bytes[0] != b'_' && bytes[0] != b'.' {
        return false;
    }
    let mut index = 1;
    while index < bytes.len() {
        let byte = bytes[index];
        if !byte.is_ascii_alphanumeric() && !matches!(byte, b'/' | b'-' | b'_' | b'.') {
            return false;
        }
        index += 1;
    }
    true
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl std::hash::Hash for Name {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The address family of a table. `inet` is deliberately absent: one table per family keeps every key one address long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4 packets, `ip`.
    Ip,
    /// IPv6 packets, `ip6`.
    Ip6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        })
    }
}

/// Which table is meant: the kernel knows tables by family and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table {
    /// Family of the packets it sees.
    pub family: Family,
    /// Its name, unique within the family.
    pub name: Name,
}

impl Table {
    /// A table's address.
    pub const fn new(family: Family, name: Name) -> Self {
        Self { family, name }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "portolan-services", "lb-3", "_x", "cali/x.y"] {
            assert_eq!(Name::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "3x", "-x", "a b", "a;b", "ä", "a\"", &"x".repeat(256)] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn constant_and_parsed_names_are_equal() {
        const LB: Name = Name::constant("lb-");
        assert_eq!(LB.numbered(3), Name::new("lb-3").unwrap());
        assert_eq!(format!("{:<6}|", LB), "lb-   |");
    }
}
