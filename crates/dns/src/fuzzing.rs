//! Doors for fuzz targets: each takes any bytes, and panics only when there is a bug. `fuzz/` runs them for as long as
//! one likes, the tests here for a moment.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::corefile::{Corefile, Sources};
use crate::forward::Response;
use crate::message::{checked_word, word};
use crate::rewrite::{self, AnswerRule, Matcher};
use crate::{Kind, Name, Object, PodNames, Query, RecordType, Refusal, Reply, Zone, ZoneConfig, answer};

/// A datagram from a client: read, answered, and the answer turned back as after a rewrite.
pub fn query(bytes: &[u8]) {
    static ZONE: OnceLock<Zone> = OnceLock::new();
    let query = match Query::parse(bytes) {
        Ok(query) => query,
        Err(Refusal::Silence) => return,
        Err(Refusal::Reply(_, reply)) => {
            assert!(reply.len() <= bytes.len() + 28, "a refusal that amplifies");
            return;
        }
    };
    let limit = query.datagram_limit();
    let mut reply = Reply::to(&query, Some(limit));
    answer(ZONE.get_or_init(zone), &query, &mut reply);
    let reply = reply.finish();
    assert!(reply.len() <= limit.max(bytes.len() + 28), "{} bytes where {limit} are allowed", reply.len());
    let rule = AnswerRule::Name(Matcher::suffix(".cluster.local", ".example.org"));
    let renamed = query.renamed(Name::root());
    rewrite::back(&reply, &renamed, &[&rule], limit);
}

/// What an upstream server says to a question for the address of `www.example.com`.
pub fn response(bytes: &[u8]) {
    // A name of ASCII letters and dots is one.
    let Ok(name) = Name::parse("www.example.com") else { return };
    let Some(id) = checked_word(bytes, 0) else { return };
    let Some(response) = Response::parse(bytes.to_vec(), id, &name, RecordType::A) else { return };
    let question = [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], name.wire(), &[0, 1, 0, 1]].concat();
    let Ok(query) = Query::parse(&question) else { return };
    let reply = response.reply(&query, 5, None, 512);
    assert!(reply.len() <= 512 && word(&reply, 0) == 7);
    response.addresses(5);
    let rule = AnswerRule::Value(Matcher::suffix(".example.com", ".example.org"));
    let whole = response.reply(&query, 5, None, usize::from(u16::MAX));
    assert!(rewrite::back(&whole, &query, &[&rule], 1232).len() <= 1232);
}

/// A Corefile, which may also import itself.
pub fn corefile(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    // Read or refused: either is right.
    let _ = Corefile::load(Path::new("/Corefile"), &OneText(text));
}

/// The same text under every name.
struct OneText(String);

impl Sources for OneText {
    fn read(&self, path: &Path) -> io::Result<String> {
        if path == Path::new("/Corefile") { Ok(self.0.clone()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn matching(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(vec!["/Corefile".into()])
    }

    fn variable(&self, name: &str) -> Option<String> {
        Some(name.to_owned())
    }
}

/// A zone in sync that holds a namespace.
fn zone() -> Zone {
    let config = ZoneConfig {
        pods: PodNames::Insecure,
        ..ZoneConfig::new(Name::parse("cluster.local").unwrap_or_else(|_| Name::root()))
    };
    let mut zone = Zone::new(config);
    for kind in Kind::needed(PodNames::Insecure) {
        zone.begin_listing(*kind);
    }
    zone.apply(Object::Namespace("default".into()));
    for kind in Kind::needed(PodNames::Insecure) {
        zone.end_listing(*kind);
    }
    zone
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, RngCore, SeedableRng};

    use super::*;

    /// Runs a target on noise and on damaged copies of what it understands.
    fn smoke(target: fn(&[u8]), seeds: &[Vec<u8>]) {
        let mut random = StdRng::seed_from_u64(1);
        for seed in seeds {
            target(seed);
            for _ in 0..5_000 {
                let mut bytes = seed.clone();
                for _ in 0..random.random_range(1..6) {
                    let at = random.random_range(0..bytes.len());
                    bytes[at] = random.random();
                }
                bytes.truncate(random.random_range(0..=bytes.len()));
                target(&bytes);
            }
        }
        for _ in 0..5_000 {
            let mut bytes = vec![0; random.random_range(0..200)];
            random.fill_bytes(&mut bytes);
            target(&bytes);
        }
    }

    #[test]
    fn queries() {
        let encode = crate::message::tests::query;
        smoke(
            query,
            &[
                encode("10-244-3-5.default.pod.cluster.local", RecordType::A, Some(1232)),
                encode("www.example.com", RecordType::ANY, None),
                encode("7.0.96.10.in-addr.arpa", RecordType::PTR, Some(512)),
            ],
        );
    }

    #[test]
    fn responses() {
        let mut message = crate::message::tests::query("www.example.com", RecordType::A, None);
        message[2] |= 0x80;
        message[7] = 2;
        message.extend_from_slice(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x06\x03web\xc0\x10\xc0\x2d\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x07");
        smoke(response, &[message]);
    }

    #[test]
    fn corefiles() {
        let text = ".:53 {\n errors\n kubernetes cluster.local in-addr.arpa {\n  pods insecure\n  fallthrough\n }\n \
                    forward . 192.0.2.1 {\n  policy random\n }\n cache 30\n import *\n}\n";
        smoke(corefile, &[text.as_bytes().to_vec()]);
    }
}
