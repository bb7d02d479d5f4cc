//! WebSocket: channels of a command's session, and a tunnel of bytes.
//!
//! A message's first byte is its channel: 0 input, 1 output, 2 errors, 3 the status at the end, 4 the terminal's size;
//! 255 (since version 5) ends the channel named by the second byte.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::Io;
use crate::containers::{SessionClient, SessionInput, SessionOutput, TerminalSize};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// Most bytes of a message; some clients send a file in one.
const MESSAGE: usize = 16 << 20;
/// Messages that wait for a slow reader.
pub(super) const AHEAD: usize = 16;
/// How often a silent client is asked whether it is there: one that has gone without a word is noticed by writing.
pub(super) const PING: Duration = Duration::from_secs(5);
/// How long a client may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
/// How old a session is at least when it is told that it failed: kubectl (1.32) makes its streams after the handshake and
/// drops what comes before, the status too, and then takes the command for one that went well. What never started, such as
/// a program that is not there, fails sooner than that on a fast node.
const YOUNGEST_FAILURE: Duration = Duration::from_millis(100);
/// Bytes of a tunnel on their way.
const TUNNEL: usize = 64 << 10;

/// The half that messages go out by.
pub(super) type Sink<S = Io> = SplitSink<WebSocketStream<S>, Message>;
/// The half that messages come in by.
pub(super) type Source<S = Io> = SplitStream<WebSocketStream<S>>;

/// Takes the connection for a WebSocket whose handshake is done.
pub(super) async fn open<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> (Sink<S>, Source<S>) {
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE)).max_frame_size(Some(MESSAGE));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await.split()
}

/// Runs a command's session on the connection, to the last word of both sides.
pub(super) async fn serve<F>(io: Io, run: impl FnOnce(SessionClient) -> F)
where
    F: Future<Output = Option<Value>>,
{
    let begin = Instant::now();
    let (sink, source) = open(io).await;
    let (input_sender, input) = mpsc::channel(AHEAD);
    let (output, output_receiver) = mpsc::channel(AHEAD);
    let (stop, stopped) = oneshot::channel();
    let reader = tokio::spawn(read(source, input_sender, stopped));
    let writer = tokio::spawn(write(sink, output_receiver));
    let status = run(SessionClient { input, output }).await;
    if let (Ok(Some(mut sink)), Some(status)) = (writer.await, status) {
        if status["status"] == "Failure" {
            sleep_until(begin + YOUNGEST_FAILURE).await;
        }
        let ended = async {
            sink.send(message(STATUS, status.to_string().as_bytes())).await?;
            sink.send(goodbye()).await
        };
        if ended.await.is_ok() {
            // Fails when the reader has ended; then the client has gone.
            let _ = stop.send(());
            if let Ok(Some(source)) = reader.await {
                end(sink, source).await;
            }
            return;
        }
    }
    reader.abort();
}

/// Ends our side of the connection, and reads on until the client has ended its own: a connection closed with input unread
/// would take our last words along.
///
/// Our side ends at once, since some clients (the Python library) see the last messages only when the connection stirs
/// again: they wait for it although TLS has handed them more than one message.
async fn end<S: AsyncRead + AsyncWrite + Unpin>(sink: Sink<S>, source: Source<S>) {
    // They were split from one socket in `open`.
    let Ok(mut socket) = sink.reunite(source) else { return };
    let io = socket.get_mut();
    let rest = async {
        let mut buffer = [0; 1024];
        let _ = io.shutdown().await;
        while let Ok(1..) = io.read(&mut buffer).await {}
    };
    let _ = tokio::time::timeout(GOODBYE, rest).await;
}

/// The end as it should be: clients take any other for a failure.
pub(super) fn goodbye() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::from_static("") }))
}

/// A message of a channel.
pub(super) fn message(channel: u8, data: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(data.len() + 1);
    bytes.push(channel);
    bytes.extend_from_slice(data);
    Message::Binary(bytes.into())
}

/// Reads until the client has gone, or the session has ended: then the source is given back.
async fn read(
    mut source: Source,
    input: mpsc::Sender<SessionInput>,
    mut stopped: oneshot::Receiver<()>,
) -> Option<Source> {
    loop {
        let message = tokio::select! {
            message = source.next() => message?.ok()?,
            Ok(()) = &mut stopped => return Some(source),
        };
        if let Some(part) = parse(message) {
            // Waits for a session that is slow to take it, and no longer than the session lives.
            let _ = input.send(part).await;
        }
    }
}

/// What a message says; `None` for pings, empty ones and channels that a client has nothing to say on.
fn parse(message: Message) -> Option<SessionInput> {
    // Some clients send text: the channel is then a character below 128, hence the same byte.
    let bytes = match message {
        Message::Binary(_) | Message::Text(_) => message.into_data(),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => return None,
    };
    match (*bytes.first()?, bytes.slice(1..)) {
        (STDIN, data) if !data.is_empty() => Some(SessionInput::Data(data)),
        (RESIZE, data) => parse_size(&data).map(SessionInput::Resize),
        (CLOSE, channel) if *channel == [STDIN] => Some(SessionInput::End),
        _ => None,
    }
}

/// The size of a terminal, as clients send it.
pub(super) fn parse_size(text: &[u8]) -> Option<TerminalSize> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Size {
        width: u16,
        height: u16,
    }
    let size: Size = serde_json::from_slice(text).ok()?;
    Some(TerminalSize { columns: size.width, rows: size.height })
}

/// Writes what the command says, and pings. Gives the sink back at the end, unless the client has gone.
async fn write(mut sink: Sink, mut output: mpsc::Receiver<SessionOutput>) -> Option<Sink> {
    let mut beat = tokio::time::interval(PING);
    loop {
        let message = tokio::select! {
            part = output.recv() => match part {
                Some(SessionOutput::Stdout(data)) => message(STDOUT, &data),
                Some(SessionOutput::Stderr(data)) => message(STDERR, &data),
                None => return Some(sink),
            },
            _ = beat.tick() => Message::Ping(Bytes::new()),
        };
        sink.send(message).await.ok()?;
    }
}

/// Takes the connection for a stream of bytes, whose pieces are messages.
pub(super) async fn tunnel(io: Io) -> DuplexStream {
    let (mut sink, mut source) = open(io).await;
    let (near, far) = tokio::io::duplex(TUNNEL);
    let (mut reader, mut writer) = tokio::io::split(far);
    tokio::spawn(async move {
        let inward = async {
            while let Some(Ok(message)) = source.next().await {
                let data = match message {
                    Message::Binary(data) => data,
                    _ => continue,
                };
                if writer.write_all(&data).await.is_err() {
                    break;
                }
            }
            let _ = writer.shutdown().await;
        };
        let outward = async {
            let mut buffer = vec![0; TUNNEL];
            while let Ok(count @ 1..) = reader.read(&mut buffer).await {
                let data = Bytes::copy_from_slice(&buffer[..count]);
                if sink.send(Message::Binary(data)).await.is_err() {
                    return;
                }
            }
            let _ = sink.send(goodbye()).await;
        };
        tokio::select! {
            () = inward => {}
            () = outward => {}
        }
    });
    near
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(bytes: &'static [u8]) -> Option<SessionInput> {
        parse(Message::Binary(Bytes::from_static(bytes)))
    }

    #[test]
    fn channels_are_told_apart() {
        assert_eq!(parsed(b"\0ls\n"), Some(SessionInput::Data(Bytes::from_static(b"ls\n"))));
        assert_eq!(parse(Message::text("\0ls")), Some(SessionInput::Data(Bytes::from_static(b"ls"))));
        assert_eq!(parsed(b"\xff\0"), Some(SessionInput::End));
        let size = TerminalSize { columns: 80, rows: 24 };
        assert_eq!(parsed(b"\x04{\"Width\":80,\"Height\":24}\n"), Some(SessionInput::Resize(size)));
        for nothing in [&b""[..], b"\0", b"\x01x", b"\xff", b"\xff\x01", b"\x04{}", b"\x04{\"Width\":-1}"] {
            assert_eq!(parsed(nothing), None, "{nothing:?}");
        }
    }

    #[tokio::test]
    async fn a_session_ends_for_a_client_that_does_not_answer_the_goodbye() {
        let (near, mut far) = tokio::io::duplex(1000);
        let (mut sink, source) = open(near).await;
        sink.send(goodbye()).await.unwrap();
        let ending = tokio::spawn(end(sink, source));
        let mut said = Vec::new();
        far.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, [0x88, 2, 3, 0xe8], "the close frame, and nothing after it");
        assert!(!ending.is_finished(), "it listens on");
        drop(far);
        ending.await.unwrap();
    }
}
