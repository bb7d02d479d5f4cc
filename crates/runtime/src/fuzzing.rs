//! The doors for the fuzz targets of what an API server sends, and of the proxy's configuration: they take any bytes, and
//! panic only when there is a bug. `fuzz/` runs them for as long as one likes, the tests here for a moment.

use model::{AddressFamily, Index, Kind, Place, serving_endpoints};

use crate::{configuration, read_object};

/// One object of the API: the first byte chooses its kind, JSON follows. What is understood is put beside a Service and
/// its slice, and who serves is asked.
pub fn api_object(bytes: &[u8]) {
    let Some((choice, json)) = bytes.split_first() else { return };
    let kind = Kind::ALL[usize::from(*choice) % Kind::ALL.len()];
    let Ok(parsed) = read_object(kind, json) else { return };
    for error in &parsed.errors {
        assert!(!error.field.is_empty(), "a bad part without a place: {error}");
    }
    let Some(object) = parsed.value else { return };
    let mut index = Index::new();
    Kind::ALL.into_iter().for_each(|kind| index.begin_listing(kind));
    for (kind, json) in [(Kind::Service, SERVICE), (Kind::EndpointSlice, SLICE)] {
        // Both are read in the test below.
        if let Ok(Some(object)) = read_object(kind, json.as_bytes()).map(|parsed| parsed.value) {
            index.apply(object);
        }
    }
    let key = object.key();
    index.apply(object.clone());
    Kind::ALL.into_iter().for_each(|kind| index.end_listing(kind));
    index.take_changes();
    index.apply(object);
    assert!(index.take_changes().is_empty(), "the same state again is a change");
    let (node, zone) = ("node1".into(), Some("east"));
    if let Some(snapshot) = index.snapshot() {
        for service in snapshot.services() {
            for port in &service.ports {
                for family in [AddressFamily::V4, AddressFamily::V6] {
                    serving_endpoints(
                        port,
                        family,
                        snapshot.slices(&service.key),
                        Place { node: &node, zone },
                    );
                }
            }
        }
    }
    index.delete(&key);
}

/// A `KubeProxyConfiguration`: refused with a reason, or understood.
pub fn proxy_configuration(bytes: &[u8]) {
    match configuration::read(bytes) {
        Ok((_, notes)) => assert!(notes.iter().all(|note| !note.what.is_empty())),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

const SERVICE: &str = r#"{"metadata": {"name": "a", "namespace": "default"}, "spec": {"type": "LoadBalancer",
"clusterIPs": ["10.96.0.7", "fd00::7"], "externalIPs": ["203.0.113.7"], "loadBalancerSourceRanges": ["192.0.2.0/24"],
"externalTrafficPolicy": "Local", "healthCheckNodePort": 30990, "sessionAffinity": "ClientIP",
"ports": [{"name": "web", "protocol": "TCP", "port": 80, "nodePort": 30080}]},
"status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.7", "ipMode": "VIP"}]}}}"#;
const SLICE: &str = r#"{"metadata": {"name": "a-1", "namespace": "default",
"labels": {"kubernetes.io/service-name": "a"}}, "addressType": "IPv4", "ports": [{"name": "web", "port": 80}],
"endpoints": [{"addresses": ["10.244.1.2"], "nodeName": "node1", "zone": "east",
"conditions": {"ready": true, "serving": true, "terminating": false}, "hints": {"forZones": [{"name": "east"}]}}]}"#;

#[cfg(test)]
mod tests {
    use model::Object;
    use rand::rngs::StdRng;
    use rand::{Rng, RngCore, SeedableRng};

    use super::*;

    const NODE: &str = r#"{"metadata": {"name": "node1", "labels": {"topology.kubernetes.io/zone": "east"}},
"spec": {"podCIDRs": ["10.244.1.0/24"]}, "status": {"addresses": [{"type": "InternalIP", "address": "10.100.0.2"}]}}"#;

    const CONFIGURATION: &str = r#"apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ipvs
bindAddress: "2001:db8::7"
healthzBindAddress: "[::]:10256"
detectLocalMode: BridgeInterface
detectLocal: {bridgeInterface: cbr0}
clusterCIDR: "10.244.0.0/16,fd00::/56"
nodePortAddresses: [192.0.2.0/24, "2001:db8::/64"]
iptables: {masqueradeAll: true, masqueradeBit: 14, syncPeriod: 30s}
oomScoreAdj: -500
conntrack: {maxPerCore: 1, tcpEstablishedTimeout: 2h30m1.5s, udpTimeout: 250ms}
"#;

    #[test]
    fn configurations() {
        let mut random = StdRng::seed_from_u64(2);
        assert!(configuration::read(CONFIGURATION.as_bytes()).is_ok());
        for _ in 0..10_000 {
            let mut bytes = CONFIGURATION.as_bytes().to_vec();
            for _ in 0..random.random_range(1..6) {
                // What makes it a configuration at all stays, mostly.
                let at = random.random_range(70..bytes.len());
                bytes[at] = *b"0123456789abcdef.:/,-[]{}hms\n\""
                    .get(random.random_range(0..40usize))
                    .unwrap_or(&(random.next_u32() as u8));
            }
            proxy_configuration(&bytes);
        }
    }

    #[test]
    fn objects() {
        let mut random = StdRng::seed_from_u64(1);
        for (choice, json) in (0u8..).zip([SERVICE, SLICE, NODE]) {
            let seed = [&[choice], json.as_bytes()].concat();
            let kind = Kind::ALL[usize::from(choice)];
            assert!(matches!(
                read_object(kind, json.as_bytes()).unwrap().value,
                Some(Object::Service(_) | Object::EndpointSlice(_) | Object::Node(_))
            ));
            api_object(&seed);
            for _ in 0..5_000 {
                let mut bytes = seed.clone();
                for _ in 0..random.random_range(1..6) {
                    let at = random.random_range(1..bytes.len());
                    // Mostly what JSON may hold, so that it is not refused at the first byte.
                    bytes[at] = *b"0123456789abcdef.:/\"-"
                        .get(random.random_range(0..40usize))
                        .unwrap_or(&(random.next_u32() as u8));
                }
                api_object(&bytes);
            }
        }
    }
}
