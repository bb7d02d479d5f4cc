//! Answers of upstream servers: checked, cut to what clients get, and aged.

use std::net::IpAddr;

use crate::edns::{Opt, TYPE_OPT};
use crate::message::{HEADER, checked_word, word};
use crate::{Name, Query, RecordType, ResponseCode};

/// An upstream server's answer to a question, without its OPT record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    /// From the header on; its id and question are the ones that were sent.
    bytes: Vec<u8>,
    /// Where the TTLs stand.
    ttls: Vec<usize>,
    /// How long it is true by its own account, in seconds.
    pub(crate) ttl: u32,
    pub(crate) outcome: Outcome,
    pub(crate) code: ResponseCode,
    pub(crate) truncated: bool,
}

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Here is what you asked for.
    Success,
    /// There is no such name, or nothing of that type at it.
    Denial,
    /// I cannot say.
    Failure,
}

/// A record of a message, where its parts are.
struct Record {
    begin: usize,
    kind: u16,
    ttl_at: usize,
    data: usize,
    end: usize,
}

fn record(message: &[u8], begin: usize) -> Option<Record> {
    let fixed = Name::skip(message, begin).ok()?;
    let kind = checked_word(message, fixed)?;
    let data = fixed + 10;
    let end = data + usize::from(checked_word(message, fixed + 8)?);
    (end <= message.len()).then_some(Record { begin, kind, ttl_at: fixed + 4, data, end })
}

fn ttl(message: &[u8], at: usize) -> u32 {
    let ttl = u32::from(word(message, at)) << 16 | u32::from(word(message, at + 2));
    // More than 2^31 means 0 (RFC 2181, 8).
    if ttl > i32::MAX as u32 { 0 } else { ttl }
}

impl Response {
    /// Reads what came back for a question sent under that id; `None` when it is not an answer to it.
    pub(crate) fn parse(mut bytes: Vec<u8>, id: u16, name: &Name, kind: RecordType) -> Option<Self> {
        let flags = checked_word(&bytes, 2)?;
        if bytes.len() < HEADER || word(&bytes, 0) != id || flags & 0xf800 != 0x8000 || word(&bytes, 4) != 1 {
            return None;
        }
        let (asked, end) = Name::read(&bytes, HEADER).ok()?;
        let same =
            asked == *name && checked_word(&bytes, end)? == kind.0 && checked_word(&bytes, end + 2)? == 1;
        if !same || end != HEADER + name.wire().len() {
            return None;
        }
        let counts = [6, 8, 10].map(|at| usize::from(word(&bytes, at)));
        let (mut at, mut ttls, mut negative) = (end + 4, Vec::new(), None);
        let mut additional = at;
        let mut cut = None;
        for number in 0..counts.iter().sum() {
            if number == counts[0] + counts[1] {
                additional = at;
            }
            let found = record(&bytes, at)?;
            if found.kind == TYPE_OPT {
                cut = Some((found.begin, found.end));
            } else {
                ttls.push(found.ttl_at);
            }
            let in_authority = (counts[0]..counts[0] + counts[1]).contains(&number);
            if in_authority && found.kind == RecordType::SOA.0 && found.end >= found.data + 20 {
                negative = Some(ttl(&bytes, found.ttl_at).min(ttl(&bytes, found.end - 4)));
            }
            at = found.end;
        }
        bytes.truncate(at);
        let mut extended = 0;
        if let Some((begin, end)) = cut {
            extended = u16::from(bytes[begin + 5]) << 4;
            // Other records' names may point behind an OPT in the middle: they are courtesies and go with it.
            let (keep, gone) = if end == bytes.len() { (begin, 1) } else { (additional, counts[2]) };
            bytes.truncate(keep);
            ttls.retain(|at| *at < keep);
            let left = u16::try_from(counts[2] - gone).unwrap_or(0);
            bytes[10..12].copy_from_slice(&left.to_be_bytes());
        }
        let code = ResponseCode(extended | flags & 15);
        let positive = ttls.iter().map(|at| ttl(&bytes, *at)).min();
        let (outcome, ttl) = match code {
            ResponseCode::NO_ERROR if counts[0] > 0 => (Outcome::Success, positive.unwrap_or(0)),
            ResponseCode::NO_ERROR | ResponseCode::NX_DOMAIN => (Outcome::Denial, negative.unwrap_or(0)),
            _ => (Outcome::Failure, 0),
        };
        Some(Self { bytes, ttls, ttl, outcome, code, truncated: flags & 0x0200 != 0 })
    }

    /// No record is to be kept longer than so many seconds by clients.
    pub(crate) fn limit_ttls(&mut self, longest: u32) {
        for at in &self.ttls {
            let left = ttl(&self.bytes, *at).min(longest);
            self.bytes[*at..*at + 4].copy_from_slice(&left.to_be_bytes());
        }
    }

    /// Whether the server could say something about the name.
    pub(crate) fn is_conclusive(&self) -> bool {
        self.outcome != Outcome::Failure
    }

    /// The reply to a client, `age` seconds after the answer came; with `ttl` instead of what is left, for an
    /// answer that is over.
    pub(crate) fn reply(&self, query: &Query, age: u32, ttl_now: Option<u32>, limit: usize) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[..2].copy_from_slice(&query.id.to_be_bytes());
        bytes[HEADER..HEADER + query.question().len()].copy_from_slice(query.question());
        // Not authoritative; whether recursion was desired and checking disabled is the client's to say.
        bytes[2] = bytes[2] & !0x05 | u8::from(query.recursion_desired);
        bytes[3] = bytes[3] & !0x10 | 0x80 | u8::from(query.checking_disabled) << 4;
        for at in &self.ttls {
            let left = ttl_now.unwrap_or_else(|| ttl(&bytes, *at).saturating_sub(age));
            bytes[*at..*at + 4].copy_from_slice(&left.to_be_bytes());
        }
        let reserved = query.opt().map_or(0, Opt::length);
        if bytes.len() + reserved > limit {
            bytes.truncate(HEADER + query.question().len());
            bytes[6..12].fill(0);
            bytes[2] |= 2;
        }
        if let Some(opt) = query.opt() {
            opt.write(self.code, &mut bytes);
            let records = word(&bytes, 10) + 1;
            bytes[10..12].copy_from_slice(&records.to_be_bytes());
        }
        bytes
    }

    /// Aliases and addresses of the answer: what stands at an alias's target.
    pub(crate) fn addresses(&self, age: u32) -> Vec<(Name, u32, Found)> {
        let mut found = Vec::new();
        let Ok(question_end) = Name::skip(&self.bytes, HEADER) else { return found };
        let mut at = question_end + 4;
        for _ in 0..word(&self.bytes, 6) {
            let Some(record) = record(&self.bytes, at) else { break };
            at = record.end;
            let data = &self.bytes[record.data..record.end];
            let what = match RecordType(record.kind) {
                RecordType::A => <[u8; 4]>::try_from(data).ok().map(|octets| Found::Address(octets.into())),
                RecordType::AAAA => {
                    <[u8; 16]>::try_from(data).ok().map(|octets| Found::Address(octets.into()))
                }
                RecordType::CNAME => {
                    Name::read(&self.bytes, record.data).ok().map(|(name, _)| Found::Alias(name))
                }
                _ => None,
            };
            if let (Ok((owner, _)), Some(what)) = (Name::read(&self.bytes, record.begin), what) {
                found.push((owner, ttl(&self.bytes, record.ttl_at).saturating_sub(age), what));
            }
        }
        found
    }
}

/// What a record of an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Address(IpAddr),
    Alias(Name),
}

/// A question as we ask it: recursion desired, datagrams of a size that crosses every path whole.
pub(crate) fn question(
    id: u16,
    name: &Name,
    kind: RecordType,
    dnssec: bool,
    checking_disabled: bool,
) -> Vec<u8> {
    let flags = 0x0100 | u16::from(checking_disabled) << 4;
    let mut bytes: Vec<u8> = [id, flags, 1, 0, 0, 1].iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.extend_from_slice(name.wire());
    for word in [kind.0, 1] {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    let size = crate::message::SAFE_DATAGRAM.to_be_bytes();
    bytes.extend_from_slice(&[0, 0, 41, size[0], size[1], 0, 0, if dnssec { 0x80 } else { 0 }, 0, 0, 0]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::query;

    /// The answer `name A 192.0.2.7` with that TTL and an OPT record.
    fn answer(name: &str, ttl: u32) -> Vec<u8> {
        let name = Name::parse(name).unwrap();
        let mut bytes = question(7, &name, RecordType::A, false, false);
        let opt = bytes.split_off(bytes.len() - 11);
        bytes[2] |= 0x80;
        bytes[7] = 1;
        bytes.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
        bytes.extend_from_slice(&ttl.to_be_bytes());
        bytes.extend_from_slice(&[0, 4, 192, 0, 2, 7]);
        bytes.extend_from_slice(&opt);
        bytes
    }

    #[test]
    fn an_answer_is_for_the_question_that_was_asked() {
        let name = Name::parse("www.example.com").unwrap();
        let parse = |bytes, id, name: &Name, kind| Response::parse(bytes, id, name, kind);
        let good = parse(answer("www.example.com", 300), 7, &name, RecordType::A).unwrap();
        assert_eq!((good.ttl, good.code), (300, ResponseCode::NO_ERROR));
        assert_eq!(parse(answer("www.example.com", 300), 8, &name, RecordType::A), None);
        assert_eq!(parse(answer("www.example.org", 300), 7, &name, RecordType::A), None);
        assert_eq!(parse(answer("www.example.com", 300), 7, &name, RecordType::AAAA), None);
    }

    #[test]
    fn a_reply_has_the_clients_number_and_case_and_what_is_left_of_the_time() {
        let name = Name::parse("www.example.com").unwrap();
        let response = Response::parse(answer("www.example.com", 300), 7, &name, RecordType::A).unwrap();
        let asked = Query::parse(&query("wWw.Example.com", RecordType::A, Some(1232))).unwrap();
        let reply = response.reply(&asked, 100, None, 512);
        assert_eq!(reply[..2], [0x12, 0x34]);
        assert_eq!(reply[13..16], *b"wWw");
        assert_eq!(ttl(&reply, response.ttls[0]), 200);
        assert_eq!(word(&reply, 10), 1, "our own OPT");
        let small = response.reply(&asked, 0, None, 50);
        assert!(small[2] & 2 != 0 && word(&small, 6) == 0, "truncated");
    }

    proptest::proptest! {
        #[test]
        fn no_answer_panics(at in 0_usize..70, byte: u8, cut in 0_usize..70) {
            let name = Name::parse("www.example.com").unwrap();
            let mut bytes = answer("www.example.com", 60);
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            if let Some(response) = Response::parse(bytes, 7, &name, RecordType::A) {
                let asked = Query::parse(&query("www.example.com", RecordType::A, Some(1232))).unwrap();
                proptest::prop_assert!(response.reply(&asked, 1, None, 512).len() <= 512);
                response.addresses(0);
            }
        }
    }
}
