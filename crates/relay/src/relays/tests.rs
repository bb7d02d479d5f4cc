//! Relays on the loopback interface.

mod datagrams;
mod streams;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use netstate::relay::Backends;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::PortRange;

const NAME: &str = "default/web:http";

fn name() -> RelayName {
    RelayName::new(NAME)
}

fn relay(transport: Transport, endpoints: &[SocketAddr]) -> Relay {
    let backends = Backends { endpoints: endpoints.to_vec(), affinity: None };
    Relay { family: Family::Ip, transport, backends }
}

fn relays(config: Config) -> Relays {
    Relays::new(Handle::current(), config)
}

/// Where a client on this machine finds the relay.
fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// What happens soon, or the test fails.
async fn soon<T>(happens: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), happens).await.expect("it does not happen")
}

/// Waits for something that happens soon, or fails.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn ports_are_those_of_the_range() {
    let free = std::net::TcpListener::bind(at(0)).unwrap().local_addr().unwrap().port();
    let config = Config { ports: PortRange::new(free, free), ..Config::default() };
    let mut relays = relays(config);
    let one = relay(Transport::Tcp, &[]);
    assert_eq!(relays.set(&name(), &one).unwrap(), free);
    assert_eq!(relays.set(&name(), &one).unwrap(), free, "it is there");
    let other = RelayName::new("default/other:");
    let error = relays.set(&other, &one).unwrap_err().to_string();
    assert!(error.contains("default/other:") && error.contains(&format!("from {free} to {free}")), "{error}");
    // Beside it there is room for another family, and for datagrams.
    assert_eq!(relays.set(&other, &Relay { family: Family::Ip6, ..one.clone() }).unwrap(), free);
    let datagrams = RelayName::new("default/dns:");
    assert_eq!(relays.set(&datagrams, &relay(Transport::Udp, &[])).unwrap(), free);
    // The same name for something else makes it anew.
    assert!(relays.set(&name(), &relay(Transport::Udp, &[])).is_err(), "taken by the other one");
    let refuses = || std::net::TcpStream::connect(at(free)).is_err();
    until("and the old one is gone", refuses).await;
}
