//! Netlink messages: a header, the netfilter header, attributes.

use super::Attributes;

/// Message kinds and flags of netlink itself (linux/netlink.h, linux/netfilter/nfnetlink.h).
pub(crate) mod kind {
    pub const ERROR: u16 = 2;
    pub const DONE: u16 = 3;
    pub const BATCH_BEGIN: u16 = 16;
    pub const BATCH_END: u16 = 17;

    pub const REQUEST: u16 = 0x1;
    pub const ACKNOWLEDGE: u16 = 0x4;
    pub const DUMP: u16 = 0x300;
    pub const EXCLUSIVE: u16 = 0x200;
    pub const CREATE: u16 = 0x400;
    pub const APPEND: u16 = 0x800;
}

const HEADER: usize = 16;
const NETFILTER_HEADER: usize = 4;
/// `NLM_F_DUMP_INTR`: something changed while the dump ran.
const DUMP_DISTURBED: u16 = 0x10;

/// One message as the kernel sent it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub kind: u16,
    pub sequence: u32,
    flags: u16,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The attributes behind the netfilter header, or the generic one, which is as long.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.body.get(NETFILTER_HEADER..).unwrap_or_default())
    }

    /// The address family in the netfilter header.
    pub fn family(&self) -> Option<u8> {
        self.body.first().copied()
    }

    pub const fn disturbed(&self) -> bool {
        self.flags & DUMP_DISTURBED != 0
    }

    /// The error number in a message of kind `ERROR` (or `DONE`), positive; 0 is no error.
    pub fn error(&self) -> i32 {
        match self.body.first_chunk::<4>() {
            Some(bytes) => i32::from_ne_bytes(*bytes).saturating_neg(),
            None => nix::errno::Errno::EBADMSG as i32,
        }
    }
}

/// The messages in what one receive brought. Reading ends at the first that cannot be one.
pub(crate) struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let (header, _) = self.0.split_first_chunk::<HEADER>()?;
        let length =
            usize::try_from(u32::from_ne_bytes([header[0], header[1], header[2], header[3]])).ok()?;
        let body = self.0.get(HEADER..length)?;
        let message = Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            body,
        };
        self.0 = self.0.get(length.checked_next_multiple_of(4)?..).unwrap_or_default();
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Writer;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_is_read_back() {
        let mut writer = Writer::default();
        writer.message(0x0a01, kind::REQUEST, 7, 2, 10, |writer| writer.text(1, "t"));
        writer.message(kind::BATCH_END, kind::REQUEST, 8, 0, 10, |_| {});
        let bytes = writer.finish().unwrap();
        let messages: Vec<_> = Messages::new(&bytes).collect();
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[0].kind, messages[0].sequence, messages[0].family()), (0x0a01, 7, Some(2)));
        assert_eq!(messages[0].attributes().text(1), Some("t"));
        assert!(!messages[0].disturbed());
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_walked(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for message in Messages::new(&bytes) {
                message.error();
                prop_assert!(message.attributes().into_iter().count() <= bytes.len());
            }
        }
    }
}
