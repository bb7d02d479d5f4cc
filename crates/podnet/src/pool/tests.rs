use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn range(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

fn id(number: u8) -> SandboxId {
    SandboxId::new(format!("sandbox-{number}"))
}

#[test]
fn the_first_pod_gets_the_second_address() {
    let mut pool = Pool::new(range("10.244.1.0/24")).unwrap();
    assert_eq!(pool.allocate(&id(0)).unwrap(), Ipv4Addr::new(10, 244, 1, 2));
    assert_eq!(pool.allocate(&id(1)).unwrap(), Ipv4Addr::new(10, 244, 1, 3));
    assert_eq!(pool.allocate(&id(0)).unwrap(), Ipv4Addr::new(10, 244, 1, 2));
    assert_eq!(pool.capacity(), 253);
}

#[test]
fn a_range_without_room_is_refused_and_a_full_one_says_so() {
    assert!(matches!(Pool::new(range("10.0.0.0/31")), Err(PodnetError::RangeTooSmall { .. })));
    let mut pool = Pool::new(range("10.0.0.0/30")).unwrap();
    pool.allocate(&id(0)).unwrap();
    let error = pool.allocate(&id(1)).unwrap_err();
    assert!(error.is_exhausted());
    assert_eq!(
        error.to_string(),
        "all 1 pod addresses of 10.0.0.0/30 are in use: delete pods of this node or give it a larger range"
    );
}

#[test]
fn the_longest_free_address_is_used_again_first() {
    let mut pool = Pool::new(range("10.0.0.0/29")).unwrap();
    let given: Vec<Ipv4Addr> = (0..5).map(|n| pool.allocate(&id(n)).unwrap()).collect();
    for n in [3, 0, 4] {
        pool.release(&id(n));
    }
    let again: Vec<Ipv4Addr> = (10..13).map(|n| pool.allocate(&id(n)).unwrap()).collect();
    assert_eq!(again, [given[3], given[0], given[4]]);
}

#[test]
fn a_record_that_contradicts_itself_is_refused() {
    let address = Ipv4Addr::new(10, 0, 0, 2);
    let record = |allocated: &[(u8, [u8; 4])], freed: &[Ipv4Addr]| Record {
        range: range("10.0.0.0/29"),
        allocated: allocated.iter().map(|(n, octets)| (id(*n), Ipv4Addr::from(*octets))).collect(),
        freed: freed.to_vec(),
    };
    for bad in [
        record(&[(0, [10, 0, 0, 2]), (1, [10, 0, 0, 2])], &[]),
        record(&[(0, [10, 0, 0, 1])], &[]),
        record(&[(0, [10, 0, 0, 7])], &[]),
        record(&[(0, [10, 0, 0, 2])], &[address]),
        record(&[], &[address, address]),
    ] {
        assert!(Pool::from_record(&bad).is_err(), "{bad:?}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Allocate(u8),
    Release(u8),
    Claim(u8, u8),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12_u8).prop_map(Step::Allocate),
        3 => (0..12_u8).prop_map(Step::Release),
        1 => (0..12_u8, 0..16_u8).prop_map(|(sandbox, host)| Step::Claim(sandbox, host)),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    /// Whatever happens: no address is given twice, none is lost, a restart changes nothing, and the pool is exhausted
    /// only when every address is given away.
    #[test]
    fn no_address_is_lost_or_given_twice(steps in prop::collection::vec(step(), 0..200)) {
        let mut pool = Pool::new(range("10.0.0.0/28")).unwrap();
        let mut model: BTreeMap<SandboxId, Ipv4Addr> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Allocate(n) => match pool.allocate(&id(n)) {
                    Ok(address) => {
                        prop_assert_eq!(*model.entry(id(n)).or_insert(address), address);
                    }
                    Err(error) => {
                        prop_assert!(error.is_exhausted());
                        prop_assert_eq!(model.len(), pool.capacity() as usize);
                    }
                },
                Step::Release(n) => prop_assert_eq!(pool.release(&id(n)), model.remove(&id(n))),
                Step::Claim(n, host) => {
                    let address = Ipv4Addr::new(10, 0, 0, host);
                    if pool.claim(&id(n), address).is_ok() {
                        model.insert(id(n), address);
                    }
                }
                Step::Restart => pool = Pool::from_record(&pool.record()).unwrap(),
            }
            prop_assert_eq!(pool.allocated(), &model);
            let distinct: BTreeSet<&Ipv4Addr> = model.values().collect();
            prop_assert_eq!(distinct.len(), model.len());
            prop_assert!(model.values().all(|address| (2..15).contains(&address.octets()[3])));
        }
        // Every address that is not given away can be had.
        let free = pool.capacity() as usize - model.len();
        for n in 0..free {
            let sandbox = SandboxId::new(format!("late-{n}"));
            prop_assert!(pool.allocate(&sandbox).is_ok());
        }
        prop_assert!(pool.allocate(&SandboxId::new("one-too-many")).is_err());
    }
}
