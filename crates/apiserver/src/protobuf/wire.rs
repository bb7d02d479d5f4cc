//! The protobuf wire format: numbered entries, each a number or bytes.

/// The bytes are not what the format allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged;

/// The value of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Raw<'a> {
    /// Wire types 0, 1 and 5.
    Number(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
}

/// The entries of a message, with their field numbers. Ends after the first damage.
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn entry(&mut self) -> Result<(u32, Raw<'a>), Damaged> {
        let tag = varint(&mut self.rest)?;
        let number = u32::try_from(tag >> 3).map_err(|_| Damaged)?;
        let raw = match tag & 7 {
            0 => Raw::Number(varint(&mut self.rest)?),
            1 => Raw::Number(u64::from_le_bytes(self.fixed()?)),
            2 => {
                let length = usize::try_from(varint(&mut self.rest)?).map_err(|_| Damaged)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Damaged)?;
                self.rest = rest;
                Raw::Bytes(bytes)
            }
            5 => Raw::Number(u32::from_le_bytes(self.fixed()?).into()),
            // Groups are not used by Kubernetes.
            _ => return Err(Damaged),
        };
        Ok((number, raw))
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Damaged)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

impl<'a> Iterator for Cursor<'a> {
    type Item = Result<(u32, Raw<'a>), Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_err() {
            self.rest = &[];
        }
        Some(entry)
    }
}

/// A number in groups of 7 bits, the lowest first, 10 bytes at most.
pub(super) fn varint(bytes: &mut &[u8]) -> Result<u64, Damaged> {
    let mut out = 0;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Damaged)?;
        *bytes = rest;
        // The tenth byte holds the one bit that is left; what is above it is lost, as in Go's decoder.
        out |= u64::from(byte & 0x7f).wrapping_shl(shift);
        if byte & 0x80 == 0 {
            return Ok(out);
        }
    }
    Err(Damaged)
}
