//! A few pages over HTTP/1: whether a process is well, and what it counts.

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    status: &'static str,
    content: &'static str,
    header: Option<(&'static str, String)>,
    text: String,
}

impl Page {
    const TEXT: &'static str = "text/plain; version=0.0.4";
    const JSON: &'static str = "application/json";

    /// All is well.
    pub fn ok(text: &str) -> Self {
        Self { status: "200 OK", content: Self::TEXT, header: None, text: text.to_owned() }
    }

    /// Not yet, or not now.
    pub fn unavailable(text: &str) -> Self {
        Self { status: "503 Service Unavailable", ..Self::ok(text) }
    }

    /// The same as JSON, which the text must be.
    #[must_use]
    pub fn json(self) -> Self {
        Self { content: Self::JSON, ..self }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(self, name: &'static str, value: String) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    fn refusal(status: &'static str, text: &str) -> Self {
        Self { status, ..Self::ok(text) }
    }
}

/// Serves the pages of `find` for ever; what it does not know is not found.
pub async fn serve(listener: TcpListener, find: impl Fn(&str) -> Option<Page> + Clone + Send + 'static) {
    loop {
        let stream = accept(&listener).await;
        tokio::spawn(answer(stream, find.clone()));
    }
}

/// The next client.
pub(crate) async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client of the status pages");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers one request.
pub(crate) async fn answer(stream: TcpStream, find: impl Fn(&str) -> Option<Page>) {
    // A client that hangs up, or is too slow, has only itself to answer to.
    let _ = timeout(PATIENCE, exchange(stream, find)).await;
}

async fn exchange(stream: TcpStream, find: impl Fn(&str) -> Option<Page>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader.take(LONGEST)).lines();
    let request = lines.next_line().await?.unwrap_or_default();
    // The rest of the request is read, or closing would reset the connection under the answer.
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    let mut words = request.split(' ');
    let page = match (words.next(), words.next()) {
        // What follows a question mark has no meaning here.
        (Some("GET"), Some(path)) => find(path.split('?').next().unwrap_or_default()),
        _ => Some(Page::refusal("405 Method Not Allowed", "only GET")),
    };
    let page = page.unwrap_or_else(|| Page::refusal("404 Not Found", "no such page"));
    let header = page.header.map(|(name, value)| format!("{name}: {value}\r\n")).unwrap_or_default();
    let text = format!(
        "HTTP/1.1 {}\r\nContent-Type: {}\r\nX-Content-Type-Options: nosniff\r\n{header}Content-Length: {}\r\n\
         Connection: close\r\n\r\n{}",
        page.status,
        page.content,
        page.text.len(),
        page.text
    );
    writer.write_all(text.as_bytes()).await?;
    writer.shutdown().await
}
