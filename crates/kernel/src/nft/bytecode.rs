//! The expressions that the kernel runs for a rule, as its netlink interface carries them
//! (linux/netfilter/nf_tables.h). Text to the left is the kernel's name.

use crate::nfnetlink::{Attributes, Writer};

/// One of the sixteen 32-bit registers, 0 to 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(pub u8);

/// Number of registers.
pub(super) const SLOTS: u8 = 16;

/// Where a lookup puts what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination {
    /// Nowhere: the set has only keys.
    None,
    /// Into registers.
    Slot(Slot),
    /// It is a verdict, and done.
    Verdict,
}

/// What an element, or an immediate, can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RawVerdict {
    /// One of the kernel's codes without a chain.
    Code(i32),
    /// `NFT_JUMP`.
    Jump(String),
    /// `NFT_GOTO`.
    Goto(String),
}

/// `NF_DROP`, `NF_ACCEPT`, `NFT_CONTINUE`, `NFT_RETURN`.
pub(super) mod code {
    pub(crate) const DROP: i32 = 0;
    pub(crate) const ACCEPT: i32 = 1;
    pub(crate) const CONTINUE: i32 = -1;
    pub(crate) const JUMP: i32 = -3;
    pub(crate) const GOTO: i32 = -4;
    pub(crate) const RETURN: i32 = -5;
}

/// One step of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    /// `payload`: bytes of the packet.
    Payload { base: u32, offset: u32, length: u32, to: Slot },
    /// `meta`: what the kernel knows about the packet.
    Meta { key: u32, to: Slot },
    /// `meta`, written.
    SetMeta { key: u32, from: Slot },
    /// `ct`: what is known about the connection.
    Ct { key: u32, direction: Option<u8>, to: Slot },
    /// `fib`: what the routing table says.
    Fib { flags: u32, result: u32, to: Slot },
    /// `numgen`: 0 to `modulus` - 1, `random` or in turn.
    Number { random: bool, modulus: u32, to: Slot },
    /// `bitwise`: `to = from & mask ^ xor`.
    Bitwise { from: Slot, to: Slot, mask: Vec<u8>, xor: Vec<u8> },
    /// `cmp` for equality.
    Compare { slot: Slot, equal: bool, data: Vec<u8> },
    /// `range`, both ends included.
    Range { slot: Slot, inside: bool, first: Vec<u8>, last: Vec<u8> },
    /// `lookup`.
    Lookup { set: String, key: Slot, to: Destination, inverted: bool },
    /// `dynset`.
    Dynset { set: String, update: bool, key: Slot, data: Option<Slot>, timeout: Option<u64> },
    /// `immediate` into registers.
    Immediate { to: Slot, data: Vec<u8> },
    /// `immediate` into the verdict.
    Verdict(RawVerdict),
    /// `nat`, destination.
    DestinationNat { family: u32, address: Slot, port: Option<Slot> },
    /// `redir`.
    Redirect { port: Slot },
    /// `masq`.
    Masquerade { flags: u32 },
    /// `reject`.
    Reject { kind: u32, code: u8 },
    /// `notrack`.
    NoTrack,
    /// `counter`; counts are not kept.
    Counter,
    /// Anything else, by the kernel's name.
    Foreign(String),
}

const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
/// `NFT_REG_VERDICT`.
const VERDICT_REGISTER: u32 = 0;
const DYNSET_ADD: u32 = 0;
const DYNSET_UPDATE: u32 = 1;

impl Slot {
    /// nft names the registers that start a 128-bit one by that one, and so does the kernel when asked.
    fn register(self) -> u32 {
        let number = u32::from(self.0);
        if number % 4 == 0 { 1 + number / 4 } else { 8 + number }
    }

    fn from_register(register: u32) -> Option<Self> {
        let number = match register {
            1..=4 => (register - 1) * 4,
            8..=23 => register - 8,
            _ => return None,
        };
        u8::try_from(number).ok().map(Self)
    }
}

impl Expression {
    fn name(&self) -> &str {
        match self {
            Self::Payload { .. } => "payload",
            Self::Meta { .. } | Self::SetMeta { .. } => "meta",
            Self::Ct { .. } => "ct",
            Self::Fib { .. } => "fib",
            Self::Number { .. } => "numgen",
            Self::Bitwise { .. } => "bitwise",
            Self::Compare { .. } => "cmp",
            Self::Range { .. } => "range",
            Self::Lookup { .. } => "lookup",
            Self::Dynset { .. } => "dynset",
            Self::Immediate { .. } | Self::Verdict(_) => "immediate",
            Self::DestinationNat { .. } => "nat",
            Self::Redirect { .. } => "redir",
            Self::Masquerade { .. } => "masq",
            Self::Reject { .. } => "reject",
            Self::NoTrack => "notrack",
            Self::Counter => "counter",
            Self::Foreign(name) => name,
        }
    }

    /// Writes the expression as one entry of a rule's list.
    pub fn write(&self, writer: &mut Writer) {
        writer.nest(LIST_ELEMENT, |writer| {
            writer.text(EXPRESSION_NAME, self.name());
            writer.nest(EXPRESSION_DATA, |writer| self.write_data(writer));
        });
    }

    fn write_data(&self, writer: &mut Writer) {
        match self {
            Self::Payload { base, offset, length, to } => {
                writer.u32(1, to.register());
                writer.u32(2, *base);
                writer.u32(3, *offset);
                writer.u32(4, *length);
            }
            Self::Meta { key, to } => {
                writer.u32(1, to.register());
                writer.u32(2, *key);
            }
            Self::SetMeta { key, from } => {
                writer.u32(2, *key);
                writer.u32(3, from.register());
            }
            Self::Ct { key, direction, to } => {
                writer.u32(1, to.register());
                writer.u32(2, *key);
                if let Some(direction) = direction {
                    writer.u8(3, *direction);
                }
            }
            Self::Fib { flags, result, to } => {
                writer.u32(1, to.register());
                writer.u32(2, *result);
                writer.u32(3, *flags);
            }
            Self::Number { random, modulus, to } => {
                writer.u32(1, to.register());
                writer.u32(2, *modulus);
                writer.u32(3, if *random { RANDOM } else { IN_TURN });
                writer.u32(4, 0);
            }
            Self::Bitwise { from, to, mask, xor } => {
                writer.u32(1, from.register());
                writer.u32(2, to.register());
                writer.u32(3, mask.len() as u32);
                write_value(writer, 4, mask);
                write_value(writer, 5, xor);
            }
            Self::Compare { slot, equal, data } => {
                writer.u32(1, slot.register());
                writer.u32(2, u32::from(!*equal));
                write_value(writer, 3, data);
            }
            Self::Range { slot, inside, first, last } => {
                writer.u32(1, slot.register());
                writer.u32(2, u32::from(!*inside));
                write_value(writer, 3, first);
                write_value(writer, 4, last);
            }
            Self::Lookup { set, key, to, inverted } => {
                writer.text(1, set);
                writer.u32(2, key.register());
                match to {
                    Destination::None => {}
                    Destination::Slot(slot) => writer.u32(3, slot.register()),
                    Destination::Verdict => writer.u32(3, VERDICT_REGISTER),
                }
                writer.u32(5, u32::from(*inverted));
            }
            Self::Dynset { set, update, key, data, timeout } => {
                writer.text(1, set);
                writer.u32(3, if *update { DYNSET_UPDATE } else { DYNSET_ADD });
                writer.u32(4, key.register());
                if let Some(data) = data {
                    writer.u32(5, data.register());
                }
                if let Some(timeout) = timeout {
                    writer.u64(6, *timeout);
                }
            }
            Self::Immediate { to, data } => {
                writer.u32(1, to.register());
                write_value(writer, 2, data);
            }
            Self::Verdict(verdict) => {
                writer.u32(1, VERDICT_REGISTER);
                verdict.write(writer, 2);
            }
            Self::DestinationNat { family, address, port } => {
                writer.u32(1, DESTINATION_NAT);
                writer.u32(2, *family);
                writer.u32(3, address.register());
                if let Some(port) = port {
                    writer.u32(5, port.register());
                }
            }
            Self::Redirect { port } => writer.u32(1, port.register()),
            Self::Masquerade { flags } => {
                if *flags != 0 {
                    writer.u32(1, *flags);
                }
            }
            Self::Reject { kind, code } => {
                writer.u32(1, *kind);
                writer.u8(2, *code);
            }
            Self::NoTrack | Self::Counter | Self::Foreign(_) => {}
        }
    }

    /// Reads a rule's list.
    pub fn read_list(list: Attributes<'_>) -> Vec<Self> {
        list.into_iter()
            .map(|(_, entry)| {
                let entry = Attributes::new(entry);
                let name = entry.text(EXPRESSION_NAME).unwrap_or("?");
                let data = entry.nest(EXPRESSION_DATA).unwrap_or(Attributes::new(&[]));
                Self::read(name, data).unwrap_or_else(|| Self::Foreign(name.to_owned()))
            })
            .collect()
    }

    fn read(name: &str, data: Attributes<'_>) -> Option<Self> {
        let slot = |kind| data.u32(kind).and_then(Slot::from_register);
        let value = |kind| data.nest(kind)?.find(DATA_VALUE).map(<[u8]>::to_vec);
        Some(match name {
            "payload" => {
                Self::Payload { base: data.u32(2)?, offset: data.u32(3)?, length: data.u32(4)?, to: slot(1)? }
            }
            "meta" => match data.u32(3) {
                Some(_) => Self::SetMeta { key: data.u32(2)?, from: slot(3)? },
                None => Self::Meta { key: data.u32(2)?, to: slot(1)? },
            },
            "ct" => Self::Ct { key: data.u32(2)?, direction: data.u8(3), to: slot(1)? },
            "fib" => Self::Fib { flags: data.u32(3)?, result: data.u32(2)?, to: slot(1)? },
            "numgen" if data.u32(4).unwrap_or(0) == 0 => {
                let random = match data.u32(3)? {
                    IN_TURN => false,
                    RANDOM => true,
                    _ => return None,
                };
                Self::Number { random, modulus: data.u32(2)?, to: slot(1)? }
            }
            // An operation other than mask-and-xor is a shift.
            "bitwise" if data.u32(6).unwrap_or(0) == 0 => {
                Self::Bitwise { from: slot(1)?, to: slot(2)?, mask: value(4)?, xor: value(5)? }
            }
            "cmp" => Self::Compare { slot: slot(1)?, equal: flag(data.u32(2)?)?, data: value(3)? },
            "range" => {
                Self::Range { slot: slot(1)?, inside: flag(data.u32(2)?)?, first: value(3)?, last: value(4)? }
            }
            "lookup" => Self::Lookup {
                set: data.text(1)?.to_owned(),
                key: slot(2)?,
                to: match data.u32(3) {
                    None => Destination::None,
                    Some(VERDICT_REGISTER) => Destination::Verdict,
                    Some(_) => Destination::Slot(slot(3)?),
                },
                inverted: !flag(data.u32(5).unwrap_or(0))?,
            },
            "dynset" if data.find(7).is_none() => Self::Dynset {
                set: data.text(1)?.to_owned(),
                update: match data.u32(3)? {
                    DYNSET_ADD => false,
                    DYNSET_UPDATE => true,
                    _ => return None,
                },
                key: slot(4)?,
                data: match data.find(5) {
                    Some(_) => Some(slot(5)?),
                    None => None,
                },
                timeout: data.u64(6).filter(|timeout| *timeout != 0),
            },
            "immediate" if data.u32(1)? == VERDICT_REGISTER => {
                Self::Verdict(RawVerdict::read(data.nest(2)?)?)
            }
            "immediate" => Self::Immediate { to: slot(1)?, data: value(2)? },
            "nat" => Self::read_nat(data)?,
            "redir" => Self::read_redirect(data)?,
            "masq" if data.find(2).is_none() => Self::Masquerade { flags: data.u32(1).unwrap_or(0) },
            "reject" => Self::Reject { kind: data.u32(1)?, code: data.u8(2).unwrap_or(0) },
            "notrack" => Self::NoTrack,
            "counter" => Self::Counter,
            _ => return None,
        })
    }

    fn read_nat(data: Attributes<'_>) -> Option<Self> {
        let slot = |kind| data.u32(kind).and_then(Slot::from_register);
        // The kernel repeats the lower end of a range as the upper one.
        let single = |low: u16, high: u16| data.find(high).is_none() || data.find(high) == data.find(low);
        // It sets the flags for "address" and "port" by itself (1 and 2).
        let plain = data.u32(7).unwrap_or(0) & !3 == 0;
        if data.u32(1)? != DESTINATION_NAT || !plain || !single(3, 4) || !single(5, 6) {
            return None;
        }
        let port = match data.find(5) {
            Some(_) => Some(slot(5)?),
            None => None,
        };
        Some(Self::DestinationNat { family: data.u32(2)?, address: slot(3)?, port })
    }

    fn read_redirect(data: Attributes<'_>) -> Option<Self> {
        // The kernel repeats the port as the upper end of a range, and sets the flag for "port" (2) by itself.
        let single = data.find(2).is_none() || data.find(2) == data.find(1);
        let plain = data.u32(3).unwrap_or(0) & !2 == 0;
        let port = data.u32(1).and_then(Slot::from_register)?;
        (single && plain).then_some(Self::Redirect { port })
    }
}

/// `NFT_NG_INCREMENTAL`.
const IN_TURN: u32 = 0;
/// `NFT_NG_RANDOM`.
const RANDOM: u32 = 1;
/// `NFT_NAT_DNAT`.
const DESTINATION_NAT: u32 = 1;

/// 0 is the plain sense of a comparison (`NFT_CMP_EQ`, `NFT_RANGE_EQ`), 1 the inverted.
const fn flag(number: u32) -> Option<bool> {
    match number {
        0 => Some(true),
        1 => Some(false),
        _ => None,
    }
}

/// Writes `NFTA_DATA_VALUE` in a nest.
pub(super) fn write_value(writer: &mut Writer, kind: u16, data: &[u8]) {
    writer.nest(kind, |writer| writer.bytes(DATA_VALUE, data));
}

/// Reads what [`write_value`] writes.
pub(super) fn read_value(data: Attributes<'_>) -> Option<&[u8]> {
    data.find(DATA_VALUE)
}

impl RawVerdict {
    pub fn write(&self, writer: &mut Writer, kind: u16) {
        let (code, chain) = match self {
            Self::Code(code) => (*code, None),
            Self::Jump(chain) => (code::JUMP, Some(chain)),
            Self::Goto(chain) => (code::GOTO, Some(chain)),
        };
        writer.nest(kind, |writer| {
            writer.nest(DATA_VERDICT, |writer| {
                writer.bytes(VERDICT_CODE, &code.to_be_bytes());
                if let Some(chain) = chain {
                    writer.text(VERDICT_CHAIN, chain);
                }
            });
        });
    }

    /// Reads what [`write`](Self::write) writes.
    pub fn read(data: Attributes<'_>) -> Option<Self> {
        let verdict = data.nest(DATA_VERDICT)?;
        let number = i32::from_be_bytes(verdict.find(VERDICT_CODE)?.try_into().ok()?);
        Some(match number {
            code::JUMP => Self::Jump(verdict.text(VERDICT_CHAIN)?.to_owned()),
            code::GOTO => Self::Goto(verdict.text(VERDICT_CHAIN)?.to_owned()),
            number => Self::Code(number),
        })
    }
}
