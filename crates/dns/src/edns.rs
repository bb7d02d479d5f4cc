//! What clients and servers say of themselves beyond RFC 1035: EDNS (RFC 6891) and cookies (RFC 7873, RFC 9018).

use std::net::IpAddr;

use sha2::{Digest, Sha256};

use crate::ResponseCode;
use crate::message::{SAFE_DATAGRAM, checked_word, word};

pub(crate) const TYPE_OPT: u16 = 41;
/// Bytes of an OPT record without options.
const OPT: usize = 11;
/// The option that carries a cookie.
const COOKIE: u16 = 10;
const CLIENT_COOKIE: usize = 8;
/// Ours has sixteen bytes (RFC 9018, 4); others' have from eight to thirty-two.
const SERVER_COOKIE: usize = 16;
/// How old a cookie may be, and how far in the future, in seconds (RFC 9018, 4.3).
const OLDEST: u32 = 3600;
const AHEAD: u32 = 300;

/// What a client says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// The largest datagram it takes, in bytes.
    pub datagram: u16,
    /// It wants DNSSEC records.
    pub dnssec: bool,
    /// Its cookie, and the one that it has from us.
    pub(crate) cookie: Option<Cookie>,
}

/// A client's cookie with the one that a server gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cookie {
    pub(crate) client: [u8; CLIENT_COOKIE],
    /// Only one of the length that ours have.
    pub(crate) server: Option<[u8; SERVER_COOKIE]>,
}

/// The OPT record of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opt {
    pub(crate) dnssec: bool,
    pub(crate) cookie: Option<[u8; CLIENT_COOKIE + SERVER_COOKIE]>,
}

impl Opt {
    pub(crate) fn length(self) -> usize {
        OPT + self.cookie.map_or(0, |cookie| 4 + cookie.len())
    }

    pub(crate) fn write(self, code: ResponseCode, out: &mut Vec<u8>) {
        let extended = u8::try_from(code.0 >> 4).unwrap_or(0);
        let size = SAFE_DATAGRAM.to_be_bytes();
        let dnssec = if self.dnssec { 0x80 } else { 0 };
        out.extend_from_slice(&[0, 0, 41, size[0], size[1], extended, 0, dnssec, 0, 0]);
        match self.cookie {
            None => out.push(0),
            Some(cookie) => {
                out.extend_from_slice(&[28, 0, 10, 0, 24]);
                out.extend_from_slice(&cookie);
            }
        }
    }
}

/// The OPT record among the additional ones that begin at a byte, with its version.
///
/// `Err`: the message is malformed.
pub(crate) fn read(message: &[u8], mut at: usize, records: u16) -> Result<Option<(Edns, u8)>, ()> {
    let mut found = None;
    for _ in 0..records {
        let fixed = crate::Name::skip(message, at).map_err(drop)?;
        let kind = checked_word(message, fixed).ok_or(())?;
        let length = checked_word(message, fixed + 8).ok_or(())?;
        let end = fixed + 10 + usize::from(length);
        let data = message.get(fixed + 10..end).ok_or(())?;
        if kind == TYPE_OPT {
            if found.is_some() || message[at] != 0 {
                return Err(());
            }
            let edns = Edns {
                datagram: word(message, fixed + 2),
                dnssec: message[fixed + 6] & 0x80 != 0,
                cookie: cookie(data)?,
            };
            found = Some((edns, message[fixed + 5]));
        }
        at = end;
    }
    Ok(found)
}

/// The cookie among the options of an OPT record; one of a wrong length makes the message malformed (RFC 7873, 5.2.2).
fn cookie(mut options: &[u8]) -> Result<Option<Cookie>, ()> {
    let mut found = None;
    while !options.is_empty() {
        let code = checked_word(options, 0).ok_or(())?;
        let length = usize::from(checked_word(options, 2).ok_or(())?);
        let data = options.get(4..4 + length).ok_or(())?;
        if code == COOKIE && found.is_none() {
            let (client, server) = data.split_at_checked(CLIENT_COOKIE).ok_or(())?;
            if !server.is_empty() && !(8..=32).contains(&server.len()) {
                return Err(());
            }
            let client = client.try_into().map_err(drop)?;
            found = Some(Cookie { client, server: server.try_into().ok() });
        }
        options = &options[4 + length..];
    }
    Ok(found)
}

/// Makes and recognises our cookies. Only this process knows the key: a restart makes clients strangers again, which
/// costs them one truncated answer.
#[derive(Debug, Clone)]
pub(crate) struct CookieKey([u8; 32]);

impl CookieKey {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    /// The cookie for a client at an address; `now` in seconds since 1970, which wrap.
    pub(crate) fn make(&self, client: [u8; CLIENT_COOKIE], address: IpAddr, now: u32) -> [u8; SERVER_COOKIE] {
        let mut cookie = [0; SERVER_COOKIE];
        // Version 1, three bytes reserved, the time, the hash.
        cookie[0] = 1;
        cookie[4..8].copy_from_slice(&now.to_be_bytes());
        let mut hash = Sha256::new_with_prefix(self.0);
        hash.update(client);
        hash.update(&cookie[..8]);
        match address.to_canonical() {
            IpAddr::V4(address) => hash.update(address.octets()),
            IpAddr::V6(address) => hash.update(address.octets()),
        }
        cookie[8..].copy_from_slice(&hash.finalize()[..8]);
        cookie
    }

    /// Whether we gave that cookie to that client, not too long ago.
    pub(crate) fn knows(&self, cookie: Cookie, address: IpAddr, now: u32) -> bool {
        let Some(server) = cookie.server else { return false };
        let time = u32::from_be_bytes([server[4], server[5], server[6], server[7]]);
        let (age, ahead) = (now.wrapping_sub(time), time.wrapping_sub(now));
        (age <= OLDEST || ahead <= AHEAD) && self.make(cookie.client, address, time) == server
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_for_one_client_one_address_and_an_hour() {
        let key = CookieKey::random();
        let here: IpAddr = "10.244.1.7".parse().unwrap();
        let client = *b"a client";
        let cookie = Cookie { client, server: Some(key.make(client, here, 10_000)) };
        assert!(key.knows(cookie, here, 10_000) && key.knows(cookie, here, 13_600));
        assert!(key.knows(cookie, "::ffff:10.244.1.7".parse().unwrap(), 10_000), "as a dual socket sees it");
        assert!(!key.knows(cookie, here, 13_601), "too old");
        assert!(!key.knows(cookie, here, 9_699), "from the future");
        assert!(!key.knows(cookie, "10.244.1.8".parse().unwrap(), 10_000), "another address");
        assert!(!key.knows(Cookie { client: *b"b client", ..cookie }, here, 10_000), "another client");
        assert!(!key.knows(Cookie { server: None, ..cookie }, here, 10_000), "no cookie yet");
        assert!(!CookieKey::random().knows(cookie, here, 10_000), "of another server");
    }

    #[test]
    fn cookies_of_wrong_lengths_are_malformed() {
        let option = |length: u8| [&[0, 10, 0, length][..], &vec![7; length.into()]].concat();
        for (length, good) in
            [(0, false), (7, false), (8, true), (9, false), (15, false), (16, true), (40, true), (41, false)]
        {
            assert_eq!(cookie(&option(length)).is_ok(), good, "{length}");
        }
        assert!(cookie(&option(24)).unwrap().unwrap().server.is_some());
        assert!(cookie(&option(16)).unwrap().unwrap().server.is_none(), "not of the length of ours");
        assert_eq!(cookie(&[0, 3, 0, 1, 0]), Ok(None), "another option");
        assert_eq!(cookie(&[0, 10, 0, 9, 0]), Err(()), "behind the end");
    }
}
