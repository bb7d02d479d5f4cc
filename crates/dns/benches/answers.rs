//! CPU time and memory of answers, with 10,000 Services of 10 endpoints: from the decoded datagram to the encoded
//! reply, and with the sockets around it.
//! Run: `cargo bench -p portolan-dns`. Without `--bench`, which cargo gives, a few of everything: `cargo test` runs that,
//! to see that the answers are right.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use figures::{Figure, Purpose, Report, Target};
use model::{Port, Protocol, Service, ServiceKey, ServicePort, SliceKey, SlicePort};
use portolan_dns::{
    Endpoint, Kind, Metrics, Name, Object, PodNames, Query, Reply, Resolver, ResolverConfig, Server,
    SharedSite, SharedZone, Site, Slice, Sockets, Zone, ZoneConfig, answer,
};

const ENDPOINTS: u32 = 10;
/// Queries that are on their way at the same time.
const WINDOW: usize = 64;

/// How much is measured.
#[derive(Clone, Copy)]
struct Size {
    services: u32,
    queries: u32,
}

/// Names of one sort, and what they are answered with.
struct Names {
    what: &'static str,
    /// `NUMBER` stands for a Service's.
    pattern: &'static str,
    /// The response code, in four bits.
    code: u8,
    answers: u8,
}

const CLUSTER: Names =
    Names { what: "a cluster name", pattern: "svc-NUMBER.default.svc.cluster.local", code: 0, answers: 1 };
const MISSING: Names =
    Names { what: "NXDOMAIN", pattern: "no-NUMBER.default.svc.cluster.local", code: 3, answers: 0 };
const OUTSIDE: Names =
    Names { what: "a cached outside name", pattern: "www-NUMBER.example.com", code: 0, answers: 1 };

fn main() -> std::io::Result<()> {
    let purpose = Purpose::of("dns", std::env::args().skip(1));
    let (services, queries) = match purpose {
        Purpose::Measure => (10_000, 300_000),
        Purpose::Smoke => (100, 1_000),
        Purpose::Nothing => return Ok(()),
    };
    let mut findings = Findings {
        size: Size { services, queries },
        report: Report::new("dns", format!("cluster DNS, {queries} queries of each sort")),
    };
    let before = resident();
    let mut zone = zone(services);
    findings.push("memory of the zone", resident() - before, "MB", None);
    findings.push("resident memory of the whole process", resident(), "MB", Some(50.0));
    without_sockets(&mut zone, &mut findings);
    with_sockets(zone, &mut findings);
    if purpose == Purpose::Measure {
        print!("{}", findings.report);
    }
    findings.report.save().map(drop)
}

/// What was found.
struct Findings {
    size: Size,
    report: Report,
}

impl Findings {
    fn push(&mut self, what: impl Into<String>, value: f64, unit: &'static str, at_most: Option<f64>) {
        let figure = Figure::new(what, value, unit).beside(self.size.services, ENDPOINTS);
        self.report.push(figure.target(at_most.map(Target::AtMost)));
    }
}

fn microseconds(time: Duration, count: u32) -> f64 {
    time.as_secs_f64() * 1e6 / f64::from(count)
}

fn without_sockets(zone: &mut Zone, findings: &mut Findings) {
    let Size { services, queries: count } = findings.size;
    for names in [CLUSTER, MISSING] {
        let queries = queries(names.pattern, services);
        let begin = Instant::now();
        for message in queries.iter().cycle().take(count as usize) {
            let Ok(query) = Query::parse(message) else { panic!("a query") };
            let mut reply = Reply::to(&query, Some(query.datagram_limit()));
            answer(zone, &query, &mut reply);
            std::hint::black_box(reply.finish());
        }
        let time = microseconds(begin.elapsed(), count);
        findings.push(format!("{}, without sockets", names.what), time, "µs", None);
    }
    let begin = Instant::now();
    for number in 0..services {
        zone.apply(slice(number, ENDPOINTS + 1));
    }
    findings.push("a changed EndpointSlice", microseconds(begin.elapsed(), services), "µs", None);
}

/// The server on a thread of its own, whose CPU time counts; clients on another.
fn with_sockets(zone: Zone, findings: &mut Findings) {
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
    let Size { services, queries: count } = findings.size;
    for names in [CLUSTER, OUTSIDE, MISSING] {
        let queries = queries(names.pattern, services);
        // Once without being measured: outside names are then in the cache.
        ask(address, &queries, queries.len(), &names);
        let (before, begin) = (cpu(&thread), Instant::now());
        ask(address, &queries, count as usize, &names);
        let wall = begin.elapsed();
        let used = microseconds(cpu(&thread).saturating_sub(before), count);
        findings.push(format!("{}, CPU of the server a query", names.what), used, "µs", Some(5.0));
        let rate = f64::from(count) / wall.as_secs_f64();
        findings.push(format!("{}, queries", names.what), rate, "/s", None);
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

/// Sends so many queries, and sees that all of them are answered as they should be.
fn ask(server: SocketAddr, queries: &[Vec<u8>], count: usize, names: &Names) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.connect(server).expect("loopback");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let mut buffer = [0; 2048];
    let mut receive = || {
        let length = socket.recv(&mut buffer).expect("an answer");
        assert!(length > 12, "{}: {length} bytes", names.what);
        assert_eq!((buffer[3] & 15, buffer[7]), (names.code, names.answers), "{}", names.what);
    };
    for (number, message) in queries.iter().cycle().take(count).enumerate() {
        socket.send(message).expect("sent");
        if number >= WINDOW {
            receive();
        }
    }
    (0..WINDOW.min(count)).for_each(|_| receive());
}

/// User and system time of a thread, which the kernel counts in nanoseconds.
fn cpu(thread: &std::path::Path) -> Duration {
    let text = std::fs::read_to_string(std::path::Path::new("/proc").join(thread).join("schedstat"))
        .expect("schedstat");
    let on_cpu = text.split(' ').next().and_then(|word| word.parse().ok()).expect("nanoseconds");
    Duration::from_nanos(on_cpu)
}

/// Resident memory of this process in MB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("VmRSS");
    let kilobytes: f64 = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("kB");
    kilobytes / 1024.0
}

fn queries(pattern: &str, services: u32) -> Vec<Vec<u8>> {
    (0..1000_u32)
        .map(|number| {
            let name = pattern.replace("NUMBER", &(number * 7919 % services).to_string());
            let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
            bytes.extend_from_slice(Name::parse(&name).expect("a name").wire());
            bytes.extend_from_slice(&[0, 1, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
            bytes
        })
        .collect()
}

fn zone(services: u32) -> Zone {
    let mut zone = Zone::new(ZoneConfig {
        pods: PodNames::Insecure,
        ..ZoneConfig::new(Name::parse("cluster.local").expect("a name"))
    });
    for kind in Kind::needed(PodNames::Insecure) {
        zone.begin_listing(*kind);
    }
    zone.apply(Object::Namespace("default".into()));
    for number in 0..services {
        zone.apply(service(number));
        zone.apply(slice(number, ENDPOINTS));
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
