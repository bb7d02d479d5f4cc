use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::step::Step;
use super::{Client, Server};

/// Streams at once; more wait to be accepted.
const STREAMS: usize = 512;
/// Questions of one stream on their way.
const PIPELINE: usize = 32;

impl Server {
    pub(super) async fn serve_streams(&self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(STREAMS));
        let mut tasks = JoinSet::new();
        loop {
            // Never closed, so it never fails.
            let place = places.clone().acquire_owned().await;
            match listener.accept().await {
                Ok((stream, address)) => {
                    let this = self.clone();
                    tasks.spawn(async move {
                        this.stream(stream, address).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a stream");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            while tasks.try_join_next().is_some() {}
        }
    }

    /// Answers go back in the order in which they are found (RFC 7766, 7).
    async fn stream(&self, stream: TcpStream, address: SocketAddr) {
        let (reader, writer) = stream.into_split();
        let (replies, sent) = mpsc::channel(PIPELINE);
        let writing = write_replies(writer, sent, self.silence);
        // A client that takes nothing ends the writer, and with it the stream.
        tokio::select! {
            () = async { self.read_queries(reader, replies, address).await; std::future::pending().await } => {}
            () = writing => {}
        }
    }

    /// Ends when the client does, when it is silent for long, or when nobody takes the replies.
    async fn read_queries(
        &self,
        mut reader: OwnedReadHalf,
        replies: mpsc::Sender<Vec<u8>>,
        address: SocketAddr,
    ) {
        loop {
            let message = async {
                let mut message = vec![0; reader.read_u16().await?.into()];
                reader.read_exact(&mut message).await?;
                Ok::<_, io::Error>(message)
            };
            let Ok(Ok(message)) = timeout(self.silence, message).await else { return };
            let Ok(place) = replies.clone().reserve_owned().await else { return };
            match self.step(&message, Client { address, datagram: false }) {
                Step::Nothing => return,
                Step::Send(reply) => drop(place.send(reply)),
                Step::Ask(ask) => {
                    let this = self.clone();
                    tokio::spawn(async move { drop(place.send(this.ask(*ask).await)) });
                }
            }
        }
    }
}

/// Ends when there are no more replies to come, or the client does not take them.
async fn write_replies(mut writer: OwnedWriteHalf, mut replies: mpsc::Receiver<Vec<u8>>, silence: Duration) {
    while let Some(reply) = replies.recv().await {
        let Ok(length) = u16::try_from(reply.len()) else { return };
        let framed = [&length.to_be_bytes()[..], &reply].concat();
        match timeout(silence, writer.write_all(&framed)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
