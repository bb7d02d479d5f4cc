use std::collections::{BTreeMap, BTreeSet};

use model::{AddressFamily, EndpointAddress, Port};
use netstate::nft::{Chain, Data, Name, Op, Ruleset, Transaction, Tuple, Value, Verdict, diff};

use super::layout;
use super::shape::{Balance, MOST_ENDPOINTS, Shape, Side};
use crate::NodeContext;
use crate::books::{Delta, Fragment};
use crate::door_words::{door_key, door_of};
use crate::doors::{Behind, Door, DoorKind, Ends, Nobody, Slots};

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

    fn less(&mut self, shape: &Shape) {
        if let Some(count) = self.0.get_mut(shape) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(shape);
            }
        }
    }
}

/// The whole table.
pub(super) fn desired(context: &NodeContext, family: AddressFamily, everything: &Fragment) -> Ruleset {
    let mut ruleset = layout::skeleton(context, family);
    add_chains(&mut ruleset, context, family, Shapes::of(everything).0.keys());
    add_elements(&mut ruleset, everything);
    ruleset
}

/// The few changes that lead from before to after, and the chains counted anew.
///
/// It is the full comparison over two tables cut down to what the change touches: whatever else there is
/// would be equal on both sides.
pub(super) fn transaction(
    context: &NodeContext,
    family: AddressFamily,
    shapes: &mut Shapes,
    delta: &Delta,
) -> Transaction {
    let touched: BTreeSet<Shape> = shapes_of(&delta.before).chain(shapes_of(&delta.after)).collect();
    let existing = |shapes: &Shapes| -> Vec<Shape> {
        touched.iter().filter(|shape| shapes.0.contains_key(shape)).cloned().collect()
    };
    let before = cut_down(context, family, &delta.before, &existing(shapes));
    shapes_of(&delta.before).for_each(|shape| shapes.less(&shape));
    shapes_of(&delta.after).for_each(|shape| shapes.more(shape));
    let after = cut_down(context, family, &delta.after, &existing(shapes));
    diff(Some(&before), &after)
}

/// A transaction as two commits, of which the second is mostly empty: what packets may be on their way to goes once
/// nothing leads there any more.
///
/// Each lookup of a packet sees the generation of its own moment. One that found its class before a commit would look for
/// the chain after it, and find none.
pub(super) fn in_two(transaction: Transaction) -> [Transaction; 2] {
    let Transaction { table, ops } = transaction;
    let is_gone =
        |wanted: &Name| ops.iter().any(|op| matches!(op, Op::DeleteChain { chain } if chain == wanted));
    let is_replaced = |wanted: &Name, keys: &[Tuple]| {
        ops.iter().any(|op| match op {
            Op::AddElements { set, elements, .. } if set == wanted => {
                elements.iter().any(|element| keys.contains(&element.key))
            }
            _ => false,
        })
    };
    let is_late = |op: &Op| match op {
        Op::DeleteChain { .. } | Op::DeleteSet { .. } => true,
        Op::ReplaceRules { chain, .. } => is_gone(chain),
        Op::DeleteElements { set, keys, .. } => {
            [layout::SHAPES, layout::INSIDE_SHAPES].contains(set) && !is_replaced(set, keys)
        }
        Op::AddTable | Op::DeleteTable | Op::AddChain { .. } | Op::AddSet { .. } | Op::AddElements { .. } => {
            false
        }
    };
    let late: Vec<bool> = ops.iter().map(is_late).collect();
    let mut parts = [Transaction::new(table.clone()), Transaction::new(table)];
    for (op, is_late) in ops.into_iter().zip(late) {
        parts[usize::from(is_late)].ops.push(op);
    }
    parts
}

fn cut_down(context: &NodeContext, family: AddressFamily, fragment: &Fragment, shapes: &[Shape]) -> Ruleset {
    let mut ruleset = layout::without_chains(family);
    // Rules may be put there, and they are there on both sides.
    for name in [layout::GUARD, layout::REMEMBER] {
        ruleset.chains.insert(name, Chain::default());
    }
    add_chains(&mut ruleset, context, family, shapes);
    add_elements(&mut ruleset, fragment);
    ruleset
}

fn add_chains<'a>(
    ruleset: &mut Ruleset,
    context: &NodeContext,
    family: AddressFamily,
    shapes: impl IntoIterator<Item = &'a Shape>,
) {
    for shape in shapes {
        ruleset.chains.insert(shape.chain_name(), shape.chain(context, family));
        let Shape::Balance(balance) = shape else { continue };
        if let Some(shapes) = ruleset.sets.get_mut(&balance.side.shapes()) {
            let verdict = Data::Verdict(Verdict::Goto(shape.chain_name()));
            shapes.elements.insert(Value::ClassId(balance.class()).into(), verdict);
        }
    }
}

fn add_elements(ruleset: &mut Ruleset, fragment: &Fragment) {
    let mut insert = |set: &Name, key: Tuple, data: Data| {
        if let Some(set) = ruleset.sets.get_mut(set) {
            set.elements.insert(key, data);
        }
    };
    for (door, behind) in &fragment.doors {
        let maps = Maps::of(door);
        let key = Tuple::from(door_key(door));
        insert(&maps.doors, key.clone(), class(&entrance(behind)));
        if let Some(shape) = firewall(behind) {
            insert(&layout::FIREWALL, key.clone(), Data::Verdict(Verdict::Jump(shape.chain_name())));
        }
        if let Some(shape) = remember(behind) {
            insert(&maps.sticky, key.clone(), Data::Verdict(Verdict::Jump(shape.chain_name())));
        }
        for way in ways(behind) {
            if way.is_inside {
                insert(&maps.inside, key.clone(), class(&balance(behind, &way)));
            }
            for (index, endpoint) in (0..).zip(&way.ends.slots) {
                let target = [Value::Address(endpoint.address), Value::Port(endpoint.port.number())];
                insert(&way.side.endpoints(), key.with(Value::Mark(index)), Data::Values(target.into()));
            }
        }
    }
    for address in &fragment.addresses {
        insert(&layout::ADDRESSES, Value::Address(*address).into(), Data::Nothing);
    }
    for address in &fragment.local {
        insert(&layout::HAIRPIN, [Value::Address(*address); 2].into(), Data::Nothing);
    }
}

/// Where a door of one sort is written down.
struct Maps {
    doors: Name,
    inside: Name,
    sticky: Name,
}

impl Maps {
    const fn of(door: &Door) -> Self {
        match door {
            Door::Address { .. } => {
                Self { doors: layout::SERVICES, inside: layout::INSIDE, sticky: layout::STICKY }
            }
            Door::Node { .. } => Self {
                doors: layout::NODE_PORTS,
                inside: layout::NODE_INSIDE,
                sticky: layout::STICKY_NODE_PORTS,
            },
        }
    }
}

/// One of the two ways through a door: the one that everybody takes or those from outside, and the one of insiders.
struct Way<'a> {
    side: Side,
    ends: &'a Ends,
    is_inside: bool,
}

/// The ways through a door, the one from outside first. None when insiders find nobody: then nobody serves anywhere.
fn ways(behind: &Behind) -> Vec<Way<'_>> {
    let inside = behind.inside();
    let Some(outside) = behind.outside() else {
        let side = match behind.kind {
            DoorKind::Cluster => Side::Cluster,
            DoorKind::External | DoorKind::LoadBalancer => Side::External,
            DoorKind::Node => Side::Node,
        };
        return vec![Way { side, ends: inside, is_inside: false }];
    };
    if inside.slots.is_empty() {
        return Vec::new();
    }
    let (local, insiders) = match behind.kind {
        DoorKind::Cluster | DoorKind::External | DoorKind::LoadBalancer => (Side::Local, Side::Inside),
        DoorKind::Node => (Side::NodeLocal, Side::NodeInside),
    };
    vec![
        Way { side: local, ends: outside, is_inside: false },
        Way { side: insiders, ends: inside, is_inside: true },
    ]
}

/// What a connection meets first.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entrance {
    Refuse,
    Drop,
    Chain(Balance),
}

/// Where a door leads.
fn entrance(behind: &Behind) -> Entrance {
    ways(behind).first().map_or(Entrance::Refuse, |way| balance(behind, way))
}

/// The chain at the end of a way.
fn balance(behind: &Behind, way: &Way<'_>) -> Entrance {
    // More endpoints than fit are no endpoints; the API cannot hold as many.
    let endpoints =
        u32::try_from(way.ends.slots.len()).ok().filter(|number| *number <= MOST_ENDPOINTS).unwrap_or(0);
    match (endpoints, way.side) {
        // This chain leads insiders on, and drops the rest.
        (0, Side::Local | Side::NodeLocal) => {
            Entrance::Chain(Balance { side: way.side, endpoints, sticky: false })
        }
        (0, _) => match way.ends.nobody {
            Nobody::Refuse => Entrance::Refuse,
            Nobody::Drop => Entrance::Drop,
        },
        _ => Entrance::Chain(Balance { side: way.side, endpoints, sticky: behind.affinity().is_some() }),
    }
}

fn class(entrance: &Entrance) -> Data {
    let class = match entrance {
        Entrance::Refuse => layout::REFUSED,
        Entrance::Drop => layout::DROPPED,
        Entrance::Chain(balance) => balance.class(),
    };
    Data::Values(Value::ClassId(class).into())
}

fn firewall(behind: &Behind) -> Option<Shape> {
    (!behind.sources.is_empty()).then(|| Shape::Sources(behind.sources.clone()))
}

fn remember(behind: &Behind) -> Option<Shape> {
    let timeout = behind.affinity().filter(|_| behind.endpoints().next().is_some())?;
    Some(Shape::Remember { timeout })
}

fn shapes_of(fragment: &Fragment) -> impl Iterator<Item = Shape> {
    fragment.doors.values().flat_map(|behind| {
        let inside = ways(behind).into_iter().find(|way| way.is_inside).map(|way| balance(behind, &way));
        let chains =
            [Some(entrance(behind)), inside].into_iter().flatten().filter_map(|entrance| match entrance {
                Entrance::Chain(balance) => Some(Shape::Balance(balance)),
                Entrance::Refuse | Entrance::Drop => None,
            });
        let sources = firewall(behind).map(|sources| [sources, Shape::Guard]);
        let memory = remember(behind).map(|memory| [memory, Shape::Memory]);
        chains.chain([sources, memory].into_iter().flatten().flatten()).collect::<Vec<_>>()
    })
}

/// The endpoint that an element holds.
pub(super) fn endpoint_of(data: &Data) -> Option<EndpointAddress> {
    match data {
        Data::Values(values) => match values.to_vec()[..] {
            [Value::Address(address), Value::Port(port)] => {
                Some(EndpointAddress { address, port: Port::try_from(i64::from(port)).ok()? })
            }
            _ => None,
        },
        Data::Nothing | Data::Verdict(_) => None,
    }
}

/// In which slots the endpoints are that a table holds, by door. A restart keeps them there.
pub(super) fn observed_slots(ruleset: &Ruleset) -> BTreeMap<Door, Slots> {
    let mut slots: BTreeMap<Door, Slots> = BTreeMap::new();
    for doors in [layout::SERVICES, layout::NODE_PORTS] {
        for key in ruleset.sets.get(&doors).into_iter().flat_map(|set| set.elements.keys()) {
            if let Some((door, [])) = door_of(&key.to_vec()) {
                slots.entry(door).or_default();
            }
        }
    }
    // Elements are in order of door and index, and an index that is missing only shifts the rest.
    let elements = |map: Name| ruleset.sets.get(&map).into_iter().flat_map(|set| &set.elements);
    for (key, data) in elements(layout::ENDPOINTS).chain(elements(layout::NODE_ENDPOINTS)) {
        if let (Some((door, [Value::Mark(_)])), Some(endpoint)) = (door_of(&key.to_vec()), endpoint_of(data))
        {
            slots.entry(door).or_default().cluster.push(endpoint);
        }
    }
    for (key, data) in elements(layout::LOCAL_ENDPOINTS).chain(elements(layout::NODE_LOCAL_ENDPOINTS)) {
        if let (Some((door, [Value::Mark(_)])), Some(endpoint)) = (door_of(&key.to_vec()), endpoint_of(data))
        {
            slots.entry(door).or_default().local.push(endpoint);
        }
    }
    slots
}
