//! What one side says to the other, both ways, until both are done.

use std::io;
use std::net::Shutdown;
use std::pin::pin;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bytes copied at a time.
const BUFFER: usize = 16 * 1024;

/// A direction that carries so much without a pause is worth a pipe, which the kernel moves pages through.
pub(crate) const BULK: usize = 64 * 1024;

/// How a direction's burst ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Burst {
    /// The sender will say no more.
    Ended,
    /// There is nothing to carry right now, or others should get their turn.
    Paused {
        /// Bytes carried.
        moved: usize,
    },
}

/// Carries both ways. Either side may end its half while the other goes on; a side that breaks off is broken off
/// towards the other, too: an answer cut short must not look whole.
///
/// # Errors
/// When a side breaks off.
pub(crate) async fn both_ways(client: &TcpStream, endpoint: &TcpStream) -> io::Result<()> {
    let result = until_both_end(client, endpoint).await;
    if result.is_err() {
        reset(client);
        reset(endpoint);
    }
    result
}

/// Lets the connection be broken off when it is closed.
pub(crate) fn reset(stream: &TcpStream) {
    // Where the system refuses, the peer sees an ordinary end.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

async fn until_both_end(client: &TcpStream, endpoint: &TcpStream) -> io::Result<()> {
    let mut up = pin!(one_way(client, endpoint));
    let mut down = pin!(one_way(endpoint, client));
    tokio::select! {
        ended = &mut up => {
            ended?;
            unless_broken_off(client, down).await
        }
        ended = &mut down => {
            ended?;
            unless_broken_off(endpoint, up).await
        }
    }
}

/// A side that ended its half is not listened to any more, and yet may vanish.
async fn unless_broken_off(quiet: &TcpStream, rest: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::select! {
        biased;
        result = rest => result,
        broken = quiet.ready(Interest::ERROR) => Err(broken.err().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())),
    }
}

/// Carries until the sender ends its half, and tells the receiver. Reads no more than the receiver takes.
async fn one_way(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let mut bulk = false;
    loop {
        // No buffer and no pipe is held while nothing is said.
        from.readable().await?;
        let burst = if bulk { burst_of_much(from, to).await? } else { copy(from, to).await? };
        match burst {
            Burst::Ended => return SockRef::from(to).shutdown(Shutdown::Write),
            Burst::Paused { moved } => bulk = moved >= BULK,
        }
    }
}

#[cfg(target_os = "linux")]
use crate::splice::burst as burst_of_much;
#[cfg(not(target_os = "linux"))]
use copy as burst_of_much;

async fn copy(from: &TcpStream, to: &TcpStream) -> io::Result<Burst> {
    let mut buffer = vec![0; BUFFER];
    let mut moved = 0;
    while moved < BULK {
        match from.try_read(&mut buffer) {
            Ok(0) => return Ok(Burst::Ended),
            Ok(length) => {
                write(to, &buffer[..length]).await?;
                moved += length;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(Burst::Paused { moved })
}

async fn write(to: &TcpStream, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match to.try_write(data) {
            Ok(length) => data = &data[length..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
