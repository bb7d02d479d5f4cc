use std::collections::{BTreeMap, BTreeSet};

use model::{EndpointAddress, Port, Protocol};
use netstate::nft::{Data, L4Protocol, Name, Ruleset, Set, Transaction, Tuple, Value, Verdict, diff};

use super::layout::{self, Shape, Side};
use crate::NodeContext;
use crate::books::{Delta, Fragment};
use crate::doors::{Behind, Door, Slots};

/// How many doors each chain serves; one that serves none does not exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shapes(BTreeMap<Shape, usize>);

impl Shapes {
    /// The chains that these doors need.
    pub(super) fn of(fragment: &Fragment) -> Self {
        let mut shapes = Self::default();
        shapes_of(fragment).for_each(|shape| shapes.more(shape));
        shapes
    }

    fn more(&mut self, shape: Shape) {
        *self.0.entry(shape).or_default() += 1;
    }

    fn less(&mut self, shape: Shape) {
        if let Some(count) = self.0.get_mut(&shape) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&shape);
            }
        }
    }
}

/// The whole table.
pub(super) fn desired(context: &NodeContext, everything: &Fragment) -> Ruleset {
    let mut ruleset = layout::skeleton();
    add_chains(&mut ruleset, context, Shapes::of(everything).0.keys());
    add_elements(&mut ruleset, everything);
    ruleset
}

/// The few changes that lead from before to after, and the chains counted anew.
///
/// It is the full comparison over two tables cut down to what the change touches: whatever else there is
/// would be equal on both sides.
pub(super) fn transaction(context: &NodeContext, shapes: &mut Shapes, delta: &Delta) -> Transaction {
    let touched: BTreeSet<Shape> = shapes_of(&delta.before).chain(shapes_of(&delta.after)).collect();
    let existing = |shapes: &Shapes| -> Vec<Shape> {
        touched.iter().copied().filter(|shape| shapes.0.contains_key(shape)).collect()
    };
    let before = cut_down(context, &delta.before, &existing(shapes));
    shapes_of(&delta.before).for_each(|shape| shapes.less(shape));
    shapes_of(&delta.after).for_each(|shape| shapes.more(shape));
    let after = cut_down(context, &delta.after, &existing(shapes));
    diff(Some(&before), &after)
}

fn cut_down(context: &NodeContext, fragment: &Fragment, shapes: &[Shape]) -> Ruleset {
    let mut ruleset = Ruleset::new(layout::TABLE);
    for (name, definition) in layout::sets() {
        ruleset.sets.insert(name, Set::new(definition));
    }
    // Elements may lead there, and it is there on both sides.
    ruleset.chains.insert(layout::REFUSE, netstate::nft::Chain::default());
    add_chains(&mut ruleset, context, shapes);
    add_elements(&mut ruleset, fragment);
    ruleset
}

fn add_chains<'a>(ruleset: &mut Ruleset, context: &NodeContext, shapes: impl IntoIterator<Item = &'a Shape>) {
    for shape in shapes {
        ruleset.chains.insert(shape.chain_name(), shape.chain(context));
    }
}

fn add_elements(ruleset: &mut Ruleset, fragment: &Fragment) {
    let mut insert = |set: &Name, key: Tuple, data: Data| {
        if let Some(set) = ruleset.sets.get_mut(set) {
            set.elements.insert(key, data);
        }
    };
    for (door, behind) in &fragment.doors {
        let (doors, slots, sticky) = match door {
            Door::Address { .. } => (layout::SERVICES, layout::ENDPOINTS, layout::STICKY),
            Door::Node { .. } => (layout::NODE_PORTS, layout::NODE_ENDPOINTS, layout::STICKY_NODE_PORTS),
        };
        let target = balance_of(door, behind).map_or(layout::REFUSE, |shape| shape.chain_name());
        insert(&doors, door_key(door).into(), Data::Verdict(Verdict::Goto(target)));
        if let Some(shape) = remember_of(behind) {
            insert(&sticky, door_key(door).into(), Data::Verdict(Verdict::Jump(shape.chain_name())));
        }
        for (index, endpoint) in (0..).zip(&behind.inside().slots) {
            let mut key = door_key(door);
            key.push(Value::Mark(index));
            let target = [Value::Address(endpoint.address), Value::Port(endpoint.port.number())];
            insert(&slots, key.into(), Data::Values(target.into()));
        }
    }
    for address in &fragment.addresses {
        insert(&layout::ADDRESSES, Value::Address(*address).into(), Data::Nothing);
    }
    for address in &fragment.local {
        insert(&layout::HAIRPIN, [Value::Address(*address); 2].into(), Data::Nothing);
    }
}

fn shapes_of(fragment: &Fragment) -> impl Iterator<Item = Shape> {
    fragment
        .doors
        .iter()
        .flat_map(|(door, behind)| balance_of(door, behind).into_iter().chain(remember_of(behind)))
}

/// `None` when nobody is there: then the connection is refused.
fn balance_of(door: &Door, behind: &Behind) -> Option<Shape> {
    let endpoints = u32::try_from(behind.inside().slots.len()).ok().filter(|count| *count > 0)?;
    let side = match door {
        Door::Address { .. } => Side::Cluster,
        Door::Node { .. } => Side::Node,
    };
    Some(Shape::Balance { side, endpoints, sticky: behind.affinity().is_some() })
}

fn remember_of(behind: &Behind) -> Option<Shape> {
    let timeout = behind.affinity().filter(|_| !behind.inside().slots.is_empty())?;
    Some(Shape::Remember { timeout })
}

fn door_key(door: &Door) -> Vec<Value> {
    match door {
        Door::Address { address, protocol, port } => {
            vec![Value::Address(*address), protocol_value(*protocol), Value::Port(port.number())]
        }
        Door::Node { protocol, port } => vec![protocol_value(*protocol), Value::Port(port.number())],
    }
}

fn protocol_value(protocol: Protocol) -> Value {
    Value::Protocol(L4Protocol(protocol.number()))
}

/// The door that the first fields of a key name, with the fields behind it.
pub(super) fn door_of(key: &[Value]) -> Option<(Door, &[Value])> {
    match key {
        [Value::Address(address), Value::Protocol(protocol), Value::Port(port), rest @ ..] => {
            let door = Door::Address {
                address: *address,
                protocol: known(*protocol)?,
                port: Port::try_from(i64::from(*port)).ok()?,
            };
            Some((door, rest))
        }
        [Value::Protocol(protocol), Value::Port(port), rest @ ..] => {
            let door =
                Door::Node { protocol: known(*protocol)?, port: Port::try_from(i64::from(*port)).ok()? };
            Some((door, rest))
        }
        _ => None,
    }
}

/// The endpoint that an element holds.
pub(super) fn endpoint_of(data: &Data) -> Option<EndpointAddress> {
    match data {
        Data::Values(values) => match values[..] {
            [Value::Address(address), Value::Port(port)] => {
                Some(EndpointAddress { address, port: Port::try_from(i64::from(port)).ok()? })
            }
            _ => None,
        },
        Data::Nothing | Data::Verdict(_) => None,
    }
}

fn known(protocol: L4Protocol) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|known| known.number() == protocol.0)
}

/// In which slots the endpoints are that a table holds, by door. A restart keeps them there.
pub(super) fn observed_slots(ruleset: &Ruleset) -> BTreeMap<Door, Slots> {
    let mut slots: BTreeMap<Door, Slots> = BTreeMap::new();
    for doors in [layout::SERVICES, layout::NODE_PORTS] {
        for key in ruleset.sets.get(&doors).into_iter().flat_map(|set| set.elements.keys()) {
            if let Some((door, [])) = door_of(key) {
                slots.entry(door).or_default();
            }
        }
    }
    for endpoints in [layout::ENDPOINTS, layout::NODE_ENDPOINTS] {
        // Elements are in order of door and index, and an index that is missing only shifts the rest.
        for (key, data) in ruleset.sets.get(&endpoints).into_iter().flat_map(|set| &set.elements) {
            if let (Some((door, [Value::Mark(_)])), Some(endpoint)) = (door_of(key), endpoint_of(data)) {
                slots.entry(door).or_default().cluster.push(endpoint);
            }
        }
    }
    slots
}
