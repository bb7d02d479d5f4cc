use super::*;
use crate::message::tests::query;
use crate::message::{Data, Owner, Section, checked_word};
use crate::{Query, RecordType, Reply};

fn rule(matcher: Matcher, stop: bool) -> Rewrite {
    let answers = matcher.reverse().map(|back| vec![AnswerRule::Name(back.clone()), AnswerRule::Value(back)]);
    Rewrite { matcher, stop, answers: answers.unwrap_or_default() }
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn becomes(rules: &[Rewrite], text: &str) -> Option<String> {
    forth(rules, &name(text)).unwrap().map(|(name, _)| name.to_string())
}

#[test]
fn names_fit_and_become_others() {
    for (matcher, from, to) in [
        (Matcher::exact("A.example", "b.example."), "a.example", Some("b.example.")),
        (Matcher::exact("a.example", "b.example"), "x.a.example", None),
        (Matcher::prefix("dev-", ""), "dev-web.example", Some("web.example.")),
        (
            Matcher::suffix(".example.org", ".svc.cluster.local"),
            "a.b.example.org",
            Some("a.b.svc.cluster.local."),
        ),
        (Matcher::suffix(".example.org", ".x"), "example.org", None),
        (Matcher::substring("east", "west"), "a.east.example", Some("a.west.example.")),
        (
            Matcher::regex(r"(.*)-(us)\.example\.", "{2}.{1}.consul").unwrap(),
            "ftp-us.example",
            Some("us.ftp.consul."),
        ),
        (Matcher::regex("^only$", "x").unwrap(), "only.example", None),
    ] {
        assert_eq!(becomes(&[rule(matcher.clone(), true)], from).as_deref(), to, "{matcher:?}");
    }
}

#[test]
fn rules_stop_or_go_on() {
    let rules = |stop| {
        [
            rule(Matcher::exact("a", "b"), stop),
            rule(Matcher::exact("b", "c"), true),
            rule(Matcher::exact("c", "d"), true),
        ]
    };
    assert_eq!(becomes(&rules(true), "a").as_deref(), Some("b."));
    assert_eq!(becomes(&rules(false), "a").as_deref(), Some("c."));
    assert!(forth(&[rule(Matcher::exact("a", "b..c"), true)], &name("a")).is_err(), "no name");
}

/// The reply to the rewritten query: an alias and the address that it leads to, with an SOA record.
fn reply(asked: &Query) -> Vec<u8> {
    let mut reply = Reply::to(asked, None);
    let at = reply.push(Section::Answer, Owner::At(12), 30, Data::Alias(&name("b.inner.test"))).unwrap();
    reply.push(Section::Answer, Owner::At(at), 30, Data::Address([192, 0, 2, 7].into()));
    let (primary, mailbox) = (name("ns.inner.test"), name("hostmaster.inner.test"));
    let data = Data::Authority { primary: &primary, mailbox: &mailbox, serial: 1, minimum: 30 };
    reply.push(Section::Authority, Owner::Name(&name("inner.test")), 30, data);
    reply.finish()
}

#[test]
fn an_answer_is_turned_back() {
    use domain::base::Message;
    use domain::rdata::AllRecordData;
    let came = Query::parse(&query("A.Outer.Example.org", RecordType::A, Some(1232))).unwrap();
    let rules = [rule(Matcher::suffix(".outer.example.org", ".inner.test"), true)];
    let (inner, answers) = forth(&rules, &came.name).unwrap().unwrap();
    assert_eq!(inner, name("a.inner.test"));
    let bytes = back(&reply(&came.renamed(inner)), &came, &answers, 1232);
    let message = Message::from_octets(&bytes).unwrap();
    assert_eq!(message.sole_question().unwrap().qname().to_string(), "A.Outer.Example.org");
    let records: Vec<String> = message
        .answer()
        .unwrap()
        .limit_to::<AllRecordData<_, _>>()
        .map(|record| record.unwrap())
        .map(|record| format!("{} {} {}", record.owner(), record.rtype(), record.data()))
        .collect();
    assert_eq!(
        records,
        ["A.Outer.Example.org CNAME b.outer.example.org.", "b.outer.example.org A 192.0.2.7"]
    );
    assert!(message.opt().is_some());
    let small = back(&reply(&came.renamed(name("a.inner.test"))), &came, &answers, 70);
    assert!(small.len() <= 70 && small[2] & 2 != 0 && checked_word(&small, 6) == Some(0), "truncated");
    assert_eq!(Message::from_octets(&small).unwrap().iter().count(), 1, "EDNS is left");
}

proptest::proptest! {
    #[test]
    fn no_answer_panics(at in 0_usize..200, byte: u8, cut in 0_usize..200) {
        let came = Query::parse(&query("a.outer", RecordType::A, Some(1232))).unwrap();
        let mut bytes = reply(&came.renamed(name("a.inner.test")));
        if let Some(slot) = bytes.get_mut(at) {
            *slot = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(cut));
        let rule = AnswerRule::Name(Matcher::suffix(".inner.test", ".outer"));
        proptest::prop_assert!(back(&bytes, &came, &[&rule], 512).len() <= 512);
    }
}
