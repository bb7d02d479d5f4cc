//! Endpoints: whoever asks is told who answers, and by which address the client is seen.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use kernel::netns::Netns;
use nix::poll::{PollFd, PollFlags, poll};

/// One thread for all sockets, which ends when this is dropped.
pub struct Servers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Servers {
    /// Listens at every address for TCP and for UDP, in the namespace beside it.
    pub fn start<'a>(places: impl IntoIterator<Item = (&'a Netns, SocketAddr)>) -> Self {
        let mut serving = Serving { listeners: Vec::new(), datagrams: Vec::new(), connections: Vec::new() };
        for (namespace, at) in places {
            let open = || (TcpListener::bind(at).unwrap(), UdpSocket::bind(at).unwrap());
            let (listener, datagrams) = namespace.run(open).unwrap();
            listener.set_nonblocking(true).unwrap();
            datagrams.set_nonblocking(true).unwrap();
            serving.listeners.push(listener);
            serving.datagrams.push(datagrams);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let asked = stop.clone();
        let thread = std::thread::spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                serving.wait();
                serving.work();
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed, and the test has failed for want of an answer.
            let _ = thread.join();
        }
    }
}

struct Serving {
    listeners: Vec<TcpListener>,
    datagrams: Vec<UdpSocket>,
    connections: Vec<TcpStream>,
}

impl Serving {
    /// Until there is something to do; at most a moment, to see whether to stop.
    fn wait(&self) {
        let sockets = self.listeners.iter().map(|socket| socket.as_fd());
        let sockets = sockets.chain(self.datagrams.iter().map(|socket| socket.as_fd()));
        let sockets = sockets.chain(self.connections.iter().map(|socket| socket.as_fd()));
        let mut waiting: Vec<PollFd<'_>> =
            sockets.map(|socket| PollFd::new(socket, PollFlags::POLLIN)).collect();
        poll(&mut waiting, 50u8).unwrap();
    }

    fn work(&mut self) {
        for listener in &self.listeners {
            while let Ok((connection, _)) = listener.accept() {
                connection.set_nonblocking(true).unwrap();
                self.connections.push(connection);
            }
        }
        self.connections.retain_mut(|connection| answer(connection).is_some());
        for socket in &self.datagrams {
            let mut question = [0; 16];
            while let Ok((_, client)) = socket.recv_from(&mut question) {
                // A client may have left already.
                let _ = socket.send_to(told(socket.local_addr().unwrap(), client).as_bytes(), client);
            }
        }
    }
}

/// `None` when the connection is over.
fn answer(connection: &mut TcpStream) -> Option<()> {
    let mut question = [0; 16];
    match connection.read(&mut question) {
        Ok(0) => None,
        Ok(_) => {
            let (own, client) = (connection.local_addr().ok()?, connection.peer_addr().ok()?);
            connection.write_all(told(own, client).as_bytes()).ok()
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Some(()),
        Err(_) => None,
    }
}

fn told(own: SocketAddr, client: SocketAddr) -> String {
    format!("{own} {}", client.ip())
}
