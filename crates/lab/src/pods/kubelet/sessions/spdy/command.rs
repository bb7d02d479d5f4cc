//! Exec and attach over SPDY: one stream for each of input, output, errors, status and the terminal's size.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tracing::debug;

use super::{Connection, Piece, Stream, StreamWriter};
use crate::containers::{SessionClient, SessionInput, SessionOutput};
use crate::pods::kubelet::sessions::command::Streams;
use crate::pods::kubelet::sessions::websocket::parse_size;

/// How long a client may take to open its streams, and to say goodbye.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pieces that wait.
const AHEAD: usize = 16;
/// More than the size of a terminal takes.
const SIZE: usize = 1024;

/// Runs a command's session on the connection.
pub(in super::super) async fn serve_command<F>(
    io: impl AsyncRead + AsyncWrite + Send + 'static,
    wanted: Streams,
    run: impl FnOnce(SessionClient) -> F,
) where
    F: Future<Output = Option<Value>>,
{
    let mut connection = Connection::start(io);
    let opened = tokio::time::timeout(PATIENCE, open(&mut connection, wanted)).await;
    let Ok(Some(mut streams)) = opened else { return debug!("a client did not open its streams") };
    let (input_sender, input) = mpsc::channel(AHEAD);
    let (output, output_receiver) = mpsc::channel(AHEAD);
    // Present: `open` waits for it.
    let Some(error) = streams.remove("error") else { return };
    let mut writers = BTreeMap::new();
    for name in ["stdout", "stderr"] {
        writers.extend(streams.get(name).map(|stream| (name, stream.output.clone())));
    }
    let sending = tokio::spawn(send(output_receiver, writers, error.output.clone()));
    let mut receiving = tokio::task::JoinSet::new();
    for (name, stream) in streams {
        let input = input_sender.clone();
        match name {
            "stdin" => drop(receiving.spawn(receive(stream, input))),
            "resize" => drop(receiving.spawn(receive_sizes(stream, input))),
            _ => {}
        }
    }
    // The error stream carries nothing from the client, and ends with the connection.
    receiving.spawn(hold(error.input, input_sender));
    let status = run(SessionClient { input, output }).await;
    let _ = sending.await;
    if let Some(status) = status {
        let _ = error.output.send(status.to_string().as_bytes()).await;
        let _ = error.output.finish().await;
    }
    drop(error.output);
    drop(receiving);
    connection.finish(PATIENCE).await;
}

/// The streams of a session, by their names, once all are there.
async fn open(connection: &mut Connection, wanted: Streams) -> Option<BTreeMap<&'static str, Stream>> {
    let names = [
        ("error", true),
        ("stdin", wanted.stdin),
        ("stdout", wanted.stdout),
        ("stderr", wanted.stderr),
        ("resize", wanted.terminal),
    ];
    let names: Vec<&'static str> =
        names.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name).collect();
    let mut streams = BTreeMap::new();
    while streams.len() < names.len() {
        let stream = connection.next().await?;
        let kind = stream.headers.get("streamtype");
        let name = names.iter().find(|name| kind.is_some_and(|kind| kind == *name));
        streams.extend(name.map(|name| (*name, stream)));
    }
    Some(streams)
}

async fn receive(mut stream: Stream, input: mpsc::Sender<SessionInput>) {
    while let Some(piece) = stream.input.recv().await {
        let message = match piece {
            Piece::Data(data) => SessionInput::Data(data),
            Piece::End => SessionInput::End,
        };
        if input.send(message).await.is_err() {
            return;
        }
    }
}

async fn receive_sizes(mut stream: Stream, input: mpsc::Sender<SessionInput>) {
    let mut text = Vec::new();
    while let Some(Piece::Data(data)) = stream.input.recv().await {
        text.extend_from_slice(&data);
        while let Some(end) = text.iter().position(|byte| *byte == b'}') {
            let size = parse_size(&text[..=end]);
            text.drain(..=end);
            if let Some(size) = size
                && input.send(SessionInput::Resize(size)).await.is_err()
            {
                return;
            }
        }
        if text.len() > SIZE {
            return;
        }
    }
}

/// Keeps the session's input open for as long as the connection lives.
async fn hold(mut from: mpsc::Receiver<Piece>, input: mpsc::Sender<SessionInput>) {
    loop {
        match from.recv().await {
            Some(Piece::Data(_)) => {}
            // Clients end their side of it at once: what tells now is the session's own end, or a failed write.
            Some(Piece::End) => return input.closed().await,
            None => return,
        }
    }
}

async fn send(
    mut output: mpsc::Receiver<SessionOutput>,
    writers: BTreeMap<&'static str, StreamWriter>,
    error: StreamWriter,
) {
    loop {
        let part = tokio::select! {
            part = output.recv() => part,
            () = error.closed() => return,
        };
        let (name, data) = match part {
            Some(SessionOutput::Stdout(data)) => ("stdout", data),
            Some(SessionOutput::Stderr(data)) => ("stderr", data),
            None => break,
        };
        if let Some(writer) = writers.get(name)
            && writer.send(&data).await.is_err()
        {
            return;
        }
    }
    for writer in writers.values() {
        let _ = writer.finish().await;
    }
}
