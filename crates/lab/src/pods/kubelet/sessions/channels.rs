//! Ports of a pod over WebSocket channels, as client libraries forward them: the request names the ports, port number i
//! has channel 2i for bytes and 2i + 1 for a word of failure, and the first message of each channel is the port, the low
//! byte first (kubelet's `portforward/websocket.go`). Each port is connected to once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::SessionError;
use super::forward::Place;
use super::websocket::{AHEAD, PING, Sink, Source, goodbye, message, open};
use crate::pods::kubelet::logs::decode;

/// Most ports of a session: channels are numbered in one byte.
const MOST: usize = 128;
/// How long the last bytes stand before the goodbye: the Python client drops what it has not handed on when it reads one.
const LINGER: Duration = Duration::from_millis(250);
/// How much is read at once.
const CHUNK: usize = 32 << 10;

/// The ports in the query of the request: `port=80&port=81`, or `port=80,81`.
pub(super) fn ports(query: &str) -> Result<Vec<u16>, SessionError> {
    let values = query.split('&').filter_map(|pair| pair.strip_prefix("port=")).map(decode);
    let words: Vec<String> =
        values.flat_map(|value| value.split(',').map(str::to_owned).collect::<Vec<_>>()).collect();
    if words.len() > MOST {
        return Err(SessionError::Request(format!("{} ports are more than {MOST}", words.len())));
    }
    let port = |word: &String| {
        let port = word.parse::<u16>().ok().filter(|port| *port > 0);
        port.ok_or_else(|| SessionError::Request(format!("invalid port {word:?}: must be 1 to 65535")))
    };
    words.iter().map(port).collect()
}

/// Forwards until every connection has ended, or the client has gone.
pub(super) async fn serve<S>(place: Place, ports: Vec<u16>, io: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let place = Arc::new(place);
    let (sink, source) = open(io).await;
    let (out, outgoing) = mpsc::channel(AHEAD);
    let writer = tokio::spawn(write(sink, outgoing));
    let (mut inputs, mut running) = (Vec::new(), JoinSet::new());
    for (index, port) in (0u8..).step_by(2).zip(ports) {
        let (input, incoming) = mpsc::channel(AHEAD);
        inputs.push(input);
        running.spawn(forward(Arc::clone(&place), port, index, incoming, out.clone()));
    }
    // The tasks hold it: with the last of them the writer ends.
    drop(out);
    let all = async { while running.join_next().await.is_some() {} };
    let all_and_read = async {
        all.await;
        tokio::time::sleep(LINGER).await;
    };
    tokio::select! {
        () = all_and_read => {}
        () = read(source, &inputs) => {}
    }
    drop(running);
    // Says what is left to say, then goodbye.
    let _ = writer.await;
}

async fn forward(
    place: Arc<Place>,
    port: u16,
    channel: u8,
    incoming: mpsc::Receiver<Bytes>,
    out: mpsc::Sender<Message>,
) {
    for channel in [channel, channel + 1] {
        if out.send(message(channel, &port.to_le_bytes())).await.is_err() {
            return;
        }
    }
    match Arc::clone(&place).connect(port).await {
        Ok(stream) => copy(stream, channel, incoming, &out).await,
        Err(reason) => {
            // Fails only where there is nobody left to be told.
            let _ = out.send(message(channel + 1, place.failure(port, &reason).as_bytes())).await;
        }
    }
}

/// Copies both ways until the pod's side has ended: a channel cannot be closed for itself.
async fn copy(
    stream: TcpStream,
    channel: u8,
    mut incoming: mpsc::Receiver<Bytes>,
    out: &mpsc::Sender<Message>,
) {
    let (mut reader, mut writer) = stream.into_split();
    let outward = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            if out.send(message(channel, &buffer[..count])).await.is_err() {
                return;
            }
        }
    };
    let inward = async {
        while let Some(bytes) = incoming.recv().await {
            // The pod's side may have stopped reading and still be answering.
            let _ = writer.write_all(&bytes).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        () = outward => {}
        () = inward => {}
    }
}

/// Hands messages to the ports until the client has gone.
async fn read<S: AsyncRead + AsyncWrite + Unpin>(mut source: Source<S>, inputs: &[mpsc::Sender<Bytes>]) {
    while let Some(Ok(message)) = source.next().await {
        let Message::Binary(bytes) = message else { continue };
        let Some(channel) = bytes.first().filter(|channel| *channel % 2 == 0) else { continue };
        if let Some(input) = inputs.get(usize::from(channel / 2)) {
            // A port that has ended takes no more.
            let _ = input.send(bytes.slice(1..)).await;
        }
    }
}

async fn write<S: AsyncRead + AsyncWrite + Unpin>(mut sink: Sink<S>, mut outgoing: mpsc::Receiver<Message>) {
    let mut beat = tokio::time::interval(PING);
    loop {
        let message = tokio::select! {
            message = outgoing.recv() => match message {
                Some(message) => message,
                None => break,
            },
            _ = beat.tick() => Message::Ping(Bytes::new()),
        };
        if sink.send(message).await.is_err() {
            return;
        }
    }
    let _ = sink.send(goodbye()).await;
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    #[test]
    fn ports_are_read_from_the_query() {
        assert_eq!(ports("port=80&x=1&port=81%2C82").unwrap(), [80, 81, 82]);
        assert!(ports("").unwrap().is_empty());
        for bad in ["port=", "port=0", "port=70000", "port=80,x"] {
            assert!(ports(bad).is_err(), "{bad}");
        }
        assert!(ports(&"port=80&".repeat(129)).is_err());
    }

    /// The next message with bytes: its channel and the rest.
    async fn next(client: &mut WebSocketStream<tokio::io::DuplexStream>) -> Option<(u8, Vec<u8>)> {
        while let Some(Ok(message)) = client.next().await {
            if let Message::Binary(bytes) = message {
                return Some((bytes[0], bytes[1..].to_vec()));
            }
        }
        None
    }

    #[tokio::test]
    async fn bytes_and_failures_come_by_their_channels() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap().port();
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = taken.local_addr().unwrap().port();
        drop(taken);
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(&word).await.unwrap();
        });
        let (near, far) = tokio::io::duplex(1 << 16);
        let serving = tokio::spawn(serve(Place::here(), vec![open, closed], far));
        let mut client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        client.send(message(0, b"echo")).await.unwrap();
        let mut seen = Vec::new();
        while let Some(part) = next(&mut client).await {
            seen.push(part);
        }
        seen.sort();
        let failure =
            format!("error forwarding port {closed} to pod web, uid 1: Connection refused (os error 111)");
        let mut expected = vec![
            (0, open.to_le_bytes().to_vec()),
            (0, b"echo".to_vec()),
            (1, open.to_le_bytes().to_vec()),
            (2, closed.to_le_bytes().to_vec()),
            (3, closed.to_le_bytes().to_vec()),
            (3, failure.into_bytes()),
        ];
        expected.sort();
        assert_eq!(seen, expected);
        serving.await.unwrap();
    }
}
