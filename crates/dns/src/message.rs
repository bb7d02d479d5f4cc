//! Queries decoded, replies written. Every number is in network byte order (RFC 1035, 4.1).

use std::fmt;
use std::net::IpAddr;

use crate::Name;
use crate::edns::{self, Edns, Opt};

pub(crate) const HEADER: usize = 12;
/// Where the question's name begins in every message that we write.
pub(crate) const QUESTION: u16 = 12;
const CLASS_INTERNET: u16 = 1;

/// The largest datagram that crosses every path whole (DNS flag day 2020).
pub(crate) const SAFE_DATAGRAM: u16 = 1232;
/// What a client without EDNS takes (RFC 1035, 4.2.1).
const PLAIN_DATAGRAM: u16 = 512;
/// No datagram we send is more than so many times as large as the one that asked for it.
const AMPLIFICATION: usize = 10;

/// A type of record, as far as we treat types differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordType(pub u16);

impl RecordType {
    /// IPv4 address.
    pub const A: Self = Self(1);
    /// Name server.
    pub const NS: Self = Self(2);
    /// Alias.
    pub const CNAME: Self = Self(5);
    /// Start of authority.
    pub const SOA: Self = Self(6);
    /// Name of an address.
    pub const PTR: Self = Self(12);
    /// Machine; what RFC 8482 answers `ANY` with.
    pub const HINFO: Self = Self(13);
    /// Text.
    pub const TXT: Self = Self(16);
    /// IPv6 address.
    pub const AAAA: Self = Self(28);
    /// Port and host of a service.
    pub const SRV: Self = Self(33);
    /// Every type.
    pub const ANY: Self = Self(255);
}

/// Response codes, the extended one of EDNS included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResponseCode(pub u16);

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::A => "A",
            Self::NS => "NS",
            Self::CNAME => "CNAME",
            Self::SOA => "SOA",
            Self::PTR => "PTR",
            Self::HINFO => "HINFO",
            Self::TXT => "TXT",
            Self::AAAA => "AAAA",
            Self::SRV => "SRV",
            Self::ANY => "ANY",
            // RFC 3597.
            Self(number) => return write!(f, "TYPE{number}"),
        };
        f.write_str(name)
    }
}

impl ResponseCode {
    /// The name exists, and this is what is known of it.
    pub const NO_ERROR: Self = Self(0);
    /// The query makes no sense.
    pub const FORM_ERR: Self = Self(1);
    /// We cannot say now.
    pub const SERV_FAIL: Self = Self(2);
    /// There is no such name.
    pub const NX_DOMAIN: Self = Self(3);
    /// We do not do that.
    pub const NOT_IMP: Self = Self(4);
    /// We do not do that for you.
    pub const REFUSED: Self = Self(5);
    /// A version of EDNS that we do not know.
    pub const BAD_VERS: Self = Self(16);

    /// The name that metrics and logs use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NO_ERROR => "NOERROR",
            Self::FORM_ERR => "FORMERR",
            Self::SERV_FAIL => "SERVFAIL",
            Self::NX_DOMAIN => "NXDOMAIN",
            Self::NOT_IMP => "NOTIMP",
            Self::REFUSED => "REFUSED",
            Self::BAD_VERS => "BADVERS",
            _ => "OTHER",
        }
    }
}

/// A query with one question of the class Internet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The client's number for it.
    pub id: u16,
    /// The name asked for, in lower case.
    pub name: Name,
    /// The type asked for.
    pub kind: RecordType,
    /// The client asks us to ask others.
    pub recursion_desired: bool,
    /// The client wants answers whose signatures do not fit, too.
    pub checking_disabled: bool,
    /// What it said of itself.
    pub edns: Option<Edns>,
    /// The question as it came: replies repeat it with its case (0x20).
    question: Box<[u8]>,
    /// Bytes of the whole query.
    length: usize,
    /// The cookie that the reply carries: the client's and ours.
    cookie: Option<[u8; 24]>,
    /// The client has shown a cookie of ours: it is where it says it is.
    trusted: bool,
}

/// What becomes of a message that is no query we answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing: it is no query at all, and an answer could begin a loop.
    Silence,
    /// This reply.
    Reply(ResponseCode, Vec<u8>),
}

impl Query {
    /// Reads a message from a client.
    ///
    /// # Errors
    /// What to do instead of answering.
    pub fn parse(message: &[u8]) -> Result<Self, Refusal> {
        let header = message.get(..HEADER).ok_or(Refusal::Silence)?;
        let (id, flags) = (word(header, 0), word(header, 2));
        if flags & 0x8000 != 0 {
            return Err(Refusal::Silence);
        }
        let refuse = |code: ResponseCode| Refusal::Reply(code, bare(id, flags, code));
        if flags & 0x7800 != 0 {
            return Err(refuse(ResponseCode::NOT_IMP));
        }
        let counts = [4, 6, 8].map(|at| word(header, at));
        if counts != [1, 0, 0] {
            return Err(refuse(ResponseCode::FORM_ERR));
        }
        // The first name of a message has nothing to point back to.
        let (name, end) = Name::read(message, HEADER).map_err(|_| refuse(ResponseCode::FORM_ERR))?;
        if end != HEADER + name.wire().len() {
            return Err(refuse(ResponseCode::FORM_ERR));
        }
        let (Some(kind), Some(class)) = (checked_word(message, end), checked_word(message, end + 2)) else {
            return Err(refuse(ResponseCode::FORM_ERR));
        };
        let question: Box<[u8]> = message[HEADER..end + 4].into();
        let mut query = Self {
            id,
            name,
            kind: RecordType(kind),
            recursion_desired: flags & 0x0100 != 0,
            checking_disabled: flags & 0x0010 != 0,
            edns: None,
            question,
            length: message.len(),
            cookie: None,
            trusted: false,
        };
        let version = match edns::read(message, end + 4, word(header, 10)) {
            Ok(None) => 0,
            Ok(Some((edns, version))) => {
                query.edns = Some(edns);
                version
            }
            Err(()) => return Err(refuse(ResponseCode::FORM_ERR)),
        };
        let refuse = |code| Err(Refusal::Reply(code, Reply::to(&query, None).failed(code)));
        if version != 0 {
            return refuse(ResponseCode::BAD_VERS);
        }
        // Other classes, zone transfers and the obsolete mail types (RFC 1035, 3.2.3).
        if class != CLASS_INTERNET || matches!(kind, 251..=254) {
            return refuse(ResponseCode::REFUSED);
        }
        Ok(query)
    }

    /// The largest reply that may go back in a datagram, in bytes.
    pub fn datagram_limit(&self) -> usize {
        let taken =
            self.edns.map_or(PLAIN_DATAGRAM, |edns| edns.datagram.clamp(PLAIN_DATAGRAM, SAFE_DATAGRAM));
        if self.trusted { taken.into() } else { usize::from(taken).min(self.length * AMPLIFICATION) }
    }

    /// Answers the client's cookie with that one of ours; `trusted`: it has shown one before.
    pub(crate) fn grant(&mut self, server: [u8; 16], trusted: bool) {
        if let Some(cookie) = self.edns.and_then(|edns| edns.cookie) {
            let mut both = [0; 24];
            both[..8].copy_from_slice(&cookie.client);
            both[8..].copy_from_slice(&server);
            (self.cookie, self.trusted) = (Some(both), trusted);
        }
    }

    /// The OPT record of the reply; only a query with one gets one.
    pub(crate) fn opt(&self) -> Option<Opt> {
        self.edns.map(|edns| Opt { dnssec: edns.dnssec, cookie: self.cookie })
    }

    /// The same query for another name.
    pub(crate) fn renamed(&self, name: Name) -> Self {
        let kind = &self.question[self.question.len() - 4..];
        let question = [name.wire(), kind].concat().into();
        Self { name, question, ..self.clone() }
    }

    /// The question as it came.
    pub(crate) fn question(&self) -> &[u8] {
        &self.question
    }
}

/// The header of a reply to a query that could not be read any further.
fn bare(id: u16, flags: u16, code: ResponseCode) -> Vec<u8> {
    let flags = 0x8000 | flags & 0x7900 | code.0 & 15;
    [id, flags, 0, 0, 0, 0].iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A reply while it is being written: header, question, records; [`Reply::finish`] closes it.
#[derive(Debug)]
pub struct Reply {
    bytes: Vec<u8>,
    /// Most bytes, room for OPT already taken off.
    limit: usize,
    opt: Option<Opt>,
    code: ResponseCode,
    authoritative: bool,
    truncated: bool,
    answers: u16,
    authorities: u16,
    additionals: u16,
}

/// Whose record it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner<'a> {
    /// What stands at that byte of the reply.
    At(u16),
    /// This name.
    Name(&'a Name),
}

/// What a record says.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Data<'a> {
    Address(IpAddr),
    Alias(&'a Name),
    Pointer(&'a Name),
    NameServer(&'a Name),
    Text(&'a str),
    Server { port: u16, weight: u16, host: &'a Name },
    Authority { primary: &'a Name, mailbox: &'a Name, serial: u32, minimum: u32 },
    Machine(&'a str),
}

/// Where a record belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Answer,
    Authority,
    Additional,
}

impl Reply {
    /// A reply of at most `limit` bytes, or as many as a message can have.
    pub fn to(query: &Query, limit: Option<usize>) -> Self {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend_from_slice(&query.id.to_be_bytes());
        let mut flags = 0x8080_u16;
        if query.recursion_desired {
            flags |= 0x0100;
        }
        if query.checking_disabled {
            flags |= 0x0010;
        }
        bytes.extend_from_slice(&flags.to_be_bytes());
        bytes.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&query.question);
        let opt = query.opt();
        let reserved = opt.map_or(0, Opt::length);
        Self {
            bytes,
            limit: limit.unwrap_or(usize::from(u16::MAX)).saturating_sub(reserved),
            opt,
            code: ResponseCode::NO_ERROR,
            authoritative: false,
            truncated: false,
            answers: 0,
            authorities: 0,
            additionals: 0,
        }
    }

    /// Its response code so far.
    pub fn code(&self) -> ResponseCode {
        self.code
    }

    pub(crate) fn set_code(&mut self, code: ResponseCode) {
        self.code = code;
    }

    pub(crate) fn set_authoritative(&mut self) {
        self.authoritative = true;
    }

    /// The reply with that code and no records.
    pub fn failed(mut self, code: ResponseCode) -> Vec<u8> {
        self.code = code;
        self.finish()
    }

    /// Adds a record and says at which byte the name inside its data begins. What does not fit is left out,
    /// and the reply says so, unless it would only be a courtesy.
    pub(crate) fn push(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        ttl: u32,
        data: Data<'_>,
    ) -> Option<u16> {
        let before = self.bytes.len();
        match owner {
            Owner::At(at) => self.put(0xc000 | at),
            Owner::Name(name) => self.bytes.extend_from_slice(name.wire()),
        }
        let kind = match data {
            Data::Address(IpAddr::V4(_)) => RecordType::A,
            Data::Address(IpAddr::V6(_)) => RecordType::AAAA,
            Data::Alias(_) => RecordType::CNAME,
            Data::Pointer(_) => RecordType::PTR,
            Data::NameServer(_) => RecordType::NS,
            Data::Text(_) => RecordType::TXT,
            Data::Server { .. } => RecordType::SRV,
            Data::Authority { .. } => RecordType::SOA,
            Data::Machine(_) => RecordType::HINFO,
        };
        self.put(kind.0);
        self.put(CLASS_INTERNET);
        self.bytes.extend_from_slice(&ttl.to_be_bytes());
        let length_at = self.bytes.len();
        self.put(0);
        let name_at = self.put_data(data);
        if self.bytes.len() > self.limit {
            self.bytes.truncate(before);
            self.truncated |= section != Section::Additional;
            return None;
        }
        let length = u16::try_from(self.bytes.len() - length_at - 2).unwrap_or(u16::MAX);
        self.bytes[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        match section {
            Section::Answer => self.answers += 1,
            Section::Authority => self.authorities += 1,
            Section::Additional => self.additionals += 1,
        }
        // Pointers reach the first 16 KiB of a message only.
        u16::try_from(name_at).ok().filter(|at| *at < 0x4000)
    }

    /// Writes the data; where the name in it begins.
    fn put_data(&mut self, data: Data<'_>) -> usize {
        let begin = self.bytes.len();
        match data {
            Data::Address(IpAddr::V4(address)) => self.bytes.extend_from_slice(&address.octets()),
            Data::Address(IpAddr::V6(address)) => self.bytes.extend_from_slice(&address.octets()),
            Data::Alias(name) | Data::Pointer(name) | Data::NameServer(name) => {
                self.bytes.extend_from_slice(name.wire());
            }
            Data::Text(text) => self.put_text(text),
            Data::Server { port, weight, host } => {
                self.put(0);
                self.put(weight);
                self.put(port);
                self.bytes.extend_from_slice(host.wire());
                return begin + 6;
            }
            Data::Authority { primary, mailbox, serial, minimum } => {
                self.bytes.extend_from_slice(primary.wire());
                self.bytes.extend_from_slice(mailbox.wire());
                // Refresh, retry and expire are for secondary servers, of which there are none.
                for number in [serial, 7200, 1800, 86_400, minimum] {
                    self.bytes.extend_from_slice(&number.to_be_bytes());
                }
            }
            Data::Machine(text) => {
                self.put_text(text);
                self.put_text("");
            }
        }
        begin
    }

    /// A character string; ours are all far below the limit of 255 bytes.
    fn put_text(&mut self, text: &str) {
        let bytes = &text.as_bytes()[..text.len().min(255)];
        self.bytes.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
        self.bytes.extend_from_slice(bytes);
    }

    fn put(&mut self, word: u16) {
        self.bytes.extend_from_slice(&word.to_be_bytes());
    }

    /// The message.
    pub fn finish(mut self) -> Vec<u8> {
        if let Some(opt) = self.opt {
            opt.write(self.code, &mut self.bytes);
            self.additionals += 1;
        }
        self.bytes[2] |= u8::from(self.authoritative) << 2 | u8::from(self.truncated) << 1;
        self.bytes[3] |= u8::try_from(self.code.0 & 15).unwrap_or(0);
        for (at, count) in [(6, self.answers), (8, self.authorities), (10, self.additionals)] {
            self.bytes[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
        self.bytes
    }
}

/// The word at a place that is known to be inside.
pub(crate) fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn checked_word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

#[cfg(test)]
pub(crate) mod tests;
