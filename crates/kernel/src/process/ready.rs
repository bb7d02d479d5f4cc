//! How a daemon tells who started it that it is ready: one line on standard output, which is a pipe until then.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

const READY: &[u8] = b"ready\n";

/// Says that this process is ready and from then on sends its standard output where its standard error goes (the
/// log). Call it once, before which nothing may be printed. That nobody listens any more is no error.
///
/// # Errors
/// When standard output cannot be redirected.
pub fn announce_ready() -> io::Result<()> {
    let mut output = io::stdout().lock();
    // Whoever started us may be gone; we go on without.
    let _ = output.write_all(READY);
    let _ = output.flush();
    nix::unistd::dup2_stdout(io::stderr().as_fd())?;
    Ok(())
}

/// What became of a daemon that was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Ready,
    Ended,
    TooSlow,
}

/// Waits for the line.
pub(super) fn await_ready(pipe: OwnedFd, timeout: Duration) -> io::Result<Outcome> {
    let deadline = Instant::now() + timeout;
    let mut pipe = File::from(pipe);
    let mut said = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let milliseconds = u16::try_from(left.as_millis()).unwrap_or(u16::MAX);
        let mut watched = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, PollTimeout::from(milliseconds)) {
            Ok(0) if left.is_zero() => return Ok(Outcome::TooSlow),
            Ok(0) | Err(nix::Error::EINTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut bytes = [0; 64];
        let count = pipe.read(&mut bytes)?;
        said.extend_from_slice(&bytes[..count]);
        if said.windows(READY.len()).any(|window| window == READY) {
            return Ok(Outcome::Ready);
        }
        if count == 0 {
            return Ok(Outcome::Ended);
        }
    }
}
