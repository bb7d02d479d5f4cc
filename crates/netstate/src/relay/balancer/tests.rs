use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

#[expect(clippy::disallowed_methods, reason = "some point in time to count from")]
fn start() -> Instant {
    Instant::now()
}

fn endpoint(number: u8) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(10, 244, 1, number).into(), 80)
}

fn client(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 244, 9, number).into()
}

fn backends(numbers: impl IntoIterator<Item = u8>, affinity: Option<u64>) -> Backends {
    Backends {
        endpoints: numbers.into_iter().map(endpoint).collect(),
        affinity: affinity.map(Duration::from_secs),
    }
}

#[test]
fn endpoints_take_turns_and_a_silent_client_is_forgotten() {
    let now = start();
    let after = |seconds| now + Duration::from_secs(seconds);
    let mut plain = Balancer::new(backends([1, 2, 3], None));
    let turns: Vec<_> = (0..4).filter_map(|_| plain.choose(client(1), now)).collect();
    assert_eq!(turns, [1, 2, 3, 1].map(endpoint));

    let mut sticky = Balancer::new(backends([1, 2, 3], Some(10)));
    assert_eq!(sticky.choose(client(1), now), Some(endpoint(1)));
    assert_eq!(sticky.choose(client(2), now), Some(endpoint(2)));
    assert_eq!(sticky.choose(client(1), after(9)), Some(endpoint(1)), "every connection counts anew");
    assert_eq!(sticky.choose(client(1), after(18)), Some(endpoint(1)));
    assert_eq!(sticky.choose(client(2), after(18)), Some(endpoint(3)), "silent for 18 of 10 seconds");
    assert_eq!(sticky.choose(client(1), after(28)), Some(endpoint(1)), "silent for 10 of 10 seconds");
    assert_eq!(sticky.choose_another(client(1), after(28)), Some(endpoint(2)));
    assert_eq!(sticky.choose(client(1), after(29)), Some(endpoint(2)), "it stays with the one that answered");

    sticky.replace(backends([], Some(10)));
    assert_eq!(sticky.choose(client(1), after(30)), None);
    assert_eq!(Balancer::default().choose(client(1), now), None);
}

proptest! {
    /// Whatever was chosen before: in n rounds everybody is chosen n times.
    #[test]
    fn everybody_gets_the_same_share(before in 0usize..20, count in 1u8..12, rounds in 1usize..5) {
        let now = start();
        let mut balancer = Balancer::new(backends(0..7, None));
        for _ in 0..before {
            balancer.choose(client(1), now);
        }
        balancer.replace(backends(0..count, None));
        let mut shares: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        for _ in 0..rounds * usize::from(count) {
            *shares.entry(balancer.choose(client(1), now).unwrap()).or_default() += 1;
        }
        prop_assert_eq!(shares, (0..count).map(|number| (endpoint(number), rounds)).collect());
    }

    /// One that is gone is never chosen, and only its clients move.
    #[test]
    fn a_change_moves_the_clients_of_those_that_go(
        before in proptest::collection::btree_set(0u8..8, 1..8),
        after in proptest::collection::btree_set(0u8..8, 0..8),
        clients in proptest::collection::vec(0u8..20, 1..30),
    ) {
        let now = start();
        let mut balancer = Balancer::new(backends(before, Some(60)));
        let led: BTreeMap<u8, SocketAddr> =
            clients.iter().map(|number| (*number, balancer.choose(client(*number), now).unwrap())).collect();
        balancer.replace(backends(after.iter().copied(), Some(60)));
        let there: Vec<SocketAddr> = after.iter().copied().map(endpoint).collect();
        for (number, was) in led {
            let is = balancer.choose(client(number), now);
            if there.contains(&was) {
                prop_assert_eq!(is, Some(was));
            } else {
                prop_assert_eq!(is.is_some(), !there.is_empty());
                prop_assert!(is.is_none_or(|is| there.contains(&is)));
            }
        }
    }

    /// The two indexes of clients hold the same, and nobody is remembered longer than he is to be.
    #[test]
    fn nobody_is_remembered_for_too_long(
        calls in proptest::collection::vec((0u8..6, 0u64..8, 0u8..4), 1..60),
    ) {
        let mut now = start();
        let mut balancer = Balancer::new(backends(0..3, Some(10)));
        for (number, pause, what) in calls {
            now += Duration::from_secs(pause);
            match what {
                0 => balancer.replace(backends(0..number, Some(10))),
                1 => { balancer.choose_another(client(number), now); }
                _ => { balancer.choose(client(number), now); }
            }
            let silence: BTreeSet<(Instant, IpAddr)> =
                balancer.clients.iter().map(|(client, stay)| (stay.last, *client)).collect();
            prop_assert_eq!(&silence, &balancer.by_silence);
            let oldest = silence.first().map_or(Duration::ZERO, |(last, _)| now - *last);
            prop_assert!(what == 0 || balancer.clients.is_empty() || oldest < Duration::from_secs(10));
        }
    }
}
