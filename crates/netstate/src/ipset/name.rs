use std::borrow::Cow;
use std::fmt;

/// The kernel's longest name (`IPSET_MAXNAMELEN` less the closing zero).
const LONGEST: usize = 31;

/// The name of a set: 1 to 31 bytes, visible ASCII without quotes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetName(Cow<'static, str>);

/// Why a text is not the name of a set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not the name of an ipset: use 1 to 31 letters, digits, '-', '_', ':' and '.'")]
pub struct SetNameError {
    /// What was given.
    pub name: String,
}

impl SetName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`SetNameError`] when the kernel or the tools would not take it.
    pub fn parse(name: &str) -> Result<Self, SetNameError> {
        let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\' | b'`');
        if (1..=LONGEST).contains(&name.len()) && name.bytes().all(fits) {
            Ok(Self(Cow::Owned(name.to_owned())))
        } else {
            Err(SetNameError { name: name.to_owned() })
        }
    }

    /// A name known when the program is compiled; use it in `const` items so that a bad one does not compile.
    ///
    /// # Panics
    /// When it is empty, too long, or holds anything but letters, digits and `-`.
    #[must_use]
    pub const fn constant(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= LONGEST, "the name of a set has 1 to 31 bytes");
        let mut index = 0;
        while index < bytes.len() {
            assert!(bytes[index].is_ascii_alphanumeric() || bytes[index] == b'-', "not the name of a set");
            index += 1;
        }
        Self(Cow::Borrowed(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
