//! Objects of the Kubernetes API, with the fields that a server fills in.

use model::{Kind, Object, ParseError, Protocol};
use serde_json::{Value, json};

/// A Service at these addresses, of no port yet.
pub struct Service(Value);

/// A Service of type ClusterIP.
pub fn service(name: &str, addresses: &[&str]) -> Service {
    Service(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": addresses.first().unwrap_or(&"None"),
            "clusterIPs": if addresses.is_empty() { &["None"] } else { addresses },
            "ports": [],
        },
    }))
}

impl Service {
    /// One more port.
    pub fn port(mut self, name: &str, protocol: Protocol, port: u16) -> Self {
        let entry = json!({"name": name, "protocol": word(protocol), "port": port});
        self.ports().push(entry);
        self
    }

    /// One more port, which every node has too.
    pub fn node_port(mut self, name: &str, protocol: Protocol, port: u16, node_port: u16) -> Self {
        let entry = json!({"name": name, "protocol": word(protocol), "port": port, "nodePort": node_port});
        self.ports().push(entry);
        if self.0["spec"]["type"] == "ClusterIP" { self.with("type", json!("NodePort")) } else { self }
    }

    /// The same only port for everybody, without a name: TCP 80.
    pub fn web(self) -> Self {
        self.port("", Protocol::Tcp, 80)
    }

    /// A field of `spec`.
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.0["spec"][field] = value;
        self
    }

    /// Of type LoadBalancer, and these addresses were given to it.
    pub fn load_balancer(mut self, ingress: Value) -> Self {
        self.0["status"] = json!({"loadBalancer": {"ingress": ingress}});
        self.with("type", json!("LoadBalancer"))
    }

    /// At these addresses of the load balancer, which lead here.
    pub fn at(self, addresses: &[&str]) -> Self {
        let ingress: Vec<Value> =
            addresses.iter().map(|address| json!({"ip": address, "ipMode": "VIP"})).collect();
        self.load_balancer(json!(ingress))
    }

    /// With external addresses.
    pub fn external(self, addresses: &[&str]) -> Self {
        self.with("externalIPs", json!(addresses))
    }

    /// `externalTrafficPolicy: Local`.
    pub fn external_local(self) -> Self {
        self.with("externalTrafficPolicy", json!("Local"))
    }

    /// `internalTrafficPolicy: Local`.
    pub fn internal_local(self) -> Self {
        self.with("internalTrafficPolicy", json!("Local"))
    }

    /// A client stays with its endpoint for three hours.
    pub fn remembers(self) -> Self {
        self.with("sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10_800}}))
            .with("sessionAffinity", json!("ClientIP"))
    }

    /// A label.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.0["metadata"]["labels"][name] = json!(value);
        self
    }

    /// The object.
    pub fn done(self) -> Value {
        self.0
    }

    fn ports(&mut self) -> &mut Vec<Value> {
        self.0["spec"]["ports"].as_array_mut().unwrap()
    }
}

/// An EndpointSlice of a Service: which ports the endpoints have, and the endpoints. One Service's slices differ in
/// their `tag`.
pub fn slice(service: &str, tag: &str, ports: &[(&str, Protocol, u16)], endpoints: Vec<Value>) -> Value {
    let is_v6 = |endpoint: &Value| endpoint["addresses"][0].as_str().is_some_and(|text| text.contains(':'));
    let ports: Vec<Value> = ports
        .iter()
        .map(|(name, protocol, port)| json!({"name": name, "protocol": word(*protocol), "port": port}))
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-{tag}"),
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": if endpoints.first().is_some_and(is_v6) { "IPv6" } else { "IPv4" },
        "ports": ports,
        "endpoints": endpoints,
    })
}

/// The slice of a Service that has [`Service::web`] alone: port 80 of endpoints that are ready.
pub fn web(service: &str, endpoints: &[&str]) -> Value {
    slice(service, "1", &[("", Protocol::Tcp, 80)], endpoints.iter().map(|address| ready(address)).collect())
}

/// An endpoint that takes connections.
pub fn ready(address: &str) -> Value {
    endpoint(address, json!({"ready": true, "serving": true, "terminating": false}))
}

/// One whose readiness probe fails.
pub fn unready(address: &str) -> Value {
    endpoint(address, json!({"ready": false, "serving": false, "terminating": false}))
}

/// One whose pod is being deleted and still answers.
pub fn draining(address: &str) -> Value {
    endpoint(address, json!({"ready": false, "serving": true, "terminating": true}))
}

/// One whose pod is being deleted and no longer answers.
pub fn leaving(address: &str) -> Value {
    endpoint(address, json!({"ready": false, "serving": false, "terminating": true}))
}

/// An endpoint in some condition, with node and zone of its address.
pub fn endpoint(address: &str, conditions: Value) -> Value {
    let mut endpoint = json!({"addresses": [address], "conditions": conditions});
    let places = [
        ("10.244.1.", "node1", "east"),
        ("10.244.2.", "node2", "west"),
        ("10.100.0.2", "node1", "east"),
        ("fd00:10:244:1:", "node1", "east"),
        ("fd00:10:244:2:", "node2", "west"),
    ];
    if let Some((_, node, zone)) = places.into_iter().find(|(range, ..)| address.starts_with(range)) {
        endpoint["nodeName"] = json!(node);
        endpoint["zone"] = json!(zone);
    }
    endpoint
}

/// An endpoint that is meant for clients of these zones.
pub fn for_zones(mut endpoint: Value, zones: &[&str]) -> Value {
    let zones: Vec<Value> = zones.iter().map(|name| json!({"name": name})).collect();
    endpoint["hints"]["forZones"] = json!(zones);
    endpoint
}

/// An endpoint that is meant for clients on these nodes.
pub fn for_nodes(mut endpoint: Value, nodes: &[&str]) -> Value {
    let nodes: Vec<Value> = nodes.iter().map(|name| json!({"name": name})).collect();
    endpoint["hints"]["forNodes"] = json!(nodes);
    endpoint
}

/// node1, in the zone `east`.
pub fn node() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "node1", "labels": {"topology.kubernetes.io/zone": "east"}},
        "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:10:244:1::/64"]},
        "status": {"addresses": [
            {"type": "InternalIP", "address": "10.100.0.2"},
            {"type": "InternalIP", "address": "fd00:10:100::2"},
        ]},
    })
}

/// What the proxy reads in it, if anything, and which parts of it are skipped.
pub fn read(object: &Value) -> (Option<Object>, Vec<ParseError>) {
    let kind = match object["kind"].as_str() {
        Some("Service") => Kind::Service,
        Some("EndpointSlice") => Kind::EndpointSlice,
        Some("Node") => Kind::Node,
        other => panic!("no kind: {other:?}"),
    };
    let parsed = runtime::read_object(kind, object.to_string().as_bytes()).unwrap();
    (parsed.value, parsed.errors)
}

/// How the API writes it.
fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    }
}
