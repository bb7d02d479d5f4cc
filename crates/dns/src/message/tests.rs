use proptest::prelude::*;

use super::*;

/// A query as clients write it: recursion desired, EDNS with that datagram size if any.
pub(crate) fn query(name: &str, kind: RecordType, datagram: Option<u16>) -> Vec<u8> {
    let additionals = u16::from(datagram.is_some());
    let mut bytes: Vec<u8> =
        [0x1234, 0x0100, 1, 0, 0, additionals].iter().flat_map(|word: &u16| word.to_be_bytes()).collect();
    let lower = Name::parse(name).unwrap();
    let at = bytes.len();
    bytes.extend_from_slice(lower.wire());
    // With the case as written.
    for (place, byte) in name.trim_end_matches('.').bytes().enumerate().filter(|(_, byte)| *byte != b'.') {
        bytes[at + 1 + place] = byte;
    }
    for word in [kind.0, CLASS_INTERNET] {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    if let Some(size) = datagram {
        bytes.extend_from_slice(&[0, 0, 41]);
        bytes.extend_from_slice(&size.to_be_bytes());
        bytes.extend_from_slice(&[0; 6]);
    }
    bytes
}

fn code(result: Result<Query, Refusal>) -> Option<ResponseCode> {
    match result {
        Ok(_) => None,
        Err(Refusal::Silence) => panic!("silence"),
        Err(Refusal::Reply(code, bytes)) => {
            assert_eq!(bytes[..2], [0x12, 0x34]);
            assert!(bytes[2] & 0x80 != 0);
            assert_eq!(u16::from(bytes[3] & 15), code.0 & 15);
            Some(code)
        }
    }
}

#[test]
fn what_is_no_query_is_refused_as_the_standards_say() {
    let good = query("a.example", RecordType::A, Some(1232));
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Query::parse(&bytes)
    };
    let opt = good.len() - 11;
    assert_eq!(code(Query::parse(&good)), None);
    assert_eq!(changed(2, 0x80), Err(Refusal::Silence), "a response");
    assert_eq!(Query::parse(&good[..11]), Err(Refusal::Silence));
    assert_eq!(code(changed(2, 0x28)), Some(ResponseCode::NOT_IMP), "an update");
    assert_eq!(code(changed(5, 0)), Some(ResponseCode::FORM_ERR), "no question");
    assert_eq!(code(changed(5, 2)), Some(ResponseCode::FORM_ERR), "two questions");
    assert_eq!(code(changed(7, 1)), Some(ResponseCode::FORM_ERR), "an answer in a question");
    assert_eq!(code(changed(12, 0xc0)), Some(ResponseCode::FORM_ERR), "a pointer");
    assert_eq!(code(changed(opt - 1, 3)), Some(ResponseCode::REFUSED), "class Chaos");
    assert_eq!(code(changed(opt - 3, 252)), Some(ResponseCode::REFUSED), "a zone transfer");
    assert_eq!(code(changed(opt + 6, 1)), Some(ResponseCode::BAD_VERS), "EDNS version 1");
    assert_eq!(code(changed(11, 2)), Some(ResponseCode::FORM_ERR), "more records announced than there are");
    assert_eq!(code(changed(opt + 10, 9)), Some(ResponseCode::FORM_ERR), "options behind the end");
    let mut twice = good.clone();
    twice.extend_from_slice(&good[opt..]);
    twice[11] = 2;
    assert_eq!(code(Query::parse(&twice)), Some(ResponseCode::FORM_ERR), "two OPT");
}

#[test]
fn a_datagram_is_at_most_ten_times_its_query() {
    let limit = |name: &str, size| Query::parse(&query(name, RecordType::A, size)).unwrap().datagram_limit();
    assert_eq!(limit("a.b", None), 210);
    let long = format!("{0}.{0}.{0}", "a".repeat(60));
    assert_eq!(limit(&long, None), 512);
    assert_eq!(limit(&long, Some(4096)), 1232);
    assert_eq!(limit(&long, Some(0)), 512);
}

proptest! {
    #[test]
    fn no_message_panics(bytes: Vec<u8>) {
        let _ = Query::parse(&bytes);
    }

    #[test]
    fn no_damaged_query_panics(at in 0_usize..40, byte: u8, cut in 0_usize..40) {
        let mut bytes = query("www.example.com", RecordType::SRV, Some(1232));
        if let Some(slot) = bytes.get_mut(at) {
            *slot = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(cut));
        if let Err(Refusal::Reply(_, reply)) = Query::parse(&bytes) {
            prop_assert!(reply.len() <= bytes.len(), "a refusal is no larger than what it refuses");
        }
    }
}
