//! A transaction as one netlink batch.

use netstate::nft::{
    BaseChain, ChainKind, Data, Element, Family, Hook, Missing, Name, NftError, Op, Policy, Rule, SetContent,
    SetDefinition, SetKind, Table, Transaction, Tuple, Type,
};

use super::bytecode::write_value;
use super::{layout, lower};
use crate::nfnetlink::{Writer, kind};

/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10;
/// One nest of elements must stay below 64 kB; this leaves room for the last one and for names.
const ELEMENT_NEST: usize = 48 * 1024;

/// `enum nf_tables_msg_types`.
pub(super) mod message {
    use super::SUBSYSTEM;
    const fn number(kind: u16) -> u16 {
        SUBSYSTEM << 8 | kind
    }
    pub(crate) const NEW_TABLE: u16 = number(0);
    pub(crate) const GET_TABLE: u16 = number(1);
    pub(crate) const DELETE_TABLE: u16 = number(2);
    pub(crate) const NEW_CHAIN: u16 = number(3);
    pub(crate) const GET_CHAIN: u16 = number(4);
    pub(crate) const DELETE_CHAIN: u16 = number(5);
    pub(crate) const NEW_RULE: u16 = number(6);
    pub(crate) const GET_RULE: u16 = number(7);
    pub(crate) const DELETE_RULE: u16 = number(8);
    pub(crate) const NEW_SET: u16 = number(9);
    pub(crate) const GET_SET: u16 = number(10);
    pub(crate) const DELETE_SET: u16 = number(11);
    pub(crate) const NEW_ELEMENT: u16 = number(12);
    pub(crate) const GET_ELEMENT: u16 = number(13);
    pub(crate) const DELETE_ELEMENT: u16 = number(14);
    pub(crate) const NEW_GENERATION: u16 = number(15);
    pub(crate) const GET_GENERATION: u16 = number(16);
    pub(crate) const DESTROY_ELEMENT: u16 = number(30);
}

/// Set flags (`enum nft_set_flags`).
pub(super) mod set_flag {
    pub(crate) const INTERVAL: u32 = 0x4;
    pub(crate) const MAP: u32 = 0x8;
    pub(crate) const TIMEOUT: u32 = 0x10;
    pub(crate) const DYNAMIC: u32 = 0x20;
    pub(crate) const CONCATENATION: u32 = 0x80;
}

/// `NFT_TABLE_F_OWNER`: nobody else may change the table, and it goes when the socket does.
const TABLE_OWNER: u32 = 2;
/// `NFT_DATA_VERDICT`.
pub(super) const VERDICT_TYPE: u32 = 0xffff_ff00;
/// `NFT_SET_ELEM_INTERVAL_END`.
pub(super) const INTERVAL_END: u32 = 1;

/// A batch ready to be sent.
pub(super) struct Batch {
    pub bytes: Vec<u8>,
    /// Sequence number of the first message.
    pub first: u32,
    /// Offset from `first` at which each op's messages start; in ascending order.
    starts: Vec<u32>,
    /// Number of messages, those that begin and end the batch included.
    count: u32,
}

impl Batch {
    /// Writes the batch; `sequences` reserves that many sequence numbers and gives the first.
    /// `owned`: a table that it makes belongs to the socket that sends it.
    pub fn new(
        transaction: &Transaction,
        owned: bool,
        mut sequences: impl FnMut(u32) -> u32,
    ) -> Result<Self, NftError> {
        let table = &transaction.table;
        let mut encoder = Encoder { writer: Writer::default(), table, owned, count: 0, sets: 0 };
        encoder.edge(kind::BATCH_BEGIN);
        let mut starts = Vec::with_capacity(transaction.ops.len());
        for (op_number, op) in transaction.ops.iter().enumerate() {
            starts.push(encoder.count);
            encoder.op(op).map_err(|reason| NftError::Unwritable {
                table: transaction.table.clone(),
                op_number,
                reason,
            })?;
        }
        encoder.edge(kind::BATCH_END);
        let count = encoder.count;
        let mut bytes = encoder.writer.finish().ok_or_else(|| NftError::Unwritable {
            table: transaction.table.clone(),
            op_number: 0,
            reason: "a single rule or definition is longer than 64 kB".to_owned(),
        })?;
        let first = sequences(count);
        shift_sequences(&mut bytes, first);
        Ok(Self { bytes, first, starts, count })
    }

    /// The op that a message belongs to; `None` for the edges of the batch.
    pub fn op_number(&self, sequence: u32) -> Option<usize> {
        let offset = sequence.checked_sub(self.first)?;
        if offset + 1 >= self.count {
            return None;
        }
        self.starts.partition_point(|start| *start <= offset).checked_sub(1)
    }
}

/// Messages are numbered from 0 while they are written, as their number is not known before.
fn shift_sequences(bytes: &mut [u8], first: u32) {
    let mut rest = bytes;
    while let Some(header) = rest.first_chunk_mut::<16>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let sequence = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
        header[8..12].copy_from_slice(&sequence.wrapping_add(first).to_ne_bytes());
        match rest.get_mut(length..) {
            Some(behind) if length > 0 => rest = behind,
            _ => return,
        }
    }
}

struct Encoder<'a> {
    writer: Writer,
    table: &'a Table,
    owned: bool,
    count: u32,
    sets: u32,
}

impl Encoder<'_> {
    fn edge(&mut self, kind: u16) {
        self.writer.message(kind, kind::REQUEST, self.count, 0, SUBSYSTEM, |_| {});
        self.count += 1;
    }

    /// All our messages name their table first, and the attribute for that is always 1.
    fn message(&mut self, kind: u16, flags: u16, body: impl FnOnce(&mut Writer)) {
        let table = self.table;
        let family = lower::family_number(table.family);
        self.writer.message(kind, kind::REQUEST | flags, self.count, family, 0, |writer| {
            writer.text(1, table.name.as_str());
            body(writer);
        });
        self.count += 1;
    }

    fn op(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::AddTable => {
                let owned = self.owned;
                self.message(message::NEW_TABLE, kind::CREATE, |writer| {
                    if owned {
                        writer.u32(2, TABLE_OWNER);
                    }
                });
            }
            Op::DeleteTable => self.message(message::DELETE_TABLE, 0, |_| {}),
            Op::AddChain { chain, base } => self.add_chain(chain, base.as_ref()),
            Op::DeleteChain { chain } => {
                self.message(message::DELETE_CHAIN, 0, |writer| writer.text(3, chain.as_str()));
            }
            Op::ReplaceRules { chain, rules } => self.replace_rules(chain, rules)?,
            Op::AddSet { set, definition } => self.add_set(set, definition)?,
            Op::DeleteSet { set } => {
                self.message(message::DELETE_SET, 0, |writer| writer.text(2, set.as_str()));
            }
            Op::AddElements { set, definition, elements } => {
                self.elements(message::NEW_ELEMENT, kind::CREATE, set, elements, |element, items| {
                    write_element(definition, element, items)
                })?;
            }
            Op::DeleteElements { set, definition, keys, missing } => {
                let kind = match missing {
                    Missing::Fail => message::DELETE_ELEMENT,
                    Missing::Ignore => message::DESTROY_ELEMENT,
                };
                self.elements(kind, 0, set, keys, |key, items| write_key(definition, key, items))?;
            }
        }
        Ok(())
    }

    fn add_chain(&mut self, chain: &Name, base: Option<&BaseChain>) {
        self.message(message::NEW_CHAIN, kind::CREATE, |writer| {
            writer.text(3, chain.as_str());
            if let Some(base) = base {
                writer.nest(4, |writer| {
                    writer.u32(1, hook_number(base.hook));
                    writer.bytes(2, &base.priority.to_be_bytes());
                });
                writer.u32(5, policy_number(base.policy));
                writer.text(7, kind_name(base.kind));
            }
        });
    }

    fn replace_rules(&mut self, chain: &Name, rules: &[Rule]) -> Result<(), String> {
        self.message(message::DELETE_RULE, 0, |writer| writer.text(2, chain.as_str()));
        for rule in rules {
            let expressions = lower::rule(self.table.family, rule)?;
            self.message(message::NEW_RULE, kind::CREATE | kind::APPEND, |writer| {
                writer.text(2, chain.as_str());
                writer.nest(4, |writer| expressions.iter().for_each(|expression| expression.write(writer)));
            });
        }
        Ok(())
    }

    fn add_set(&mut self, set: &Name, definition: &SetDefinition) -> Result<(), String> {
        check_family(self.table.family, &definition.key)?;
        let flags = flags(definition);
        let key_type = layout::type_number(&definition.key).ok_or("a key must have one to five fields")?;
        let data = match &definition.content {
            SetContent::Keys => None,
            SetContent::Verdicts => Some((VERDICT_TYPE, 0)),
            SetContent::Values(fields) => {
                let number = layout::type_number(fields).ok_or("data must have one to five fields")?;
                Some((number, layout::length(fields)))
            }
        };
        let timeout = match definition.kind {
            SetKind::Dynamic { size: 0, .. } => return Err("a dynamic set needs a size".to_owned()),
            SetKind::Dynamic { timeout: Some(timeout), .. } => Some(lower::whole_seconds(timeout)?),
            SetKind::Dynamic { timeout: None, .. } | SetKind::Plain | SetKind::Interval => None,
        };
        self.sets += 1;
        let identifier = self.sets;
        self.message(message::NEW_SET, kind::CREATE, |writer| {
            writer.text(2, set.as_str());
            writer.u32(3, flags);
            writer.u32(4, key_type);
            writer.u32(5, layout::length(&definition.key) as u32);
            if let Some((data_type, length)) = data {
                writer.u32(6, data_type);
                writer.u32(7, length as u32);
            }
            write_description(writer, definition);
            writer.u32(10, identifier);
            if let Some(timeout) = timeout {
                writer.u64(11, timeout);
            }
            writer.bytes(13, &user_data(definition));
        });
        Ok(())
    }

    /// As many messages as the length of a nest demands; each is written before the next is begun, for there may be
    /// hundreds of thousands of elements.
    fn elements<T>(
        &mut self,
        kind: u16,
        flags: u16,
        set: &Name,
        elements: &[T],
        write: impl Fn(&T, &mut Vec<Vec<u8>>) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut rest = elements;
        let mut items = Vec::new();
        while !rest.is_empty() {
            items.clear();
            let mut length = 0;
            while let [element, later @ ..] = rest
                && length < ELEMENT_NEST
            {
                let before = items.len();
                write(element, &mut items)?;
                length += items[before..].iter().map(|item| item.len() + 4).sum::<usize>();
                rest = later;
            }
            self.message(kind, flags, |writer| {
                writer.text(2, set.as_str());
                writer.nest(3, |writer| items.iter().for_each(|item| writer.bytes(NESTED_ELEMENT, item)));
            });
        }
        Ok(())
    }
}

/// `NFTA_LIST_ELEM` with the flag for nested attributes.
const NESTED_ELEMENT: u16 = 0x8001;

fn check_family(family: Family, fields: &[Type]) -> Result<(), String> {
    let other = match family {
        Family::Ip => Type::Ipv6Address,
        Family::Ip6 => Type::Ipv4Address,
    };
    if fields.contains(&other) {
        Err(format!("a table of family {family} has no use for {other}"))
    } else {
        Ok(())
    }
}

pub(super) fn flags(definition: &SetDefinition) -> u32 {
    let map = match definition.content {
        SetContent::Keys => 0,
        SetContent::Verdicts | SetContent::Values(_) => set_flag::MAP,
    };
    map | match definition.kind {
        SetKind::Plain => 0,
        SetKind::Interval if definition.key.len() > 1 => set_flag::INTERVAL | set_flag::CONCATENATION,
        SetKind::Interval => set_flag::INTERVAL,
        SetKind::Dynamic { .. } => set_flag::DYNAMIC | set_flag::TIMEOUT,
    }
}

/// `NFTA_SET_DESC`: the size of a dynamic set, the fields of a concatenation with ranges.
fn write_description(writer: &mut Writer, definition: &SetDefinition) {
    match definition.kind {
        SetKind::Dynamic { size, .. } => writer.nest(9, |writer| writer.u32(1, size)),
        SetKind::Interval if definition.key.len() > 1 => writer.nest(9, |writer| {
            writer.nest(2, |writer| {
                for field in &definition.key {
                    writer.nest(1, |writer| writer.u32(1, layout::width(*field) as u32));
                }
            });
        }),
        SetKind::Plain | SetKind::Interval => {}
    }
}

/// The byte orders of key and data, which only the nft tool reads: without them it prints a mark of 1 as 0x01000000.
/// Types and values are those of libnftnl's `udata.h` and nft's `enum byteorder`.
fn user_data(definition: &SetDefinition) -> Vec<u8> {
    const KEY_BYTE_ORDER: u8 = 0;
    const DATA_BYTE_ORDER: u8 = 1;
    let mut bytes = Vec::new();
    let mut put = |kind: u8, fields: &[Type]| {
        bytes.extend([kind, 4]);
        bytes.extend(byte_order(fields).to_ne_bytes());
    };
    put(KEY_BYTE_ORDER, &definition.key);
    if let SetContent::Values(fields) = &definition.content {
        put(DATA_BYTE_ORDER, fields);
    }
    bytes
}

const fn byte_order(fields: &[Type]) -> u32 {
    const NONE: u32 = 0;
    const HOST: u32 = 1;
    const NETWORK: u32 = 2;
    match fields {
        [Type::Mark | Type::Interface | Type::ClassId] => HOST,
        [_] => NETWORK,
        // The fields of a concatenation have the order of their types.
        _ => NONE,
    }
}

fn write_element(
    definition: &SetDefinition,
    element: &Element,
    items: &mut Vec<Vec<u8>>,
) -> Result<(), String> {
    let before = items.len();
    write_key(definition, &element.key, items)?;
    let mut writer = Writer::default();
    match (&element.data, &definition.content) {
        (Data::Nothing, SetContent::Keys) => {}
        (Data::Verdict(verdict), SetContent::Verdicts) => lower::raw_verdict(verdict).write(&mut writer, 2),
        (Data::Values(values), SetContent::Values(fields)) if values.types().eq(fields.iter().copied()) => {
            let bytes =
                layout::tuple_bytes(values).ok_or_else(|| format!("{element} has a range as its data"))?;
            write_value(&mut writer, 2, &bytes);
        }
        _ => return Err(format!("{element} does not hold what the set's definition says")),
    }
    // Only the first entry of an interval holds the data; the second marks its end.
    if let (Some(entry), Some(bytes)) = (items.get_mut(before), writer.finish()) {
        entry.extend(bytes);
    }
    Ok(())
}

/// Appends the entries that name a key: one, or two for an interval that the kernel keeps by its edges.
fn write_key(definition: &SetDefinition, key: &Tuple, items: &mut Vec<Vec<u8>>) -> Result<(), String> {
    if !key.types().eq(definition.key.iter().copied()) {
        return Err(format!("the key {key} has not the types of the set's definition"));
    }
    match definition.kind {
        SetKind::Plain | SetKind::Dynamic { .. } => {
            let bytes = layout::tuple_bytes(key).ok_or_else(|| format!("the key {key} has a range"))?;
            items.push(entry(&bytes, None, 0));
        }
        SetKind::Interval => {
            let (first, last) = layout::bounds(key)
                .ok_or_else(|| format!("the key {key} has a bare address where the set's keys are ranges"))?;
            let bytes = |values: &Tuple| {
                layout::tuple_bytes(values).ok_or_else(|| format!("the key {key} is no range"))
            };
            let (first, last) = (bytes(&first)?, bytes(&last)?);
            if definition.key.len() > 1 {
                items.push(entry(&first, Some(&last), 0));
            } else {
                items.push(entry(&first, None, 0));
                if let Some(end) = layout::successor(last) {
                    items.push(entry(&end, None, INTERVAL_END));
                }
            }
        }
    }
    Ok(())
}

fn entry(key: &[u8], key_end: Option<&[u8]>, flags: u32) -> Vec<u8> {
    let mut writer = Writer::default();
    write_value(&mut writer, 1, key);
    if flags != 0 {
        writer.u32(3, flags);
    }
    if let Some(end) = key_end {
        write_value(&mut writer, 10, end);
    }
    // A key has at most 80 bytes: it cannot outgrow an attribute.
    writer.finish().unwrap_or_default()
}

/// `NF_INET_*` of linux/netfilter.h.
pub(super) const fn hook_number(hook: Hook) -> u32 {
    match hook {
        Hook::Prerouting => 0,
        Hook::Input => 1,
        Hook::Forward => 2,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    }
}

/// `NF_DROP` and `NF_ACCEPT`.
pub(super) const fn policy_number(policy: Policy) -> u32 {
    match policy {
        Policy::Drop => 0,
        Policy::Accept => 1,
    }
}

/// What the kernel calls a kind of base chain.
pub(super) const fn kind_name(kind: ChainKind) -> &'static str {
    match kind {
        ChainKind::Filter => "filter",
        ChainKind::Nat => "nat",
        ChainKind::Route => "route",
    }
}
