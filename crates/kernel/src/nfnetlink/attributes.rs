//! Netlink attributes: length, kind, payload, padded to four bytes (linux/netlink.h).

const NESTED: u16 = 0x8000;
const KIND_MASK: u16 = 0x3fff;
const HEADER: usize = 4;

/// Writes messages and attributes one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    oversized: bool,
}

impl Writer {
    /// Writes a netlink message with the header that all netfilter messages have.
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        sequence: u32,
        family: u8,
        resource: u16,
        body: impl FnOnce(&mut Self),
    ) {
        let [high, low] = resource.to_be_bytes();
        self.framed(kind, flags, sequence, [family, 0, high, low], body);
    }

    /// Writes a netlink message with the header of the generic netlink: a command of a family, in its first version.
    pub fn generic(
        &mut self,
        family: u16,
        flags: u16,
        sequence: u32,
        command: u8,
        body: impl FnOnce(&mut Self),
    ) {
        self.framed(family, flags, sequence, [command, 1, 0, 0], body);
    }

    fn framed(
        &mut self,
        kind: u16,
        flags: u16,
        sequence: u32,
        header: [u8; 4],
        body: impl FnOnce(&mut Self),
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&header);
        body(self);
        match u32::try_from(self.bytes.len() - start) {
            Ok(length) => self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => self.oversized = true,
        }
    }

    pub fn bytes(&mut self, kind: u16, payload: &[u8]) {
        self.attribute(kind, |writer| writer.bytes.extend_from_slice(payload));
    }

    /// A zero-terminated string.
    pub fn text(&mut self, kind: u16, text: &str) {
        self.attribute(kind, |writer| {
            writer.bytes.extend_from_slice(text.as_bytes());
            writer.bytes.push(0);
        });
    }

    pub fn u8(&mut self, kind: u16, number: u8) {
        self.bytes(kind, &[number]);
    }

    /// A number in network byte order, as nftables wants them all.
    pub fn u32(&mut self, kind: u16, number: u32) {
        self.bytes(kind, &number.to_be_bytes());
    }

    /// A number in network byte order.
    pub fn u64(&mut self, kind: u16, number: u64) {
        self.bytes(kind, &number.to_be_bytes());
    }

    /// Attributes within an attribute.
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        self.attribute(kind | NESTED, body);
    }

    /// Attributes that are written already.
    pub fn raw(&mut self, attributes: &[u8]) {
        self.bytes.extend_from_slice(attributes);
    }

    /// All that was written; `None` if an attribute became longer than its length field can say.
    pub fn finish(self) -> Option<Vec<u8>> {
        if self.oversized { None } else { Some(self.bytes) }
    }

    fn attribute(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        body(self);
        match u16::try_from(self.bytes.len() - start) {
            Ok(length) => self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => self.oversized = true,
        }
        let padded = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(padded, 0);
    }
}

/// Attributes side by side, read where they lie. Reading ends at the first that cannot be one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn find(self, kind: u16) -> Option<&'a [u8]> {
        self.into_iter().find(|(found, _)| *found == kind).map(|(_, payload)| payload)
    }

    pub fn nest(self, kind: u16) -> Option<Self> {
        self.find(kind).map(Self)
    }

    pub fn text(self, kind: u16) -> Option<&'a str> {
        let payload = self.find(kind)?;
        std::str::from_utf8(payload.strip_suffix(&[0]).unwrap_or(payload)).ok()
    }

    pub fn u8(self, kind: u16) -> Option<u8> {
        self.find(kind)?.first().copied()
    }

    /// A number in network byte order.
    pub fn u16(self, kind: u16) -> Option<u16> {
        self.find(kind)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// A number in network byte order.
    pub fn u32(self, kind: u16) -> Option<u32> {
        self.find(kind)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// A number in network byte order.
    pub fn u64(self, kind: u16) -> Option<u64> {
        self.find(kind)?.try_into().ok().map(u64::from_be_bytes)
    }
}

impl<'a> Iterator for AttributeIterator<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (header, _) = self.0.split_first_chunk::<HEADER>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & KIND_MASK;
        let payload = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    }
}

/// See [`Attributes`].
pub(crate) struct AttributeIterator<'a>(&'a [u8]);

impl<'a> IntoIterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);
    type IntoIter = AttributeIterator<'a>;

    fn into_iter(self) -> AttributeIterator<'a> {
        AttributeIterator(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.text(1, "lb-3");
        writer.nest(2, |writer| {
            writer.u8(1, 7);
            writer.u32(2, 0x0102_0304);
            writer.u64(3, 5);
        });
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let attributes = Attributes::new(&bytes);
        assert_eq!(attributes.text(1), Some("lb-3"));
        let nest = attributes.nest(2).unwrap();
        assert_eq!((nest.u8(1), nest.u32(2), nest.u64(3)), (Some(7), Some(0x0102_0304), Some(5)));
        assert_eq!(nest.u32(1), None, "of another length");
        assert_eq!(nest.find(9), None);
    }

    #[test]
    fn too_long_an_attribute_is_noticed() {
        let mut writer = Writer::default();
        writer.bytes(1, &vec![0; 70_000]);
        assert!(writer.finish().is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_walked(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let total: usize = Attributes::new(&bytes).into_iter().map(|(_, payload)| payload.len()).sum();
            prop_assert!(total <= bytes.len());
        }
    }
}
