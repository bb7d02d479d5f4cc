//! The slices that stand for an Endpoints object. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort as OldPort, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::context::{MANAGED_BY, SERVICE_NAME};
use crate::objects::{controller_of, controller_reference, generated_name, is_deleting, uid};
use crate::selector::Labels;

/// The same as in Kubernetes, so that a cluster can change hands without its slices being doubled.
pub(super) const CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";
/// Addresses that are mirrored of one subset (`--mirroring-max-endpoints-per-subset`); as many as a slice may hold.
pub(super) const CAPACITY: usize = 1000;
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Endpoints were once used for electing leaders; those change all the time and mean nobody's traffic.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that are about the Endpoints object alone.
const OWN_ANNOTATIONS: [&str; 2] =
    ["kubectl.kubernetes.io/last-applied-configuration", "endpoints.kubernetes.io/last-change-trigger-time"];

/// What to write.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
    /// Addresses that are none.
    pub(super) invalid: usize,
    /// Addresses beyond [`CAPACITY`].
    pub(super) skipped: usize,
}

/// Whether a slice is this controller's to change.
pub(super) fn is_mirrored(slice: &EndpointSlice) -> bool {
    let labels = slice.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|by| by == CONTROLLER)
}

/// Whether the object is to be mirrored, as far as it alone decides.
pub(super) fn wants_mirror(endpoints: &Endpoints) -> bool {
    let label = |key: &str| endpoints.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let leads = endpoints.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(LEADER));
    !leads && label(SKIP).is_none_or(|skip| skip != "true")
}

/// What makes two addresses stand in one slice: family and ports.
type Group = (&'static str, Vec<Port>);

/// Name, protocol, number, application protocol.
type Port = (String, String, i32, Option<String>);

/// Compares the slices that are with the subsets. `existing` are the mirrored slices of this name.
pub(super) fn plan(endpoints: &Endpoints, existing: &[Arc<EndpointSlice>]) -> Plan {
    let mut plan = Plan::default();
    let groups = groups(endpoints, &mut plan);
    let mut by_group: BTreeMap<(String, Vec<Port>), Vec<&Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in existing.iter().filter(|slice| !is_deleting(&slice.metadata)) {
        let ours = controller_of(&slice.metadata).is_none_or(|owner| owner.uid == uid(&endpoints.metadata));
        if ours {
            by_group.entry((slice.address_type.clone(), ports_of(slice))).or_default().push(slice);
        } else {
            // What a deleted object of the same name left behind.
            plan.delete.push(slice.clone());
        }
    }
    for ((family, ports), addresses) in groups {
        let slices = by_group.remove(&(family.to_owned(), ports.clone())).unwrap_or_default();
        let mut slices = slices.into_iter();
        let wanted: Vec<Endpoint> = addresses.into_values().collect();
        match slices.next() {
            None => plan.create.push(slice(endpoints, family, &ports, wanted)),
            Some(first) => {
                let mut next = first.as_ref().clone();
                next.endpoints = wanted;
                dress(endpoints, &mut next.metadata);
                if next != **first {
                    plan.update.push(next);
                }
            }
        }
        plan.delete.extend(slices.cloned());
    }
    plan.delete.extend(by_group.into_values().flatten().cloned());
    plan
}

/// The addresses by family and ports, each once.
fn groups(endpoints: &Endpoints, plan: &mut Plan) -> BTreeMap<Group, BTreeMap<String, Endpoint>> {
    let mut groups: BTreeMap<Group, BTreeMap<String, Endpoint>> = BTreeMap::new();
    for subset in endpoints.subsets.iter().flatten() {
        let mut ports: Vec<Port> = subset.ports.iter().flatten().map(old_port).collect();
        ports.sort();
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let unready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        for (address, ready) in ready.chain(unready) {
            let family = match address.ip.parse() {
                Ok(IpAddr::V4(_)) => "IPv4",
                Ok(IpAddr::V6(_)) => "IPv6",
                Err(_) => {
                    plan.invalid += 1;
                    continue;
                }
            };
            let group = groups.entry((family, ports.clone())).or_default();
            if group.len() < CAPACITY || group.contains_key(&identity(address)) {
                group.entry(identity(address)).or_insert_with(|| endpoint(address, ready));
            } else {
                plan.skipped += 1;
            }
        }
    }
    groups
}

fn identity(address: &EndpointAddress) -> String {
    let target = address.target_ref.as_ref().and_then(|target| target.uid.as_deref()).unwrap_or_default();
    format!("{} {target}", address.ip)
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone().filter(|hostname| !hostname.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn old_port(port: &OldPort) -> Port {
    (
        port.name.clone().unwrap_or_default(),
        port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        port.port,
        port.app_protocol.clone(),
    )
}

fn ports_of(slice: &EndpointSlice) -> Vec<Port> {
    let port = |port: &EndpointPort| {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        (port.name.clone().unwrap_or_default(), protocol, port.port.unwrap_or(0), port.app_protocol.clone())
    };
    let mut ports: Vec<Port> = slice.ports.iter().flatten().map(port).collect();
    ports.sort();
    ports
}

fn slice(endpoints: &Endpoints, family: &str, ports: &[Port], wanted: Vec<Endpoint>) -> EndpointSlice {
    let prefix = format!("{}-", endpoints.metadata.name.as_deref().unwrap_or_default());
    let mut metadata = ObjectMeta {
        name: Some(generated_name(&prefix)),
        generate_name: Some(prefix),
        namespace: endpoints.metadata.namespace.clone(),
        ..ObjectMeta::default()
    };
    dress(endpoints, &mut metadata);
    let port = |(name, protocol, port, app_protocol): &Port| EndpointPort {
        name: Some(name.clone()),
        port: Some(*port),
        protocol: Some(protocol.clone()),
        app_protocol: app_protocol.clone(),
    };
    EndpointSlice {
        metadata,
        address_type: family.to_owned(),
        endpoints: wanted,
        ports: Some(ports.iter().map(port).collect()),
    }
}

/// Labels, annotations and owner: the object's own, and those by which its slices are found.
fn dress(endpoints: &Endpoints, meta: &mut ObjectMeta) {
    let mut labels: Labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), endpoints.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    meta.labels = Some(labels);
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| !OWN_ANNOTATIONS.contains(&key.as_str()));
    meta.annotations = (!annotations.is_empty()).then_some(annotations);
    meta.owner_references = Some(vec![controller_reference::<Endpoints>(&endpoints.metadata)]);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::samples::{changed, shared};

    fn endpoints(subsets: Value) -> Endpoints {
        let base = json!({"metadata": {"name": "db", "namespace": "default", "uid": "uid-db", "labels": {"tier": "data"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "owner": "me"}}});
        changed(&base, &json!({ "subsets": subsets }))
    }

    fn one(addresses: Value, unready: Value) -> Endpoints {
        endpoints(json!([{"addresses": addresses, "notReadyAddresses": unready,
            "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}]}]))
    }

    #[test]
    fn a_subset_becomes_a_slice_of_each_family() {
        let made =
            plan(&one(json!([{"ip": "10.1.0.1"}, {"ip": "fd00::1"}]), json!([{"ip": "10.1.0.2"}])), &[]);
        let shown: Vec<_> = made
            .create
            .iter()
            .map(|slice| {
                let ready = |endpoint: &Endpoint| endpoint.conditions.as_ref().and_then(|found| found.ready);
                let all =
                    slice.endpoints.iter().map(|endpoint| (endpoint.addresses[0].clone(), ready(endpoint)));
                (slice.address_type.as_str(), all.collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("IPv4", vec![("10.1.0.1".to_owned(), Some(true)), ("10.1.0.2".to_owned(), Some(false))]),
                ("IPv6", vec![("fd00::1".to_owned(), Some(true))])
            ]
        );
        let slice = &made.create[0];
        let labels = slice.metadata.labels.as_ref().unwrap();
        assert_eq!((labels["tier"].as_str(), labels[SERVICE_NAME].as_str()), ("data", "db"));
        assert_eq!(slice.metadata.annotations.as_ref().unwrap().keys().collect::<Vec<_>>(), ["owner"]);
        assert_eq!(controller_of(&slice.metadata).unwrap().kind, "Endpoints");
        assert!(is_mirrored(slice));
        let port = &slice.ports.as_ref().unwrap()[0];
        assert_eq!((port.name.as_deref(), port.port), (Some("sql"), Some(5432)));
    }

    #[test]
    fn what_is_right_is_left_alone_and_what_is_not_changes_in_place() {
        let first = one(json!([{"ip": "10.1.0.1"}]), json!(null));
        let existing = shared(plan(&first, &[]).create);
        assert_eq!(plan(&first, &existing), Plan::default());
        let changed = plan(&one(json!([{"ip": "10.1.0.9"}]), json!(null)), &existing);
        assert_eq!((changed.create.len(), changed.update.len(), changed.delete.len()), (0, 1, 0));
        assert_eq!(changed.update[0].metadata.name, existing[0].metadata.name);
        let gone = plan(&endpoints(json!(null)), &existing);
        assert_eq!((gone.create.len(), gone.update.len(), gone.delete.len()), (0, 0, 1));
    }

    #[test]
    fn too_many_and_impossible_addresses_are_counted() {
        let many: Vec<Value> = (0..1002)
            .map(|number| json!({"ip": format!("10.1.{}.{}", number / 250, number % 250)}))
            .collect();
        let mut all = many.clone();
        all.insert(0, json!({"ip": "db.example"}));
        all.push(many[0].clone());
        let made = plan(&one(json!(all), json!(null)), &[]);
        assert_eq!((made.create[0].endpoints.len(), made.invalid, made.skipped), (1000, 1, 2));
    }

    #[test]
    fn who_asks_to_be_left_out_is() {
        assert!(wants_mirror(&endpoints(json!(null))));
        for patch in [
            json!({"metadata": {"labels": {SKIP: "true"}}}),
            json!({"metadata": {"annotations": {LEADER: "{}"}}}),
        ] {
            assert!(!wants_mirror(&changed(&endpoints(json!(null)), &patch)), "{patch}");
        }
    }
}
