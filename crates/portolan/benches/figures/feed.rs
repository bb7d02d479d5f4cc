//! A fleet as the proxy's own types: what the watches would bring, without an API server between.

use std::net::Ipv4Addr;

use load::Fleet;
use model::{Kind, Object};
use serde_json::Value;

/// The first address of Services.
const FIRST: u32 = 0x0a60_0001;

/// A Service and its slices.
pub fn objects(fleet: Fleet, number: u32) -> Vec<Object> {
    let slices = fleet.slices(number).into_iter().map(|slice| read(Kind::EndpointSlice, &slice));
    std::iter::once(service(fleet, number, None)).chain(slices).collect()
}

/// A Service, with another node port than it has in the fleet.
pub fn service(fleet: Fleet, number: u32, node_port: Option<u16>) -> Object {
    let mut service = fleet.service(number);
    service["spec"]["clusterIP"] = Ipv4Addr::from(FIRST + number).to_string().into();
    if let Some(node_port) = node_port {
        service["spec"]["type"] = "NodePort".into();
        service["spec"]["ports"][0]["nodePort"] = node_port.into();
    }
    read(Kind::Service, &service)
}

/// The first slice of a Service, with another first endpoint than it has in the fleet.
pub fn moved_slice(fleet: Fleet, number: u32, address: &str) -> Object {
    let mut slice = fleet.slices(number).swap_remove(0);
    slice["endpoints"][0]["addresses"][0] = address.into();
    read(Kind::EndpointSlice, &slice)
}

fn read(kind: Kind, object: &Value) -> Object {
    let parsed = runtime::read_object(kind, object.to_string().as_bytes()).expect("JSON of the API");
    assert!(parsed.errors.is_empty(), "{object}");
    parsed.value.expect("an object with a name")
}
