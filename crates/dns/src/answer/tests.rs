//! The conformance table, and what holds for every query. A second DNS library judges the replies.

use std::net::IpAddr;

use domain::base::{Message, Rtype};
use domain::rdata::AllRecordData;
use model::{Port, Protocol, Service, ServiceKind, ServicePort, SliceKey, SlicePort};
use proptest::prelude::*;

use super::*;
use crate::message::tests::query as encode;
use crate::{Endpoint, Kind, Object, PodNames, Slice, ZoneConfig};

fn service(namespace: &str, name: &str, addresses: &[&str], ports: &[(&str, Protocol, i64)]) -> Object {
    let ports = ports.iter().map(|(name, protocol, port)| ServicePort {
        name: (*name).into(),
        protocol: *protocol,
        port: Port::try_from(*port).unwrap(),
        node_port: None,
    });
    Object::Service(Service {
        cluster_addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        ports: ports.collect(),
        ..Service::new(ServiceKey::new(namespace, name))
    })
}

fn alias(name: &str, target: &str) -> Object {
    let Object::Service(mut alias) = service("default", name, &[], &[("http", Protocol::Tcp, 80)]) else {
        unreachable!()
    };
    alias.kind = ServiceKind::ExternalName(target.into());
    Object::Service(alias)
}

fn slice(name: &str, service: &str, endpoints: &[(&str, Option<&str>, bool)]) -> Object {
    let endpoints = endpoints.iter().map(|(address, hostname, ready)| Endpoint {
        address: address.parse().unwrap(),
        hostname: hostname.map(Into::into),
        pod: None,
        ready: *ready,
    });
    Object::Slice(Slice {
        key: SliceKey::new("default", name),
        service: Some(ServiceKey::new("default", service)),
        ports: vec![SlicePort {
            name: "sql".into(),
            protocol: Protocol::Tcp,
            port: Port::try_from(5432).unwrap(),
        }],
        endpoints: endpoints.collect(),
    })
}

/// The cluster that the conformance table speaks of.
pub(crate) fn cluster() -> Zone {
    let mut zone = Zone::new(ZoneConfig {
        pods: PodNames::Insecure,
        own_addresses: ["10.96.0.0/12", "10.244.0.0/16", "fd00:96::/112"]
            .map(|range| range.parse().unwrap())
            .into(),
        name_servers: vec!["10.96.0.10".parse().unwrap()],
        ..ZoneConfig::new(Name::parse("cluster.local").unwrap())
    });
    for kind in Kind::needed(PodNames::Insecure) {
        zone.begin_listing(*kind);
    }
    let http = ("http", Protocol::Tcp, 8080);
    let objects = [
        Object::Namespace("default".into()),
        Object::Namespace("kube-system".into()),
        service("default", "kubernetes", &["10.96.0.1"], &[("https", Protocol::Tcp, 443)]),
        service(
            "kube-system",
            "kube-dns",
            &["10.96.0.10"],
            &[("dns", Protocol::Udp, 53), ("dns-tcp", Protocol::Tcp, 53)],
        ),
        service("default", "web", &["10.96.0.7"], &[http, ("metrics", Protocol::Udp, 9153)]),
        service("default", "unnamed", &["10.96.0.77"], &[("", Protocol::Tcp, 80)]),
        service("default", "dual", &["10.96.0.8", "fd00:96::8"], &[http]),
        service("default", "six", &["fd00:96::9"], &[http]),
        service("default", "db", &[], &[("sql", Protocol::Tcp, 5432)]),
        service("default", "empty", &[], &[("sql", Protocol::Tcp, 5432)]),
        alias("inner", "web.default.svc.cluster.local"),
        alias("chain", "inner.default.svc.cluster.local"),
        alias("circle", "circle.default.svc.cluster.local"),
        alias("dangling", "gone.default.svc.cluster.local"),
        alias("outer", "www.example.com"),
        slice(
            "db-4",
            "db",
            &[
                ("10.244.1.7", Some("db-0"), true),
                ("10.244.2.8", None, true),
                ("10.244.3.5", Some("db-9"), false),
            ],
        ),
        slice("db-6", "db", &[("fd00:244::7", Some("db-0"), true)]),
        // The API moves an endpoint from slice to slice: for a moment it is in both.
        slice("db-5", "db", &[("10.244.2.8", None, true)]),
        slice("web-4", "web", &[("10.244.1.7", None, true)]),
    ];
    objects.into_iter().for_each(|object| zone.apply(object));
    for kind in Kind::needed(PodNames::Insecure) {
        zone.end_listing(*kind);
    }
    zone
}

fn kind(text: &str) -> RecordType {
    RecordType(text.parse::<Rtype>().unwrap().to_int())
}

/// A reply in the words of the table.
fn words(zone: &Zone, name: &str, kind: RecordType) -> String {
    let query = Query::parse(&encode(name, kind, Some(1232))).unwrap();
    let mut reply = Reply::to(&query, None);
    let verdict = answer(zone, &query, &mut reply);
    let bytes = reply.finish();
    let message = Message::from_octets(&bytes).unwrap();
    let mut code = message.header().rcode().to_string();
    match &verdict {
        Verdict::Elsewhere => return "ELSEWHERE".to_owned(),
        Verdict::Done => {}
        Verdict::Alias(target) => code = format!("ALIAS {target}"),
    }
    assert!(message.header().aa() && message.header().qr() && message.header().rd() && message.header().ra());
    assert!(message.opt().is_some(), "EDNS is answered by EDNS");
    // The case of the question comes back as it was sent.
    let asked = message.sole_question().unwrap().qname().to_string();
    assert_eq!(asked, name.trim_end_matches('.'));
    let mut answers = Vec::new();
    for record in message.answer().unwrap().limit_to::<AllRecordData<_, _>>() {
        let record = record.unwrap();
        let owner = record.owner().to_string();
        let owner = if owner == asked { "@".to_owned() } else { format!("{owner}.") };
        let data = if record.rtype() == Rtype::SOA { String::new() } else { format!(" {}", record.data()) };
        assert_eq!(record.ttl().as_secs(), 5);
        answers.push(format!("{owner} {}{data}", record.rtype()));
    }
    answers.sort();
    let authorities: Vec<_> = message
        .authority()
        .unwrap()
        .limit_to::<AllRecordData<_, _>>()
        .map(|record| record.unwrap())
        .collect();
    assert_eq!(
        authorities.len(),
        usize::from(answers.is_empty()),
        "{name}: SOA exactly where there is no answer"
    );
    for record in &authorities {
        assert!(
            name.to_lowercase().trim_end_matches('.').ends_with(&record.owner().to_string().to_lowercase())
        );
        assert_eq!(record.rtype(), Rtype::SOA);
    }
    if answers.is_empty() { code } else { format!("{code}: {}", answers.join(", ")) }
}

#[test]
fn the_conformance_table() {
    let zone = cluster();
    let (mut count, mut wrong) = (0, Vec::new());
    for line in include_str!("conformance.txt").lines() {
        let Some((question, expected)) = line.split_once(" => ").filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let (name, of) = question.split_once(' ').unwrap();
        let found = words(&zone, name, kind(of));
        count += 1;
        if found != expected {
            wrong.push(format!("{question}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 100, "{count}");
}

#[test]
fn before_the_zone_is_in_sync_it_denies_nothing() {
    let zone = Zone::new(cluster().config().clone());
    let query = Query::parse(&encode("web.default.svc.cluster.local", RecordType::A, None)).unwrap();
    let mut reply = Reply::to(&query, None);
    assert_eq!(answer(&zone, &query, &mut reply), Verdict::Done);
    assert_eq!(reply.code(), ResponseCode::SERV_FAIL);
}

#[test]
fn additional_addresses_come_with_ports() {
    let zone = cluster();
    let ask = |name| {
        let query = Query::parse(&encode(name, RecordType::SRV, None)).unwrap();
        let mut reply = Reply::to(&query, None);
        answer(&zone, &query, &mut reply);
        let bytes = reply.finish();
        let message = Message::from_octets(&bytes).unwrap();
        let records = message.additional().unwrap().limit_to::<AllRecordData<_, _>>();
        records
            .map(|record| record.unwrap())
            .map(|r| format!("{} {}", r.owner(), r.data()))
            .collect::<Vec<_>>()
    };
    assert_eq!(ask("_http._tcp.web.default.svc.cluster.local"), ["web.default.svc.cluster.local 10.96.0.7"]);
    assert!(
        ask("_sql._tcp.db.default.svc.cluster.local")
            .contains(&"db-0.db.default.svc.cluster.local 10.244.1.7".into())
    );
}

#[test]
fn what_does_not_fit_a_datagram_is_left_out_and_said() {
    let mut zone = cluster();
    let endpoints: Vec<String> = (0..200).map(|n| format!("10.244.9.{n}")).collect();
    let endpoints: Vec<_> = endpoints.iter().map(|address| (address.as_str(), None, true)).collect();
    zone.apply(slice("large", "db", &endpoints));
    let query = Query::parse(&encode("db.default.svc.cluster.local", RecordType::A, None)).unwrap();
    let mut reply = Reply::to(&query, Some(query.datagram_limit()));
    answer(&zone, &query, &mut reply);
    let bytes = reply.finish();
    assert!(bytes.len() <= query.datagram_limit());
    assert!(Message::from_octets(&bytes).unwrap().header().tc());
}

#[test]
fn pod_names_by_mode() {
    let address: IpAddr = "10.244.3.5".parse().unwrap();
    for (pods, before, after) in [
        (PodNames::Disabled, "NXDOMAIN", "NXDOMAIN"),
        (PodNames::Insecure, "NOERROR: @ A 10.244.3.5", "NOERROR: @ A 10.244.3.5"),
        (PodNames::Verified, "NXDOMAIN", "NOERROR: @ A 10.244.3.5"),
    ] {
        let mut zone = Zone::new(ZoneConfig { pods, ..cluster().config().clone() });
        for kind in [Kind::Service, Kind::Slice, Kind::Namespace, Kind::Pod] {
            zone.begin_listing(kind);
            zone.end_listing(kind);
        }
        zone.apply(Object::Namespace("default".into()));
        let ask = |zone: &Zone| words(zone, "10-244-3-5.default.pod.cluster.local", RecordType::A);
        assert_eq!(ask(&zone), before, "{pods:?}");
        let key = crate::PodKey { namespace: "default".into(), name: "p".into() };
        zone.apply(Object::Pod(key, vec![address]));
        assert_eq!(ask(&zone), after, "{pods:?}");
    }
}

proptest! {
    /// Every reply is a message that another library can read, and no larger than allowed.
    #[test]
    fn every_reply_is_well_formed(
        labels in prop::collection::vec("[a-z0-9_*-]{1,12}", 0..5),
        suffix in prop::sample::select(vec!["", "default.svc.cluster.local", "db.default.svc.cluster.local", "in-addr.arpa"]),
        kind: u16,
        size in prop::option::of(0_u16..5000),
    ) {
        let name = labels.iter().map(String::as_str).chain([suffix]).collect::<Vec<_>>().join(".");
        let name = name.trim_matches('.');
        if let Ok(query) = Query::parse(&encode(if name.is_empty() { "." } else { name }, RecordType(kind), size)) {
            let mut reply = Reply::to(&query, Some(query.datagram_limit()));
            answer(&cluster(), &query, &mut reply);
            let bytes = reply.finish();
            prop_assert!(bytes.len() <= query.datagram_limit());
            let message = Message::from_octets(&bytes).unwrap();
            for record in message.iter() {
                record.unwrap();
            }
        }
    }
}
