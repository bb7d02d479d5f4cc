use std::collections::BTreeSet;

use ipnet::IpNet;
use model::AddressFamily;
use netstate::nft::{Chain, Data, Name, Ruleset, Transaction, Tuple, Value, Verdict, diff};

use super::layout;
use super::relays::{Ports, RelayKey, Way, Ways, ways};
use crate::NodeContext;
use crate::books::Fragment;
use crate::door_words::{door_key, door_of, is_of, protocol_value};
use crate::doors::{Behind, Door};

/// Part of what the table holds: doors, and the ports of the relays behind them.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) doors: &'a Fragment,
    /// Where relays listen. The first that knows the service is asked.
    pub(super) ports: [&'a Ports; 2],
    /// Relays whose own ports are part of it.
    pub(super) relays: &'a [(&'a RelayKey, u16)],
}

impl View<'_> {
    /// Where a way ends; a relay that could not be opened is as good as none.
    fn end(&self, way: &Way) -> End {
        match way {
            Way::Refuse => End::Closed(Verdict::Goto(layout::REFUSE)),
            Way::Drop => End::Closed(Verdict::Drop),
            Way::Relay(relay) => {
                let [first, second] = self.ports;
                let ports = if first.knows(relay.service()) { first } else { second };
                ports.of(relay).map_or(End::Closed(Verdict::Goto(layout::REFUSE)), End::Port)
            }
        }
    }

    /// Where a door leads, as [`Ways`].
    pub(super) fn ends(&self, door: &Door) -> Option<Ends> {
        let Ways { inside, outside } = ways(door, self.doors.doors.get(door)?);
        Some(Ends { inside: self.end(&inside), outside: outside.map(|way| self.end(&way)) })
    }
}

/// Where the ways through a door end in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) inside: End,
    pub(super) outside: Option<End>,
}

impl Ends {
    /// The ports that connections through this door are led to.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        [Some(&self.inside), self.outside.as_ref()].into_iter().flatten().filter_map(|end| match end {
            End::Port(port) => Some(*port),
            End::Closed(_) => None,
        })
    }
}

/// Where a way ends in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Closed(Verdict),
    Port(u16),
}

/// The whole table.
pub(super) fn desired(context: &NodeContext, family: AddressFamily, everything: View<'_>) -> Ruleset {
    let mut ruleset = layout::skeleton(context, family);
    add_elements(&mut ruleset, family, everything);
    ruleset
}

/// The few changes that lead from before to after: the full comparison over two tables cut down to what the change
/// touches.
pub(super) fn transaction(family: AddressFamily, before: View<'_>, after: View<'_>) -> Transaction {
    diff(Some(&cut_down(family, before)), &cut_down(family, after))
}

fn cut_down(family: AddressFamily, view: View<'_>) -> Ruleset {
    let mut ruleset = layout::without_chains(family);
    // Elements may lead there, and it is there on both sides.
    ruleset.chains.insert(layout::REFUSE, Chain::default());
    add_elements(&mut ruleset, family, view);
    ruleset
}

fn add_elements(ruleset: &mut Ruleset, family: AddressFamily, view: View<'_>) {
    let mut insert = |set: &Name, key: Tuple, data: Data| {
        if let Some(set) = ruleset.sets.get_mut(set) {
            set.elements.insert(key, data);
        }
    };
    for (door, behind) in &view.doors.doors {
        let Some(Ends { inside, outside }) = view.ends(door) else {
            continue;
        };
        let maps = Maps::of(door);
        for (end, ports, closed) in
            [(Some(inside), &maps.ports, &maps.closed), (outside, &maps.outside_ports, &maps.outside_closed)]
        {
            match end {
                Some(End::Port(port)) => {
                    insert(ports, door_key(door).into(), Data::Values(Value::Port(port).into()));
                }
                Some(End::Closed(verdict)) => insert(closed, door_key(door).into(), Data::Verdict(verdict)),
                None => {}
            }
        }
        if let Door::Address { .. } = door
            && !behind.sources.is_empty()
        {
            insert(&layout::GUARDED, door_key(door).into(), Data::Nothing);
            for key in source_keys(family, door, behind) {
                insert(&layout::SOURCES, key, Data::Nothing);
            }
        }
    }
    for address in &view.doors.addresses {
        insert(&layout::ADDRESSES, Value::Address(*address).into(), Data::Nothing);
    }
    for (relay, port) in view.relays {
        let key = [protocol_value(relay.protocol), Value::Port(*port)];
        insert(&layout::RELAYS, key.into(), Data::Nothing);
    }
}

/// Who may come in by a door: ranges that do not overlap, as the kernel wants them. Those of the other family let
/// nobody of this one in.
fn source_keys(family: AddressFamily, door: &Door, behind: &Behind) -> Vec<Tuple> {
    let ranges = behind.sources.iter().filter(|range| is_of(family, range)).copied().collect();
    let exact = |value: Value| match value {
        Value::Address(address) => Value::Prefix(address.into()),
        other => other,
    };
    let key = |range: IpNet| {
        let mut key: Vec<Value> = door_key(door).into_iter().map(exact).collect();
        key.push(Value::prefix(range));
        key.into()
    };
    IpNet::aggregate(&ranges).into_iter().map(key).collect()
}

/// Where a door of one sort is written down.
struct Maps {
    ports: Name,
    closed: Name,
    outside_ports: Name,
    outside_closed: Name,
}

impl Maps {
    const fn of(door: &Door) -> Self {
        match door {
            Door::Address { .. } => Self {
                ports: layout::PORTS,
                closed: layout::CLOSED,
                outside_ports: layout::OUTSIDE_PORTS,
                outside_closed: layout::OUTSIDE_CLOSED,
            },
            Door::Node { .. } => Self {
                ports: layout::NODE_PORTS,
                closed: layout::NODE_CLOSED,
                outside_ports: layout::OUTSIDE_NODE_PORTS,
                outside_closed: layout::OUTSIDE_NODE_CLOSED,
            },
        }
    }
}

/// The doors that a table has open.
pub(super) fn observed_doors(ruleset: &Ruleset) -> BTreeSet<Door> {
    let sets = [layout::PORTS, layout::CLOSED, layout::NODE_PORTS, layout::NODE_CLOSED];
    let keys = sets.iter().filter_map(|set| ruleset.sets.get(set)).flat_map(|set| set.elements.keys());
    keys.filter_map(|key| match door_of(&key.to_vec()) {
        Some((door, [])) => Some(door),
        _ => None,
    })
    .collect()
}
