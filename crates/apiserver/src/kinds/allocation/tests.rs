use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn allocation(range: &str) -> Allocation {
    let service_ranges = vec![range.parse().unwrap()];
    Allocation::new(AllocationConfig { service_ranges, node_ports: 30000..=32767 }).unwrap()
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
    let config = |ranges: &[&str]| AllocationConfig {
        service_ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
        node_ports: 30000..=32767,
    };
    assert_eq!(Allocation::new(config(&[])).unwrap_err(), AllocationConfigError::Families(0));
    assert!(Allocation::new(config(&["10.0.0.0/30"])).is_err());
    assert!(Allocation::new(config(&["10.0.0.0/24", "10.1.0.0/24"])).is_err());
    let both = Allocation::new(config(&["10.0.0.0/24", "fd00:96::/108"])).unwrap();
    assert_eq!(both.families().collect::<Vec<_>>(), [true, false]);
    assert!(both.reserve().pick_address(false).unwrap().is_ipv6());
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
    let allocation = allocation("10.96.0.0/12");
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
}
