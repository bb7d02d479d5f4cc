use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::{
    Kind, LoadBalancer, Object, ObjectKey, Parsed, Port, Problem, Protocol, ServiceKey, ServiceKind,
    ServicePort, SessionAffinity, TrafficPolicy,
};
use serde::Deserialize;

use super::{Named, Skipped, Wire, is_reachable, label, or_default, resource, slim_metadata};

/// Hands a Service to a proxy of that name (well-known label).
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

/// `sessionAffinityConfig.clientIP.timeoutSeconds` when it is not given.
const DEFAULT_AFFINITY: Duration = Duration::from_secs(10_800);

/// Ranges without any client: what stands for source ranges of which none could be read.
const NOBODY: [Ipv4Net; 1] = [Ipv4Net::new_assert(Ipv4Addr::new(255, 255, 255, 255), 32)];

/// A Service of `v1`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Service {
    #[serde(deserialize_with = "slim_metadata")]
    metadata: ObjectMeta,
    #[serde(default, deserialize_with = "or_default")]
    spec: Spec,
    #[serde(default, deserialize_with = "or_default")]
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    r#type: Option<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs", default, deserialize_with = "or_default")]
    cluster_ips: Vec<String>,
    external_name: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    ports: Vec<SpecPort>,
    session_affinity: Option<String>,
    session_affinity_config: Option<AffinityConfig>,
    #[serde(rename = "externalIPs", default, deserialize_with = "or_default")]
    external_ips: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    load_balancer_source_ranges: Vec<String>,
    external_traffic_policy: Option<String>,
    internal_traffic_policy: Option<String>,
    health_check_node_port: Option<i64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default, deserialize_with = "or_default")]
    load_balancer: BalancerStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct BalancerStatus {
    #[serde(default, deserialize_with = "or_default")]
    ingress: Vec<Ingress>,
}

/// An address of a load balancer; one that only has a name is nothing to us.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ingress {
    ip: Option<String>,
    ip_mode: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpecPort {
    name: Option<String>,
    protocol: Option<String>,
    port: Option<i64>,
    node_port: Option<i64>,
}

#[derive(Debug, Clone, Deserialize)]
struct AffinityConfig {
    #[serde(rename = "clientIP")]
    client_ip: Option<ClientIp>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientIp {
    timeout_seconds: Option<i64>,
}

resource!(Service, NamespaceResourceScope, "", "Service", "services");

impl Service {
    fn key(&self) -> Option<ServiceKey> {
        Some(ServiceKey::new(self.metadata.namespace.as_deref()?, self.metadata.name.as_deref()?))
    }
}

impl Wire for Service {
    const KIND: Kind = Kind::Service;

    fn object_key(&self) -> Option<ObjectKey> {
        self.key().map(ObjectKey::Service)
    }

    fn parse(&self) -> Parsed<Option<Object>> {
        let mut skipped = Skipped::default();
        let name = || "metadata.name".to_owned();
        let Some(key) = skipped.ok(name, self.key().ok_or(Problem::Missing)) else {
            return skipped.finish(None);
        };
        let service = model::Service {
            key,
            kind: self.spec.kind(&mut skipped),
            cluster_addresses: self.spec.cluster_addresses(&mut skipped),
            ports: self.spec.ports(&mut skipped),
            affinity: self.spec.affinity(&mut skipped),
            external_addresses: addresses("spec.externalIPs", &self.spec.external_ips, &mut skipped),
            load_balancer: LoadBalancer {
                addresses: self.status.load_balancer.addresses(&mut skipped),
                source_ranges: self.spec.source_ranges(&mut skipped),
            },
            external_policy: policy(
                "spec.externalTrafficPolicy",
                self.spec.external_traffic_policy.as_deref(),
                &mut skipped,
            ),
            internal_policy: policy(
                "spec.internalTrafficPolicy",
                self.spec.internal_traffic_policy.as_deref(),
                &mut skipped,
            ),
            health_check_port: self.spec.health_check_port(&mut skipped),
            proxy_name: label(&self.metadata, PROXY_NAME).map(Into::into),
        };
        skipped.finish(Some(Object::Service(service)))
    }
}

impl Named for Service {
    const KIND: dns::Kind = dns::Kind::Service;

    fn named_key(&self) -> Option<dns::ObjectKey> {
        self.key().map(dns::ObjectKey::Service)
    }

    fn named(&self) -> Parsed<Option<dns::Object>> {
        let Parsed { value, errors } = self.parse();
        let service = value.and_then(|object| match object {
            Object::Service(service) => Some(dns::Object::Service(service)),
            Object::EndpointSlice(_) | Object::Node(_) => None,
        });
        Parsed { value: service, errors }
    }
}

impl Spec {
    fn kind(&self, skipped: &mut Skipped) -> ServiceKind {
        let kind = match self.r#type.as_deref() {
            None | Some("ClusterIP") => Ok(ServiceKind::ClusterIp),
            Some("NodePort") => Ok(ServiceKind::NodePort),
            Some("LoadBalancer") => Ok(ServiceKind::LoadBalancer),
            Some("ExternalName") => {
                Ok(ServiceKind::ExternalName(self.external_name.as_deref().unwrap_or_default().into()))
            }
            Some(other) => Err(Problem::Unknown(other.to_owned())),
        };
        skipped.ok(|| "spec.type".to_owned(), kind).unwrap_or(ServiceKind::ClusterIp)
    }

    fn cluster_addresses(&self, skipped: &mut Skipped) -> Vec<IpAddr> {
        let single = self.cluster_ip.as_slice();
        let (field, texts) = match self.cluster_ips.as_slice() {
            [] => ("spec.clusterIP", single),
            several => ("spec.clusterIPs", several),
        };
        addresses(field, texts, skipped)
    }

    /// Some clouds still read them from an annotation; the API server has long had the field.
    fn source_ranges(&self, skipped: &mut Skipped) -> Arc<[IpNet]> {
        let mut parsed = Vec::new();
        for (index, text) in self.load_balancer_source_ranges.iter().enumerate() {
            let range = text.trim().parse::<IpNet>().map_err(|_| Problem::Prefix(text.clone()));
            let field = || format!("spec.loadBalancerSourceRanges[{index}]");
            parsed.extend(skipped.ok(field, range).map(|range| range.trunc()));
        }
        parsed.sort();
        parsed.dedup();
        if parsed.is_empty() && !self.load_balancer_source_ranges.is_empty() {
            // Nothing could be read: that must not let everybody in.
            parsed = NOBODY.map(IpNet::from).to_vec();
        }
        parsed.into()
    }

    fn health_check_port(&self, skipped: &mut Skipped) -> Option<Port> {
        let number = self.health_check_node_port.filter(|number| *number != 0)?;
        skipped.ok(|| "spec.healthCheckNodePort".to_owned(), Port::try_from(number))
    }

    fn ports(&self, skipped: &mut Skipped) -> Vec<ServicePort> {
        let mut parsed = Vec::new();
        for (index, port) in self.ports.iter().enumerate() {
            parsed.extend(port.parse(&format!("spec.ports[{index}]"), skipped));
        }
        parsed
    }

    fn affinity(&self, skipped: &mut Skipped) -> SessionAffinity {
        match self.session_affinity.as_deref() {
            None | Some("" | "None") => SessionAffinity::None,
            Some("ClientIP") => SessionAffinity::ClientAddress { timeout: self.affinity_timeout(skipped) },
            Some(other) => {
                let unknown = Err::<(), _>(Problem::Unknown(other.to_owned()));
                skipped.ok(|| "spec.sessionAffinity".to_owned(), unknown);
                SessionAffinity::None
            }
        }
    }

    fn affinity_timeout(&self, skipped: &mut Skipped) -> Duration {
        let config = self.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        let Some(seconds) = config.and_then(|config| config.timeout_seconds) else {
            return DEFAULT_AFFINITY;
        };
        let field = || "spec.sessionAffinityConfig.clientIP.timeoutSeconds".to_owned();
        let timeout = u64::try_from(seconds)
            .ok()
            .filter(|seconds| (1..=86_400).contains(seconds))
            .map(Duration::from_secs)
            .ok_or(Problem::Seconds(seconds));
        skipped.ok(field, timeout).unwrap_or(DEFAULT_AFFINITY)
    }
}

impl BalancerStatus {
    fn addresses(&self, skipped: &mut Skipped) -> Vec<IpAddr> {
        let mut parsed = Vec::new();
        for (index, ingress) in self.ingress.iter().enumerate() {
            let field = |name: &str| format!("status.loadBalancer.ingress[{index}].{name}");
            match ingress.ip_mode.as_deref() {
                None | Some("VIP") => {
                    let text = ingress.ip.as_deref().filter(|text| !text.is_empty());
                    parsed.extend(text.and_then(|text| skipped.ok(|| field("ip"), address(text))));
                }
                Some("Proxy") => {}
                Some(other) => {
                    skipped.ok(|| field("ipMode"), Err::<(), _>(Problem::Unknown(other.to_owned())));
                }
            }
        }
        parsed
    }
}

fn address(text: &str) -> Result<IpAddr, Problem> {
    let address = text.parse().map_err(|_| Problem::Address(text.to_owned()))?;
    // A door at a loopback address would take it from the node's own programs.
    if is_reachable(address) { Ok(address) } else { Err(Problem::Unreachable(text.to_owned())) }
}

/// Those that can be read; empty ones and `None` stand for none.
fn addresses(field: &str, texts: &[String], skipped: &mut Skipped) -> Vec<IpAddr> {
    let mut parsed = Vec::new();
    for (index, text) in texts.iter().enumerate().filter(|(_, text)| !matches!(text.as_str(), "" | "None")) {
        parsed.extend(skipped.ok(|| format!("{field}[{index}]"), address(text)));
    }
    parsed
}

fn policy(field: &str, text: Option<&str>, skipped: &mut Skipped) -> TrafficPolicy {
    let policy = match text {
        None | Some("" | "Cluster") => Ok(TrafficPolicy::Cluster),
        Some("Local") => Ok(TrafficPolicy::Local),
        Some(other) => Err(Problem::Unknown(other.to_owned())),
    };
    skipped.ok(|| field.to_owned(), policy).unwrap_or_default()
}

impl SpecPort {
    /// A bad node port costs the node port only; a bad port or protocol the whole entry.
    fn parse(&self, field: &str, skipped: &mut Skipped) -> Option<ServicePort> {
        let number = self.port.ok_or(Problem::Missing).and_then(Port::try_from);
        let port = skipped.ok(|| format!("{field}.port"), number);
        let protocol = self.protocol.as_deref().map_or(Ok(Protocol::Tcp), str::parse);
        let protocol = skipped.ok(|| format!("{field}.protocol"), protocol);
        let node_port = self
            .node_port
            .filter(|number| *number != 0)
            .and_then(|number| skipped.ok(|| format!("{field}.nodePort"), Port::try_from(number)));
        Some(ServicePort {
            name: self.name.as_deref().unwrap_or_default().into(),
            protocol: protocol?,
            port: port?,
            node_port,
        })
    }
}
