//! Frames of SPDY/3.1 (draft-mbelshe-httpbis-spdy-00, section 2): those that Kubernetes' clients send and read.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Most bytes of one frame; clients send at most 32 KiB at once.
const LIMIT: u32 = 1 << 20;
const VERSION: u16 = 3;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GO_AWAY: u16 = 7;

/// The sender has nothing more to say on the stream.
const FIN: u8 = 1;

/// A frame that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// The client opens a stream; the headers are still compressed.
    Open {
        /// Its number: odd, for a client's.
        stream: u32,
        /// Whether nothing will follow.
        last: bool,
        /// Compressed.
        headers: Bytes,
    },
    /// Bytes of a stream.
    Data {
        /// Which.
        stream: u32,
        /// Whether they are the last.
        last: bool,
        /// The bytes.
        data: Bytes,
    },
    /// The client gives a stream up.
    Reset {
        /// Which.
        stream: u32,
    },
    /// Is anybody there? To be answered with the same, if its number is odd.
    Ping {
        /// Its number.
        number: u32,
    },
    /// The client opens no more streams.
    GoAway,
    /// Headers on the way of a stream: they come compressed with the others, so they must be unpacked.
    Headers {
        /// Compressed.
        headers: Bytes,
    },
    /// Of no meaning here.
    Other,
}

/// Reads the next frame; `None` at the end of the connection.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let first = match from.read_u32().await {
        Ok(word) => word,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let second = from.read_u32().await?;
    let ([flags, ..], length) = (second.to_be_bytes(), second & 0x00ff_ffff);
    if length > LIMIT {
        return Err(bad("a frame is too large"));
    }
    let mut body = vec![0; length as usize];
    from.read_exact(&mut body).await?;
    parse(first, flags, body.into()).map(Some)
}

fn parse(first: u32, flags: u8, mut body: Bytes) -> io::Result<Frame> {
    let last = flags & FIN != 0;
    if first >> 31 == 0 {
        return Ok(Frame::Data { stream: first, last, data: body });
    }
    let [_, _, high, low] = first.to_be_bytes();
    if (first >> 16) as u16 & 0x7fff != VERSION {
        return Err(bad("a frame of another version"));
    }
    let mut number = || -> io::Result<u32> {
        let word = body.get(..4).and_then(|word| <[u8; 4]>::try_from(word).ok());
        let word = word.ok_or_else(|| bad("a frame is too short"))?;
        body = body.slice(4..);
        Ok(u32::from_be_bytes(word) & 0x7fff_ffff)
    };
    match u16::from_be_bytes([high, low]) {
        SYN_STREAM => {
            let (stream, _associated) = (number()?, number()?);
            // Priority and slot.
            let headers =
                if body.len() < 2 { return Err(bad("a frame is too short")) } else { body.slice(2..) };
            Ok(Frame::Open { stream, last, headers })
        }
        RST_STREAM => Ok(Frame::Reset { stream: number()? }),
        PING => Ok(Frame::Ping { number: number()? }),
        GO_AWAY => Ok(Frame::GoAway),
        SYN_REPLY | HEADERS => {
            number()?;
            Ok(Frame::Headers { headers: body })
        }
        _ => Ok(Frame::Other),
    }
}

const HEADERS: u16 = 8;

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Bytes of a stream; `last` ends our side of it. At most [`LIMIT`] bytes.
pub(super) fn data(stream: u32, last: bool, data: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + data.len());
    frame.put_u32(stream);
    put_length(&mut frame, if last { FIN } else { 0 }, data.len());
    frame.put_slice(data);
    frame.freeze()
}

/// Accepts a stream.
pub(super) fn reply(stream: u32, headers: &[u8]) -> Bytes {
    let mut frame = control(SYN_REPLY, 4 + headers.len());
    frame.put_u32(stream);
    frame.put_slice(headers);
    frame.freeze()
}

/// Refuses a stream.
pub(super) fn refuse(stream: u32) -> Bytes {
    const REFUSED_STREAM: u32 = 3;
    let mut frame = control(RST_STREAM, 8);
    frame.put_u32(stream);
    frame.put_u32(REFUSED_STREAM);
    frame.freeze()
}

/// Asks whether anybody is there (an even number), or answers that.
pub(super) fn ping(number: u32) -> Bytes {
    let mut frame = control(PING, 4);
    frame.put_u32(number);
    frame.freeze()
}

fn control(kind: u16, length: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(8 + length);
    frame.put_u16(0x8000 | VERSION);
    frame.put_u16(kind);
    put_length(&mut frame, 0, length);
    frame
}

fn put_length(frame: &mut BytesMut, flags: u8, length: usize) {
    frame.put_u8(flags);
    frame.put_uint(length as u64, 3);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn read_all(mut bytes: &[u8]) -> io::Result<Vec<Frame>> {
        let mut frames = Vec::new();
        while let Some(frame) = read(&mut bytes).await? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[tokio::test]
    async fn frames_are_read_as_written() {
        let bytes = [data(5, true, b"abc"), ping(7), refuse(9), reply(5, b"zip")].concat();
        let expected = [
            Frame::Data { stream: 5, last: true, data: Bytes::from_static(b"abc") },
            Frame::Ping { number: 7 },
            Frame::Reset { stream: 9 },
            Frame::Headers { headers: Bytes::from_static(b"zip") },
        ];
        assert_eq!(read_all(&bytes).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn damaged_frames_are_errors() {
        for bytes in [
            &[0x80, 2, 0, 1, 0, 0, 0, 0][..],
            &[0x80, 3, 0, 1, 0, 0, 0, 1, 0],
            &[0, 0, 0, 1, 0, 255, 255, 255],
        ] {
            assert!(read_all(bytes).await.is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(read_all(&bytes));
        }
    }
}
