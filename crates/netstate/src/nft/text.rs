//! Rulesets and transactions in nft's own words, for people and for tests. Nothing parses this.

use std::fmt::{self, Display, Formatter, Write as _};
use std::time::Duration;

use super::{
    AddressType, BaseChain, ChainKind, Comparison, ConnectionState, ConnectionStatus, Data, Element, Family,
    Hook, Name, NatTarget, Op, Operand, PacketPriority, Policy, Reject, Rule, Ruleset, Selector, SetContent,
    SetDefinition, SetKind, Statement, Transaction, Tuple, Type, UpdateData, UpdateMode, Value, Verdict,
    priority,
};

impl Display for Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4Address => "ipv4_addr",
            Self::Ipv6Address => "ipv6_addr",
            Self::Protocol => "inet_proto",
            Self::Port => "inet_service",
            Self::Mark => "mark",
            Self::Interface => "ifname",
            Self::ClassId => "classid",
        })
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Prefix(net) => net.fmt(f),
            Self::Protocol(protocol) => protocol.fmt(f),
            Self::Port(port) => port.fmt(f),
            Self::Mark(mark) => write!(f, "{mark:#010x}"),
            Self::Interface(interface) => write!(f, "\"{interface}\""),
            Self::ClassId(0) => f.write_str("none"),
            Self::ClassId(class) => write!(f, "{:x}:{:x}", class >> 16, class & 0xffff),
        }
    }
}

impl Display for Tuple {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        joined(f, self.fields(), " . ")
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Continue => f.write_str("continue"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)?;
        match &self.data {
            Data::Nothing => Ok(()),
            Data::Verdict(verdict) => write!(f, " : {verdict}"),
            Data::Values(values) => write!(f, " : {values}"),
        }
    }
}

impl Rule {
    /// The rule as nft writes it in a table of this family.
    pub fn text(&self, family: Family) -> String {
        let mut text = String::new();
        for statement in &self.statements {
            if !text.is_empty() {
                text.push(' ');
            }
            // Writing into a String cannot fail.
            let _ = write!(text, "{}", StatementText { family, statement });
        }
        text
    }
}

impl Display for Ruleset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {{", self.table)?;
        let mut first = true;
        for (name, set) in &self.sets {
            gap(f, &mut first)?;
            writeln!(f, "\t{} {name} {{", keyword(&set.definition))?;
            definition_lines(f, &set.definition)?;
            if !set.elements.is_empty() {
                f.write_str("\t\telements = { ")?;
                let elements =
                    set.elements.iter().map(|(key, data)| Element { key: key.clone(), data: data.clone() });
                joined(f, elements, ",\n\t\t\t     ")?;
                f.write_str(" }\n")?;
            }
            f.write_str("\t}\n")?;
        }
        for (name, chain) in &self.chains {
            gap(f, &mut first)?;
            writeln!(f, "\tchain {name} {{")?;
            if let Some(base) = &chain.base {
                writeln!(f, "\t\t{base}")?;
            }
            for rule in &chain.rules {
                writeln!(f, "\t\t{}", rule.text(self.table.family))?;
            }
            f.write_str("\t}\n")?;
        }
        f.write_str("}\n")
    }
}

impl Display for Transaction {
    /// The transaction as a script for `nft -f`, one change a line.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let table = &self.table;
        for op in &self.ops {
            match op {
                Op::AddTable => writeln!(f, "add table {table}")?,
                Op::DeleteTable => writeln!(f, "delete table {table}")?,
                Op::AddChain { chain, base: None } => writeln!(f, "add chain {table} {chain}")?,
                Op::AddChain { chain, base: Some(base) } => {
                    writeln!(f, "add chain {table} {chain} {{ {base} }}")?
                }
                Op::DeleteChain { chain } => writeln!(f, "delete chain {table} {chain}")?,
                Op::ReplaceRules { chain, rules } => {
                    writeln!(f, "flush chain {table} {chain}")?;
                    for rule in rules {
                        writeln!(f, "add rule {table} {chain} {}", rule.text(table.family))?;
                    }
                }
                Op::AddSet { set, definition } => {
                    write!(f, "add {} {table} {set} {{ ", keyword(definition))?;
                    let mut lines = String::new();
                    definition_lines(&mut lines, definition)?;
                    joined(f, lines.lines().map(str::trim), "; ")?;
                    f.write_str(" }\n")?;
                }
                Op::DeleteSet { set } => writeln!(f, "delete set {table} {set}")?,
                Op::AddElements { set, elements, .. } => {
                    write!(f, "add element {table} {set} {{ ")?;
                    joined(f, elements.iter(), ", ")?;
                    f.write_str(" }\n")?;
                }
                Op::DeleteElements { set, keys, missing, .. } => {
                    let verb = match missing {
                        super::Missing::Fail => "delete",
                        super::Missing::Ignore => "destroy",
                    };
                    write!(f, "{verb} element {table} {set} {{ ")?;
                    joined(f, keys.iter(), ", ")?;
                    f.write_str(" }\n")?;
                }
            }
        }
        Ok(())
    }
}

impl Op {
    /// The change in a few words, for error messages and logs.
    pub fn summary(&self) -> String {
        match self {
            Self::AddTable => "add table".to_owned(),
            Self::DeleteTable => "delete table".to_owned(),
            Self::AddChain { chain, .. } => format!("add chain {chain}"),
            Self::DeleteChain { chain } => format!("delete chain {chain}"),
            Self::ReplaceRules { chain, rules } => {
                format!("replace the rules of chain {chain} by {}", rules.len())
            }
            Self::AddSet { set, definition } => format!("add {} {set}", keyword(definition)),
            Self::DeleteSet { set } => format!("delete set {set}"),
            Self::AddElements { set, elements, .. } => match elements.as_slice() {
                [element] => format!("add element {element} to {set}"),
                _ => format!("add {} elements to {set}", elements.len()),
            },
            Self::DeleteElements { set, keys, .. } => match keys.as_slice() {
                [key] => format!("delete element {key} from {set}"),
                _ => format!("delete {} elements from {set}", keys.len()),
            },
        }
    }
}

fn gap(f: &mut Formatter<'_>, first: &mut bool) -> fmt::Result {
    if std::mem::take(first) { Ok(()) } else { f.write_str("\n") }
}

fn joined<T: Display>(
    f: &mut impl fmt::Write,
    items: impl Iterator<Item = T>,
    separator: &str,
) -> fmt::Result {
    for (index, item) in items.enumerate() {
        if index > 0 {
            f.write_str(separator)?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

fn keyword(definition: &SetDefinition) -> &'static str {
    match definition.content {
        SetContent::Keys => "set",
        SetContent::Verdicts | SetContent::Values(_) => "map",
    }
}

fn definition_lines(f: &mut impl fmt::Write, definition: &SetDefinition) -> fmt::Result {
    f.write_str("\t\ttype ")?;
    joined(f, definition.key.iter(), " . ")?;
    match &definition.content {
        SetContent::Keys => {}
        SetContent::Verdicts => f.write_str(" : verdict")?,
        SetContent::Values(types) => {
            f.write_str(" : ")?;
            joined(f, types.iter(), " . ")?;
        }
    }
    f.write_str("\n")?;
    match definition.kind {
        SetKind::Plain => Ok(()),
        SetKind::Interval => f.write_str("\t\tflags interval\n"),
        SetKind::Dynamic { size, timeout } => {
            write!(f, "\t\tsize {size}\n\t\tflags dynamic,timeout\n")?;
            match timeout {
                Some(timeout) => writeln!(f, "\t\ttimeout {}", DurationText(timeout)),
                None => Ok(()),
            }
        }
    }
}

impl Display for BaseChain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
            ChainKind::Route => "route",
        };
        write!(f, "type {kind} hook {} priority ", self.hook)?;
        match self.priority {
            priority::DESTINATION_NAT if self.hook == Hook::Prerouting => f.write_str("dstnat")?,
            priority::FILTER => f.write_str("filter")?,
            priority::SOURCE_NAT if self.hook == Hook::Postrouting => f.write_str("srcnat")?,
            number => write!(f, "{number}")?,
        }
        f.write_str(match self.policy {
            Policy::Accept => "; policy accept;",
            Policy::Drop => "; policy drop;",
        })
    }
}

impl Display for Hook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        })
    }
}

struct DurationText(Duration);

impl Display for DurationText {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            let count = rest / length;
            rest %= length;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

struct SelectorText {
    family: Family,
    selector: Selector,
}

impl Display for SelectorText {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let family = self.family;
        match self.selector {
            Selector::SourceAddress => write!(f, "{family} saddr"),
            Selector::DestinationAddress => write!(f, "{family} daddr"),
            Selector::Protocol => f.write_str("meta l4proto"),
            Selector::SourcePort => f.write_str("th sport"),
            Selector::DestinationPort => f.write_str("th dport"),
            Selector::InputInterface => f.write_str("iifname"),
            Selector::OutputInterface => f.write_str("oifname"),
            Selector::Mark => f.write_str("meta mark"),
            Selector::Priority => f.write_str("meta priority"),
            Selector::SourceType => f.write_str("fib saddr type"),
            Selector::DestinationType => f.write_str("fib daddr type"),
            Selector::ConnectionState => f.write_str("ct state"),
            Selector::ConnectionStatus => f.write_str("ct status"),
            Selector::OriginalDestinationAddress => write!(f, "ct original {family} daddr"),
            Selector::OriginalDestinationPort => f.write_str("ct original proto-dst"),
            Selector::Random { modulus } => write!(f, "numgen random mod {modulus}"),
            Selector::Turn { modulus } => write!(f, "numgen inc mod {modulus}"),
        }
    }
}

fn key_text(f: &mut Formatter<'_>, family: Family, key: &[Selector]) -> fmt::Result {
    joined(f, key.iter().map(|selector| SelectorText { family, selector: *selector }), " . ")
}

fn map_text(f: &mut Formatter<'_>, family: Family, key: &[Selector], map: &Name) -> fmt::Result {
    key_text(f, family, key)?;
    write!(f, " map @{map}")
}

struct StatementText<'a> {
    family: Family,
    statement: &'a Statement,
}

impl Display for StatementText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let family = self.family;
        match self.statement {
            Statement::Match { selector, comparison, operand } => {
                match_text(f, family, *selector, *comparison, operand)
            }
            Statement::Lookup { key, comparison, set } => {
                key_text(f, family, key)?;
                write!(f, " {}@{set}", not(*comparison))
            }
            Statement::VerdictMap { key, map } => {
                key_text(f, family, key)?;
                write!(f, " vmap @{map}")
            }
            Statement::Counter => f.write_str("counter"),
            Statement::SetMark { mask: u32::MAX, value } => write!(f, "meta mark set {value:#010x}"),
            Statement::SetMark { mask, value } => {
                write!(f, "meta mark set meta mark & {:#010x} | {value:#010x}", !mask)
            }
            Statement::SetPriority(PacketPriority::Value(class)) => {
                write!(f, "meta priority set {}", Value::ClassId(*class))
            }
            Statement::SetPriority(PacketPriority::Map { key, map }) => {
                f.write_str("meta priority set ")?;
                map_text(f, family, key, map)
            }
            Statement::Update { mode, key, data, timeout, set } => {
                let verb = match mode {
                    UpdateMode::Add => "add",
                    UpdateMode::Update => "update",
                };
                write!(f, "{verb} @{set} {{ ")?;
                key_text(f, family, key)?;
                if let Some(timeout) = timeout {
                    write!(f, " timeout {}", DurationText(*timeout))?;
                }
                match data {
                    UpdateData::Nothing => {}
                    UpdateData::Selectors(selectors) => {
                        f.write_str(" : ")?;
                        key_text(f, family, selectors)?;
                    }
                }
                f.write_str(" }")
            }
            Statement::DestinationNat(NatTarget::Address { address, port }) => match port {
                Some(port) => write!(f, "dnat to {}", std::net::SocketAddr::new(*address, *port)),
                None => write!(f, "dnat to {address}"),
            },
            Statement::DestinationNat(NatTarget::Map { key, map }) => {
                write!(f, "dnat {family} to ")?;
                map_text(f, family, key, map)
            }
            Statement::Redirect { key, map } => {
                f.write_str("redirect to :")?;
                map_text(f, family, key, map)
            }
            Statement::NoTrack => f.write_str("notrack"),
            Statement::Masquerade { fully_random: false } => f.write_str("masquerade"),
            Statement::Masquerade { fully_random: true } => f.write_str("masquerade fully-random"),
            Statement::Reject(reject) => f.write_str(reject_text(family, *reject)),
            Statement::Verdict(verdict) => verdict.fmt(f),
            Statement::Foreign { expression } => write!(f, "# {expression}"),
        }
    }
}

fn match_text(
    f: &mut Formatter<'_>,
    family: Family,
    selector: Selector,
    comparison: Comparison,
    operand: &Operand,
) -> fmt::Result {
    SelectorText { family, selector }.fmt(f)?;
    let not = not(comparison);
    match operand {
        // Marks are numbers too, but people write them in hexadecimal.
        Operand::Value(Value::Mark(number))
            if matches!(selector, Selector::Random { .. } | Selector::Turn { .. }) =>
        {
            write!(f, " {not}{number}")
        }
        Operand::Value(value) => write!(f, " {not}{value}"),
        Operand::Range(from, to) => write!(f, " {not}{from}-{to}"),
        Operand::MaskedMark { mask, value } => {
            let sign = match comparison {
                Comparison::Equal => "==",
                Comparison::NotEqual => "!=",
            };
            write!(f, " & {mask:#010x} {sign} {value:#010x}")
        }
        Operand::AddressType(kind) => {
            let kind = match kind {
                AddressType::Unicast => "unicast",
                AddressType::Local => "local",
                AddressType::Broadcast => "broadcast",
                AddressType::Multicast => "multicast",
            };
            write!(f, " {not}{kind}")
        }
        Operand::InterfacePrefix(prefix) => write!(f, " {not}\"{prefix}*\""),
        Operand::States(states) => {
            write!(f, " {not}")?;
            joined(f, states.iter().map(|state| state_text(*state)), ",")
        }
        Operand::Statuses(statuses) => {
            write!(f, " {not}")?;
            joined(f, statuses.iter().map(|status| status_text(*status)), ",")
        }
    }
}

const fn not(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "",
        Comparison::NotEqual => "!= ",
    }
}

const fn state_text(state: ConnectionState) -> &'static str {
    match state {
        ConnectionState::Invalid => "invalid",
        ConnectionState::Established => "established",
        ConnectionState::Related => "related",
        ConnectionState::New => "new",
        ConnectionState::Untracked => "untracked",
    }
}

const fn status_text(status: ConnectionStatus) -> &'static str {
    match status {
        ConnectionStatus::SourceNat => "snat",
        ConnectionStatus::DestinationNat => "dnat",
    }
}

const fn reject_text(family: Family, reject: Reject) -> &'static str {
    match (reject, family) {
        (Reject::TcpReset, Family::Ip | Family::Ip6) => "reject with tcp reset",
        (Reject::PortUnreachable, Family::Ip) => "reject with icmp port-unreachable",
        (Reject::PortUnreachable, Family::Ip6) => "reject with icmpv6 port-unreachable",
        (Reject::AdminProhibited, Family::Ip) => "reject with icmp admin-prohibited",
        (Reject::AdminProhibited, Family::Ip6) => "reject with icmpv6 admin-prohibited",
    }
}

#[cfg(test)]
mod tests;
