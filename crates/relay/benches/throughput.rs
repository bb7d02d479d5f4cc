//! One relay against no relay, over loopback: bytes a second, requests a second over one connection, new connections a
//! second, datagrams there and back, and the CPU time of the whole process for each.
//! Run: `cargo bench -p portolan-relay`. Without `--bench`, which cargo gives, a few of everything: `cargo test` runs
//! that, to see that all of it arrives.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use figures::{Figure, Purpose, Report};
use netstate::nft::Family;
use netstate::relay::{Backends, Relay, RelayName, RelayPort, Transport};
use portolan_relay::{Config, Relays};

/// How much of each is measured.
#[derive(Clone, Copy)]
struct Amounts {
    bytes: u64,
    requests: u32,
    connections: u32,
    datagrams: u32,
}

const MEASURED: Amounts =
    Amounts { bytes: 4 << 30, requests: 30_000, connections: 10_000, datagrams: 30_000 };
const SMOKE: Amounts = Amounts { bytes: 4 << 20, requests: 30, connections: 10, datagrams: 30 };
/// What a client says to have an echo. To have a stream back it says this, and how many bytes.
const ECHO: u8 = b'e';
const STREAM: u8 = b's';

fn main() -> std::io::Result<()> {
    let purpose = Purpose::of("relay", std::env::args().skip(1));
    let amounts = match purpose {
        Purpose::Measure => MEASURED,
        Purpose::Smoke => SMOKE,
        Purpose::Nothing => return Ok(()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut relays = Relays::new(runtime.handle().clone(), Config::default());
    let (streams, datagrams) = (stream_server(), datagram_server());
    let mut relay = |name: &str, transport, endpoint| -> SocketAddr {
        let backends = Backends { endpoints: vec![endpoint], affinity: None };
        let relay = Relay { family: Family::Ip, transport, backends };
        (Ipv4Addr::LOCALHOST, relays.set(&RelayName::new(name), &relay).expect("a port")).into()
    };
    let streams = Both { straight: streams, relayed: relay("streams", Transport::Tcp, streams) };
    let datagrams = Both { straight: datagrams, relayed: relay("datagrams", Transport::Udp, datagrams) };
    let bytes = amounts.bytes;
    let mut report = Report::new("relay", "userspace mode's relay, loopback");
    let act = |address| download(address, bytes);
    streams.compare(&mut report, "stream", ("MB/s", bytes as f64 / 1e6), act);
    let act = |address| requests(address, amounts.requests);
    streams.compare(&mut report, "requests, one connection", ("/s", f64::from(amounts.requests)), act);
    let act = |address| connections(address, amounts.connections);
    streams.compare(
        &mut report,
        "connections, a request on each",
        ("/s", f64::from(amounts.connections)),
        act,
    );
    let act = |address| datagrams_and_back(address, amounts.datagrams);
    datagrams.compare(&mut report, "datagrams and their answers", ("/s", f64::from(amounts.datagrams)), act);
    if purpose == Purpose::Measure {
        print!("{report}");
    }
    report.save().map(drop)
}

/// Where a server is reached without and with the relay.
struct Both {
    straight: SocketAddr,
    relayed: SocketAddr,
}

impl Both {
    /// Does the same both ways. `amount` is how much it is, in the unit that a second is to hold many of.
    fn compare(
        &self,
        report: &mut Report,
        what: &str,
        (unit, amount): (&'static str, f64),
        act: impl Fn(SocketAddr),
    ) {
        let measure = |address| {
            let (begin, cpu) = (Instant::now(), cpu());
            act(address);
            (amount / begin.elapsed().as_secs_f64(), self::cpu().saturating_sub(cpu).as_secs_f64())
        };
        let ((straight, cpu), (relayed, more)) = (measure(self.straight), measure(self.relayed));
        report.push(Figure::new(what, relayed, unit).limit(straight));
        report.push(Figure::new(format!("{what}: CPU time of all sides"), more, "s").limit(cpu));
    }
}

fn stream_server() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("loopback");
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) {
    let mut buffer = vec![0; 256 * 1024];
    stream.set_nodelay(true).expect("an option");
    loop {
        match stream.read(&mut buffer[..100]) {
            Ok(0) | Err(_) => return,
            Ok(length) if buffer[0] == STREAM => {
                let bytes = buffer[1..length].try_into().expect("a client sends both at once");
                let mut left = u64::from_be_bytes(bytes);
                while left > 0 {
                    let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    stream.write_all(&buffer[..length]).expect("loopback");
                    left -= length as u64;
                }
                return;
            }
            Ok(length) => stream.write_all(&buffer[..length]).expect("loopback"),
        }
    }
}

fn datagram_server() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let address = socket.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        loop {
            let (length, client) = socket.recv_from(&mut buffer).expect("loopback");
            socket.send_to(&buffer[..length], client).expect("loopback");
        }
    });
    address
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("loopback");
    stream.set_nodelay(true).expect("an option");
    stream
}

fn download(address: SocketAddr, bytes: u64) {
    let mut stream = connect(address);
    stream.write_all(&[&[STREAM], &bytes.to_be_bytes()[..]].concat()).expect("loopback");
    let (mut buffer, mut read) = (vec![0; 256 * 1024], 0);
    while let Ok(length) = stream.read(&mut buffer)
        && length > 0
    {
        read += length as u64;
    }
    assert_eq!(read, bytes, "all of it arrives");
}

fn ask(stream: &mut TcpStream) {
    let question = [ECHO; 64];
    let mut answer = [0; 64];
    stream.write_all(&question).expect("loopback");
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, question);
}

fn requests(address: SocketAddr, count: u32) {
    let mut stream = connect(address);
    for _ in 0..count {
        ask(&mut stream);
    }
}

fn connections(address: SocketAddr, count: u32) {
    for _ in 0..count {
        let mut stream = connect(address);
        ask(&mut stream);
        stream.shutdown(Shutdown::Both).expect("loopback");
    }
}

fn datagrams_and_back(address: SocketAddr, count: u32) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.connect(address).expect("loopback");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    for _ in 0..count {
        socket.send(&[7; 64]).expect("sent");
        assert_eq!(socket.recv(&mut [0; 128]).expect("an answer"), 64);
    }
}

/// CPU time of this process so far: fields 14 and 15 of its stat, in hundredths of a second.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("proc is mounted");
    let behind_the_name = stat.rsplit(')').next().expect("a name in parentheses");
    let ticks = behind_the_name.split_whitespace().skip(11).take(2);
    Duration::from_millis(ticks.map(|field| field.parse::<u64>().expect("a number") * 10).sum())
}
