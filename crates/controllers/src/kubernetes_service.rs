//! The Service `kubernetes`: how pods reach the API server. It has no selector; its Endpoints and EndpointSlice are
//! the address that the API server advertises. All three are put right again whenever somebody changes them.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort as OldPort, EndpointSubset, Endpoints, Service, ServicePort, ServiceSpec,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::config::Config;
use crate::context::{Context, SERVICE_NAME};
use crate::error::Error;
use crate::kept::Kept;
use crate::queue::{Again, Queue};

const NAME: &str = "kubernetes";
const NAMESPACE: &str = "default";
const KEPT: Kept = Kept { namespace: NAMESPACE, name: NAME };
const PORT: &str = "https";

/// Keeps the three objects right, for ever.
/// The stores wake it from this call on, not only once the future is polled.
pub(crate) fn run(context: Arc<Context>) -> impl Future<Output = ()> + Send {
    let queue = Queue::new();
    KEPT.wake_on(&context.stores.services, &queue);
    KEPT.wake_on(&context.stores.endpoints, &queue);
    KEPT.wake_on(&context.stores.slices, &queue);
    KEPT.wake_on_namespace(&context, &queue);
    queue.add(NAME);
    async move { queue.run("kubernetes service", 1, |_| reconcile(&context)).await }
}

async fn reconcile(context: &Context) -> Result<Again, Error> {
    if !KEPT.has_namespace(context) {
        return Ok(Again::OnEvent);
    }
    KEPT.keep(context, |found| service(&context.config, found)).await?;
    KEPT.keep(context, |found| endpoints(&context.config, found)).await?;
    KEPT.keep(context, |found| slice(&context.config, found)).await?;
    Ok(Again::OnEvent)
}

fn service(config: &Config, found: Option<&Service>) -> Service {
    let port = ServicePort {
        name: Some(PORT.to_owned()),
        port: 443,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(config.advertise.port().into())),
        ..ServicePort::default()
    };
    let mut spec = found.and_then(|found| found.spec.clone()).unwrap_or_else(|| ServiceSpec {
        cluster_ip: Some(config.kubernetes_address().to_string()),
        type_: Some("ClusterIP".to_owned()),
        session_affinity: Some("None".to_owned()),
        ..ServiceSpec::default()
    });
    spec.selector = None;
    if spec.ports.as_deref() != Some(std::slice::from_ref(&port)) {
        spec.ports = Some(vec![port]);
    }
    Service {
        metadata: KEPT.metadata(
            found.map(|found| &found.metadata),
            &[("component", "apiserver"), ("provider", "kubernetes")],
        ),
        spec: Some(spec),
        status: found.and_then(|found| found.status.clone()),
    }
}

fn endpoints(config: &Config, found: Option<&Endpoints>) -> Endpoints {
    Endpoints {
        metadata: KEPT.metadata(
            found.map(|found| &found.metadata),
            &[("endpointslice.kubernetes.io/skip-mirror", "true")],
        ),
        subsets: Some(vec![EndpointSubset {
            addresses: Some(vec![EndpointAddress {
                ip: config.advertise.ip().to_string(),
                ..EndpointAddress::default()
            }]),
            not_ready_addresses: None,
            ports: Some(vec![OldPort {
                name: Some(PORT.to_owned()),
                port: config.advertise.port().into(),
                protocol: Some("TCP".to_owned()),
                app_protocol: None,
            }]),
        }]),
    }
}

fn slice(config: &Config, found: Option<&EndpointSlice>) -> EndpointSlice {
    let family = match config.advertise.ip() {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    };
    EndpointSlice {
        metadata: KEPT.metadata(found.map(|found| &found.metadata), &[(SERVICE_NAME, NAME)]),
        address_type: family.to_owned(),
        endpoints: vec![Endpoint {
            addresses: vec![config.advertise.ip().to_string()],
            conditions: Some(EndpointConditions { ready: Some(true), ..EndpointConditions::default() }),
            ..Endpoint::default()
        }],
        ports: Some(vec![EndpointPort {
            name: Some(PORT.to_owned()),
            port: Some(config.advertise.port().into()),
            protocol: Some("TCP".to_owned()),
            app_protocol: None,
        }]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::Labels;

    fn config() -> Config {
        Config {
            pod_cidr: "10.244.0.0/16".parse().unwrap(),
            node_prefix_length: 24,
            service_cidr: "10.96.0.0/12".parse().unwrap(),
            advertise: "10.100.0.254:6443".parse().unwrap(),
            cluster_dns: None,
            root_ca: None,
            nodes: crate::NodeTimes::default(),
        }
    }

    #[test]
    fn the_three_objects_lead_to_the_api_server() {
        let service = service(&config(), None);
        let spec = service.spec.unwrap();
        assert_eq!(spec.cluster_ip.as_deref(), Some("10.96.0.1"));
        assert_eq!(spec.ports.unwrap()[0].target_port, Some(IntOrString::Int(6443)));
        let slice = slice(&config(), None);
        assert_eq!(slice.endpoints[0].addresses, ["10.100.0.254"]);
        assert_eq!(
            endpoints(&config(), None).subsets.unwrap()[0].addresses.as_ref().unwrap()[0].ip,
            "10.100.0.254"
        );
    }

    #[test]
    fn what_a_person_bent_is_straightened_and_the_rest_is_kept() {
        let mut bent = service(&config(), None);
        bent.metadata.resource_version = Some("7".to_owned());
        bent.metadata.labels.get_or_insert_default().insert("mine".to_owned(), "yes".to_owned());
        let right = bent.clone();
        bent.spec.get_or_insert_default().selector = Some(Labels::from([("run".to_owned(), "x".to_owned())]));
        bent.metadata.labels.get_or_insert_default().remove("provider");
        assert_eq!(service(&config(), Some(&bent)), right);
        assert_eq!(service(&config(), Some(&right)), right);
    }
}
