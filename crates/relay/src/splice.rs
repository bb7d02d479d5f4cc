//! Much at a time, without copying it: pages move from one socket through a pipe to the other (splice(2)).

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::carry::{BULK, Burst};

/// What a pipe is asked to hold, in bytes. One that may not holds 64 KiB.
const PIPE: i32 = 256 * 1024;
/// After so many bytes others get their turn.
const TURN: usize = 1024 * 1024;
/// Pipes that each thread keeps for the next burst.
const SPARE: usize = 8;

const FLAGS: SpliceFFlags = SpliceFFlags::SPLICE_F_MOVE.union(SpliceFFlags::SPLICE_F_NONBLOCK);

thread_local! {
    static PIPES: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// An empty pipe.
#[derive(Debug)]
struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
}

impl Pipe {
    fn take() -> io::Result<Self> {
        if let Some(pipe) = PIPES.with_borrow_mut(Vec::pop) {
            return Ok(pipe);
        }
        let (out, into) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
        // A user may only have so much in pipes, and a smaller one works as well.
        let _ = fcntl(&into, FcntlArg::F_SETPIPE_SZ(PIPE));
        Ok(Self { out, into })
    }

    /// Only when it is empty.
    fn give_back(self) {
        PIPES.with_borrow_mut(|pipes| {
            if pipes.len() < SPARE {
                pipes.push(self);
            }
        });
    }
}

/// Carries what there is. A burst that is dropped half way takes its pipe along.
///
/// # Errors
/// When a side breaks off, or there is no descriptor left for a pipe.
pub(crate) async fn burst(from: &TcpStream, to: &TcpStream) -> io::Result<Burst> {
    let pipe = Pipe::take()?;
    let mut moved = 0;
    let burst = loop {
        // The pipe is empty, so only the sender can be what would block.
        let fill = || Ok(splice(from, None, &pipe.into, None, PIPE as usize, FLAGS)?);
        match from.try_io(Interest::READABLE, fill) {
            Ok(0) => break Burst::Ended,
            Ok(length) => {
                drain(&pipe, to, length).await?;
                moved += length;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Burst::Paused { moved },
            Err(error) => return Err(error),
        }
        if moved >= TURN {
            break Burst::Paused { moved: BULK };
        }
    };
    pipe.give_back();
    Ok(burst)
}

async fn drain(pipe: &Pipe, to: &TcpStream, mut left: usize) -> io::Result<()> {
    while left > 0 {
        let drain = || Ok(splice(&pipe.out, None, to, None, left, FLAGS)?);
        left -= to.async_io(Interest::WRITABLE, drain).await?;
    }
    Ok(())
}
