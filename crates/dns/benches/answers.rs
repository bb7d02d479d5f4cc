//! CPU time and memory of answers, with 10,000 Services of 10 endpoints: from the decoded datagram to the encoded
//! reply, and with the sockets around it.
//! Run: `cargo bench -p portolan-dns`.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Port, Protocol, Service, ServiceKey, ServicePort, SliceKey, SlicePort};
use portolan_dns::{
    Endpoint, Kind, Metrics, Name, Object, PodNames, Query, Reply, Resolver, ResolverConfig, Server,
    SharedSite, SharedZone, Site, Slice, Sockets, Zone, ZoneConfig, answer,
};

const SERVICES: u32 = 10_000;
const QUERIES: u32 = 300_000;

fn main() {
    let before = resident();
    let mut zone = zone();
    println!("{:<44} {:>8} MB", "memory of 10,000 Services, 100,000 endpoints", (resident() - before) / 1024);
    println!("{:<44} {:>8} MB", "resident memory of the whole process", resident() / 1024);
    for (what, name) in [
        ("a cluster name", "svc-NUMBER.default.svc.cluster.local"),
        ("NXDOMAIN", "no-NUMBER.default.svc.cluster.local"),
    ] {
        let queries = queries(name);
        let begin = Instant::now();
        for message in queries.iter().cycle().take(QUERIES as usize) {
            let Ok(query) = Query::parse(message) else { panic!("a query") };
            let mut reply = Reply::to(&query, Some(query.datagram_limit()));
            answer(&zone, &query, &mut reply);
            std::hint::black_box(reply.finish());
        }
        report(&format!("{what}, without sockets"), begin.elapsed(), QUERIES);
    }
    let begin = Instant::now();
    for number in 0..SERVICES {
        zone.apply(slice(number, 11));
    }
    report("a changed EndpointSlice", begin.elapsed(), SERVICES);
    with_sockets(zone);
}

fn report(what: &str, time: Duration, count: u32) {
    println!("{what:<44} {:>8.2} µs", time.as_secs_f64() * 1e6 / f64::from(count));
}

/// The server on a thread of its own, whose CPU time counts; clients on another.
fn with_sockets(zone: Zone) {
    let zone = SharedZone::new(zone);
    let upstream = upstream();
    let metrics = Arc::new(Metrics::default());
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let resolver = Resolver::new(ResolverConfig::new(vec![upstream]), metrics.clone());
            let sockets = Sockets::open((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a socket");
            let thread = std::fs::read_link("/proc/thread-self").expect("proc is mounted");
            tell.send((sockets.address().expect("it is bound"), thread)).expect("main waits");
            Server::new(SharedSite::new(Site::of(zone, resolver, None)), metrics).serve(sockets).await;
        });
    });
    let (address, thread) = told.recv().expect("the server starts");
    for (what, name) in [
        ("a cluster name", "svc-NUMBER.default.svc.cluster.local"),
        ("a cached outside name", "www-NUMBER.example.com"),
        ("NXDOMAIN", "no-NUMBER.default.svc.cluster.local"),
    ] {
        let queries = queries(name);
        // Once without being measured: outside names are then in the cache.
        ask(address, &queries, queries.len());
        let (before, begin) = (cpu(&thread), Instant::now());
        let answered = ask(address, &queries, QUERIES as usize);
        let wall = begin.elapsed();
        let used = cpu(&thread).saturating_sub(before);
        report(&format!("{what}, CPU of the server"), used, answered);
        println!("{:<44} {:>8.0} /s", format!("{what}, queries"), f64::from(answered) / wall.as_secs_f64());
    }
}

/// A server on a thread of its own: every name has one address, for an hour.
fn upstream() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let address = socket.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        loop {
            let (length, client) = socket.recv_from(&mut buffer).expect("loopback");
            let mut reply = buffer[..length - 11].to_vec();
            reply[2] |= 0x80;
            reply[7] = 1;
            reply[11] = 0;
            reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 192, 0, 2, 80]);
            socket.send_to(&reply, client).expect("loopback");
        }
    });
    address
}

/// Sends so many queries and keeps 64 on their way; how many were answered.
fn ask(server: SocketAddr, queries: &[Vec<u8>], count: usize) -> u32 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.connect(server).expect("loopback");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let mut buffer = [0; 2048];
    let mut answered = 0;
    for (number, message) in queries.iter().cycle().take(count).enumerate() {
        socket.send(message).expect("sent");
        if number >= 64 {
            socket.recv(&mut buffer).expect("an answer");
            answered += 1;
        }
    }
    answered
}

/// User and system time of a thread, which the kernel counts in nanoseconds.
fn cpu(thread: &std::path::Path) -> Duration {
    let text = std::fs::read_to_string(std::path::Path::new("/proc").join(thread).join("schedstat"))
        .expect("schedstat");
    let on_cpu = text.split(' ').next().and_then(|word| word.parse().ok()).expect("nanoseconds");
    Duration::from_nanos(on_cpu)
}

/// Resident memory of this process in kB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("kB")
}

fn queries(name: &str) -> Vec<Vec<u8>> {
    (0..1000_u32)
        .map(|number| {
            let name = name.replace("NUMBER", &(number * 7919 % SERVICES).to_string());
            let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
            bytes.extend_from_slice(Name::parse(&name).expect("a name").wire());
            bytes.extend_from_slice(&[0, 1, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
            bytes
        })
        .collect()
}

fn zone() -> Zone {
    let mut zone = Zone::new(ZoneConfig {
        pods: PodNames::Insecure,
        ..ZoneConfig::new(Name::parse("cluster.local").expect("a name"))
    });
    for kind in Kind::needed(PodNames::Insecure) {
        zone.begin_listing(*kind);
    }
    zone.apply(Object::Namespace("default".into()));
    for number in 0..SERVICES {
        zone.apply(service(number));
        zone.apply(slice(number, 10));
    }
    for kind in Kind::needed(PodNames::Insecure) {
        zone.end_listing(*kind);
    }
    zone
}

fn service(number: u32) -> Object {
    Object::Service(Service {
        cluster_addresses: vec![Ipv4Addr::from(0x0a60_0000 + number + 1).into()],
        ports: vec![ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: port(),
            node_port: None,
        }],
        ..Service::new(ServiceKey::new("default", &format!("svc-{number}")))
    })
}

fn slice(number: u32, endpoints: u32) -> Object {
    let address = |endpoint| Ipv4Addr::from(0x0af4_0000 + number * 16 + endpoint).into();
    Object::Slice(Slice {
        key: SliceKey::new("default", &format!("svc-{number}-x")),
        service: Some(ServiceKey::new("default", &format!("svc-{number}"))),
        ports: vec![SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: port() }],
        endpoints: (0..endpoints)
            .map(|endpoint| Endpoint { address: address(endpoint), hostname: None, pod: None, ready: true })
            .collect(),
    })
}

fn port() -> Port {
    Port::try_from(80).expect("80 is a port")
}
