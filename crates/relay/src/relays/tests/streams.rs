use std::io::ErrorKind;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;

/// An endpoint that says its name to everybody, and then the same as they do until they end.
struct Echo {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Echo {
    async fn new(name: u8) -> Self {
        let listener = TcpListener::bind(at(0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    stream.write_all(&[name]).await.unwrap();
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        Self { address, task }
    }

    /// Stops listening; who is connected stays so.
    async fn stop(self) -> Nobody {
        self.task.abort();
        let _ = self.task.await;
        Nobody::at(self.address)
    }
}

/// A port where nobody listens, nor ever will.
struct Nobody(Socket);

impl Nobody {
    fn at(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address.into()).unwrap();
        Self(socket)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap().as_socket().unwrap()
    }
}

/// Connects, and learns who answers.
async fn meet(port: u16) -> (TcpStream, u8) {
    let mut stream = TcpStream::connect(at(port)).await.unwrap();
    let name = soon(stream.read_u8()).await.unwrap();
    (stream, name)
}

async fn says_the_same(stream: &mut TcpStream, words: &[u8]) {
    stream.write_all(words).await.unwrap();
    let mut back = vec![0; words.len()];
    soon(stream.read_exact(&mut back)).await.unwrap();
    assert_eq!(back, words);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_take_turns_and_live_on() {
    let [one, two, three] = [Echo::new(1).await, Echo::new(2).await, Echo::new(3).await];
    let mut relays = relays(Config::default());
    let port = relays.set(&name(), &relay(Transport::Tcp, &[one.address, two.address])).unwrap();
    let (mut first, was) = meet(port).await;
    assert_eq!(was, 1);
    says_the_same(&mut first, b"hello").await;
    assert_eq!([meet(port).await.1, meet(port).await.1], [2, 1]);

    // Another set of endpoints: the port stays, and so does who is connected.
    let again = relays.set(&name(), &relay(Transport::Tcp, &[three.address])).unwrap();
    assert_eq!(again, port);
    assert_eq!([meet(port).await.1, meet(port).await.1], [3, 3]);
    says_the_same(&mut first, b"still there").await;

    relays.remove(&name());
    until("nobody listens any more", || std::net::TcpStream::connect(at(port)).is_err()).await;
    says_the_same(&mut first, b"to the end").await;
    assert_eq!(relays.meter().counts(), crate::Counts { connections: 5, ..crate::Counts::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_remembered_stays() {
    let [one, two] = [Echo::new(1).await, Echo::new(2).await];
    let mut relays = relays(Config::default());
    let mut wanted = relay(Transport::Tcp, &[one.address, two.address]);
    wanted.backends.affinity = Some(Duration::from_secs(10_800));
    let port = relays.set(&name(), &wanted).unwrap();
    assert_eq!([meet(port).await.1, meet(port).await.1, meet(port).await.1], [1, 1, 1]);
    // Its endpoint refuses: it goes to the other one, and stays there.
    let nobody = one.stop().await;
    assert_eq!(wanted.backends.endpoints[0], nobody.address());
    relays.set(&name(), &wanted).unwrap();
    assert_eq!([meet(port).await.1, meet(port).await.1, meet(port).await.1], [2, 2, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_that_refuse_are_passed_over() {
    let there = Echo::new(7).await;
    let mut relays = relays(Config::default());
    let nobody = [Nobody::at(at(0)), Nobody::at(at(0))];
    let endpoints = [nobody[0].address(), nobody[1].address(), there.address];
    let port = relays.set(&name(), &relay(Transport::Tcp, &endpoints)).unwrap();
    assert_eq!([meet(port).await.1, meet(port).await.1], [7, 7]);

    // Nobody is left, or nobody is known: the client is told so.
    for endpoints in [&endpoints[..2], &[]] {
        relays.set(&name(), &relay(Transport::Tcp, endpoints)).unwrap();
        // The client may learn it while it is still connecting.
        let error = match TcpStream::connect(at(port)).await {
            Ok(mut stream) => stream.read_u8().await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    assert_eq!(relays.meter().counts().refused, 2);
}

/// The client ends its half, and the answer to the end of the question comes whole: much, both ways.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_end_by_themselves_and_much_arrives_whole() {
    const LENGTH: usize = 24 << 20;
    let pattern = |seed: usize| -> Vec<u8> {
        (0..LENGTH).map(|place| ((place + seed).wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    };
    let listener = TcpListener::bind(at(0)).await.unwrap();
    let mut relays = relays(Config::default());
    let endpoint = listener.local_addr().unwrap();
    let port = relays.set(&name(), &relay(Transport::Tcp, &[endpoint])).unwrap();
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut question = Vec::new();
        stream.read_to_end(&mut question).await.unwrap();
        stream.write_all(&pattern(5)).await.unwrap();
        question == pattern(1)
    });
    let mut client = TcpStream::connect(at(port)).await.unwrap();
    soon(client.write_all(&pattern(1))).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = Vec::new();
    soon(client.read_to_end(&mut answer)).await.unwrap();
    assert!(answer == pattern(5), "the answer is not what was sent");
    assert!(answering.await.unwrap(), "the question is not what was asked");
}

/// An answer cut short must not look whole; nor must a question.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_broken_off_is_broken_off() {
    let listener = TcpListener::bind(at(0)).await.unwrap();
    let mut relays = relays(Config::default());
    let endpoint = listener.local_addr().unwrap();
    let port = relays.set(&name(), &relay(Transport::Tcp, &[endpoint])).unwrap();
    for client_breaks_off in [true, false] {
        let mut client = TcpStream::connect(at(port)).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        for end in [&mut client, &mut server] {
            end.write_all(b"some of it").await.unwrap();
        }
        for end in [&mut client, &mut server] {
            end.read_exact(&mut [0; 10]).await.unwrap();
        }
        // With the server's half ended before, only the error tells of a client that vanishes.
        let (breaks, mut other) = if client_breaks_off { (client, server) } else { (server, client) };
        SockRef::from(&breaks).set_linger(Some(Duration::ZERO)).unwrap();
        drop(breaks);
        let error = soon(other.read_u8()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

/// A client that has ended its half and then vanishes is noticed, although nobody listens to it any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_client_that_vanishes_is_noticed() {
    let listener = TcpListener::bind(at(0)).await.unwrap();
    let mut relays = relays(Config::default());
    let endpoint = listener.local_addr().unwrap();
    let port = relays.set(&name(), &relay(Transport::Tcp, &[endpoint])).unwrap();
    let mut client = TcpStream::connect(at(port)).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(soon(server.read(&mut [0; 1])).await.unwrap(), 0);
    server.write_all(b"half ended, whole alive").await.unwrap();
    client.read_exact(&mut [0; 23]).await.unwrap();
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    let broken = soon(server.ready(tokio::io::Interest::ERROR)).await;
    assert!(broken.is_err() || server.take_error().unwrap().is_some());
}

/// The relay takes from a client no more than the endpoint takes, but for what the buffers on the way hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_slowly_is_waited_for() {
    const PART: usize = 1 << 20;
    let listener = TcpListener::bind(at(0)).await.unwrap();
    let mut relays = relays(Config::default());
    let endpoint = listener.local_addr().unwrap();
    let port = relays.set(&name(), &relay(Transport::Tcp, &[endpoint])).unwrap();
    let mut client = TcpStream::connect(at(port)).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let part = vec![7; PART];
    let mut sent = 0;
    // A stall of half a second: nothing moves any more. What was written until then is in buffers.
    while let Ok(length) = timeout(Duration::from_millis(500), client.write(&part)).await {
        sent += length.unwrap();
        assert!(sent < 256 * PART, "nobody holds it back");
    }
    client.shutdown().await.unwrap();
    let mut read = Vec::new();
    soon(server.read_to_end(&mut read)).await.unwrap();
    assert_eq!(read.len(), sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_bound_a_connection_waits_for_another_to_end() {
    let echo = Echo::new(1).await;
    let mut relays = relays(Config { connections: 1, ..Config::default() });
    let port = relays.set(&name(), &relay(Transport::Tcp, &[echo.address])).unwrap();
    let (first, _) = meet(port).await;
    let mut second = TcpStream::connect(at(port)).await.unwrap();
    let waits = timeout(Duration::from_millis(300), second.read_u8()).await;
    assert!(waits.is_err(), "{waits:?}");
    drop(first);
    assert_eq!(soon(second.read_u8()).await.unwrap(), 1);
}
