//! IPVS as the kernel keeps it, judged by `ipvsadm`. The tests run under another kernel where there is one.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use ipnet::IpNet;
use netstate::ipvs::{
    Departure, Destination, IpvsError, IpvsPort, Listing, Op, Scheduler, ServiceId, Settings, Table,
    VirtualService, diff,
};
use netstate::link::{Link, LinkKind, LinkName};
use netstate::namespace::{self, LinkOp, LinkPort, NetworkState, Ownership};
use netstate::nft::{Family, L4Protocol};
use portolan_kernel::{ipvs::Ipvs, link::Links};

use super::isolation::{in_fresh_namespace, run};

#[test]
fn inside_user_mode_linux() {
    uml::rerun(uml::Machine::SMALL, "ipvs::under_ip_vs");
}

#[test]
fn a_kernel_without_ip_vs_is_told_apart() {
    in_fresh_namespace(|| match (Ipvs::open(), std::path::Path::new("/proc/net/ip_vs").exists()) {
        (Ok(_), true) => {}
        (Err(IpvsError::Missing), false) => {}
        (other, there) => panic!("{:?}, and ip_vs there: {there}", other.err()),
    });
}

/// Without an address of its own, a machine takes every other for a broadcast address, and IPVS refuses those.
fn with_loopback(act: impl FnOnce() + Send) {
    in_fresh_namespace(|| {
        run("ip", &["link", "set", "lo", "up"]);
        act();
    });
}

fn service(persistence: Option<u32>, scheduler: &str, destinations: &[&str]) -> VirtualService {
    VirtualService {
        settings: Settings { scheduler: Scheduler::parse(scheduler).unwrap(), persistence },
        destinations: destinations
            .iter()
            .map(|to| (to.parse().unwrap(), Destination::masquerade()))
            .collect(),
    }
}

fn id(protocol: L4Protocol, at: &str) -> ServiceId {
    ServiceId::Address { protocol, at: at.parse().unwrap() }
}

fn sample() -> Table {
    Table::from([
        (id(L4Protocol::TCP, "10.96.203.6:8080"), service(None, "rr", &["10.244.1.28:80", "10.244.1.29:80"])),
        (id(L4Protocol::TCP, "10.96.0.1:443"), service(Some(10_800), "rr", &["10.100.0.1:6443"])),
        (id(L4Protocol::UDP, "10.96.0.10:53"), service(None, "lc", &["10.244.1.2:53"])),
        (id(L4Protocol::SCTP, "10.96.0.11:99"), service(None, "sh", &[])),
        (id(L4Protocol::TCP, "[fd00::6]:8080"), service(Some(60), "wlc", &["[fd01::1c]:80"])),
        (ServiceId::Mark { mark: 0x10000, family: Family::Ip }, service(None, "rr", &["10.244.1.28:80"])),
        (ServiceId::Mark { mark: 0x10000, family: Family::Ip6 }, service(None, "rr", &["[fd01::1c]:80"])),
    ])
}

mod under_ip_vs {
    use super::*;

    #[test]
    #[ignore = "runs inside User-Mode Linux"]
    fn tables_are_read_back_and_shown_by_ipvsadm() {
        with_loopback(|| {
            let mut ipvs = Ipvs::open().unwrap();
            ipvs.commit(&diff(&Table::new(), &sample(), Departure::AtOnce)).unwrap();
            assert_eq!(ipvs.observe().unwrap(), sample(), "{}", Listing(&ipvs.observe().unwrap()));
            let shown = run("ipvsadm", &["-ln"]);
            let squeezed: Vec<String> =
                shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
            for line in [
                "TCP 10.96.0.1:443 rr persistent 10800",
                "-> 10.100.0.1:6443 Masq 1 0 0",
                "TCP 10.96.203.6:8080 rr",
                "UDP 10.96.0.10:53 lc",
                "SCTP 10.96.0.11:99 sh",
                "TCP [fd00::6]:8080 wlc persistent 60",
                "FWM 65536 rr",
                "FWM 65536 IPv6 rr",
            ] {
                assert!(squeezed.iter().any(|shown| shown == line), "{line} is not in\n{shown}");
            }
        });
    }

    /// Where virtual addresses are, so that their packets reach IPVS; nobody hears of the link, it is down.
    #[test]
    #[ignore = "runs inside User-Mode Linux"]
    fn a_dummy_link_that_is_down_makes_its_addresses_the_machines_own() {
        with_loopback(|| {
            let links = Links::in_current().unwrap();
            let mut wanted = Link::new(LinkName::constant("kube-ipvs0"), LinkKind::Dummy);
            wanted.up = false;
            wanted
                .addresses
                .extend(["10.96.0.1/32".parse().unwrap(), "fd00::6/128".parse().unwrap()] as [IpNet; 2]);
            let state = || {
                let mut state = NetworkState::default();
                state.insert_link(wanted.clone());
                state
            };
            links
                .commit(&namespace::diff(&links.observe().unwrap(), &state(), &Ownership::default()))
                .unwrap();
            let found = links.observe().unwrap();
            assert_eq!(namespace::diff(&found, &state(), &Ownership::default()), []);
            assert_eq!(found.links[&wanted.name].addresses, wanted.addresses);
            for address in ["10.96.0.1", "fd00::6"] {
                let route = run("ip", &["route", "get", address]);
                assert!(route.starts_with(&format!("local {address}")), "{route}");
                TcpListener::bind((address, 80)).unwrap();
            }
            let again =
                LinkOp::AddAddress { link: wanted.name.clone(), address: "10.96.0.1/32".parse().unwrap() };
            assert!(links.commit(&[again]).unwrap_err().is_exists());
        });
    }

    #[test]
    #[ignore = "runs inside User-Mode Linux"]
    fn every_scheduler_of_the_kernel_can_be_used() {
        with_loopback(|| {
            let mut ipvs = Ipvs::open().unwrap();
            let all = ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "mh", "dh", "sed", "nq", "fo", "ovf"];
            for (port, scheduler) in (1..).zip(all) {
                let at = id(L4Protocol::TCP, &format!("10.96.0.1:{port}"));
                let table = Table::from([(at, service(None, scheduler, &["10.244.1.2:80"]))]);
                ipvs.commit(&diff(&Table::new(), &table, Departure::AtOnce)).unwrap();
                assert_eq!(ipvs.observe().unwrap()[&at], table[&at]);
            }
            let settings = service(None, "unheard", &[]).settings;
            let error = ipvs.commit(&[Op::AddService { id: id(L4Protocol::TCP, "10.96.0.1:99"), settings }]);
            let text = error.unwrap_err().to_string();
            assert!(text.contains("-A -t 10.96.0.1:99 -s unheard"), "{text}");
        });
    }

    #[test]
    #[ignore = "runs inside User-Mode Linux"]
    fn changes_are_made_where_they_are_and_a_refused_one_does_not_stop_the_others() {
        with_loopback(|| {
            let mut ipvs = Ipvs::open().unwrap();
            ipvs.commit(&diff(&Table::new(), &sample(), Departure::AtOnce)).unwrap();
            let mut wanted = sample();
            wanted.remove(&id(L4Protocol::UDP, "10.96.0.10:53"));
            let httpd = id(L4Protocol::TCP, "10.96.203.6:8080");
            wanted.insert(httpd, service(Some(30), "wrr", &["10.244.1.29:80", "10.244.2.22:80"]));
            let ops = diff(&ipvs.observe().unwrap(), &wanted, Departure::AtOnce);
            assert_eq!(ops.len(), 4, "{ops:?}");
            ipvs.commit(&ops).unwrap();
            assert_eq!(ipvs.observe().unwrap(), wanted);
            assert_eq!(diff(&ipvs.observe().unwrap(), &wanted, Departure::AtOnce), []);

            let gone = id(L4Protocol::UDP, "10.96.0.10:53");
            let to = "10.244.1.30:80".parse().unwrap();
            let error = ipvs
                .commit(&[Op::DeleteService { id: gone }, Op::AddDestination { id: httpd, to, weight: 1 }])
                .unwrap_err();
            assert!(error.is_not_found() && error.to_string().contains("-D -u 10.96.0.10:53"), "{error}");
            assert_eq!(ipvs.destinations(&httpd).unwrap().len(), 3);
            let again = ipvs.commit(&[Op::AddDestination { id: httpd, to, weight: 1 }]).unwrap_err();
            assert!(again.is_exists(), "{again}");
            assert_eq!(ipvs.destinations(&gone).unwrap().len(), 0);
            let missing = Op::DeleteDestination { id: httpd, to: "10.244.9.9:80".parse().unwrap() };
            assert!(ipvs.commit(&[missing]).unwrap_err().is_not_found());
        });
    }

    #[test]
    #[ignore = "runs inside User-Mode Linux"]
    fn a_drained_destination_keeps_its_connection_and_gets_no_other() {
        with_loopback(|| {
            for address in ["10.96.0.1/32", "10.244.1.2/32", "10.244.1.3/32"] {
                run("ip", &["address", "add", address, "dev", "lo"]);
            }
            let endpoints = ["10.244.1.2:80", "10.244.1.3:80"].map(|at| TcpListener::bind(at).unwrap());
            let mut ipvs = Ipvs::open().unwrap();
            let at = id(L4Protocol::TCP, "10.96.0.1:80");
            let mut table = Table::from([(at, service(None, "rr", &["10.244.1.2:80"]))]);
            ipvs.commit(&diff(&Table::new(), &table, Departure::AtOnce)).unwrap();
            let mut client = TcpStream::connect("10.96.0.1:80").unwrap();
            let (mut served, _) = endpoints[0].accept().unwrap();

            table.insert(at, service(None, "rr", &["10.244.1.3:80"]));
            let found = ipvs.observe().unwrap();
            ipvs.commit(&diff(&found, &table, Departure::Drained)).unwrap();
            let leaving = ipvs.destinations(&at).unwrap()[&"10.244.1.2:80".parse().unwrap()];
            assert_eq!((leaving.weight, leaving.connections()), (0, 1), "{leaving:?}");
            client.write_all(b"still").unwrap();
            let mut heard = [0; 5];
            served.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"still");
            for _ in 0..4 {
                let _client = TcpStream::connect("10.96.0.1:80").unwrap();
                endpoints[1].accept().unwrap();
            }
        });
    }

    #[test]
    #[ignore = "runs inside User-Mode Linux"]
    fn thousands_of_services_are_written_and_read() {
        with_loopback(|| {
            let mut ipvs = Ipvs::open().unwrap();
            let address = |number: u32| std::net::Ipv4Addr::from_bits(0x0a60_0000 + number);
            let five = ["10.244.1.1:80", "10.244.1.2:80", "10.244.1.3:80", "10.244.1.4:80", "10.244.1.5:80"];
            let one = |number| {
                (id(L4Protocol::TCP, &format!("{}:80", address(number))), service(None, "rr", &five))
            };
            let table: Table = (0..2_000).map(one).collect();
            let before = std::time::Instant::now();
            ipvs.commit(&diff(&Table::new(), &table, Departure::AtOnce)).unwrap();
            let written = before.elapsed();
            assert_eq!(ipvs.services().unwrap().len(), 2_000);
            let listed = before.elapsed() - written;
            assert_eq!(ipvs.observe().unwrap(), table);
            println!(
                "written {written:?}, services listed {listed:?}, all {:?}",
                before.elapsed() - written - listed
            );
        });
    }
}
