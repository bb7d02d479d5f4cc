use super::*;

fn id(at: &str) -> ServiceId {
    ServiceId::Address { protocol: L4Protocol::TCP, at: at.parse().unwrap() }
}

fn service(destinations: &[(&str, u32)]) -> VirtualService {
    let destination = |(to, weight): &(&str, u32)| {
        (to.parse().unwrap(), Destination { weight: *weight, ..Destination::masquerade() })
    };
    VirtualService {
        settings: Settings { scheduler: Scheduler::ROUND_ROBIN, persistence: None },
        destinations: destinations.iter().map(destination).collect(),
    }
}

fn words(ops: &[Op]) -> Vec<String> {
    ops.iter().map(ToString::to_string).collect()
}

const VIRTUAL: &str = "10.96.203.6:8080";

#[test]
fn only_what_differs_is_changed_and_a_connection_never_finds_nobody() {
    let before = Table::from([
        (id(VIRTUAL), service(&[("10.244.1.28:80", 1), ("10.244.1.29:80", 1)])),
        (id("10.96.0.7:80"), service(&[])),
        (id("10.96.0.8:80"), service(&[("10.244.1.28:80", 1)])),
    ]);
    let mut sticky = service(&[("10.244.1.28:80", 1), ("10.244.2.22:80", 1)]);
    sticky.settings.persistence = Some(10_800);
    let after = Table::from([
        (id(VIRTUAL), sticky),
        (id("10.96.0.8:80"), service(&[("10.244.1.28:80", 1)])),
        (id("[fd00::1]:443"), service(&[("[fd01::2]:6443", 1)])),
    ]);
    let expected = [
        "-D -t 10.96.0.7:80",
        "-E -t 10.96.203.6:8080 -s rr -p 10800",
        "-a -t 10.96.203.6:8080 -r 10.244.2.22:80 -m -w 1",
        "-d -t 10.96.203.6:8080 -r 10.244.1.29:80",
        "-A -t [fd00::1]:443 -s rr",
        "-a -t [fd00::1]:443 -r [fd01::2]:6443 -m -w 1",
    ];
    let ops = diff(&before, &after, Departure::AtOnce);
    assert_eq!(words(&ops), expected);
    let mut fake = FakeIpvs::new();
    fake.commit(&diff(&Table::new(), &before, Departure::AtOnce)).unwrap();
    fake.commit(&ops).unwrap();
    assert_eq!(fake.table(), after);
    assert_eq!(diff(&fake.table(), &after, Departure::AtOnce), []);
}

#[test]
fn a_tcp_destination_is_drained_once_and_comes_back_with_its_weight() {
    let two = Table::from([(id(VIRTUAL), service(&[("10.244.1.28:80", 1), ("10.244.1.29:80", 1)]))]);
    let one = Table::from([(id(VIRTUAL), service(&[("10.244.1.28:80", 1)]))]);
    let mut fake = FakeIpvs::new();
    fake.commit(&diff(&Table::new(), &two, Departure::Drained)).unwrap();
    let leaving = diff(&fake.table(), &one, Departure::Drained);
    assert_eq!(words(&leaving), ["-e -t 10.96.203.6:8080 -r 10.244.1.29:80 -m -w 0"]);
    fake.commit(&leaving).unwrap();
    assert_eq!(diff(&fake.table(), &one, Departure::Drained), []);
    let back = diff(&fake.table(), &two, Departure::Drained);
    assert_eq!(words(&back), ["-e -t 10.96.203.6:8080 -r 10.244.1.29:80 -m -w 1"]);

    let datagrams = ServiceId::Address { protocol: L4Protocol::UDP, at: "10.96.0.10:53".parse().unwrap() };
    let ops = diff(
        &Table::from([(datagrams, service(&[("10.244.1.2:53", 1)]))]),
        &Table::from([(datagrams, service(&[]))]),
        Departure::Drained,
    );
    assert_eq!(words(&ops), ["-d -u 10.96.0.10:53 -r 10.244.1.2:53"]);
}

#[test]
fn a_destination_reached_in_another_way_is_made_anew() {
    let wanted = Table::from([(id(VIRTUAL), service(&[("10.244.1.28:80", 1)]))]);
    let mut found = wanted.clone();
    let destinations = &mut found.get_mut(&id(VIRTUAL)).unwrap().destinations;
    destinations.values_mut().for_each(|one| one.forwarding = Forwarding::Other(3));
    let expected =
        ["-d -t 10.96.203.6:8080 -r 10.244.1.28:80", "-a -t 10.96.203.6:8080 -r 10.244.1.28:80 -m -w 1"];
    assert_eq!(words(&diff(&found, &wanted, Departure::Drained)), expected);
}

#[test]
fn a_listing_reads_as_ipvsadm_prints_it() {
    let mut sticky = service(&[("10.244.1.28:80", 1)]);
    sticky.settings.persistence = Some(10_800);
    let table = Table::from([
        (id(VIRTUAL), sticky),
        (ServiceId::Mark { mark: 65_536, family: Family::Ip }, service(&[])),
    ]);
    let expected = "TCP 10.96.203.6:8080 rr persistent 10800\n  -> 10.244.1.28:80 Masq 1 0 0\nFWM 65536 rr\n";
    assert_eq!(Listing(&table).to_string(), expected);
}

#[test]
fn the_fake_refuses_what_the_kernel_refuses_and_goes_on() {
    let mut fake = FakeIpvs::new();
    let settings = service(&[]).settings;
    let add = Op::AddService { id: id(VIRTUAL), settings };
    fake.commit(std::slice::from_ref(&add)).unwrap();
    let other = id("10.96.0.7:80");
    let to = "10.244.1.28:80".parse().unwrap();
    let good = Op::AddDestination { id: id(VIRTUAL), to, weight: 1 };
    let error = fake.commit(&[add, good.clone()]).unwrap_err();
    assert!(error.is_exists(), "{error}");
    assert_eq!(fake.table()[&id(VIRTUAL)].destinations.len(), 1);
    assert!(fake.commit(&[good]).unwrap_err().is_exists());
    assert!(fake.commit(&[Op::DeleteService { id: other }]).unwrap_err().is_not_found());
    assert_eq!(fake.destinations(&other).unwrap().len(), 0);
    assert!(matches!(FakeIpvs::missing().observe(), Err(IpvsError::Missing)));
}

#[test]
fn a_client_of_a_persistent_service_stays_until_its_destination_is_drained() {
    let mut fake = FakeIpvs::new();
    let mut sticky = service(&[("10.244.1.28:80", 1), ("10.244.1.29:80", 1)]);
    sticky.settings.persistence = Some(10_800);
    fake.commit(&diff(&Table::new(), &Table::from([(id(VIRTUAL), sticky)]), Departure::AtOnce)).unwrap();
    let client = "10.244.1.77".parse().unwrap();
    let ask = |random: u32| fake.schedule(&id(VIRTUAL), client, &mut |count| random % count).unwrap();
    let first = ask(1);
    assert_eq!(first, Some("10.244.1.29:80".parse().unwrap()));
    assert_eq!(ask(0), first);
    fake.clone().commit(&[Op::SetWeight { id: id(VIRTUAL), to: first.unwrap(), weight: 0 }]).unwrap();
    assert_eq!(ask(0), Some("10.244.1.28:80".parse().unwrap()));
}

#[test]
fn names_of_schedulers_are_checked() {
    assert_eq!(Scheduler::parse("wlc").unwrap().as_str(), "wlc");
    for bad in ["", "RR", "a-b", "sixteen-letters1", "rr "] {
        assert!(Scheduler::parse(bad).unwrap_err().to_string().contains("Linux has rr"), "{bad:?}");
    }
}
