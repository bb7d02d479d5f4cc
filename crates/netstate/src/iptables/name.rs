use std::fmt;

/// Longest name of a chain in bytes (`XT_EXTENSION_MAXNAMELEN` less the terminating zero).
pub const NAME_MAX: usize = 28;

/// The name of a chain: 1 to 28 bytes, no white space and no control characters, not starting with `-`, `!` or `"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainName([u8; NAME_MAX]);

/// Why a text is no [`ChainName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no name of an iptables chain: it must have 1 to {NAME_MAX} bytes without white space, and not start \
     with `-`, `!` or a quote"
)]
pub struct InvalidChainName {
    /// The rejected text.
    pub text: String,
}

impl ChainName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`InvalidChainName`] when iptables would not take it.
    pub fn new(text: &str) -> Result<Self, InvalidChainName> {
        let bad = |c: char| c.is_whitespace() || c.is_control();
        if text.is_empty() || text.len() > NAME_MAX || text.starts_with(['-', '!', '"']) || text.contains(bad)
        {
            return Err(InvalidChainName { text: text.to_owned() });
        }
        let mut bytes = [0; NAME_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self(bytes))
    }

    /// A name known when the program is compiled; use it in `const` items so that a bad one does not compile.
    ///
    /// # Panics
    /// When it is empty, too long, or holds anything but letters, digits, `-` and `_`, or starts with `-`.
    pub const fn constant(text: &'static str) -> Self {
        let from = text.as_bytes();
        assert!(!from.is_empty() && from.len() <= NAME_MAX && from[0] != b'-', "not the name of a chain");
        let mut bytes = [0; NAME_MAX];
        let mut index = 0;
        while index < from.len() {
            let byte = from[index];
            assert!(byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_', "not the name of a chain");
            bytes[index] = byte;
            index += 1;
        }
        Self(bytes)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(NAME_MAX);
        // Only whole texts get in.
        std::str::from_utf8(&self.0[..end]).unwrap_or_default()
    }
}

impl fmt::Debug for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A table that the kernel has built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Lets packets through, or not.
    Filter,
    /// Changes packets.
    Mangle,
    /// Translates the addresses of connections: only their first packets get here.
    Nat,
}

impl Table {
    /// Every table that is known here.
    pub const ALL: [Self; 3] = [Self::Filter, Self::Mangle, Self::Nat];

    /// The chains it has from the start.
    pub const fn built_in(self) -> &'static [ChainName] {
        const PREROUTING: ChainName = ChainName::constant("PREROUTING");
        const INPUT: ChainName = ChainName::constant("INPUT");
        const FORWARD: ChainName = ChainName::constant("FORWARD");
        const OUTPUT: ChainName = ChainName::constant("OUTPUT");
        const POSTROUTING: ChainName = ChainName::constant("POSTROUTING");
        match self {
            Self::Filter => &[INPUT, FORWARD, OUTPUT],
            Self::Mangle => &[PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING],
            Self::Nat => &[PREROUTING, INPUT, OUTPUT, POSTROUTING],
        }
    }

    /// As `-t` takes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Mangle => "mangle",
            Self::Nat => "nat",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["INPUT", "KUBE-SVC-RL3JAE4GN7VOGDGP", "f2b-sshd", "a", &"x".repeat(28)] {
            assert_eq!(ChainName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "-A", "!x", "\"x", "a b", "a\tb", "a\nb", &"x".repeat(29)] {
            assert!(ChainName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_are_in_the_order_of_their_texts() {
        let mut names = ["KUBE-SEP-B", "KUBE", "KUBE-SEP-AB", "A"].map(|name| ChainName::new(name).unwrap());
        names.sort();
        assert_eq!(names.map(|name| name.to_string()), ["A", "KUBE", "KUBE-SEP-AB", "KUBE-SEP-B"]);
        assert_eq!(ChainName::constant("KUBE-SERVICES"), ChainName::new("KUBE-SERVICES").unwrap());
    }
}
