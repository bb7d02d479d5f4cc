//! The conformance table once more, over sockets and judged by `dig`.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::process::Command;

use super::*;
use crate::answer::tests::cluster;
use crate::{Resolver, ResolverConfig, SharedZone, Site};

/// Questions with what they are answered, as the table writes them but without dots at the end of names.
fn table() -> Vec<(String, String)> {
    let lines = include_str!("../answer/conformance.txt").lines().filter(|line| !line.starts_with('#'));
    let entries = lines.filter_map(|line| line.split_once(" => "));
    entries
        .map(|(question, expected)| {
            // Nobody else is there to be asked.
            let expected = match expected.split_once(": ") {
                Some((code, records)) if code.starts_with("ALIAS ") => format!("SERVFAIL: {records}"),
                _ => expected.replace("ELSEWHERE", "REFUSED"),
            };
            (question.to_owned(), undotted(&expected))
        })
        .collect()
}

fn undotted(text: &str) -> String {
    text.replace(".,", ",").trim_end_matches('.').replace(". ", " ")
}

/// What dig says to all questions, in the words of the table.
fn ask_dig(server: SocketAddr, questions: &[(String, String)], transport: &str) -> Vec<String> {
    let directory = std::env::temp_dir().join(format!("portolan-dig-{}-{transport}", std::process::id()));
    let lines: Vec<&str> = questions.iter().map(|(question, _)| question.as_str()).collect();
    std::fs::write(&directory, lines.join("\n") + "\n").unwrap();
    let output = Command::new("dig")
        .args([
            &format!("@{}", server.ip()),
            "-p",
            &server.port().to_string(),
            "+noall",
            "+comments",
            "+answer",
        ])
        .args([transport, "+time=60", "+tries=1", "-f", directory.to_str().unwrap()])
        .output()
        .expect("dig is installed: Debian's bind9-dnsutils");
    std::fs::remove_file(&directory).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let replies = text.split(";; ->>HEADER<<-").skip(1);
    replies.zip(questions).map(|(reply, (question, _))| words(reply, question)).collect()
}

fn words(reply: &str, question: &str) -> String {
    let asked = question.split(' ').next().unwrap();
    let code = reply.split("status: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    let mut records: Vec<String> = reply
        .lines()
        // The rest of the line that says the code.
        .skip(1)
        .filter(|line| !line.starts_with(';') && !line.is_empty())
        .map(|line| {
            let mut fields = line.split_whitespace();
            let (owner, _ttl, _class) = (fields.next().unwrap(), fields.next(), fields.next());
            let (kind, data) = (fields.next().unwrap(), fields.collect::<Vec<_>>().join(" "));
            let same = owner.trim_end_matches('.') == asked.trim_end_matches('.');
            let owner = if same { "@" } else { owner };
            if kind == "SOA" { format!("{owner} {kind}") } else { format!("{owner} {kind} {data}") }
        })
        .map(|record| undotted(&record))
        .collect();
    records.sort();
    let mut text = code.to_owned();
    for (number, record) in records.iter().enumerate() {
        write!(text, "{}{record}", if number == 0 { ": " } else { ", " }).unwrap();
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn dig_reads_every_answer_of_the_conformance_table() {
    let metrics = Arc::new(Metrics::default());
    let resolver = Resolver::new(ResolverConfig::new(Vec::new()), metrics.clone());
    let site = SharedSite::new(Site::of(SharedZone::new(cluster()), resolver, None));
    let sockets = Sockets::open((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = sockets.address().unwrap();
    tokio::spawn(Server::new(site, metrics).serve(sockets));
    for transport in ["+notcp", "+tcp"] {
        let (found, table) = tokio::task::spawn_blocking(move || {
            let table = table();
            (ask_dig(address, &table, transport), table)
        })
        .await
        .unwrap();
        assert!(table.len() >= 100 && found.len() == table.len(), "{} of {}", found.len(), table.len());
        let differing = found.iter().zip(&table).filter(|(found, (_, expected))| *found != expected);
        let differing: Vec<String> = differing
            .map(|(found, (question, expected))| {
                format!("{question}\n  expected {expected}\n  dig says {found}")
            })
            .collect();
        assert!(differing.is_empty(), "{transport}\n{}", differing.join("\n"));
    }
}
