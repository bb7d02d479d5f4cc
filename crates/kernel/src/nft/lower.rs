//! From typed rules to the kernel's expressions.
//!
//! Keys are put together from register 0 on. What a rule writes into a map besides the key starts at
//! [`DATA_SLOT`], so that an IPv6 key of two addresses, a protocol and a port, and an address with a port beside it,
//! fit into the sixteen registers.

use netstate::nft::{
    AddressType, Comparison, ConnectionState, ConnectionStatus, Family, Name, NatTarget, Operand,
    PacketPriority, Reject, Rule, Selector, Statement, Type, UpdateData, UpdateMode, Value, Verdict,
};

use super::bytecode::{Destination, Expression, RawVerdict, SLOTS, Slot, code};
use super::layout;

/// Where the data of an update lie; the last five registers.
pub(super) const DATA_SLOT: Slot = Slot(11);
const FIRST: Slot = Slot(0);

/// linux/netfilter/nf_tables.h: `nft_payload_bases`, `nft_meta_keys`, `nft_ct_keys`, `nft_fib_*`, `nft_reject_types`.
pub(super) mod number {
    pub(crate) const NETWORK_HEADER: u32 = 1;
    pub(crate) const TRANSPORT_HEADER: u32 = 2;
    pub(crate) const META_PRIORITY: u32 = 2;
    pub(crate) const META_MARK: u32 = 3;
    pub(crate) const META_IIFNAME: u32 = 6;
    pub(crate) const META_OIFNAME: u32 = 7;
    pub(crate) const META_L4PROTO: u32 = 16;
    pub(crate) const CT_STATE: u32 = 0;
    pub(crate) const CT_STATUS: u32 = 2;
    pub(crate) const CT_PROTO_DST: u32 = 12;
    pub(crate) const CT_DST_IP: u32 = 20;
    pub(crate) const CT_DST_IP6: u32 = 22;
    pub(crate) const CT_ORIGINAL: u8 = 0;
    pub(crate) const FIB_SOURCE: u32 = 1;
    pub(crate) const FIB_DESTINATION: u32 = 2;
    pub(crate) const FIB_ADDRESS_TYPE: u32 = 3;
    pub(crate) const REJECT_ICMP: u32 = 0;
    pub(crate) const REJECT_TCP_RESET: u32 = 1;
    /// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`.
    pub(crate) const NAT_FULLY_RANDOM: u32 = 16;
}

/// The expressions for a rule; the error says what cannot be written.
pub(super) fn rule(family: Family, rule: &Rule) -> Result<Vec<Expression>, String> {
    let mut expressions = Vec::new();
    for statement in &rule.statements {
        lower(family, statement, &mut expressions)?;
    }
    Ok(expressions)
}

/// The kernel's number of an address family (`NFPROTO_*`).
pub(crate) const fn family_number(family: Family) -> u8 {
    match family {
        Family::Ip => 2,
        Family::Ip6 => 10,
    }
}

fn lower(family: Family, statement: &Statement, out: &mut Vec<Expression>) -> Result<(), String> {
    match statement {
        Statement::Match { selector, comparison, operand } => {
            out.push(load(family, *selector, FIRST)?);
            lower_operand(family, *selector, *comparison == Comparison::Equal, operand, out)?;
        }
        Statement::Lookup { key, comparison, set } => {
            load_key(family, key, FIRST, out)?;
            out.push(Expression::Lookup {
                set: set.to_string(),
                key: FIRST,
                to: Destination::None,
                inverted: *comparison == Comparison::NotEqual,
            });
        }
        Statement::VerdictMap { key, map } => {
            look_up(family, key, map, Destination::Verdict, out)?;
        }
        Statement::Counter => out.push(Expression::Counter),
        Statement::SetMark { mask, value } => lower_mark(*mask, *value, out)?,
        Statement::SetPriority(priority) => lower_priority(family, priority, out)?,
        Statement::Update { mode, key, data, timeout, set } => {
            let data = lower_update_data(family, data, out)?;
            let end = load_key(family, key, FIRST, out)?;
            if data.is_some() && end > DATA_SLOT.0 {
                return Err("the key of an update is too long to stand beside its data".to_owned());
            }
            let timeout = timeout.map(whole_seconds).transpose()?;
            let update = match mode {
                UpdateMode::Add => false,
                UpdateMode::Update => true,
            };
            out.push(Expression::Dynset { set: set.to_string(), update, key: FIRST, data, timeout });
        }
        Statement::DestinationNat(target) => lower_nat(family, target, out)?,
        Statement::Redirect { key, map } => {
            look_up(family, key, map, Destination::Slot(FIRST), out)?;
            out.push(Expression::Redirect { port: FIRST });
        }
        Statement::NoTrack => out.push(Expression::NoTrack),
        Statement::Masquerade { fully_random } => {
            let flags = if *fully_random { number::NAT_FULLY_RANDOM } else { 0 };
            out.push(Expression::Masquerade { flags });
        }
        Statement::Reject(reject) => out.push(lower_reject(family, *reject)),
        Statement::Verdict(verdict) => out.push(Expression::Verdict(raw_verdict(verdict))),
        Statement::Foreign { expression } => return Err(format!("{expression} was found, not planned")),
    }
    Ok(())
}

/// Milliseconds. Less than a second would not survive the kernel's own clock unchanged.
pub(super) fn whole_seconds(timeout: std::time::Duration) -> Result<u64, String> {
    if timeout.subsec_nanos() != 0 || timeout.is_zero() {
        return Err(format!("the timeout {timeout:?} is not a number of whole seconds"));
    }
    timeout.as_secs().checked_mul(1000).ok_or_else(|| format!("the timeout {timeout:?} is too long"))
}

pub(super) fn raw_verdict(verdict: &Verdict) -> RawVerdict {
    match verdict {
        Verdict::Accept => RawVerdict::Code(code::ACCEPT),
        Verdict::Drop => RawVerdict::Code(code::DROP),
        Verdict::Continue => RawVerdict::Code(code::CONTINUE),
        Verdict::Return => RawVerdict::Code(code::RETURN),
        Verdict::Jump(chain) => RawVerdict::Jump(chain.to_string()),
        Verdict::Goto(chain) => RawVerdict::Goto(chain.to_string()),
    }
}

/// Loads a key and what the map holds under it.
fn look_up(
    family: Family,
    key: &[Selector],
    map: &Name,
    to: Destination,
    out: &mut Vec<Expression>,
) -> Result<(), String> {
    load_key(family, key, FIRST, out)?;
    out.push(Expression::Lookup { set: map.to_string(), key: FIRST, to, inverted: false });
    Ok(())
}

/// Loads a key and returns the first register behind it.
fn load_key(family: Family, key: &[Selector], start: Slot, out: &mut Vec<Expression>) -> Result<u8, String> {
    if key.is_empty() {
        return Err("a key has no fields".to_owned());
    }
    let mut next = start.0;
    for selector in key {
        let field =
            selector.key_type(family).ok_or_else(|| format!("{selector:?} cannot be a field of a key"))?;
        if next + layout::slots(field) > SLOTS {
            return Err("a key is longer than the kernel's registers".to_owned());
        }
        out.push(load(family, *selector, Slot(next))?);
        next += layout::slots(field);
    }
    Ok(next)
}

fn lower_update_data(
    family: Family,
    data: &UpdateData,
    out: &mut Vec<Expression>,
) -> Result<Option<Slot>, String> {
    match data {
        UpdateData::Nothing => Ok(None),
        UpdateData::Selectors(selectors) => {
            load_key(family, selectors, DATA_SLOT, out)?;
            Ok(Some(DATA_SLOT))
        }
    }
}

/// What brings a selector's value into registers.
pub(super) fn load(family: Family, selector: Selector, to: Slot) -> Result<Expression, String> {
    let (source, destination, length) = match family {
        Family::Ip => (12, 16, 4),
        Family::Ip6 => (8, 24, 16),
    };
    let network = |offset| Expression::Payload { base: number::NETWORK_HEADER, offset, length, to };
    let transport = |offset| Expression::Payload { base: number::TRANSPORT_HEADER, offset, length: 2, to };
    let meta = |key| Expression::Meta { key, to };
    let fib = |flags| Expression::Fib { flags, result: number::FIB_ADDRESS_TYPE, to };
    let original = |key| Expression::Ct { key, direction: Some(number::CT_ORIGINAL), to };
    Ok(match selector {
        Selector::SourceAddress => network(source),
        Selector::DestinationAddress => network(destination),
        Selector::Protocol => meta(number::META_L4PROTO),
        Selector::SourcePort => transport(0),
        Selector::DestinationPort => transport(2),
        Selector::InputInterface => meta(number::META_IIFNAME),
        Selector::OutputInterface => meta(number::META_OIFNAME),
        Selector::Mark => meta(number::META_MARK),
        Selector::Priority => meta(number::META_PRIORITY),
        Selector::SourceType => fib(number::FIB_SOURCE),
        Selector::DestinationType => fib(number::FIB_DESTINATION),
        Selector::ConnectionState => Expression::Ct { key: number::CT_STATE, direction: None, to },
        Selector::ConnectionStatus => Expression::Ct { key: number::CT_STATUS, direction: None, to },
        Selector::OriginalDestinationAddress => original(match family {
            Family::Ip => number::CT_DST_IP,
            Family::Ip6 => number::CT_DST_IP6,
        }),
        Selector::OriginalDestinationPort => original(number::CT_PROTO_DST),
        Selector::Random { modulus: 0 } | Selector::Turn { modulus: 0 } => {
            return Err("there is no number below 0".to_owned());
        }
        Selector::Random { modulus } => Expression::Number { random: true, modulus, to },
        Selector::Turn { modulus } => Expression::Number { random: false, modulus, to },
    })
}

fn lower_operand(
    family: Family,
    selector: Selector,
    equal: bool,
    operand: &Operand,
    out: &mut Vec<Expression>,
) -> Result<(), String> {
    let mismatch = || format!("{selector:?} cannot be compared with {operand:?}");
    let fits = |value: &Value| Some(value.value_type()) == selector.key_type(family);
    let compare = |equal, data| Expression::Compare { slot: FIRST, equal, data };
    match operand {
        Operand::Value(Value::Prefix(net)) if fits(&Value::Prefix(*net)) => {
            let mask = layout::address_bytes(net.netmask());
            let xor = vec![0; mask.len()];
            out.push(Expression::Bitwise { from: FIRST, to: FIRST, mask, xor });
            out.push(compare(equal, layout::address_bytes(net.network())));
        }
        Operand::Value(value) if fits(value) => {
            out.push(compare(equal, layout::value_bytes(value).ok_or_else(mismatch)?));
        }
        Operand::Range(first, last) if fits(first) && fits(last) && is_ordered(first) && first <= last => {
            let first = layout::value_bytes(first).ok_or_else(mismatch)?;
            let last = layout::value_bytes(last).ok_or_else(mismatch)?;
            out.push(Expression::Range { slot: FIRST, inside: equal, first, last });
        }
        Operand::MaskedMark { mask, value } if selector == Selector::Mark && value & !mask == 0 => {
            out.push(mask_by(*mask, 0));
            out.push(compare(equal, value.to_ne_bytes().to_vec()));
        }
        Operand::AddressType(kind)
            if matches!(selector, Selector::SourceType | Selector::DestinationType) =>
        {
            out.push(compare(equal, address_type_number(*kind).to_ne_bytes().to_vec()));
        }
        // Shorter than the register, and without the zero at the end of a whole name.
        Operand::InterfacePrefix(prefix) if selector.key_type(family) == Some(Type::Interface) => {
            out.push(compare(equal, prefix.as_str().as_bytes().to_vec()));
        }
        Operand::States(states) if selector == Selector::ConnectionState && is_ascending(states) => {
            any_bit(states.iter().map(|state| state_bit(*state)).sum(), equal, out);
        }
        Operand::Statuses(statuses) if selector == Selector::ConnectionStatus && is_ascending(statuses) => {
            any_bit(statuses.iter().map(|status| status_bit(*status)).sum(), equal, out);
        }
        Operand::Value(_)
        | Operand::Range(..)
        | Operand::MaskedMark { .. }
        | Operand::AddressType(_)
        | Operand::InterfacePrefix(_)
        | Operand::States(_)
        | Operand::Statuses(_) => return Err(mismatch()),
    }
    Ok(())
}

/// Ranges of marks would compare bytes in the machine's order, ranges of names make no sense.
const fn is_ordered(value: &Value) -> bool {
    matches!(value, Value::Address(_) | Value::Port(_) | Value::Protocol(_))
}

fn is_ascending<T: Ord>(items: &[T]) -> bool {
    !items.is_empty() && items.windows(2).all(|pair| pair[0] < pair[1])
}

fn any_bit(bits: u32, equal: bool, out: &mut Vec<Expression>) {
    out.push(mask_by(bits, 0));
    out.push(Expression::Compare { slot: FIRST, equal: !equal, data: vec![0; 4] });
}

fn mask_by(mask: u32, xor: u32) -> Expression {
    Expression::Bitwise {
        from: FIRST,
        to: FIRST,
        mask: mask.to_ne_bytes().to_vec(),
        xor: xor.to_ne_bytes().to_vec(),
    }
}

fn lower_mark(mask: u32, value: u32, out: &mut Vec<Expression>) -> Result<(), String> {
    if value & !mask != 0 {
        return Err(format!("the mark {value:#x} has bits outside its mask {mask:#x}"));
    }
    if mask == u32::MAX {
        out.push(Expression::Immediate { to: FIRST, data: value.to_ne_bytes().to_vec() });
    } else {
        out.push(Expression::Meta { key: number::META_MARK, to: FIRST });
        out.push(mask_by(!mask, value));
    }
    out.push(Expression::SetMeta { key: number::META_MARK, from: FIRST });
    Ok(())
}

fn lower_priority(
    family: Family,
    priority: &PacketPriority,
    out: &mut Vec<Expression>,
) -> Result<(), String> {
    match priority {
        PacketPriority::Value(class) => {
            out.push(Expression::Immediate { to: FIRST, data: class.to_ne_bytes().to_vec() });
        }
        PacketPriority::Map { key, map } => {
            look_up(family, key, map, Destination::Slot(FIRST), out)?;
        }
    }
    out.push(Expression::SetMeta { key: number::META_PRIORITY, from: FIRST });
    Ok(())
}

/// Where the port lies behind an address in register 0.
pub(super) const fn port_slot(family: Family) -> Slot {
    Slot(layout::slots(match family {
        Family::Ip => Type::Ipv4Address,
        Family::Ip6 => Type::Ipv6Address,
    }))
}

fn lower_nat(family: Family, target: &NatTarget, out: &mut Vec<Expression>) -> Result<(), String> {
    let port = match target {
        NatTarget::Address { address, port } => {
            let data = layout::address_bytes(*address);
            if data.len() != usize::from(port_slot(family).0) * 4 {
                return Err(format!("{address} is not of the table's family"));
            }
            out.push(Expression::Immediate { to: FIRST, data });
            port.map(|port| {
                let to = port_slot(family);
                out.push(Expression::Immediate { to, data: port.to_be_bytes().to_vec() });
                to
            })
        }
        NatTarget::Map { key, map } => {
            look_up(family, key, map, Destination::Slot(FIRST), out)?;
            Some(port_slot(family))
        }
    };
    out.push(Expression::DestinationNat { family: u32::from(family_number(family)), address: FIRST, port });
    Ok(())
}

/// RFC 792 and RFC 4443: destination unreachable, by code.
pub(super) const fn lower_reject(family: Family, reject: Reject) -> Expression {
    let (kind, code) = match (reject, family) {
        (Reject::TcpReset, Family::Ip | Family::Ip6) => (number::REJECT_TCP_RESET, 0),
        (Reject::PortUnreachable, Family::Ip) => (number::REJECT_ICMP, 3),
        (Reject::PortUnreachable, Family::Ip6) => (number::REJECT_ICMP, 4),
        (Reject::AdminProhibited, Family::Ip) => (number::REJECT_ICMP, 13),
        (Reject::AdminProhibited, Family::Ip6) => (number::REJECT_ICMP, 1),
    };
    Expression::Reject { kind, code }
}

/// `RTN_*` of linux/rtnetlink.h.
pub(super) const fn address_type_number(kind: AddressType) -> u32 {
    match kind {
        AddressType::Unicast => 1,
        AddressType::Local => 2,
        AddressType::Broadcast => 3,
        AddressType::Multicast => 5,
    }
}

/// `NF_CT_STATE_*_BIT` of linux/netfilter/nf_conntrack_common.h.
pub(super) const fn state_bit(state: ConnectionState) -> u32 {
    match state {
        ConnectionState::Invalid => 1,
        ConnectionState::Established => 2,
        ConnectionState::Related => 4,
        ConnectionState::New => 8,
        ConnectionState::Untracked => 64,
    }
}

/// `IPS_SRC_NAT`, `IPS_DST_NAT` of linux/netfilter/nf_conntrack_common.h.
pub(super) const fn status_bit(status: ConnectionStatus) -> u32 {
    match status {
        ConnectionStatus::SourceNat => 16,
        ConnectionStatus::DestinationNat => 32,
    }
}
