//! Commands inside a running container that somebody talks to: input and output as they come, perhaps on a terminal.
//!
//! With a terminal there are two: ours, on which runc runs, and the container's own, between which runc copies. runc
//! reads the size of ours whenever it gets WINCH. Without, runc passes three pipes on.

use std::{collections::VecDeque, io, os::fd::OwnedFd, path::Path, process::Stdio, time::Duration};

use bytes::Bytes;
use nix::sys::signal::Signal;
use rustix::{
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::unix::pipe,
    process::Child,
    sync::mpsc,
};

use super::{
    ContainerError,
    command::{CommandFiles, Terminal},
    exec::own_words,
    process::Process,
    record::Bundle,
};

/// How much is read at once.
const CHUNK: usize = 32 << 10;
/// How often it is asked whether a command has begun whose output waits for that.
const TICK: Duration = Duration::from_millis(10);
/// How long a client may take to say how large its terminal is, before its command starts without that.
const FIRST_SIZE: Duration = Duration::from_millis(500);
/// Most messages that are kept meanwhile.
const FIRST_MESSAGES: usize = 16;
/// More than runc ever says about a failure of its own.
const WORDS: usize = 64 << 10;

/// A command to run, as the container's user, in its working directory and environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    /// Program and arguments; no shell is involved.
    pub command: Vec<String>,
    /// Whether it can read what the client sends; otherwise it reads nothing.
    pub stdin: bool,
    /// What it runs on.
    pub terminal: Terminal,
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

impl TerminalSize {
    fn window(self) -> Winsize {
        Winsize { ws_row: self.rows, ws_col: self.columns, ws_xpixel: 0, ws_ypixel: 0 }
    }
}

/// What a session's client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionInput {
    /// Bytes for standard input.
    Data(Bytes),
    /// No more of them.
    End,
    /// Its terminal has another size.
    Resize(TerminalSize),
}

/// What a session's client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionOutput {
    /// Of standard output, or of the terminal.
    Stdout(Bytes),
    /// Of standard error.
    Stderr(Bytes),
}

/// The client of a session. It has gone when either of its channels is closed.
#[derive(Debug)]
pub struct SessionClient {
    /// What it sends.
    pub input: mpsc::Receiver<SessionInput>,
    /// What it gets.
    pub output: mpsc::Sender<SessionOutput>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The command ended: 0 to 255; 128 + N after signal N.
    Exited(i32),
    /// The client has gone first; the command was killed.
    Abandoned,
}

/// Runs a command by `runc exec` for a client. Dropping the future kills the command.
pub(super) async fn run(
    runc: &Path,
    runc_root: &Path,
    bundle: &Bundle,
    request: &SessionRequest,
    mut client: SessionClient,
) -> Result<SessionEnd, ContainerError> {
    let failed = |source: io::Error| ContainerError::io("run", runc, source);
    let first = match request.terminal {
        Terminal::None => VecDeque::new(),
        Terminal::Pty => until_first_size(&mut client.input).await,
    };
    let size = match first.back() {
        Some(SessionInput::Resize(size)) => Some(*size),
        Some(SessionInput::Data(_) | SessionInput::End) | None => None,
    };
    let files = CommandFiles::prepare(bundle, &request.command, request.terminal, size)?;
    let mut running = match request.terminal {
        Terminal::None => on_pipes(&files, runc, runc_root, request.stdin),
        Terminal::Pty => on_terminal(&files, runc, runc_root, size),
    }
    .map_err(failed)?;
    if !request.stdin {
        running.stdin = None;
    }
    let output = client.output.clone();
    let work = async {
        let stdout = pump(running.stdout, &output, SessionOutput::Stdout, &files);
        let stderr = pump(running.stderr, &output, SessionOutput::Stderr, &files);
        tokio::join!(stdout, stderr, running.child.wait())
    };
    let (stdout, stderr, status) = tokio::select! {
        done = work => done,
        () = feed(first, &mut client.input, running.stdin, running.window.as_ref()) => return Ok(SessionEnd::Abandoned),
        () = client.output.closed() => return Ok(SessionEnd::Abandoned),
    };
    let status = status.map_err(|source| ContainerError::io("wait for", runc, source))?;
    if !files.has_begun() {
        return Err(ContainerError::Runtime { message: own_words(&[stdout, stderr].concat()) });
    }
    Ok(SessionEnd::Exited(status.code().unwrap_or(255)))
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A command with our ends of its streams.
struct Running {
    child: Child,
    stdin: Option<Writer>,
    stdout: Reader,
    stderr: Reader,
    window: Option<Window>,
}

/// Our side of a terminal, for its size, and who has to know of it.
struct Window {
    terminal: OwnedFd,
    runc: Option<Process>,
}

impl Window {
    fn resize(&self, size: TerminalSize) {
        // Fails only for a terminal whose command has ended.
        if tcsetwinsize(&self.terminal, size.window()).is_ok()
            && let Some(runc) = &self.runc
        {
            let _ = runc.signal(Signal::SIGWINCH);
        }
    }
}

fn on_pipes(files: &CommandFiles, runc: &Path, runc_root: &Path, stdin: bool) -> io::Result<Running> {
    let mut child = files
        .command(runc, runc_root)
        .stdin(if stdin { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::other("its output cannot be read"));
    };
    let stdin = child.stdin.take().map(|stdin| Box::new(stdin) as Writer);
    Ok(Running { child, stdin, stdout: Box::new(stdout), stderr: Box::new(stderr), window: None })
}

/// What the client sends up to the size of its terminal. It says that as soon as it can: a command that asks at once
/// should be told right.
async fn until_first_size(input: &mut mpsc::Receiver<SessionInput>) -> VecDeque<SessionInput> {
    let mut messages = VecDeque::new();
    let reading = async {
        while let Some(message) = input.recv().await {
            let is_size = matches!(message, SessionInput::Resize(_));
            messages.push_back(message);
            if is_size || messages.len() >= FIRST_MESSAGES {
                return;
            }
        }
    };
    // Some never say it.
    let _ = tokio::time::timeout(FIRST_SIZE, reading).await;
    messages
}

fn on_terminal(
    files: &CommandFiles,
    runc: &Path,
    runc_root: &Path,
    size: Option<TerminalSize>,
) -> io::Result<Running> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let theirs = ioctl_tiocgptpeer(&ours, flags)?;
    // runc does the same once it runs; what a client sends before must not be echoed here.
    let mut attributes = tcgetattr(&theirs)?;
    attributes.make_raw();
    tcsetattr(&theirs, OptionalActions::Now, &attributes)?;
    if let Some(size) = size {
        tcsetwinsize(&ours, size.window())?;
    }
    let child = files
        .command(runc, runc_root)
        .stdin(Stdio::from(theirs.try_clone()?))
        .stdout(Stdio::from(theirs.try_clone()?))
        .stderr(Stdio::from(theirs))
        .spawn()?;
    let stdout = pipe::Receiver::from_file_unchecked(ours.try_clone()?.into())?;
    let stdin = pipe::Sender::from_file_unchecked(ours.try_clone()?.into())?;
    let window = Window { terminal: ours, runc: child.id().and_then(Process::of_number) };
    Ok(Running {
        child,
        stdin: Some(Box::new(stdin)),
        stdout: Box::new(stdout),
        stderr: Box::new(tokio::io::empty()),
        window: Some(window),
    })
}

/// Hands on what the command writes, to the end. Until it has begun, what comes may be runc's own words about a
/// failure: these are given back instead.
async fn pump(
    mut from: Reader,
    to: &mpsc::Sender<SessionOutput>,
    as_output: fn(Bytes) -> SessionOutput,
    files: &CommandFiles,
) -> Vec<u8> {
    let mut held = Vec::new();
    let mut begun = false;
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer);
        // A terminal whose other side is closed says EIO: it has ended.
        let count = if begun || held.is_empty() {
            Some(read.await.unwrap_or(0))
        } else {
            tokio::time::timeout(TICK, read).await.ok().map(|count| count.unwrap_or(0))
        };
        held.extend_from_slice(&buffer[..count.unwrap_or(0)]);
        begun = begun || held.len() > WORDS || files.has_begun();
        if begun && !held.is_empty() {
            // Fails when the client has gone, which ends the session elsewhere.
            let _ = to.send(as_output(std::mem::take(&mut held).into())).await;
        }
        if count == Some(0) {
            return held;
        }
    }
}

/// Hands on what the client sends, until it has gone.
async fn feed(
    mut first: VecDeque<SessionInput>,
    input: &mut mpsc::Receiver<SessionInput>,
    mut stdin: Option<Writer>,
    window: Option<&Window>,
) {
    loop {
        let next = match first.pop_front() {
            Some(message) => Some(message),
            None => input.recv().await,
        };
        let Some(message) = next else { return };
        match message {
            SessionInput::Data(data) => {
                if let Some(writer) = &mut stdin
                    && writer.write_all(&data).await.is_err()
                {
                    // The command does not read any more; it may go on writing.
                    stdin = None;
                }
            }
            // A terminal has no end of its own: it would take the output with it.
            SessionInput::End if window.is_some() => {}
            SessionInput::End => stdin = None,
            SessionInput::Resize(size) => {
                if let Some(window) = window {
                    window.resize(size);
                }
            }
        }
    }
}
