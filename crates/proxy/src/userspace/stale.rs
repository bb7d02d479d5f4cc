//! UDP connections that lead to a port where their relay does not listen any more.
//!
//! A client that keeps sending from one port keeps its connection tracking entry alive, and with it the relay's port
//! that its first packet was redirected to. When the door opens, closes, or leads to another relay, that port is
//! nobody's, or soon somebody else's. An endpoint that goes is no matter of connection tracking here: the relay sees to
//! it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use model::{Port, Protocol};
use netstate::conntrack::{Connection, Filter};
use netstate::nft::L4Protocol;

use super::plan::View;
use crate::doors::Door;

const ALL_UDP: Filter = Filter::protocol(L4Protocol::UDP);

/// The connections to forget after a change.
pub(super) fn after_change(before: View<'_>, after: View<'_>) -> Vec<Filter> {
    let doors: BTreeSet<&Door> = before.doors.doors.keys().chain(after.doors.doors.keys()).collect();
    let turned = |door: &&Door| door.protocol() == Protocol::Udp && before.ends(door) != after.ends(door);
    doors.into_iter().filter(turned).map(through).collect()
}

/// The connections to forget among all there are, when it is not known what changed. `own` are addresses of the node,
/// `before` the doors that the kernel had open.
pub(super) fn among(
    connections: &[Connection],
    own: &[IpAddr],
    before: &BTreeSet<Door>,
    after: View<'_>,
) -> Vec<Filter> {
    let mut filters = BTreeSet::new();
    for connection in connections {
        let Some(address_door) = knocked(connection) else {
            continue;
        };
        let node_door = Door::Node { protocol: Protocol::Udp, port: address_door.port() };
        let open = |door: &Door| before.contains(door) || after.doors.doors.contains_key(door);
        let to_node = || is_translated(connection) || own.contains(&connection.original.destination.ip());
        let door = if open(&address_door) {
            address_door
        } else if open(&node_door) && to_node() {
            node_door
        } else {
            continue;
        };
        let answering = connection.reply.source;
        let led_there =
            after.ends(&door).is_some_and(|ends| ends.ports().any(|port| port == answering.port()));
        if !led_there {
            filters.insert(through(&address_door).answered_by(answering.ip(), answering.port()));
        }
    }
    filters.into_iter().collect()
}

/// Every UDP connection.
pub(super) const fn udp() -> Filter {
    ALL_UDP
}

/// One that is not may lead to that port of a machine far away.
fn is_translated(connection: &Connection) -> bool {
    connection.reply.source != connection.original.destination
}

fn through(door: &Door) -> Filter {
    match door {
        Door::Address { address, port, .. } => ALL_UDP.to(*address, port.number()),
        Door::Node { port, .. } => ALL_UDP.to_port(port.number()),
    }
}

/// The door a connection would have come in by if it was for an address of a service.
fn knocked(connection: &Connection) -> Option<Door> {
    let knocked = connection.original.destination;
    let port = Port::try_from(i64::from(knocked.port())).ok()?;
    Some(Door::Address { address: knocked.ip(), protocol: Protocol::Udp, port })
}
