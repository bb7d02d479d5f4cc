//! SPDY/3.1 as Kubernetes uses it: a client opens streams, each with a few headers; bytes go both ways.
//!
//! There is no flow control (Kubernetes' clients have none): a stream whose bytes nobody takes holds the others of its
//! connection up in the end.

mod command;
mod frame;
mod headers;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::frame::Frame;
use self::headers::{EMPTY_FIRST, EMPTY_NEXT, Headers, Unpacker};

pub(super) use self::command::serve_command;

/// Frames that wait to be written.
const AHEAD: usize = 16;
/// Pieces that wait for a stream's reader.
const QUEUE: usize = 64;
/// Most streams of a connection at a time.
const STREAMS: usize = 1000;
/// How often a silent client is asked whether it is there: one that has gone without a word is noticed by writing.
const PING: Duration = Duration::from_secs(5);

/// The streams that a client opens. Dropping it closes the connection.
pub(super) struct Connection {
    opened: mpsc::Receiver<Stream>,
    tasks: JoinSet<()>,
}

/// One of them.
pub(super) struct Stream {
    /// What the client said of it.
    pub(super) headers: Headers,
    /// What the client sends. The channel is closed without an end when the client gave the stream up, or has gone.
    pub(super) input: mpsc::Receiver<Piece>,
    /// The way back.
    pub(super) output: StreamWriter,
}

/// Part of what a client sends on a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes.
    Data(Bytes),
    /// No more of them.
    End,
}

/// Our side of a stream.
#[derive(Debug, Clone)]
pub(super) struct StreamWriter {
    stream: u32,
    frames: mpsc::Sender<Bytes>,
}

impl StreamWriter {
    /// Sends bytes; fails when the client has gone.
    pub(super) async fn send(&self, data: &[u8]) -> io::Result<()> {
        self.put(frame::data(self.stream, false, data)).await
    }

    /// Says that no more will come; fails when the client has gone.
    pub(super) async fn finish(&self) -> io::Result<()> {
        self.put(frame::data(self.stream, true, &[])).await
    }

    /// Resolves when the client has gone.
    pub(super) async fn closed(&self) {
        self.frames.closed().await;
    }

    async fn put(&self, frame: Bytes) -> io::Result<()> {
        self.frames.send(frame).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Connection {
    /// Begins to read and write frames.
    pub(super) fn start(io: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (reader, writer) = tokio::io::split(io);
        let (frames, to_write) = mpsc::channel(AHEAD);
        let (opener, opened) = mpsc::channel(AHEAD);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            if let Err(error) = read(reader, &opener, frames).await {
                tracing::debug!(%error, "a SPDY connection broke");
            }
        });
        tasks.spawn(write(writer, to_write));
        Self { opened, tasks }
    }

    /// The next stream that the client opens; `None` when it has gone.
    pub(super) async fn next(&mut self) -> Option<Stream> {
        self.opened.recv().await
    }

    /// Writes what waits to be written, and reads what still comes, until the client has closed the connection.
    pub(super) async fn finish(mut self, limit: Duration) {
        self.opened.close();
        let _ = tokio::time::timeout(limit, async { while self.tasks.join_next().await.is_some() {} }).await;
    }
}

async fn read(
    mut from: impl AsyncRead + Unpin,
    opener: &mpsc::Sender<Stream>,
    frames: mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let mut unpacker = Unpacker::new()?;
    let mut streams: BTreeMap<u32, mpsc::Sender<Piece>> = BTreeMap::new();
    let mut empty = EMPTY_FIRST;
    while let Some(frame) = frame::read(&mut from).await? {
        match frame {
            Frame::Open { stream, last, headers } => {
                let headers = unpacker.unpack(&headers)?;
                streams.retain(|_, sender| !sender.is_closed());
                if streams.len() >= STREAMS || opener.is_closed() {
                    let _ = frames.send(frame::refuse(stream)).await;
                    continue;
                }
                let (sender, input) = mpsc::channel(QUEUE);
                // Answered before anybody can write on it.
                let _ = frames.send(frame::reply(stream, std::mem::replace(&mut empty, EMPTY_NEXT))).await;
                if !last {
                    streams.insert(stream, sender);
                } else {
                    let _ = sender.try_send(Piece::End);
                }
                let output = StreamWriter { stream, frames: frames.clone() };
                let _ = opener.send(Stream { headers, input, output }).await;
            }
            Frame::Data { stream, last, data } => {
                // Fails for a stream whose reader has had enough: the rest is dropped.
                if let Some(sender) = streams.get(&stream)
                    && !data.is_empty()
                {
                    let _ = sender.send(Piece::Data(data)).await;
                }
                if last && let Some(sender) = streams.remove(&stream) {
                    let _ = sender.send(Piece::End).await;
                }
            }
            Frame::Reset { stream } => drop(streams.remove(&stream)),
            Frame::Ping { number } if number % 2 == 1 => {
                let _ = frames.send(frame::ping(number)).await;
            }
            Frame::Headers { headers } => drop(unpacker.unpack(&headers)?),
            Frame::Ping { .. } | Frame::GoAway | Frame::Other => {}
        }
    }
    Ok(())
}

async fn write(mut to: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Bytes>) {
    let mut beat = tokio::time::interval(PING);
    loop {
        let frame = tokio::select! {
            frame = frames.recv() => match frame {
                Some(frame) => frame,
                None => break,
            },
            // Ours are even.
            _ = beat.tick() => frame::ping(2),
        };
        let written = async {
            to.write_all(&frame).await?;
            to.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
