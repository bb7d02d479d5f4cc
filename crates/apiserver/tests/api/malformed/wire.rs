//! Bytes that are no request, or not the whole of one.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::{PATIENCE, Server};
use crate::security::connect;

/// What comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// An answer of HTTP/1.1 with that code.
    Code(u16),
    /// Nothing of that kind: the connection is closed.
    Closed,
}
use Found::{Closed, Code};

/// Sent to a server that knows the caller; then the caller says no more.
pub const INSIDE_TLS: &[(&str, &[u8], Found)] = &[
    ("nothing", b"", Closed),
    ("no HTTP", b"\x00\x01\x02\x03\r\n\r\n", Code(400)),
    ("a word", b"HELLO\r\n\r\n", Code(400)),
    ("a line that ends too soon", b"GET /api", Closed),
    ("headers that end too soon", b"GET /api HTTP/1.1\r\nHost: x\r\n", Closed),
    ("no version of HTTP", b"GET /api HTTP/9.9\r\nHost: x\r\n\r\n", Code(400)),
    ("a header without a colon", b"GET /api HTTP/1.1\r\nHost x\r\n\r\n", Code(400)),
    ("a NUL in a header", b"GET /api HTTP/1.1\r\nHost: x\0\r\n\r\n", Code(400)),
    ("a space in the path", b"GET /api v1 HTTP/1.1\r\nHost: x\r\n\r\n", Code(400)),
    ("a length that is no number", b"POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n", Code(400)),
    (
        "two lengths",
        b"POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        Code(400),
    ),
    (
        "a chunk without a length",
        b"POST /api/v1/nodes HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        Code(400),
    ),
    ("an unknown encoding", b"POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: knots\r\n\r\n", Code(400)),
    ("HTTP/2 that goes on with nonsense", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense nonsense", Closed),
    ("HTTP/2 with a frame too large", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x04\0\0\0\0\0", Closed),
];

/// Sent to a server that expects TLS.
pub const BARE: &[(&str, &[u8])] = &[
    ("nothing", b""),
    ("HTTP without TLS", b"GET /api HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("half of a record's head", b"\x16\x03"),
    ("a record that ends too soon", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("a record too large", b"\x16\x03\x01\xff\xff\x01\x00\x00\x00"),
    ("an alert first", b"\x15\x03\x03\x00\x02\x02\x28"),
    ("a version from the future", b"\x16\x09\x09\x00\x05\x01\x00\x00\x01\x00"),
];

/// Sends bytes as the administrator; what came back when the server had closed the connection.
pub async fn inside_tls(server: &Server, bytes: &[u8]) -> Found {
    let admin = server.admin();
    let mut answer = Vec::new();
    let work = async {
        let mut stream = connect(server, Some(&admin)).await?;
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        stream.read_to_end(&mut answer).await
    };
    // An error is a way to close.
    let _ = tokio::time::timeout(PATIENCE, work).await.expect("the connection ends in time");
    let text = String::from_utf8_lossy(&answer);
    let code = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    code.map_or(Closed, Code)
}

/// Sends bytes before any handshake; whether the server closes the connection without HTTP.
pub async fn bare(server: &Server, bytes: &[u8]) -> bool {
    let mut answer = Vec::new();
    let work = async {
        let mut stream = TcpStream::connect(server.address).await?;
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        stream.read_to_end(&mut answer).await
    };
    let ended = tokio::time::timeout(PATIENCE, work).await.is_ok();
    ended && !answer.starts_with(b"HTTP")
}
