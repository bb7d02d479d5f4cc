//! Talking to a container's main process, through the socket that its conmon keeps.
//!
//! conmon sends packets whose first byte says of which stream they are, and takes plain bytes for standard input. All
//! who are attached get the same; nobody gets what was written before.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    time::Duration,
};

use bytes::Bytes;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixStream, unix::OwnedReadHalf, unix::OwnedWriteHalf},
    sync::mpsc,
};

use super::{
    ContainerError,
    record::Bundle,
    session::{SessionClient, SessionInput, SessionOutput, TerminalSize},
};

/// Larger than any packet of conmon's.
const PACKET: usize = 32 << 10;
/// Most bytes of input in a packet; conmon cuts off what its buffer does not hold.
const INPUT: usize = 8 << 10;
/// How often it is asked whether conmon has read a line, and how long at most.
const TICK: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(1);
/// conmon's names of the streams.
const STDOUT: u8 = 2;
const STDERR: u8 = 3;

/// Hands through between the client and the main process, until one of them has gone.
pub(super) async fn run(
    bundle: &Bundle,
    stdin: bool,
    mut client: SessionClient,
) -> Result<(), ContainerError> {
    let socket = open(bundle).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ContainerError::NotRunning { id: bundle.id.clone() }
        }
        _ => ContainerError::io("attach to", &bundle.directory, source),
    })?;
    let (reader, writer) = socket.into_split();
    let output = client.output.clone();
    tokio::select! {
        () = pump(reader, &output) => {}
        () = feed(&mut client.input, writer, stdin, bundle) => {}
        () = client.output.closed() => {}
    }
    Ok(())
}

fn open(bundle: &Bundle) -> io::Result<UnixStream> {
    // The path of a socket is short: it is named by way of the open directory.
    let directory = File::open(&bundle.directory)?;
    let address = UnixAddr::new(format!("/proc/self/fd/{}/attach", directory.as_raw_fd()).as_str())?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    connect(socket.as_raw_fd(), &address)?;
    UnixStream::from_std(socket.into())
}

async fn pump(mut from: OwnedReadHalf, to: &mpsc::Sender<SessionOutput>) {
    let mut packet = vec![0; PACKET];
    while let Ok(count @ 1..) = from.read(&mut packet).await {
        let data = Bytes::copy_from_slice(&packet[1..count]);
        let output = match packet[0] {
            STDOUT => SessionOutput::Stdout(data),
            STDERR => SessionOutput::Stderr(data),
            _ => continue,
        };
        if to.send(output).await.is_err() {
            return;
        }
    }
}

async fn feed(
    input: &mut mpsc::Receiver<SessionInput>,
    mut writer: OwnedWriteHalf,
    stdin: bool,
    bundle: &Bundle,
) {
    while let Some(message) = input.recv().await {
        match message {
            SessionInput::Data(data) if stdin => {
                for part in data.chunks(INPUT) {
                    // Fails when the container has ended, which is noticed on the other side.
                    let _ = writer.write_all(part).await;
                }
            }
            SessionInput::End if stdin => {
                let _ = writer.shutdown().await;
            }
            SessionInput::Data(_) | SessionInput::End => {}
            SessionInput::Resize(size) => {
                if let Err(error) = resize(bundle, size).await {
                    tracing::debug!(container = %bundle.id, %error, "cannot resize a terminal");
                }
            }
        }
    }
}

/// Tells conmon the terminal's size by its control pipe (1 is the size), and waits until it has read it: of two lines
/// that it reads at once it takes the first only, and clients often send two sizes, one after the other.
async fn resize(bundle: &Bundle, size: TerminalSize) -> io::Result<()> {
    let path = bundle.file("ctl");
    // Not blocking: with nobody to read, opening fails instead of waiting.
    let mut pipe = OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    pipe.write_all(format!("1 {} {}\n", size.rows, size.columns).as_bytes())?;
    let read = async {
        while rustix::io::ioctl_fionread(&pipe)? > 0 {
            tokio::time::sleep(TICK).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap_or(Ok(()))
}
