use std::net::Ipv6Addr;

use super::*;

/// An endpoint that answers each datagram with its name before the datagram.
struct Echo {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Echo {
    async fn at(name: u8, address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).await.unwrap();
        let address = socket.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            loop {
                let (length, client) = socket.recv_from(&mut buffer[1..]).await.unwrap();
                buffer[0] = name;
                socket.send_to(&buffer[..=length], client).await.unwrap();
            }
        });
        Self { address, task }
    }

    async fn new(name: u8) -> Self {
        Self::at(name, at(0)).await
    }

    async fn stop(self) -> SocketAddr {
        self.task.abort();
        let _ = self.task.await;
        self.address
    }
}

/// A client that hears only whom it speaks to.
struct Client(UdpSocket);

impl Client {
    async fn of(relay: SocketAddr) -> Self {
        let any = if relay.is_ipv4() { at(0) } else { (Ipv6Addr::LOCALHOST, 0).into() };
        let socket = UdpSocket::bind(any).await.unwrap();
        socket.connect(relay).await.unwrap();
        Self(socket)
    }

    /// Asks once, and says who answers.
    async fn asks(&self) -> u8 {
        self.asks_with(b"question").await
    }

    async fn asks_with(&self, question: &[u8]) -> u8 {
        self.0.send(question).await.unwrap();
        self.hears(question, Duration::from_secs(60)).await.expect("nobody answers")
    }

    /// Asks until somebody answers.
    async fn asks_again_and_again(&self) -> u8 {
        for _ in 0..300 {
            self.0.send(b"question").await.unwrap();
            if let Some(name) = self.hears(b"question", Duration::from_millis(200)).await {
                return name;
            }
        }
        panic!("nobody answers");
    }

    async fn hears(&self, question: &[u8], patience: Duration) -> Option<u8> {
        let mut buffer = vec![0; 65_536];
        let length = timeout(patience, self.0.recv(&mut buffer)).await.ok()?.unwrap();
        assert_eq!(&buffer[1..length], question);
        Some(buffer[0])
    }
}

fn config() -> Config {
    // No flow falls silent while a busy machine keeps us waiting.
    Config { flow_timeout: Duration::from_secs(3600), ..Config::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_stays_and_others_take_turns() {
    let [one, two] = [Echo::new(1).await, Echo::new(2).await];
    let mut relays = relays(config());
    let port = relays.set(&name(), &relay(Transport::Udp, &[one.address, two.address])).unwrap();
    // At any address of the node, and answered from there: these sockets hear nobody else.
    let first = Client::of((Ipv4Addr::new(127, 0, 0, 5), port).into()).await;
    let second = Client::of(at(port)).await;
    assert_eq!([first.asks().await, second.asks().await], [1, 2]);
    assert_eq!([first.asks().await, first.asks().await, second.asks().await], [1, 1, 2]);
    assert_eq!(first.asks_with(&[]).await, 1, "an empty datagram is one, too");
    assert_eq!(first.asks_with(&vec![3; 60_000]).await, 1, "and a long one");

    // An endpoint that is gone from the list gets no more of its flows.
    relays.set(&name(), &relay(Transport::Udp, &[two.address])).unwrap();
    assert_eq!([first.asks().await, second.asks().await], [2, 2]);
    assert_eq!(relays.meter().counts().flows, 3);
}

/// What an endpoint answers after it went from the list arrives, if its client has not asked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_on_its_way_arrives() {
    let slow = UdpSocket::bind(at(0)).await.unwrap();
    let two = Echo::new(2).await;
    let mut relays = relays(config());
    let port = relays.set(&name(), &relay(Transport::Udp, &[slow.local_addr().unwrap()])).unwrap();
    let client = Client::of(at(port)).await;
    client.0.send(b"question").await.unwrap();
    let mut question = [0; 64];
    let (length, asker) = soon(slow.recv_from(&mut question[1..])).await.unwrap();
    relays.set(&name(), &relay(Transport::Udp, &[two.address])).unwrap();
    question[0] = 1;
    slow.send_to(&question[..=length], asker).await.unwrap();
    assert_eq!(client.hears(b"question", Duration::from_secs(60)).await, Some(1));
    assert_eq!(client.asks().await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_leaves_an_endpoint_that_refuses() {
    let [one, two] = [Echo::new(1).await, Echo::new(2).await];
    let mut relays = relays(config());
    let port = relays.set(&name(), &relay(Transport::Udp, &[one.address, two.address])).unwrap();
    let client = Client::of(at(port)).await;
    assert_eq!(client.asks().await, 1);
    one.stop().await;
    assert_eq!(
        client.asks_again_and_again().await,
        2,
        "the first datagrams find out, the next one goes elsewhere"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_flow_ends() {
    let one = Echo::new(1).await;
    let mut relays = relays(Config { flow_timeout: Duration::from_millis(50), ..Config::default() });
    let port = relays.set(&name(), &relay(Transport::Udp, &[one.address])).unwrap();
    assert_eq!(Client::of(at(port)).await.asks().await, 1);
    until("the flow ends", || relays.bounds.flows() == 0).await;
    assert_eq!(Client::of(at(port)).await.asks().await, 1);
    assert!(relays.meter().counts().flows >= 2);
}

/// Two flows where there is room for one: both are served, in turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_bound_the_silent_flow_makes_way() {
    let one = Echo::new(1).await;
    let mut relays = relays(Config { flows: 1, ..config() });
    let port = relays.set(&name(), &relay(Transport::Udp, &[one.address])).unwrap();
    let (first, second) = (Client::of(at(port)).await, Client::of(at(port)).await);
    for client in [&first, &second, &first] {
        assert_eq!(client.asks().await, 1);
    }
    assert_eq!(relays.meter().counts().flows, 3);

    // Those of other relays, too: none can keep the others out.
    let other = relays.set(&RelayName::new("other"), &relay(Transport::Udp, &[one.address])).unwrap();
    let third = Client::of(at(other)).await;
    for client in [&third, &first, &third] {
        assert_eq!(client.asks().await, 1);
    }
    assert_eq!((relays.meter().counts().flows, relays.bounds.flows()), (6, 1));
    assert_eq!(relays.meter().counts().dropped, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ipv6_too() {
    let loopback = Ipv6Addr::LOCALHOST;
    let six = Echo::at(6, (loopback, 0).into()).await;
    let mut relays = relays(config());
    let wanted = Relay { family: Family::Ip6, ..relay(Transport::Udp, &[six.address]) };
    let port = relays.set(&name(), &wanted).unwrap();
    assert_eq!(Client::of((loopback, port).into()).await.asks().await, 6);
}
