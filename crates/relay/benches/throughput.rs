//! One relay against no relay, over loopback: bytes a second, requests a second over one connection, new connections a
//! second, datagrams there and back, and the CPU time of the whole process for each.
//! Run: `cargo bench -p portolan-relay`.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use netstate::nft::Family;
use netstate::relay::{Backends, Relay, RelayName, RelayPort, Transport};
use portolan_relay::{Config, Relays};

const BYTES: usize = 4 << 30;
const REQUESTS: u32 = 30_000;
const CONNECTIONS: u32 = 10_000;
const DATAGRAMS: u32 = 30_000;
/// What a client says to have a stream back, and to have an echo.
const STREAM: u8 = b's';
const ECHO: u8 = b'e';

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut relays = Relays::new(runtime.handle().clone(), Config::default());
    let (streams, datagrams) = (stream_server(), datagram_server());
    let mut relay = |name: &str, transport, endpoint| -> SocketAddr {
        let backends = Backends { endpoints: vec![endpoint], affinity: None };
        let relay = Relay { family: Family::Ip, transport, backends };
        (Ipv4Addr::LOCALHOST, relays.set(&RelayName::new(name), &relay).expect("a port")).into()
    };
    let (relayed, relayed_datagrams) =
        (relay("streams", Transport::Tcp, streams), relay("datagrams", Transport::Udp, datagrams));
    println!("{:<28} {:>14} {:>14} {:>7}", "", "straight", "relayed", "share");
    compare("stream, MB a second", BYTES as f64 / 1e6, streams, relayed, download);
    compare("requests a second", f64::from(REQUESTS), streams, relayed, requests);
    compare("connections a second", f64::from(CONNECTIONS), streams, relayed, connections);
    compare("datagrams a second", f64::from(DATAGRAMS), datagrams, relayed_datagrams, datagrams_and_back);
}

fn compare(what: &str, amount: f64, straight: SocketAddr, relayed: SocketAddr, act: fn(SocketAddr)) {
    let measure = |address| {
        let (begin, cpu) = (Instant::now(), cpu());
        act(address);
        (amount / begin.elapsed().as_secs_f64(), self::cpu().saturating_sub(cpu))
    };
    let ((straight, cpu), (relayed, more)) = (measure(straight), measure(relayed));
    println!("{what:<28} {straight:>14.0} {relayed:>14.0} {:>7.2}", relayed / straight);
    println!("{:<28} {:>12.2} s {:>12.2} s", "  CPU of all sides", cpu.as_secs_f64(), more.as_secs_f64());
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
            Ok(_) if buffer[0] == STREAM => {
                let mut left = BYTES;
                while left > 0 {
                    let length = left.min(buffer.len());
                    stream.write_all(&buffer[..length]).expect("loopback");
                    left -= length;
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

fn download(address: SocketAddr) {
    let mut stream = connect(address);
    stream.write_all(&[STREAM]).expect("loopback");
    let (mut buffer, mut read) = (vec![0; 256 * 1024], 0);
    while let Ok(length) = stream.read(&mut buffer)
        && length > 0
    {
        read += length;
    }
    assert_eq!(read, BYTES, "all of it arrives");
}

fn ask(stream: &mut TcpStream) {
    let question = [ECHO; 64];
    stream.write_all(&question).expect("loopback");
    stream.read_exact(&mut [0; 64]).expect("an answer");
}

fn requests(address: SocketAddr) {
    let mut stream = connect(address);
    for _ in 0..REQUESTS {
        ask(&mut stream);
    }
}

fn connections(address: SocketAddr) {
    for _ in 0..CONNECTIONS {
        let mut stream = connect(address);
        ask(&mut stream);
        stream.shutdown(Shutdown::Both).expect("loopback");
    }
}

fn datagrams_and_back(address: SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.connect(address).expect("loopback");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    for _ in 0..DATAGRAMS {
        socket.send(&[7; 64]).expect("sent");
        socket.recv(&mut [0; 128]).expect("an answer");
    }
}

/// CPU time of this process so far: fields 14 and 15 of its stat, in hundredths of a second.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("proc is mounted");
    let behind_the_name = stat.rsplit(')').next().expect("a name in parentheses");
    let ticks = behind_the_name.split_whitespace().skip(11).take(2);
    Duration::from_millis(ticks.map(|field| field.parse::<u64>().expect("a number") * 10).sum())
}
