//! Ways that lead to the same objects: none of them may matter.

use model::{Object, Service};

/// Objects that come, or go, before the proxy is told.
pub enum Step {
    Apply(Vec<Object>),
    Delete(Vec<Object>),
    /// Whoever waited is told now.
    Sync,
}

use Step::{Apply, Delete, Sync};

/// Each with its name.
pub fn orders(objects: &[Object]) -> [(&'static str, Vec<Step>); 7] {
    let all = || objects.to_vec();
    let reversed: Vec<Object> = objects.iter().rev().cloned().collect();
    let others: Vec<Object> = objects.iter().map(other_state).collect();
    let split =
        |objects: &[Object]| objects.chunks(3).flat_map(|part| [Apply(part.to_vec()), Sync]).collect();
    [
        ("at once", vec![Apply(all()), Sync]),
        ("reversed", vec![Apply(reversed.clone()), Sync]),
        ("split", split(objects)),
        ("reversed and split", split(&reversed)),
        ("emptied in between", vec![Apply(all()), Sync, Delete(all()), Sync, Apply(all()), Sync]),
        ("from another state", vec![Apply(others.clone()), Sync, Apply(all()), Sync]),
        (
            "squashed",
            vec![Apply(all()), Sync, Apply(others), Delete(reversed.clone()), Apply(reversed), Sync],
        ),
    ]
}

/// An object of the same name that says something else.
fn other_state(object: &Object) -> Object {
    let mut object = object.clone();
    match &mut object {
        Object::Service(service) => {
            let Service { ports, external_policy, internal_policy, affinity, .. } = service;
            // The ports' doors change hands.
            let numbers: Vec<_> = ports.iter().map(|port| (port.port, port.node_port)).collect();
            for (port, number) in ports.iter_mut().zip(numbers.into_iter().rev()) {
                (port.port, port.node_port) = number;
            }
            std::mem::swap(external_policy, internal_policy);
            *affinity = model::SessionAffinity::None;
        }
        Object::EndpointSlice(slice) => {
            slice.endpoints.reverse();
            slice.endpoints.pop();
            for endpoint in &mut slice.endpoints {
                endpoint.node = Some("node2".into());
                endpoint.hints = None;
            }
        }
        Object::Node(node) => node.zone = Some("west".into()),
    }
    object
}
