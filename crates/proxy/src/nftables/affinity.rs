//! Clients that are remembered together with an endpoint that is gone.

use model::EndpointAddress;
use netstate::nft::{Element, Tuple, Value};

use super::plan::endpoint_of;
use crate::books::{Books, Delta};
use crate::door_words::door_of;
use crate::doors::{Behind, Door};

/// Whether a change takes an endpoint from behind a door that remembers its clients. Only then is the
/// memory, which may be long, worth reading.
pub(super) fn may_be_stale(delta: &Delta) -> bool {
    let sticky = |behind: &Behind| behind.affinity().is_some();
    delta.before.doors.iter().filter(|(_, behind)| sticky(behind)).any(|(door, behind)| {
        let after = delta.after.doors.get(door).filter(|after| sticky(after));
        after.is_none_or(|after| behind.endpoints().any(|endpoint| !after.leads_to(endpoint)))
    })
}

/// Keys of the clients to forget: their door is closed or forgets everyone, or their endpoint is no
/// longer behind it.
pub(super) fn stale(remembered: &[Element], books: &Books) -> Vec<Tuple> {
    let keep = |element: &&Element| {
        remembered_at(element, books)
            .is_some_and(|(behind, endpoint)| behind.affinity().is_some() && behind.leads_to(&endpoint))
    };
    remembered.iter().filter(|element| !keep(element)).map(|element| element.key.clone()).collect()
}

fn remembered_at<'a>(element: &Element, books: &'a Books) -> Option<(&'a Behind, EndpointAddress)> {
    let endpoint = endpoint_of(&element.data)?;
    let [Value::Address(_client), door @ ..] = &element.key.to_vec()[..] else {
        return None;
    };
    let (cluster, _) = door_of(door)?;
    let behind = books.behind(&cluster).or_else(|| books.behind(&node_door(cluster)))?;
    Some((behind, endpoint))
}

/// A client remembered under an address that is no virtual one came in by a node port.
fn node_door(door: Door) -> Door {
    Door::Node { protocol: door.protocol(), port: door.port() }
}
