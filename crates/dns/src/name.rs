use std::fmt;

/// The most bytes a name has on the wire, the root's length byte included (RFC 1035, 2.3.4).
const LONGEST_NAME: usize = 255;
/// The most bytes of a label.
const LONGEST_LABEL: usize = 63;

/// An absolute domain name in wire form, without compression and in lower case: names compare without regard
/// to case (RFC 4343).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

/// Why a text or bytes are no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Two dots beside each other, or a dot at the beginning.
    #[error("a label of it is empty")]
    EmptyLabel,
    /// A label of more than 63 bytes.
    #[error("a label of it is longer than 63 bytes")]
    LongLabel,
    /// More than 255 bytes.
    #[error("it is longer than 255 bytes")]
    Long,
    /// The message ends inside it.
    #[error("the message ends inside it")]
    Short,
    /// A compression pointer that leads forward or to itself, or one where none may be.
    #[error("a compression pointer of it leads nowhere")]
    Pointer,
}

impl Name {
    /// `.`, of which every name is part.
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// Reads `svc.cluster.local`, with or without the last dot; the empty text is the root.
    ///
    /// # Errors
    /// When a label is empty or longer than 63 bytes, or the name longer than 255.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in text.split('.').filter(|_| !text.is_empty()) {
            push_label(&mut wire, label.as_bytes())?;
        }
        Self::closed(wire)
    }

    /// The name made of these labels in front of `parent`.
    ///
    /// # Errors
    /// As [`Name::parse`].
    pub fn below(labels: &[&str], parent: &Self) -> Result<Self, NameError> {
        let mut wire = Vec::with_capacity(parent.0.len() + 32);
        for label in labels {
            push_label(&mut wire, label.as_bytes())?;
        }
        wire.extend_from_slice(&parent.0[..parent.0.len() - 1]);
        Self::closed(wire)
    }

    /// Reads the name that begins at byte `at` of a message, and says where it ends there.
    ///
    /// Pointers must lead backwards, each further than the one before (RFC 1035, 4.1.4): no message makes this
    /// loop.
    ///
    /// # Errors
    /// When what stands there is no name.
    pub fn read(message: &[u8], at: usize) -> Result<(Self, usize), NameError> {
        let mut wire = Vec::with_capacity(48);
        let (mut place, mut end, mut lowest) = (at, None, at);
        loop {
            let length = usize::from(*message.get(place).ok_or(NameError::Short)?);
            match length {
                0 => return Ok((Self::closed(wire)?, end.unwrap_or(place + 1))),
                1..=LONGEST_LABEL => {
                    let label = message.get(place + 1..place + 1 + length).ok_or(NameError::Short)?;
                    push_label(&mut wire, label)?;
                    place += 1 + length;
                }
                192..=255 => {
                    let low = usize::from(*message.get(place + 1).ok_or(NameError::Short)?);
                    let target = (length & 63) << 8 | low;
                    if target >= lowest {
                        return Err(NameError::Pointer);
                    }
                    end.get_or_insert(place + 2);
                    (place, lowest) = (target, target);
                }
                _ => return Err(NameError::Pointer),
            }
        }
    }

    /// Where the name that begins at byte `at` of a message ends there, without looking behind pointers.
    ///
    /// # Errors
    /// When what stands there is no name.
    pub fn skip(message: &[u8], at: usize) -> Result<usize, NameError> {
        let mut place = at;
        loop {
            let length = usize::from(*message.get(place).ok_or(NameError::Short)?);
            match length {
                0 => return Ok(place + 1),
                1..=LONGEST_LABEL => place += 1 + length,
                192..=255 => return Ok(place + 2),
                _ => return Err(NameError::Pointer),
            }
            if place - at > LONGEST_NAME {
                return Err(NameError::Long);
            }
        }
    }

    fn closed(mut wire: Vec<u8>) -> Result<Self, NameError> {
        wire.push(0);
        if wire.len() > LONGEST_NAME {
            return Err(NameError::Long);
        }
        Ok(Self(wire.into_boxed_slice()))
    }

    /// The bytes on the wire, the root's zero at the end.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// The labels from left to right, without the root's.
    pub fn labels(&self) -> Labels<'_> {
        Labels(&self.0)
    }

    /// Whether it is `zone` or a name below it.
    pub fn is_within(&self, zone: &Self) -> bool {
        self.labels_below(zone).is_some()
    }

    /// The labels in front of `zone`; `None` when the name is not in it.
    pub fn labels_below(&self, zone: &Self) -> Option<Labels<'_>> {
        let cut = self.0.len().checked_sub(zone.0.len())?;
        if self.0[cut..] != *zone.0 {
            return None;
        }
        // Equal bytes could begin in the middle of a label.
        let mut rest = Labels(&self.0);
        while rest.0.len() > zone.0.len() {
            rest.next();
        }
        (rest.0.len() == zone.0.len()).then_some(Labels(&self.0[..cut]))
    }
}

fn push_label(wire: &mut Vec<u8>, label: &[u8]) -> Result<(), NameError> {
    if label.is_empty() {
        return Err(NameError::EmptyLabel);
    }
    let length = u8::try_from(label.len()).ok().filter(|length| usize::from(*length) <= LONGEST_LABEL);
    wire.push(length.ok_or(NameError::LongLabel)?);
    wire.extend(label.iter().map(u8::to_ascii_lowercase));
    // The root's zero is still to come.
    if wire.len() >= LONGEST_NAME { Err(NameError::Long) } else { Ok(()) }
}

/// Labels of a name, from left to right.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a>(&'a [u8]);

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first()?;
        let length = usize::from(*length);
        if length == 0 {
            return None;
        }
        let (label, rest) = rest.split_at(length.min(rest.len()));
        self.0 = rest;
        Some(label)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() == 1 {
            return f.write_str(".");
        }
        for label in self.labels() {
            for byte in label {
                match byte {
                    b'.' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                    0x21..=0x7e => write!(f, "{}", char::from(*byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        let name = Name::parse("Httpd-Svc.Default.svc.cluster.local").unwrap();
        assert_eq!(name.to_string(), "httpd-svc.default.svc.cluster.local.");
        assert_eq!(Name::parse(".").unwrap().wire(), [0]);
        assert_eq!(Name::parse("a..b"), Err(NameError::EmptyLabel));
        assert_eq!(Name::parse(&"a".repeat(64)), Err(NameError::LongLabel));
        assert_eq!(Name::parse(&vec!["a".repeat(62); 5].join(".")), Err(NameError::Long));
    }

    #[test]
    fn a_zone_is_a_suffix_of_whole_labels() {
        let zone = Name::parse("cluster.local").unwrap();
        let below = |text: &str| {
            let name = Name::parse(text).unwrap();
            name.labels_below(&zone).map(|labels| labels.map(<[u8]>::to_vec).collect::<Vec<_>>())
        };
        assert_eq!(below("cluster.local"), Some(vec![]));
        assert_eq!(below("a.b.cluster.local"), Some(vec![b"a".to_vec(), b"b".to_vec()]));
        assert_eq!(below("mycluster.local"), None);
        assert_eq!(below("local"), None);
        // The bytes of the zone inside one label.
        let inside = Name::read(b"\x10ab\x07cluster\x05local\0\0", 0).unwrap().0;
        assert!(inside.labels_below(&zone).is_none());
    }

    #[test]
    fn pointers_lead_backwards_only() {
        assert_eq!(Name::read(&[0xc0, 0], 0), Err(NameError::Pointer));
        assert_eq!(Name::read(&[0xc0, 2, 0xc0, 0], 2), Err(NameError::Pointer));
        let (name, end) = Name::read(b"\x01a\0\x01b\xc0\0", 3).unwrap();
        assert_eq!((name.to_string().as_str(), end), ("b.a.", 7));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_name_or_an_error(bytes: Vec<u8>, at in 0_usize..300) {
            if let Ok((name, end)) = Name::read(&bytes, at) {
                proptest::prop_assert!(name.wire().len() <= LONGEST_NAME && end <= bytes.len());
                proptest::prop_assert_eq!(Name::read(name.wire(), 0).unwrap().0, name);
            }
            let _ = Name::skip(&bytes, at);
        }
    }
}
