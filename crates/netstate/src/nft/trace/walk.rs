//! One packet's way through chains and statements.

use std::net::SocketAddr;

use crate::nft::{
    Comparison, ConnectionState, ConnectionStatus, Data, Hook, Name, NatTarget, Operand, PacketPriority,
    Rule, Ruleset, Selector, SetKind, Statement, Tuple, UpdateData, UpdateMode, Value, Verdict,
};

use super::{Effect, Fate, Step};
use crate::trace::Passage;

/// How deep chains may call each other (`NFT_JUMP_STACK_SIZE`).
pub(in crate::nft) const DEEPEST: usize = 16;

/// A packet on its way through one hook.
pub(super) struct Walk<'w, 'h> {
    pub passage: &'w mut Passage<'h>,
    pub random: &'w mut dyn FnMut(u32) -> u32,
    pub trail: &'w mut Vec<Step>,
}

/// What a chain, or a rule, came to.
enum Flow {
    /// The rule does not match, or says to go on.
    Next,
    Return,
    Accept,
    Jump(Name),
    Goto(Name),
    End(Fate),
}

/// Where in the rules the walk is, for the trail.
#[derive(Clone, Copy)]
struct Place<'p> {
    hook: Hook,
    chain: &'p Name,
    rule: usize,
}

impl Walk<'_, '_> {
    pub fn base_chain(
        &mut self,
        table: &mut Ruleset,
        hook: Hook,
        chain: &Name,
        accepts: bool,
    ) -> Result<(), Fate> {
        match self.chain(table, hook, chain, 0) {
            Flow::End(fate) => Err(fate),
            Flow::Accept => Ok(()),
            Flow::Next | Flow::Return | Flow::Jump(_) | Flow::Goto(_) if accepts => Ok(()),
            Flow::Next | Flow::Return | Flow::Jump(_) | Flow::Goto(_) => {
                let effect = Effect::Verdict(Verdict::Drop);
                self.trail.push(Step {
                    hook,
                    table: table.table.clone(),
                    chain: chain.clone(),
                    rule: None,
                    effect,
                });
                Err(Fate::Dropped)
            }
        }
    }

    fn chain(&mut self, table: &mut Ruleset, hook: Hook, chain: &Name, depth: usize) -> Flow {
        if depth > DEEPEST {
            return Flow::End(Fate::Dropped);
        }
        let rules = table.chains.get(chain).map(|chain| chain.rules.clone()).unwrap_or_default();
        for (number, rule) in rules.iter().enumerate() {
            let place = Place { hook, chain, rule: number };
            match self.rule(table, place, rule) {
                Flow::Next => {}
                Flow::Jump(target) => match self.chain(table, hook, &target, depth + 1) {
                    Flow::Next | Flow::Return | Flow::Jump(_) | Flow::Goto(_) => {}
                    end @ (Flow::Accept | Flow::End(_)) => return end,
                },
                Flow::Goto(target) => return self.chain(table, hook, &target, depth + 1),
                end @ (Flow::Return | Flow::Accept | Flow::End(_)) => return end,
            }
        }
        Flow::Next
    }

    fn rule(&mut self, table: &mut Ruleset, place: Place<'_>, rule: &Rule) -> Flow {
        for statement in &rule.statements {
            match self.statement(table, place, statement) {
                None => return Flow::Next,
                Some(Flow::Next) => {}
                Some(flow) => return flow,
            }
        }
        Flow::Next
    }

    /// `None`: the rule does not match.
    fn statement(&mut self, table: &mut Ruleset, place: Place<'_>, statement: &Statement) -> Option<Flow> {
        match statement {
            Statement::Match { selector, comparison, operand } => {
                let equal = self.compare(*selector, operand)?;
                (equal == (*comparison == Comparison::Equal)).then_some(Flow::Next)
            }
            Statement::Lookup { key, comparison, set } => {
                let key = self.key(key)?;
                (find(table, set, &key).is_some() == (*comparison == Comparison::Equal)).then_some(Flow::Next)
            }
            Statement::VerdictMap { key, map } => {
                let key = self.key(key)?;
                match find(table, map, &key)?.clone() {
                    Data::Verdict(verdict) => Some(self.verdict(table, place, &verdict)),
                    Data::Nothing | Data::Values(_) => None,
                }
            }
            Statement::Counter => Some(Flow::Next),
            Statement::NoTrack => {
                self.passage.packet.state = ConnectionState::Untracked;
                self.step(table, place, Effect::NoTrack);
                Some(Flow::Next)
            }
            Statement::SetMark { mask, value } => {
                self.passage.packet.mark = self.passage.packet.mark & !mask | value;
                self.step(table, place, Effect::Mark(self.passage.packet.mark));
                Some(Flow::Next)
            }
            Statement::SetPriority(priority) => {
                self.passage.packet.priority = self.priority(table, priority)?;
                self.step(table, place, Effect::Priority(self.passage.packet.priority));
                Some(Flow::Next)
            }
            Statement::Update { mode, key, data, set, .. } => {
                self.update(table, place, (*mode, set), key, data)
            }
            Statement::DestinationNat(target) => {
                let destination = self.nat_target(table, target)?;
                self.passage.translate_destination(destination);
                self.step(table, place, Effect::DestinationNat(destination));
                Some(Flow::Accept)
            }
            Statement::Redirect { key, map } => self.redirect(table, place, key, map),
            Statement::Masquerade { .. } => Some(self.masquerade(table, place)),
            Statement::Reject(reject) => {
                self.step(table, place, Effect::Reject(*reject));
                Some(Flow::End(Fate::Rejected(*reject)))
            }
            Statement::Verdict(verdict) => Some(self.verdict(table, place, verdict)),
            Statement::Foreign { .. } => None,
        }
    }

    fn step(&mut self, table: &Ruleset, place: Place<'_>, effect: Effect) {
        let Place { hook, chain, rule } = place;
        self.trail.push(Step {
            hook,
            table: table.table.clone(),
            chain: chain.clone(),
            rule: Some(rule),
            effect,
        });
    }

    fn verdict(&mut self, table: &Ruleset, place: Place<'_>, verdict: &Verdict) -> Flow {
        self.step(table, place, Effect::Verdict(verdict.clone()));
        match verdict {
            Verdict::Accept => Flow::Accept,
            Verdict::Drop => Flow::End(Fate::Dropped),
            Verdict::Continue => Flow::Next,
            Verdict::Return => Flow::Return,
            Verdict::Jump(chain) => Flow::Jump(chain.clone()),
            Verdict::Goto(chain) => Flow::Goto(chain.clone()),
        }
    }

    fn masquerade(&mut self, table: &Ruleset, place: Place<'_>) -> Flow {
        // An interface without an address cannot masquerade: the kernel drops.
        let Some(address) = self.passage.masquerade() else {
            return Flow::End(Fate::Dropped);
        };
        self.step(table, place, Effect::Masquerade(address));
        Flow::Accept
    }

    /// `None`: the rule does not match.
    fn redirect(&mut self, table: &Ruleset, place: Place<'_>, key: &[Selector], map: &Name) -> Option<Flow> {
        let [Value::Port(port)] = self.held(table, map, key)?[..] else {
            return None;
        };
        // An interface without an address can receive nothing: the kernel drops.
        let Some(here) = self.passage.redirect(port) else {
            return Some(Flow::End(Fate::Dropped));
        };
        self.step(table, place, Effect::DestinationNat(here));
        Some(Flow::Accept)
    }

    /// `None`: the map holds none.
    fn priority(&mut self, table: &Ruleset, priority: &PacketPriority) -> Option<u32> {
        match priority {
            PacketPriority::Value(class) => Some(*class),
            PacketPriority::Map { key, map } => match self.held(table, map, key)?[..] {
                [Value::ClassId(class)] => Some(class),
                _ => None,
            },
        }
    }

    fn nat_target(&mut self, table: &Ruleset, target: &NatTarget) -> Option<SocketAddr> {
        match target {
            NatTarget::Address { address, port } => {
                Some(SocketAddr::new(*address, port.unwrap_or(self.passage.packet.destination.port())))
            }
            NatTarget::Map { key, map } => match self.held(table, map, key)?[..] {
                [Value::Address(address), Value::Port(port)] => Some(SocketAddr::new(address, port)),
                _ => None,
            },
        }
    }

    fn update(
        &mut self,
        table: &mut Ruleset,
        place: Place<'_>,
        (mode, set): (UpdateMode, &Name),
        key: &[Selector],
        data: &UpdateData,
    ) -> Option<Flow> {
        let data = match data {
            UpdateData::Nothing => Data::Nothing,
            UpdateData::Selectors(selectors) => Data::Values(self.key(selectors)?),
        };
        let key = self.key(key)?;
        let target = table.sets.get_mut(set)?;
        let SetKind::Dynamic { size, .. } = target.definition.kind else {
            return None;
        };
        if !target.elements.contains_key(&key) && target.elements.len() >= size as usize {
            return None;
        }
        // Add and update differ in the timeout alone, and there is no time here.
        match mode {
            UpdateMode::Add | UpdateMode::Update => target.elements.entry(key).or_insert(data),
        };
        self.step(table, place, Effect::Update(set.clone()));
        Some(Flow::Next)
    }

    /// The values that a map holds under a key.
    fn held(&mut self, table: &Ruleset, map: &Name, key: &[Selector]) -> Option<Vec<Value>> {
        match find(table, map, &self.key(key)?)? {
            Data::Values(values) => Some(values.to_vec()),
            Data::Nothing | Data::Verdict(_) => None,
        }
    }

    fn key(&mut self, selectors: &[Selector]) -> Option<Tuple> {
        selectors.iter().map(|selector| self.value(*selector)).collect()
    }

    /// `None` for what cannot be a value, or is not known at this point.
    fn value(&mut self, selector: Selector) -> Option<Value> {
        let packet = &self.passage.packet;
        Some(match selector {
            Selector::SourceAddress => packet.source.ip().into(),
            Selector::DestinationAddress => packet.destination.ip().into(),
            Selector::Protocol => packet.protocol.into(),
            Selector::SourcePort => Value::Port(packet.source.port()),
            Selector::DestinationPort => Value::Port(packet.destination.port()),
            Selector::InputInterface => Value::Interface(self.passage.input?),
            Selector::OutputInterface => Value::Interface(self.passage.output?),
            Selector::Mark => Value::Mark(packet.mark),
            Selector::Priority => Value::ClassId(packet.priority),
            Selector::OriginalDestinationAddress => self.passage.original.ip().into(),
            Selector::OriginalDestinationPort => Value::Port(self.passage.original.port()),
            // Whose turn it is depends on all packets before: to one packet it is as good as chance.
            Selector::Random { modulus } | Selector::Turn { modulus } => {
                Value::Mark((self.random)(modulus).checked_rem(modulus)?)
            }
            Selector::SourceType
            | Selector::DestinationType
            | Selector::ConnectionState
            | Selector::ConnectionStatus => return None,
        })
    }

    /// Whether a selector is what the operand says; `None` if the two do not go together.
    fn compare(&mut self, selector: Selector, operand: &Operand) -> Option<bool> {
        Some(match operand {
            // An interface that a packet does not have has the empty name, which is no rule's.
            Operand::Value(value) => self.value(selector).is_some_and(|found| fits(value, &found)),
            Operand::Range(first, last) => (*first..=*last).contains(&self.value(selector)?),
            Operand::MaskedMark { mask, value } => self.passage.packet.mark & mask == *value,
            Operand::AddressType(kind) => {
                let packet = &self.passage.packet;
                let end = match selector {
                    Selector::SourceType => packet.source,
                    _ => packet.destination,
                };
                *kind == self.passage.host.address_type(end.ip())
            }
            Operand::InterfacePrefix(prefix) => match self.value(selector) {
                Some(Value::Interface(name)) => name.as_str().starts_with(prefix.as_str()),
                _ => false,
            },
            Operand::States(states) => states.contains(&self.passage.packet.state),
            Operand::Statuses(statuses) => statuses.iter().any(|status| match status {
                ConnectionStatus::SourceNat => self.passage.masqueraded.is_some(),
                ConnectionStatus::DestinationNat => self.passage.destination_nat.is_some(),
            }),
        })
    }
}

/// Whether a value is the wanted one, or within the wanted range.
fn fits(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Prefix(net), Value::Address(address)) => net.contains(address),
        _ => wanted == found,
    }
}

fn find<'t>(table: &'t Ruleset, set: &Name, key: &Tuple) -> Option<&'t Data> {
    let set = table.sets.get(set)?;
    match set.definition.kind {
        SetKind::Plain | SetKind::Dynamic { .. } => set.elements.get(key),
        SetKind::Interval => {
            let fitting = |wanted: &Tuple| {
                wanted.fields().zip(key.fields()).all(|(wanted, found)| fits(&wanted, &found))
            };
            set.elements.iter().find(|(wanted, _)| fitting(wanted)).map(|(_, data)| data)
        }
    }
}
