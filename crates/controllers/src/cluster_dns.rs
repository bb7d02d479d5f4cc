//! The Service `kube-dns` of `kube-system`: where pods ask for names. Each node answers them itself, so that its
//! endpoints are the ready nodes. It has no selector; what somebody changes is put right again.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort as OldPort, EndpointSubset, Endpoints, Node, Service, ServicePort,
    ServiceSpec,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::context::{Context, SERVICE_NAME};
use crate::error::Error;
use crate::kept::Kept;
use crate::objects::is_deleting;
use crate::queue::{Again, Queue};
use crate::scheduler::is_ready;

const NAME: &str = "kube-dns";
const NAMESPACE: &str = "kube-system";
/// The second is what `kubectl cluster-info` looks for.
const LABELS: [(&str, &str); 2] = [("k8s-app", NAME), ("kubernetes.io/cluster-service", "true")];
const KEPT: Kept = Kept { namespace: NAMESPACE, name: NAME };
/// Name and protocol of the ports, all of them 53.
const PORTS: [(&str, &str); 2] = [("dns", "UDP"), ("dns-tcp", "TCP")];
const PORT: i32 = 53;

/// Keeps the Service and its slice right, for ever; does nothing without an address for it.
/// The stores wake it from this call on, not only once the future is polled.
pub(crate) fn run(context: Arc<Context>) -> impl Future<Output = ()> + Send {
    let queue = Queue::new();
    KEPT.wake_on(&context.stores.services, &queue);
    KEPT.wake_on(&context.stores.slices, &queue);
    KEPT.wake_on(&context.stores.endpoints, &queue);
    let wake = queue.clone();
    context.stores.nodes.on_change(move |change| {
        if change.old.and_then(endpoint) != change.new.and_then(endpoint) {
            wake.add(NAME);
        }
    });
    KEPT.wake_on_namespace(&context, &queue);
    queue.add(NAME);
    async move { queue.run("cluster DNS", 1, |_| reconcile(&context)).await }
}

async fn reconcile(context: &Context) -> Result<Again, Error> {
    let Some(address) = context.config.cluster_dns else {
        return Ok(Again::OnEvent);
    };
    if !KEPT.has_namespace(context) {
        return Ok(Again::OnEvent);
    }
    let nodes = context.stores.nodes.all();
    let mut endpoints: Vec<Endpoint> = nodes.iter().filter_map(|node| endpoint(node)).collect();
    endpoints.sort_by(|a, b| a.node_name.cmp(&b.node_name));
    KEPT.keep(context, |found| service(address, found)).await?;
    KEPT.keep(context, |found| slice(&endpoints, found)).await?;
    KEPT.keep(context, |found| old_endpoints(&endpoints, found)).await?;
    Ok(Again::OnEvent)
}

/// A node's name server, once the node has an address.
fn endpoint(node: &Node) -> Option<Endpoint> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let own = addresses.iter().find(|address| address.type_ == "InternalIP")?;
    let ready = is_ready(node) && !is_deleting(&node.metadata);
    Some(Endpoint {
        addresses: vec![own.address.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(ready),
            terminating: Some(false),
        }),
        node_name: node.metadata.name.clone(),
        ..Endpoint::default()
    })
}

fn service(address: IpAddr, found: Option<&Service>) -> Service {
    let ports = PORTS.map(|(name, protocol)| ServicePort {
        name: Some(name.to_owned()),
        port: PORT,
        protocol: Some(protocol.to_owned()),
        target_port: Some(IntOrString::Int(PORT)),
        ..ServicePort::default()
    });
    let mut spec = found.and_then(|found| found.spec.clone()).unwrap_or_else(|| ServiceSpec {
        cluster_ip: Some(address.to_string()),
        type_: Some("ClusterIP".to_owned()),
        session_affinity: Some("None".to_owned()),
        ..ServiceSpec::default()
    });
    spec.selector = None;
    if spec.ports.as_deref() != Some(&ports) {
        spec.ports = Some(ports.into());
    }
    Service {
        metadata: KEPT.metadata(found.map(|found| &found.metadata), &LABELS),
        spec: Some(spec),
        status: found.and_then(|found| found.status.clone()),
    }
}

fn slice(endpoints: &[Endpoint], found: Option<&EndpointSlice>) -> EndpointSlice {
    EndpointSlice {
        metadata: KEPT.metadata(found.map(|found| &found.metadata), &[(SERVICE_NAME, NAME)]),
        address_type: "IPv4".to_owned(),
        endpoints: endpoints.to_vec(),
        ports: Some(
            PORTS
                .map(|(name, protocol)| EndpointPort {
                    name: Some(name.to_owned()),
                    port: Some(PORT),
                    protocol: Some(protocol.to_owned()),
                    app_protocol: None,
                })
                .into(),
        ),
    }
}

/// The same in the form that clients before EndpointSlices read; the label keeps it from being mirrored into a slice.
fn old_endpoints(endpoints: &[Endpoint], found: Option<&Endpoints>) -> Endpoints {
    let addresses = |ready: bool| -> Option<Vec<EndpointAddress>> {
        let fitting = endpoints.iter().filter(|endpoint| {
            endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(ready)
        });
        let address = |endpoint: &Endpoint| EndpointAddress {
            ip: endpoint.addresses.first().cloned().unwrap_or_default(),
            node_name: endpoint.node_name.clone(),
            ..EndpointAddress::default()
        };
        Some(fitting.map(address).collect()).filter(|addresses: &Vec<_>| !addresses.is_empty())
    };
    let ports = PORTS.map(|(name, protocol)| OldPort {
        name: Some(name.to_owned()),
        port: PORT,
        protocol: Some(protocol.to_owned()),
        ..OldPort::default()
    });
    let subset = EndpointSubset {
        addresses: addresses(true),
        not_ready_addresses: addresses(false),
        ports: Some(ports.into()),
    };
    Endpoints {
        metadata: KEPT.metadata(
            found.map(|found| &found.metadata),
            &[("k8s-app", NAME), ("endpointslice.kubernetes.io/skip-mirror", "true")],
        ),
        subsets: (!endpoints.is_empty()).then(|| vec![subset]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, ready: &str) -> Node {
        let node = json!({
            "metadata": {"name": name},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "10.100.0.2"}],
                "conditions": [{"type": "Ready", "status": ready}],
            },
        });
        serde_json::from_value(node).unwrap()
    }

    #[test]
    fn ready_nodes_answer() {
        let ready = |node: &Node| endpoint(node).unwrap().conditions.unwrap().ready;
        assert_eq!(ready(&node("node1", "True")), Some(true));
        assert_eq!(ready(&node("node1", "Unknown")), Some(false));
        let bare = Node { status: None, ..node("node1", "True") };
        assert_eq!(endpoint(&bare), None);
    }

    #[test]
    fn what_a_person_bent_is_straightened_and_the_rest_is_kept() {
        let address = "10.96.0.10".parse().unwrap();
        let right = service(address, None);
        assert_eq!(right.spec.as_ref().unwrap().cluster_ip.as_deref(), Some("10.96.0.10"));
        let mut bent = right.clone();
        bent.spec.get_or_insert_default().ports = None;
        assert_eq!(service(address, Some(&bent)), right);
        let endpoints = [endpoint(&node("node1", "True")).unwrap()];
        let right = slice(&endpoints, None);
        assert_eq!(slice(&endpoints, Some(&slice(&[], Some(&right)))), right);
        let right = old_endpoints(&endpoints, None);
        assert_eq!(old_endpoints(&endpoints, Some(&old_endpoints(&[], Some(&right)))), right);
        let subset = &right.subsets.as_ref().unwrap()[0];
        assert_eq!(subset.addresses.as_ref().unwrap()[0].ip, "10.100.0.2");
        assert_eq!(subset.not_ready_addresses, None);
    }
}
