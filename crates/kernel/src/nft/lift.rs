//! From the kernel's expressions back to typed rules.
//!
//! Reading guesses, then lowers its guess and compares: a rule is either exactly what it looks like or foreign. So a
//! mistake here can make us rewrite a chain for nothing, never leave a wrong one.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use netstate::nft::{
    AddressType, Comparison, ConnectionState, ConnectionStatus, Family, InterfaceName, Name, NatTarget,
    Operand, PacketPriority, Reject, Rule, Selector, Statement, Type, UpdateData, UpdateMode, Value, Verdict,
};

use super::bytecode::{Destination, Expression, RawVerdict, Slot, code};
use super::layout;
use super::lower::{self, number};

/// The rule that these expressions are, or one [`Statement::Foreign`].
pub(super) fn rule(family: Family, expressions: &[Expression]) -> Rule {
    let lifted = Lifter { family, loaded: Vec::new() }.lift(expressions);
    match lifted {
        Some(rule) if lower::rule(family, &rule).is_ok_and(|lowered| lowered == expressions) => rule,
        _ => Rule::new([Statement::Foreign { expression: format!("{expressions:?}") }]),
    }
}

/// The verdict that the kernel's code stands for.
pub(super) fn verdict(raw: &RawVerdict) -> Option<Verdict> {
    Some(match raw {
        RawVerdict::Code(code::ACCEPT) => Verdict::Accept,
        RawVerdict::Code(code::DROP) => Verdict::Drop,
        RawVerdict::Code(code::CONTINUE) => Verdict::Continue,
        RawVerdict::Code(code::RETURN) => Verdict::Return,
        RawVerdict::Code(_) => return None,
        RawVerdict::Jump(chain) => Verdict::Jump(Name::new(chain).ok()?),
        RawVerdict::Goto(chain) => Verdict::Goto(Name::new(chain).ok()?),
    })
}

/// What a register was loaded with and not yet used for.
enum Loaded {
    Selector(Selector),
    Masked(Selector, Vec<u8>, Vec<u8>),
    Found { key: Vec<Selector>, map: Name },
    Constant(Vec<u8>),
}

struct Lifter {
    family: Family,
    loaded: Vec<(Slot, Loaded)>,
}

impl Lifter {
    fn lift(mut self, expressions: &[Expression]) -> Option<Rule> {
        let mut statements = Vec::new();
        for expression in expressions {
            statements.extend(self.step(expression)?);
        }
        Some(Rule { statements })
    }

    /// One expression makes a statement, or is a part of one to come (`Some(None)`).
    fn step(&mut self, expression: &Expression) -> Option<Option<Statement>> {
        if let Some((slot, selector)) = self.selector(expression) {
            self.loaded.push((slot, Loaded::Selector(selector)));
            return Some(None);
        }
        Some(match expression {
            Expression::Bitwise { mask, xor, .. } => {
                let (slot, selector) = self.last_selector()?;
                self.loaded.push((slot, Loaded::Masked(selector, mask.clone(), xor.clone())));
                None
            }
            Expression::Compare { equal, data, .. } => Some(self.comparison(*equal, data)?),
            Expression::Range { inside, first, last, .. } => {
                let (_, selector) = self.last_selector()?;
                let field = selector.key_type(self.family)?;
                let operand = Operand::Range(layout::value(field, first)?, layout::value(field, last)?);
                Some(Statement::Match { selector, comparison: sense(*inside), operand })
            }
            Expression::Lookup { set, key, to, inverted } => self.lookup(set, *key, *to, *inverted)?,
            Expression::Dynset { set, update, key, data, timeout } => {
                let key = self.key(*key)?;
                let data = match data {
                    None => UpdateData::Nothing,
                    Some(slot) => UpdateData::Selectors(self.key(*slot)?),
                };
                let mode = if *update { UpdateMode::Update } else { UpdateMode::Add };
                let timeout = timeout.map(Duration::from_millis);
                Some(Statement::Update { mode, key, data, timeout, set: Name::new(set).ok()? })
            }
            Expression::Immediate { to, data } => {
                self.loaded.push((*to, Loaded::Constant(data.clone())));
                None
            }
            Expression::SetMeta { key: number::META_MARK, .. } => Some(self.set_mark()?),
            Expression::SetMeta { key: number::META_PRIORITY, .. } => Some(self.set_priority()?),
            Expression::Verdict(raw) => Some(Statement::Verdict(verdict(raw)?)),
            Expression::DestinationNat { port, .. } => {
                Some(Statement::DestinationNat(self.nat_target(*port)?))
            }
            Expression::Redirect { .. } => match self.loaded.pop()?.1 {
                Loaded::Found { key, map } => Some(Statement::Redirect { key, map }),
                Loaded::Selector(_) | Loaded::Masked(..) | Loaded::Constant(_) => return None,
            },
            Expression::Masquerade { flags } => {
                Some(Statement::Masquerade { fully_random: flags & number::NAT_FULLY_RANDOM != 0 })
            }
            Expression::Reject { .. } => Some(Statement::Reject(self.reject(expression)?)),
            Expression::Counter => Some(Statement::Counter),
            Expression::NoTrack => Some(Statement::NoTrack),
            Expression::Payload { .. }
            | Expression::Meta { .. }
            | Expression::SetMeta { .. }
            | Expression::Ct { .. }
            | Expression::Fib { .. }
            | Expression::Number { .. }
            | Expression::Foreign(_) => return None,
        })
    }

    /// The selector that an expression loads, found by trying: there are few.
    fn selector(&self, expression: &Expression) -> Option<(Slot, Selector)> {
        let to = match expression {
            Expression::Number { random: true, modulus, to } => {
                return Some((*to, Selector::Random { modulus: *modulus }));
            }
            Expression::Number { random: false, modulus, to } => {
                return Some((*to, Selector::Turn { modulus: *modulus }));
            }
            Expression::Payload { to, .. }
            | Expression::Meta { to, .. }
            | Expression::Ct { to, .. }
            | Expression::Fib { to, .. } => *to,
            _ => return None,
        };
        const SELECTORS: [Selector; 15] = [
            Selector::SourceAddress,
            Selector::DestinationAddress,
            Selector::Protocol,
            Selector::SourcePort,
            Selector::DestinationPort,
            Selector::InputInterface,
            Selector::OutputInterface,
            Selector::Mark,
            Selector::Priority,
            Selector::SourceType,
            Selector::DestinationType,
            Selector::ConnectionState,
            Selector::ConnectionStatus,
            Selector::OriginalDestinationAddress,
            Selector::OriginalDestinationPort,
        ];
        let same = |selector: &Selector| {
            lower::load(self.family, *selector, to).is_ok_and(|load| load == *expression)
        };
        SELECTORS.into_iter().find(same).map(|selector| (to, selector))
    }

    fn last_selector(&mut self) -> Option<(Slot, Selector)> {
        match self.loaded.pop()? {
            (slot, Loaded::Selector(selector)) => Some((slot, selector)),
            _ => None,
        }
    }

    /// Takes the selectors that lie side by side from a register on, all of which were loaded last.
    fn key(&mut self, start: Slot) -> Option<Vec<Selector>> {
        let from = self.loaded.iter().rposition(|(slot, _)| *slot == start)?;
        let taken = self.loaded.split_off(from);
        taken
            .into_iter()
            .map(|(_, loaded)| match loaded {
                Loaded::Selector(selector) => Some(selector),
                _ => None,
            })
            .collect()
    }

    fn comparison(&mut self, equal: bool, data: &[u8]) -> Option<Statement> {
        let (_, loaded) = self.loaded.pop()?;
        let (selector, comparison, operand) = match loaded {
            Loaded::Selector(selector @ (Selector::SourceType | Selector::DestinationType)) => {
                let found = u32::from_ne_bytes(data.try_into().ok()?);
                let kinds = [
                    AddressType::Unicast,
                    AddressType::Local,
                    AddressType::Broadcast,
                    AddressType::Multicast,
                ];
                let kind = kinds.into_iter().find(|kind| lower::address_type_number(*kind) == found)?;
                (selector, sense(equal), Operand::AddressType(kind))
            }
            Loaded::Selector(selector @ (Selector::InputInterface | Selector::OutputInterface))
                if data.len() < layout::INTERFACE_LENGTH =>
            {
                let prefix = InterfaceName::new(std::str::from_utf8(data).ok()?).ok()?;
                (selector, sense(equal), Operand::InterfacePrefix(prefix))
            }
            Loaded::Selector(selector) => {
                let value = layout::value(selector.key_type(self.family)?, data)?;
                (selector, sense(equal), Operand::Value(value))
            }
            Loaded::Masked(selector, mask, _) => match selector {
                Selector::Mark => {
                    let operand = Operand::MaskedMark { mask: native(&mask)?, value: native(data)? };
                    (selector, sense(equal), operand)
                }
                Selector::ConnectionState => {
                    (selector, sense(!equal), Operand::States(states(native(&mask)?)))
                }
                Selector::ConnectionStatus => {
                    (selector, sense(!equal), Operand::Statuses(statuses(native(&mask)?)))
                }
                _ => {
                    let field = selector.key_type(self.family)?;
                    (selector, sense(equal), Operand::Value(prefix(field, data, &mask)?))
                }
            },
            Loaded::Found { .. } | Loaded::Constant(_) => return None,
        };
        Some(Statement::Match { selector, comparison, operand })
    }

    fn lookup(&mut self, set: &str, key: Slot, to: Destination, inverted: bool) -> Option<Option<Statement>> {
        let key = self.key(key)?;
        let set = Name::new(set).ok()?;
        Some(match to {
            Destination::None => Some(Statement::Lookup { key, comparison: sense(!inverted), set }),
            Destination::Verdict => Some(Statement::VerdictMap { key, map: set }),
            Destination::Slot(slot) => {
                self.loaded.push((slot, Loaded::Found { key, map: set }));
                None
            }
        })
    }

    fn set_mark(&mut self) -> Option<Statement> {
        match self.loaded.pop()?.1 {
            Loaded::Constant(data) => Some(Statement::SetMark { mask: u32::MAX, value: native(&data)? }),
            Loaded::Masked(Selector::Mark, mask, xor) => {
                Some(Statement::SetMark { mask: !native(&mask)?, value: native(&xor)? })
            }
            _ => None,
        }
    }

    fn set_priority(&mut self) -> Option<Statement> {
        let priority = match self.loaded.pop()?.1 {
            Loaded::Constant(data) => PacketPriority::Value(native(&data)?),
            Loaded::Found { key, map } => PacketPriority::Map { key, map },
            Loaded::Selector(_) | Loaded::Masked(..) => return None,
        };
        Some(Statement::SetPriority(priority))
    }

    fn nat_target(&mut self, port: Option<Slot>) -> Option<NatTarget> {
        let mut taken = std::mem::take(&mut self.loaded).into_iter().map(|(_, loaded)| loaded);
        match (taken.next()?, taken.next()) {
            (Loaded::Found { key, map }, None) => Some(NatTarget::Map { key, map }),
            (Loaded::Constant(address), port_data) => {
                let address = address_of(&address)?;
                let port = match (port, port_data) {
                    (None, None) => None,
                    (Some(_), Some(Loaded::Constant(data))) => {
                        Some(u16::from_be_bytes(data.try_into().ok()?))
                    }
                    _ => return None,
                };
                Some(NatTarget::Address { address, port })
            }
            _ => None,
        }
    }

    fn reject(&self, expression: &Expression) -> Option<Reject> {
        [Reject::TcpReset, Reject::PortUnreachable, Reject::AdminProhibited]
            .into_iter()
            .find(|reject| lower::lower_reject(self.family, *reject) == *expression)
    }
}

const fn sense(equal: bool) -> Comparison {
    if equal { Comparison::Equal } else { Comparison::NotEqual }
}

fn native(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn states(bits: u32) -> Vec<ConnectionState> {
    [
        ConnectionState::Invalid,
        ConnectionState::Established,
        ConnectionState::Related,
        ConnectionState::New,
        ConnectionState::Untracked,
    ]
    .into_iter()
    .filter(|state| bits & lower::state_bit(*state) != 0)
    .collect()
}

fn statuses(bits: u32) -> Vec<ConnectionStatus> {
    [ConnectionStatus::SourceNat, ConnectionStatus::DestinationNat]
        .into_iter()
        .filter(|status| bits & lower::status_bit(*status) != 0)
        .collect()
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    let field = if bytes.len() == 4 { Type::Ipv4Address } else { Type::Ipv6Address };
    match layout::value(field, bytes)? {
        Value::Address(address) => Some(address),
        _ => None,
    }
}

fn prefix(field: Type, address: &[u8], mask: &[u8]) -> Option<Value> {
    let (Value::Address(address), Value::Address(mask)) =
        (layout::value(field, address)?, layout::value(field, mask)?)
    else {
        return None;
    };
    Some(Value::Prefix(IpNet::with_netmask(address, mask).ok()?))
}
