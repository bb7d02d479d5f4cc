//! Header blocks of SPDY/3.1: one zlib stream per direction and connection, over a dictionary that both sides know.

use std::collections::BTreeMap;
use std::io;

use flate2::{Decompress, FlushDecompress, Status};

/// Most bytes of one header block.
const LIMIT: usize = 64 << 10;
/// What the zlib stream begins with: its own header and the dictionary's checksum.
const ZLIB_HEADER: usize = 6;

/// The dictionary's words (section 2.6.10.1 of the draft), which stand in it with their lengths before them …
const WORDS: &[&str] = &[
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];
/// … and its end, which has none.
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
    203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized\
    403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
    Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
    chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,\
    text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// An empty header block, to be sent once on a connection: a zlib stream without a dictionary, which a receiver takes
/// as well, of one stored block that says "no headers" and an empty one, without which Go's decompressor would look
/// for more. Stored blocks need no compressor.
pub(super) const EMPTY_FIRST: &[u8] = &[0x78, 0x01, 0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
/// The same for every later one.
pub(super) const EMPTY_NEXT: &[u8] = &[0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// Names, in lower case, and values.
pub(super) type Headers = BTreeMap<String, String>;

fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in WORDS {
        // The words are short.
        bytes.extend_from_slice(&(word.len() as u32).to_be_bytes());
        bytes.extend_from_slice(word.as_bytes());
    }
    bytes.extend_from_slice(TAIL.as_bytes());
    bytes
}

/// Unpacks the header blocks of a connection, in their order.
pub(super) struct Unpacker {
    inflate: Decompress,
    begun: bool,
}

impl Unpacker {
    pub(super) fn new() -> io::Result<Self> {
        // The library's Rust backend takes no dictionary. But a dictionary is nothing else than text that has been seen
        // before, so it is shown to a decompressor of bare deflate data, as a stored block.
        let mut inflate = Decompress::new(false);
        let dictionary = dictionary();
        // 1,423 bytes.
        let length = dictionary.len() as u16;
        let mut block = vec![0];
        block.extend_from_slice(&length.to_le_bytes());
        block.extend_from_slice(&(!length).to_le_bytes());
        block.extend_from_slice(&dictionary);
        let mut seen = vec![0; dictionary.len() + 1];
        inflate.decompress(&block, &mut seen, FlushDecompress::Sync)?;
        Ok(Self { inflate, begun: false })
    }

    /// The headers of the next block.
    pub(super) fn unpack(&mut self, mut block: &[u8]) -> io::Result<Headers> {
        if !std::mem::replace(&mut self.begun, true) {
            block = block.get(ZLIB_HEADER..).ok_or_else(|| bad("the header block is too short"))?;
        }
        let mut out = vec![0; LIMIT];
        let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(block, &mut out, FlushDecompress::Sync)?;
        let (read, written) = (self.inflate.total_in() - read, self.inflate.total_out() - written);
        if read != block.len() as u64 || status == Status::StreamEnd {
            return Err(bad("the header block is too large, or damaged"));
        }
        out.truncate(usize::try_from(written).unwrap_or(LIMIT));
        parse(&out).ok_or_else(|| bad("the header block is damaged"))
    }
}

/// A number of pairs, then name and value of each, with their lengths before them.
fn parse(mut bytes: &[u8]) -> Option<Headers> {
    fn number(bytes: &mut &[u8]) -> Option<usize> {
        let (word, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        usize::try_from(u32::from_be_bytes(*word)).ok()
    }
    fn text(bytes: &mut &[u8]) -> Option<String> {
        let length = number(bytes)?;
        let (text, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        String::from_utf8(text.to_vec()).ok()
    }
    let mut headers = Headers::new();
    for _ in 0..number(&mut bytes)? {
        let (name, value) = (text(&mut bytes)?, text(&mut bytes)?);
        headers.insert(name.to_ascii_lowercase(), value);
    }
    bytes.is_empty().then_some(headers)
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_dictionary_is_that_of_the_draft() {
        // Adler-32, which every SPDY/3 connection's first header block names.
        let (mut one, mut two) = (1u32, 0u32);
        for byte in dictionary() {
            one = (one + u32::from(byte)) % 65521;
            two = (two + one) % 65521;
        }
        assert_eq!(two << 16 | one, 0xe3c6_a7c2);
    }

    /// One block as a stored one, behind the header of a zlib stream with the dictionary.
    fn stored(first: bool, text: &[u8]) -> Vec<u8> {
        let mut block = if first { vec![0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2] } else { Vec::new() };
        let length = text.len() as u16;
        block.push(0);
        block.extend_from_slice(&length.to_le_bytes());
        block.extend_from_slice(&(!length).to_le_bytes());
        block.extend_from_slice(text);
        block
    }

    fn pair(name: &str, value: &str) -> Vec<u8> {
        let text = |text: &str| [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat();
        [&1u32.to_be_bytes()[..], &text(name), &text(value)].concat()
    }

    #[test]
    fn blocks_are_unpacked_in_turn() {
        let mut unpacker = Unpacker::new().unwrap();
        let headers = unpacker.unpack(&stored(true, &pair("StreamType", "error"))).unwrap();
        assert_eq!(headers["streamtype"], "error");
        assert_eq!(unpacker.unpack(&stored(false, &pair("port", "80"))).unwrap()["port"], "80");
        assert!(unpacker.unpack(&stored(false, b"\0\0\0\x01")).is_err());
    }

    #[test]
    fn our_own_block_is_an_empty_one() {
        let mut out = [0; 16];
        let mut inflate = Decompress::new(true);
        inflate.decompress(EMPTY_FIRST, &mut out, FlushDecompress::Sync).unwrap();
        inflate.decompress(EMPTY_NEXT, &mut out[4..], FlushDecompress::Sync).unwrap();
        assert_eq!((inflate.total_out(), parse(&out[..4])), (8, Some(Headers::new())));
    }

    proptest! {
        #[test]
        fn any_block_is_unpacked(blocks: Vec<Vec<u8>>) {
            let mut unpacker = Unpacker::new().unwrap();
            for block in blocks {
                let _ = unpacker.unpack(&block);
            }
        }
    }
}
