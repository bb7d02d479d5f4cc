//! The zone against its laws: the order of events does not matter, and nothing is left behind.

use std::net::Ipv4Addr;

use model::{Port, Protocol, ServicePort, SlicePort};
use proptest::prelude::*;

use super::*;

fn service(name: u8, kind: u8) -> Object {
    let port = ServicePort {
        name: "http".into(),
        protocol: Protocol::Tcp,
        port: Port::try_from(80).unwrap(),
        node_port: None,
    };
    Object::Service(Service {
        kind: if kind == 2 {
            ServiceKind::ExternalName("example.com".into())
        } else {
            ServiceKind::ClusterIp
        },
        cluster_addresses: if kind == 0 { vec![Ipv4Addr::new(10, 96, 0, name).into()] } else { Vec::new() },
        ports: vec![port],
        ..Service::new(ServiceKey::new("default", &format!("s{name}")))
    })
}

fn slice(name: u8, owner: u8, address: u8, ready: bool) -> Object {
    Object::Slice(Slice {
        key: SliceKey::new("default", &format!("e{name}")),
        service: Some(ServiceKey::new("default", &format!("s{owner}"))),
        ports: vec![SlicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: Port::try_from(80).unwrap(),
        }],
        endpoints: vec![Endpoint {
            address: Ipv4Addr::new(10, 244, 0, address).into(),
            hostname: None,
            pod: None,
            ready,
        }],
    })
}

fn zone() -> Zone {
    Zone::new(ZoneConfig {
        pods: PodNames::Verified,
        ..ZoneConfig::new(Name::parse("cluster.local").unwrap())
    })
}

/// Everything that answers depend on.
fn state(zone: &Zone) -> String {
    format!("{:?}{:?}{:?}{:?}", zone.services, zone.owners, zone.addresses, zone.pod_addresses)
}

fn object() -> impl Strategy<Value = Object> {
    prop_oneof![
        (0_u8..3, 0_u8..3).prop_map(|(name, kind)| service(name, kind)),
        (0_u8..3, 0_u8..3, 0_u8..3, any::<bool>()).prop_map(|(n, o, a, r)| slice(n, o, a, r)),
        (0_u8..3, 0_u8..3).prop_map(|(name, address)| {
            let key = PodKey { namespace: "default".into(), name: format!("p{name}").into() };
            Object::Pod(key, vec![Ipv4Addr::new(10, 244, 0, address).into()])
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_known_is_the_last_state_of_each_object(
        events in prop::collection::vec((object(), any::<bool>()), 0..40),
    ) {
        let mut kept = zone();
        let mut last = BTreeMap::new();
        for (object, delete) in events {
            if delete {
                kept.delete(&object.key());
                last.remove(&object.key());
            } else {
                kept.apply(object.clone());
                last.insert(object.key(), object);
            }
        }
        for reversed in [false, true] {
            let mut fresh = zone();
            let objects: Vec<_> = last.values().cloned().collect();
            let ordered: Box<dyn Iterator<Item = Object>> =
                if reversed { Box::new(objects.into_iter().rev()) } else { Box::new(objects.into_iter()) };
            ordered.for_each(|object| fresh.apply(object));
            prop_assert_eq!(state(&kept), state(&fresh));
        }
        last.keys().for_each(|key| kept.delete(key));
        prop_assert_eq!(state(&kept), state(&zone()));
    }
}

#[test]
fn a_listing_takes_away_what_it_does_not_name() {
    let mut zone = zone();
    zone.apply(service(1, 0));
    zone.begin_listing(Kind::Service);
    zone.apply(service(2, 0));
    assert_eq!(zone.service_count(), 2, "what is known stays until the listing ends");
    zone.end_listing(Kind::Service);
    assert_eq!(zone.service_count(), 1);
    assert!(!zone.is_in_sync());
    for kind in [Kind::Slice, Kind::Namespace, Kind::Pod] {
        zone.begin_listing(kind);
        zone.end_listing(kind);
    }
    assert!(zone.is_in_sync());
}
