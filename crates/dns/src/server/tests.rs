use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::message::tests::query;
use crate::message::{Data, Owner, Section};
use crate::{Name, Query, RecordType, Reply, Resolver, ResolverConfig, SharedZone, Site, Zone, ZoneConfig};

const PATIENCE: Duration = Duration::from_secs(60);

/// A server for an empty zone, which is not in sync, with those upstream servers.
async fn server(upstreams: Vec<SocketAddr>) -> SocketAddr {
    let zone = Zone::new(ZoneConfig::new(Name::parse("cluster.local").unwrap()));
    let metrics = Arc::new(Metrics::default());
    let resolver = Resolver::new(ResolverConfig::new(upstreams), metrics.clone());
    let site = SharedSite::new(Site::of(SharedZone::new(zone), resolver, None));
    let sockets = Sockets::open((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = sockets.address().unwrap();
    tokio::spawn(Server::new(site, metrics).serve(sockets));
    address
}

/// An upstream server that counts what it is asked: over UDP it truncates names that begin with `big`, and is
/// silent for `silent`; every other name has the address 192.0.2.7.
async fn upstream() -> (SocketAddr, Arc<std::sync::atomic::AtomicUsize>) {
    let streams = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = streams.local_addr().unwrap();
    let datagrams = UdpSocket::bind(address).await.unwrap();
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = count.clone();
    let reply = |message: &[u8], truncated: bool| {
        let query = Query::parse(message).unwrap();
        let mut reply = Reply::to(&query, None);
        reply.push(Section::Answer, Owner::At(12), 300, Data::Address([192, 0, 2, 7].into()));
        let mut bytes = reply.finish();
        bytes[2] |= if truncated { 2 } else { 0 };
        bytes
    };
    tokio::spawn(async move {
        let mut buffer = [0; 2000];
        loop {
            let (length, client) = datagrams.recv_from(&mut buffer).await.unwrap();
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if buffer[13..].starts_with(b"silent") {
                continue;
            }
            let message = &buffer[..length];
            // First a forged one, with another number.
            let mut forged = reply(message, false);
            forged[0] ^= 1;
            datagrams.send_to(&forged, client).await.unwrap();
            datagrams.send_to(&reply(message, message[13..].starts_with(b"big")), client).await.unwrap();
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = streams.accept().await.unwrap();
            let mut message = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut message).await.unwrap();
            let bytes = reply(&message, false);
            stream.write_u16(bytes.len().try_into().unwrap()).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        }
    });
    (address, count)
}

async fn asked(server: SocketAddr, name: &str) -> Vec<u8> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(&query(name, RecordType::A, Some(1232))).await.unwrap();
    let mut buffer = vec![0; 2000];
    let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    buffer.truncate(length);
    buffer
}

fn code(reply: &[u8]) -> u8 {
    reply[3] & 15
}

#[tokio::test]
async fn a_zone_that_is_not_in_sync_says_so_and_no_more() {
    let server = server(Vec::new()).await;
    assert_eq!(code(&asked(server, "a.default.svc.cluster.local").await), 2);
    assert_eq!(code(&asked(server, "www.example.com").await), 5, "nobody to ask");
}

#[tokio::test]
async fn other_names_are_forwarded_once_and_remembered() {
    let (upstream, count) = upstream().await;
    let server = server(vec![upstream]).await;
    for name in ["www.example.com", "WWW.example.com", "www.Example.com"] {
        let reply = asked(server, name).await;
        assert_eq!((code(&reply), reply[7]), (0, 1));
        assert_eq!(reply[13..16], name.as_bytes()[..3]);
    }
    assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 1);
    let reply = asked(server, "big.example.com").await;
    assert_eq!((code(&reply), reply[2] & 2, reply[7]), (0, 0, 1), "asked again over TCP");
}

#[tokio::test]
async fn questions_on_their_way_are_joined() {
    let (upstream, count) = upstream().await;
    let server = server(vec![upstream]).await;
    let clients: JoinSet<_> =
        (0..20).map(|_| async move { code(&asked(server, "silent.example.com").await) }).collect();
    assert!(clients.join_all().await.into_iter().all(|code| code == 2), "nobody is left without an answer");
    assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 2, "one question, one retry");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_replaced_by_the_next() {
    let (upstream, _) = upstream().await;
    // Bound and never read: silent.
    let dead = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = server(vec![dead.local_addr().unwrap(), upstream]).await;
    assert_eq!(code(&asked(server, "www.example.com").await), 0);
}

#[tokio::test]
async fn a_server_that_is_asked_to_ask_itself_makes_no_loop() {
    let place = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let first = server(vec![address]).await;
    let second = server(vec![first]).await;
    assert_eq!(code(&asked(second, "www.example.com").await), 2);
}

#[tokio::test]
async fn streams_take_several_questions_at_once() {
    let (upstream, _) = upstream().await;
    let server = server(vec![upstream]).await;
    let mut stream = TcpStream::connect(server).await.unwrap();
    let mut sent = Vec::new();
    for (id, name) in ["silent.example.com", "www.example.com", "x.svc.cluster.local"].into_iter().enumerate()
    {
        let mut message = query(name, RecordType::A, None);
        message[1] = id.try_into().unwrap();
        sent.extend_from_slice(&u16::try_from(message.len()).unwrap().to_be_bytes());
        sent.extend_from_slice(&message);
    }
    stream.write_all(&sent).await.unwrap();
    let mut answered = Vec::new();
    for _ in 0..3 {
        let mut reply = vec![0; timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap().into()];
        stream.read_exact(&mut reply).await.unwrap();
        answered.push(reply[1]);
    }
    assert_eq!(answered.pop(), Some(0), "the one that nobody answers is last");
    // Half a message, then the end: the server closes.
    stream.write_all(&[0, 100, 1]).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(timeout(PATIENCE, stream.read(&mut [0; 10])).await.unwrap().unwrap(), 0);
}

/// A server for a zone with one Service of many endpoints, and what a client says to it.
async fn large() -> SocketAddr {
    let mut zone = Zone::new(ZoneConfig::new(Name::parse("cluster.local").unwrap()));
    for kind in crate::Kind::needed(crate::PodNames::Disabled) {
        zone.begin_listing(*kind);
    }
    let key = model::ServiceKey::new("default", "many");
    zone.apply(crate::Object::Namespace("default".into()));
    zone.apply(crate::Object::Service(model::Service { ..model::Service::new(key.clone()) }));
    zone.apply(crate::Object::Slice(crate::Slice {
        key: model::SliceKey::new("default", "many-1"),
        service: Some(key),
        ports: Vec::new(),
        endpoints: (1..=60)
            .map(|last| crate::Endpoint {
                address: Ipv4Addr::new(10, 244, 0, last).into(),
                hostname: None,
                pod: None,
                ready: true,
            })
            .collect(),
    }));
    for kind in crate::Kind::needed(crate::PodNames::Disabled) {
        zone.end_listing(*kind);
    }
    let metrics = Arc::new(Metrics::default());
    let resolver = Resolver::new(ResolverConfig::new(Vec::new()), metrics.clone());
    let site = SharedSite::new(Site::of(SharedZone::new(zone), resolver, None));
    let sockets = Sockets::open((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = sockets.address().unwrap();
    let server = Server::new(site, metrics).with_silence(Duration::from_millis(100));
    tokio::spawn(server.serve(sockets));
    address
}

async fn exchange(server: SocketAddr, message: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(message).await.unwrap();
    let mut buffer = vec![0; 4096];
    let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    buffer.truncate(length);
    buffer
}

/// A query with that cookie in its OPT record.
fn with_cookie(cookie: &[u8]) -> Vec<u8> {
    let mut message = query("many.default.svc.cluster.local", RecordType::A, Some(1232));
    let length = u8::try_from(cookie.len()).unwrap();
    let at = message.len() - 1;
    message[at] = length + 4;
    message.extend_from_slice(&[0, 10, 0, length]);
    message.extend_from_slice(cookie);
    message
}

#[tokio::test]
async fn whoever_shows_our_cookie_gets_long_answers() {
    let server = large().await;
    let stranger = with_cookie(b"a client");
    let first = exchange(server, &stranger).await;
    assert!(first.len() <= 10 * stranger.len());
    assert!(first[2] & 2 != 0, "truncated for a stranger");
    assert_eq!(first[first.len() - 24..][..8], *b"a client");
    let known = with_cookie(&first[first.len() - 24..]);
    let second = exchange(server, &known).await;
    assert_eq!((second[2] & 2, second[7]), (0, 60), "{} bytes for {}", second.len(), known.len());
    let mut forged = with_cookie(&first[first.len() - 24..]);
    *forged.last_mut().unwrap() ^= 1;
    assert!(exchange(server, &forged).await[2] & 2 != 0);
    assert_eq!(code(&exchange(server, &with_cookie(b"short")).await), 1);
}

/// Ten thousand datagrams of noise and of damaged queries: none is answered by more than ten times its size, none
/// comes back that was no query, and the next client is served.
#[tokio::test]
async fn noise_is_no_matter() {
    let server = large().await;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    let mut random = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(7);
    let good = with_cookie(b"a client");
    let mut buffer = vec![0; 4096];
    let mut answered = 0;
    // By the numbers that replies repeat; the longest where several have the same.
    let mut lengths = std::collections::HashMap::new();
    for number in 0..10_000 {
        let mut message = vec![0; rand::Rng::random_range(&mut random, 0..300)];
        rand::RngCore::fill_bytes(&mut random, &mut message);
        if number % 2 == 0 {
            message = good.clone();
            for _ in 0..3 {
                let at = rand::Rng::random_range(&mut random, 0..message.len());
                message[at] = rand::Rng::random(&mut random);
            }
        }
        socket.send(&message).await.unwrap();
        if let Some(id) = message.get(..2) {
            let longest = lengths.entry(id.to_vec()).or_insert(0);
            *longest = message.len().max(*longest);
        }
        if number % 20 == 19 {
            while let Ok(Ok(length)) = timeout(Duration::from_millis(1), socket.recv(&mut buffer)).await {
                answered += 1;
                assert!(length <= 10 * lengths[&buffer[..2]] && buffer[2] & 0x80 != 0);
            }
        }
    }
    assert!(answered > 0, "some of it was near enough to a query");
    assert_eq!(
        code(&exchange(server, &query("many.default.svc.cluster.local", RecordType::A, None)).await),
        0
    );
}

#[tokio::test]
async fn a_silent_client_and_one_that_says_half_are_closed() {
    let server = large().await;
    for said in [&[][..], &[0], &[0, 50, 1, 2, 3]] {
        let mut stream = TcpStream::connect(server).await.unwrap();
        stream.write_all(said).await.unwrap();
        assert_eq!(timeout(PATIENCE, stream.read(&mut [0; 10])).await.unwrap().unwrap(), 0, "{said:?}");
    }
}

/// Two servers that ask each other: found before anybody waits for it.
#[tokio::test]
async fn a_loop_is_found_and_its_server_left_alone() {
    let open = || async { Sockets::open((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap() };
    let (one, other) = (open().await, open().await);
    let addresses = [one.address().unwrap(), other.address().unwrap()];
    let mut resolvers = Vec::new();
    for (sockets, ask) in [(one, addresses[1]), (other, addresses[0])] {
        let metrics = Arc::new(Metrics::default());
        let resolver = Resolver::new(ResolverConfig::new(vec![ask]), metrics.clone());
        let zone = SharedZone::new(Zone::new(ZoneConfig::new(Name::parse("cluster.local").unwrap())));
        let site = SharedSite::new(Site::of(zone, resolver.clone(), None));
        tokio::spawn(Server::new(site, metrics).serve(sockets));
        resolvers.push(resolver);
    }
    resolvers[0].watch_loops();
    let found = async {
        while !resolvers[0].leads_nowhere() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, found).await.unwrap();
    assert_eq!(code(&asked(addresses[0], "www.example.com").await), 2);
}
