//! UDP connections that lead where nobody serves any more.
//!
//! A UDP client that keeps sending from one port keeps its connection tracking entry alive, and with it
//! the endpoint chosen for the first packet. TCP needs no help: its peer answers with a reset, or the
//! client gives up. Only services that lost endpoints, opened or closed are looked at; in particular also
//! one that lost its last (kubernetes issue 139628).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use model::{EndpointAddress, Port, Protocol};
use netstate::conntrack::{Connection, ConntrackError, ConntrackPort, Filter};
use netstate::nft::L4Protocol;

use crate::books::Delta;
use crate::doors::{Behind, Door, Slots};

const ALL_UDP: Filter = Filter::protocol(L4Protocol::UDP);

/// Forgets the connections that these filters mean, and says how many. Without filters nothing is read.
pub(crate) fn forget(
    conntrack: &mut (impl ConntrackPort + ?Sized),
    filters: &[Filter],
) -> Result<usize, ConntrackError> {
    if filters.is_empty() { Ok(0) } else { conntrack.delete(filters) }
}

/// The connections to forget after a change.
pub(crate) fn after_change(delta: &Delta) -> Vec<Filter> {
    let doors: BTreeSet<&Door> =
        delta.before.doors.keys().chain(delta.after.doors.keys()).filter(|door| is_udp(door)).collect();
    let mut filters = Vec::new();
    for door in doors {
        let before = endpoints(&delta.before.doors, door);
        let after = endpoints(&delta.after.doors, door);
        let opens = !delta.before.doors.contains_key(door);
        if opens || before.is_empty() && !after.is_empty() {
            // What was sent before was tracked too, as leading nowhere.
            filters.push(through(door));
        } else {
            filters.extend(
                before.iter().filter(|endpoint| !after.contains(endpoint)).map(|gone| to(door, gone)),
            );
        }
    }
    filters
}

/// The connections to forget among all there are, when it is not known what changed.
///
/// `own` are addresses of the node, `before` holds the doors that the kernel had open.
pub(crate) fn among(
    connections: &[Connection],
    own: &[IpAddr],
    before: &BTreeMap<Door, Slots>,
    after: &BTreeMap<Door, Arc<Behind>>,
) -> Vec<Filter> {
    let mut filters = BTreeMap::new();
    for connection in connections {
        let Some((door, answering)) = ends(connection) else {
            continue;
        };
        let open = |door: &Door| before.contains_key(door) || after.contains_key(door);
        let node = Door::Node { protocol: Protocol::Udp, port: door.port() };
        let to_node = || is_translated(connection) || own.contains(&connection.original.destination.ip());
        let knocked_at = if open(&door) {
            door
        } else if open(&node) && to_node() {
            node
        } else {
            continue;
        };
        if !endpoints(after, &knocked_at).contains(&answering) {
            filters.insert((door, answering), to(&door, &answering));
        }
    }
    filters.into_values().collect()
}

/// Every UDP connection.
pub(crate) fn udp() -> Filter {
    ALL_UDP
}

/// One that is not may lead to that port of a machine far away.
fn is_translated(connection: &Connection) -> bool {
    connection.reply.source != connection.original.destination
}

fn is_udp(door: &Door) -> bool {
    door.protocol() == Protocol::Udp
}

fn endpoints(doors: &BTreeMap<Door, Arc<Behind>>, door: &Door) -> BTreeSet<EndpointAddress> {
    doors.get(door).into_iter().flat_map(|behind| behind.endpoints()).copied().collect()
}

fn through(door: &Door) -> Filter {
    match door {
        Door::Address { address, port, .. } => ALL_UDP.to(*address, port.number()),
        Door::Node { port, .. } => ALL_UDP.to_port(port.number()),
    }
}

fn to(door: &Door, endpoint: &EndpointAddress) -> Filter {
    through(door).answered_by(endpoint.address, endpoint.port.number())
}

/// The door a connection would have come in by if it was for a virtual address, and who answers it.
fn ends(connection: &Connection) -> Option<(Door, EndpointAddress)> {
    let knocked = connection.original.destination;
    let answers = connection.reply.source;
    let port = |number: u16| Port::try_from(i64::from(number)).ok();
    let door = Door::Address { address: knocked.ip(), protocol: Protocol::Udp, port: port(knocked.port())? };
    Some((door, EndpointAddress { address: answers.ip(), port: port(answers.port())? }))
}
