//! A reply to the rewritten query as one to the query that came.

use super::AnswerRule;
use crate::edns::TYPE_OPT;
use crate::message::{HEADER, QUESTION, checked_word, word};
use crate::{Name, Query, RecordType, Reply, ResponseCode};

const MX: RecordType = RecordType(15);
const DNAME: RecordType = RecordType(39);

/// The reply with the client's own question, names in it turned back by the rules, and cut to what the client takes.
///
/// `reply` is a whole message, ours or one that was checked; one that cannot be read all the same becomes SERVFAIL.
pub(crate) fn back(reply: &[u8], query: &Query, rules: &[&AnswerRule], limit: usize) -> Vec<u8> {
    turned(reply, query, rules, limit)
        .unwrap_or_else(|| Reply::to(query, None).failed(ResponseCode::SERV_FAIL))
}

fn turned(reply: &[u8], query: &Query, rules: &[&AnswerRule], limit: usize) -> Option<Vec<u8>> {
    let mut bytes = reply.get(..HEADER)?.to_vec();
    bytes.extend_from_slice(query.question());
    let behind_question = bytes.len();
    let mut at = Name::skip(reply, HEADER).ok()? + 4;
    let counts = [6, 8, 10].map(|at| word(reply, at));
    let mut options = Vec::new();
    for _ in 0..counts.iter().map(|count| u32::from(*count)).sum() {
        let fixed = Name::skip(reply, at).ok()?;
        let end = fixed + 10 + usize::from(checked_word(reply, fixed + 8)?);
        let data = reply.get(fixed + 10..end)?;
        if word(reply, fixed) == TYPE_OPT {
            options = reply[at..end].to_vec();
        } else {
            let owner = Name::read(reply, at).ok()?.0;
            let changed = changed(&owner, rules, false);
            if changed == query.name {
                bytes.extend_from_slice(&(0xc000 | QUESTION).to_be_bytes());
            } else {
                bytes.extend_from_slice(changed.wire());
            }
            bytes.extend_from_slice(&reply[fixed..fixed + 8]);
            write_data(reply, fixed + 10, data, RecordType(word(reply, fixed)), rules, &mut bytes)?;
        }
        at = end;
    }
    if bytes.len() + options.len() > limit.min(usize::from(u16::MAX)) {
        bytes.truncate(behind_question);
        bytes[6..12].fill(0);
        bytes[11] = u8::from(!options.is_empty());
        bytes[2] |= 2;
    }
    bytes.extend(options);
    Some(bytes)
}

/// Length and data; names inside may point elsewhere in the message and are written out.
fn write_data(
    reply: &[u8],
    at: usize,
    data: &[u8],
    kind: RecordType,
    rules: &[&AnswerRule],
    bytes: &mut Vec<u8>,
) -> Option<()> {
    let length_at = bytes.len();
    bytes.extend_from_slice(&[0, 0]);
    let (before, names) = match kind {
        RecordType::CNAME | RecordType::NS | RecordType::PTR | DNAME => (0, 1),
        MX => (2, 1),
        RecordType::SRV => (6, 1),
        RecordType::SOA => (0, 2),
        _ => (data.len(), 0),
    };
    bytes.extend_from_slice(data.get(..before)?);
    let mut place = at + before;
    for _ in 0..names {
        let (name, end) = Name::read(reply, place).ok()?;
        bytes.extend_from_slice(changed(&name, rules, true).wire());
        place = end;
    }
    bytes.extend_from_slice(reply.get(place..at + data.len())?);
    let length = u16::try_from(bytes.len() - length_at - 2).ok()?;
    bytes[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    Some(())
}

/// The name by the first rule that fits.
fn changed(name: &Name, rules: &[&AnswerRule], value: bool) -> Name {
    let text = name.to_string();
    let fitting = rules.iter().find_map(|rule| match rule {
        AnswerRule::Name(matcher) if !value => matcher.apply(&text),
        AnswerRule::Value(matcher) if value => matcher.apply(&text),
        AnswerRule::Name(_) | AnswerRule::Value(_) => None,
    });
    fitting.and_then(|text| Name::parse(&text).ok()).unwrap_or_else(|| name.clone())
}
