//! Clients of Services that speak UDP: each datagram is a connection for the kernel to remember.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use kernel::netns::Netns;
use load::Fleet;

use crate::rig::Cluster;

/// Between two datagrams of a client.
const PAUSE: Duration = Duration::from_millis(20);
/// So many sockets take turns, each with a port of its own.
const SOCKETS: usize = 16;

/// Clients on both nodes.
pub struct Clients {
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Begin to send.
    pub fn start(cluster: &Cluster) -> Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let addresses = addresses(cluster)?;
        let threads = [1, 2].map(|number| -> Result<JoinHandle<()>> {
            let sockets = sockets(&cluster.node(number)?)?;
            let (ended, addresses) = (ended.clone(), addresses.clone());
            Ok(std::thread::spawn(move || send(&sockets, &addresses, &ended)))
        });
        Ok(Self { ended, threads: threads.into_iter().collect::<Result<_>>()? })
    }

    /// No more.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A client that panicked has said so.
            let _ = thread.join();
        }
    }
}

fn sockets(node: &Netns) -> Result<Vec<UdpSocket>> {
    let bind = |_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
    Ok(node.run(|| (0..SOCKETS).map(bind).collect::<std::io::Result<_>>())??)
}

fn send(sockets: &[UdpSocket], addresses: &[SocketAddr], ended: &AtomicBool) {
    for (socket, address) in sockets.iter().cycle().zip(addresses.iter().cycle()) {
        if ended.load(Ordering::Relaxed) {
            return;
        }
        // Nobody is there, and the kernel may say so.
        let _ = socket.send_to(b"a question", address);
        std::thread::sleep(PAUSE);
    }
}

/// The Services that speak UDP, as the API server knows them now.
fn addresses(cluster: &Cluster) -> Result<Vec<SocketAddr>> {
    let speaks = |number: &u32| Fleet::ports(*number).iter().any(|port| port.protocol == "UDP");
    let mut found = Vec::new();
    for number in (0..cluster.fleet.services).filter(speaks) {
        let path = Fleet::service_path(number);
        let object = cluster.runtime.block_on(cluster.client.get(&path))?.json();
        let address: Ipv4Addr = object["spec"]["clusterIP"].as_str().unwrap_or_default().parse()?;
        found.push((address, 53).into());
    }
    Ok(found)
}
