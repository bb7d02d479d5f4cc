use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn config(ranges: &[&str], reserved: &[&str]) -> AllocationConfig {
    let parse = |ranges: &[&str]| ranges.iter().map(|range| range.parse().unwrap()).collect();
    AllocationConfig { service_ranges: parse(ranges), reserved: parse(reserved), node_ports: 30000..=32767 }
}

fn allocation(range: &str) -> Allocation {
    Allocation::new(config(&[range], &[])).unwrap()
}

#[test]
fn first_address_is_for_the_api_server() {
    let allocation = allocation("10.96.0.0/12");
    assert_eq!(allocation.api_service_address(), "10.96.0.1".parse::<IpAddr>().unwrap());
    let mut reservation = allocation.reserve();
    let first = "10.96.0.1".parse().unwrap();
    assert_eq!(reservation.take_address(first, false), Err(AllocationError::AddressTaken));
    assert_eq!(reservation.take_address(first, true), Ok(()));
}

#[test]
fn texts_are_those_of_kubernetes() {
    let allocation = allocation("10.96.0.0/12");
    let mut reservation = allocation.reserve();
    let error = reservation.take_address("10.0.0.1".parse().unwrap(), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the provided IP (10.0.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/12"
    );
    let error = reservation.take_port(80).unwrap_err();
    assert_eq!(
        error.to_string(),
        "provided port is not in the valid range. The range of valid ports is 30000-32767"
    );
}

#[test]
fn picks_avoid_the_low_band_until_the_rest_is_full() {
    let allocation = allocation("10.96.0.0/24");
    let mut seen = BTreeSet::new();
    let mut reservation = allocation.reserve();
    for _ in 0..238 {
        let IpAddr::V4(address) = reservation.pick_address(true).unwrap() else {
            panic!("IPv4 was asked for")
        };
        assert!(address.octets()[3] > 16, "{address} is in the band for requested addresses");
        assert!(seen.insert(address));
    }
    for _ in 0..15 {
        let IpAddr::V4(address) = reservation.pick_address(true).unwrap() else {
            panic!("IPv4 was asked for")
        };
        assert!((2..=16).contains(&address.octets()[3]));
        assert!(seen.insert(address));
    }
    assert_eq!(reservation.pick_address(true), Err(AllocationError::AddressesExhausted));
    drop(reservation);
    assert!(allocation.reserve().pick_address(true).is_ok());
}

#[test]
fn restored_values_are_taken_and_free_after_the_delete() {
    let allocation = allocation("10.96.0.0/12");
    let service = json!({"spec": {"clusterIPs": ["10.96.0.5"], "ports": [
        {"port": 53, "protocol": "TCP", "nodePort": 30053}, {"port": 53, "protocol": "UDP", "nodePort": 30053}]}});
    allocation.restore(&service);
    let address = "10.96.0.5".parse().unwrap();
    assert_eq!(allocation.reserve().take_address(address, false), Err(AllocationError::AddressTaken));
    assert_eq!(allocation.reserve().take_port(30053), Err(AllocationError::PortTaken));
    let mut release = allocation.reserve();
    release.free_address(address);
    release.free_port(30053);
    release.commit();
    assert_eq!(allocation.reserve().take_address(address, false), Ok(()));
    assert_eq!(allocation.reserve().take_port(30053), Ok(()));
}

#[test]
fn ranges_that_cannot_work_are_refused() {
    let config = |ranges: &[&str]| config(ranges, &[]);
    assert_eq!(Allocation::new(config(&[])).unwrap_err(), AllocationConfigError::Families(0));
    assert!(Allocation::new(config(&["10.0.0.0/30"])).is_err());
    assert!(Allocation::new(config(&["10.0.0.0/24", "10.1.0.0/24"])).is_err());
    let both = Allocation::new(config(&["10.0.0.0/24", "fd00:96::/108"])).unwrap();
    assert_eq!(both.families().collect::<Vec<_>>(), [true, false]);
    assert!(both.reserve().pick_address(false).unwrap().is_ipv6());
}

/// The reference cluster: its nodes have addresses of the service range.
#[test]
fn reserved_addresses_are_never_given() {
    let reserved = ["10.100.0.0/24", "10.244.0.0/16", "10.100.0.128/25"];
    let allocation = Allocation::new(config(&["10.96.0.0/12"], &reserved)).unwrap();
    let mut reservation = allocation.reserve();
    let node = "10.100.0.2".parse().unwrap();
    assert_eq!(
        reservation.take_address(node, false).unwrap_err().to_string(),
        "the provided IP (10.100.0.2) is in 10.100.0.0/24, which is reserved for other addresses of this cluster"
    );
    for free in ["10.99.255.255", "10.100.1.0"] {
        assert_eq!(reservation.take_address(free.parse().unwrap(), false), Ok(()));
    }
    // A Service made before the range was reserved keeps its address, and gives nothing back.
    let old = json!({"spec": {"clusterIPs": ["10.100.0.2"]}});
    allocation.restore(&old);
    let mut release = allocation.reserve();
    release.free_address(node);
    release.commit();
    assert!(matches!(reservation.take_address(node, false), Err(AllocationError::AddressReserved { .. })));
}

#[test]
fn a_range_full_but_for_the_reserved_addresses_is_full() {
    let reserved = ["10.96.0.64/26", "10.96.0.8/29", "10.96.0.252/30"];
    let allocation = Allocation::new(config(&["10.96.0.0/24"], &reserved)).unwrap();
    let mut reservation = allocation.reserve();
    let mut seen = BTreeSet::new();
    // 254 hosts, of which one is the API server's and 64, 8 and 3 are reserved.
    for _ in 0..254 - 1 - 64 - 8 - 3 {
        assert!(seen.insert(reservation.pick_address(true).unwrap()));
    }
    assert_eq!(reservation.pick_address(true), Err(AllocationError::AddressesExhausted));
    let reserved: Vec<IpNet> = reserved.iter().map(|range| range.parse().unwrap()).collect();
    assert!(seen.iter().all(|address| reserved.iter().all(|range| !range.contains(address))), "{seen:?}");
}

#[test]
fn a_reserved_range_that_leaves_too_little_is_refused() {
    for reserved in [["10.96.0.0/30"], ["10.96.0.0/16"], ["10.0.0.0/8"]] {
        let error = Allocation::new(config(&["10.96.0.0/16"], &reserved)).unwrap_err();
        assert_eq!(error, AllocationConfigError::Reserved { range: "10.96.0.0/16".parse().unwrap() });
    }
    assert!(Allocation::new(config(&["10.96.0.0/28"], &["10.96.0.4/30", "10.96.0.8/29"])).is_err());
    assert!(Allocation::new(config(&["10.96.0.0/16"], &["10.100.0.0/24", "fd00::/64"])).is_ok());
}

#[derive(Debug, Clone)]
enum Step {
    Pick { commit: bool },
    Take { offset: u8, commit: bool },
    Free { which: prop::sample::Index },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<bool>().prop_map(|commit| Step::Pick { commit }),
        (any::<u8>(), any::<bool>()).prop_map(|(offset, commit)| Step::Take { offset, commit }),
        any::<prop::sample::Index>().prop_map(|which| Step::Free { which }),
    ]
}

proptest! {
    #[test]
    fn no_address_is_given_twice(steps in prop::collection::vec(step(), 1..400)) {
        let allocation = allocation("10.96.0.0/25");
        let mut held: BTreeSet<IpAddr> = BTreeSet::new();
        for step in steps {
            let mut reservation = allocation.reserve();
            let (got, commit) = match step {
                Step::Pick { commit } => match reservation.pick_address(true) {
                    Ok(address) => (address, commit),
                    Err(error) => {
                        prop_assert_eq!(error, AllocationError::AddressesExhausted);
                        prop_assert_eq!(held.len(), 125);
                        continue;
                    }
                },
                Step::Take { offset, commit } => {
                    let address = IpAddr::from([10, 96, 0, offset]);
                    let free = (2..=126).contains(&offset) && !held.contains(&address);
                    prop_assert_eq!(reservation.take_address(address, false).is_ok(), free);
                    if !free { continue; }
                    (address, commit)
                }
                Step::Free { which } => {
                    let Some(address) = held.iter().nth(which.index(held.len().max(1))).copied() else { continue };
                    reservation.free_address(address);
                    reservation.commit();
                    held.remove(&address);
                    continue;
                }
            };
            prop_assert!(!held.contains(&got));
            if commit {
                reservation.commit();
                held.insert(got);
            }
        }
    }
}

#[test]
fn many_callers_at_once_never_share_an_address() {
    let nodes: IpNet = "10.100.0.0/16".parse().unwrap();
    let allocation = Allocation::new(config(&["10.96.0.0/12"], &[&nodes.to_string()])).unwrap();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let allocation = allocation.clone();
            std::thread::spawn(move || {
                let mut reservation = allocation.reserve();
                let picked: Vec<IpAddr> =
                    (0..6250).map(|_| reservation.pick_address(true).unwrap()).collect();
                reservation.commit();
                picked
            })
        })
        .collect();
    let all: BTreeSet<IpAddr> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(all.len(), 50_000);
    assert!(all.iter().all(|address| !nodes.contains(address)));
}
