//! A few pages of plain text over HTTP/1: whether a process is well, and what it counts.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// How long a client may take to ask.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest request that is read, in bytes.
const LONGEST: u64 = 8192;

/// A page.
pub struct Page {
    status: &'static str,
    text: String,
}

impl Page {
    /// All is well.
    pub fn ok(text: &str) -> Self {
        Self { status: "200 OK", text: text.to_owned() }
    }

    /// Not yet, or not now.
    pub fn unavailable(text: &str) -> Self {
        Self { status: "503 Service Unavailable", text: text.to_owned() }
    }
}

/// Serves the pages of `find` for ever; what it does not know is not found.
pub async fn serve(listener: TcpListener, find: impl Fn(&str) -> Option<Page> + Clone + Send + 'static) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let find = find.clone();
                tokio::spawn(async move {
                    // A client that hangs up, or is too slow, has only itself to answer to.
                    let _ = timeout(PATIENCE, answer(stream, find)).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client of the status pages");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, find: impl Fn(&str) -> Option<Page>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader.take(LONGEST)).lines();
    let request = lines.next_line().await?.unwrap_or_default();
    // The rest of the request is read, or closing would reset the connection under the answer.
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    let mut words = request.split(' ');
    let page = match (words.next(), words.next()) {
        (Some("GET"), Some(path)) => find(path),
        _ => Some(Page { status: "405 Method Not Allowed", text: "only GET".to_owned() }),
    };
    let page = page.unwrap_or_else(|| Page { status: "404 Not Found", text: "no such page".to_owned() });
    let text = format!(
        "HTTP/1.1 {}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
        page.status,
        page.text.len(),
        page.text
    );
    writer.write_all(text.as_bytes()).await?;
    writer.shutdown().await
}
