//! The table as a page for people, docs/behaviour.md, and its features beside the modes, in the README.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::asking::Asker;
use crate::cases::{Case, Section, Seen, Settings, Then, sections};
use crate::modes::{Mode, exception};

/// Around what is generated in the README.
const BEGIN: &str = "<!-- modes: written by the behaviour table -->\n";
/// The first row of the matrix, which is no section's.
const KEEPS_CLIENTS: &str = "endpoints see clients' own addresses where the table says so";
const END: &str = "<!-- end of modes -->\n";

#[test]
fn pages_are_those_of_the_table() {
    let sections = sections();
    let cases: usize = sections.iter().map(|section| section.cases.len()).sum();
    assert!(cases >= 120, "only {cases} cases");
    let readme = std::fs::read_to_string(project().join("README.md")).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("a place for the matrix in the README");
    let (_, after) = rest.split_once(END).expect("an end of that place");
    compare("README.md", &format!("{before}{BEGIN}{}{END}{after}", matrix(&sections)));
    compare("docs/behaviour.md", &page(&sections));
}

fn compare(name: &str, wanted: &str) {
    let path = project().join(name);
    if std::env::var_os("PORTOLAN_WRITE_PAGE").is_some() {
        std::fs::write(&path, wanted).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).is_ok_and(|written| written == wanted),
        "{name} is not what the table says; `PORTOLAN_WRITE_PAGE=1 cargo test -p portolan --test dataplane page` \
         writes it"
    );
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Features by modes.
fn matrix(sections: &[Section]) -> String {
    let mut text = String::from("| |");
    Mode::ALL.iter().for_each(|mode| _ = write!(text, " {mode} |"));
    text += "\n| --- |";
    Mode::ALL.iter().for_each(|_| text += " --- |");
    text += "\n";
    let mut reasons: Vec<&str> = Vec::new();
    let mut cell = |why: &BTreeSet<&'static str>, does_anything: bool| {
        let mut cell = String::from(if does_anything { "✓" } else { "" });
        for why in why {
            let known = reasons.iter().position(|reason| reason == why);
            let number = known.unwrap_or_else(|| {
                reasons.push(why);
                reasons.len() - 1
            });
            _ = write!(cell, " {}", number + 1);
        }
        cell
    };
    _ = write!(text, "| {KEEPS_CLIENTS} |");
    for mode in Mode::ALL {
        let why = mode.hides_clients().into_iter().collect();
        _ = write!(text, " {} |", cell(&why, mode.hides_clients().is_none()));
    }
    for section in sections {
        _ = write!(text, "\n| {} |", section.feature);
        for mode in Mode::ALL {
            let exceptions = section.cases.iter().filter_map(|case| exception(mode, section.settings, case));
            let why: Vec<&str> = exceptions.map(|exception| exception.why).collect();
            let does_anything = why.len() < section.cases.len();
            _ = write!(text, " {} |", cell(&why.into_iter().collect(), does_anything));
        }
    }
    text += "\n";
    if !reasons.is_empty() {
        text += "\n";
        for (number, reason) in (1..).zip(reasons) {
            _ = writeln!(text, "{number}. {reason}");
        }
    }
    text
}

fn page(sections: &[Section]) -> String {
    let cases: usize = sections.iter().map(|section| section.cases.len()).sum();
    let modes: Vec<String> = Mode::ALL.iter().map(ToString::to_string).collect();
    let mut page = format!(
        "# What the service proxy does\n\n\
         {cases} cases: who asks from where for which address and port, and what comes of it. `make test` asks every \
         one of them in every mode ({}), twice: by the packet tracer, for each of seven ways that lead to the objects \
         (in reverse order, in small steps, with nothing in between, from another state, …), and with real packets in \
         network namespaces. Expectations are what Kubernetes documents and kube-proxy does; they are data in \
         `crates/portolan/tests/dataplane/cases`, and this page is made from them by `PORTOLAN_WRITE_PAGE=1 cargo test \
         -p portolan --test dataplane page`.\n\n\
         ```\n\
         \x20 outside 192.0.2.2, .3 ── router ──┬── node1 10.100.0.2, .22 ── cbr0 ── pods 10.244.1.2, .3, .4\n\
         \x20                                   └── node2 10.100.0.3 ── pods 10.244.2.2, .3\n\
         ```\n\n\
         Everybody is asked from node1's point of view, where the proxy under test is. Pods .2 and .3 of node1 and .2 \
         of node2 serve at ports 80 and 81. IPv6 addresses end as their IPv4 addresses do. The router leads virtual \
         addresses, 198.51.100.0 to .191, 203.0.113.0 to .191, 2001:db8:1::/64 and 2001:db8:3::/64 to node1, and \
         answers itself for the world beyond. \"Its own\" means \
         that the endpoint sees the client's address, but for a pod that meets itself; \"the node's\" that it sees the \
         address of node1's link that leads to the endpoint. Endpoints without conditions \
         here are ready, serving and not terminating.\n",
        modes.join(", ")
    );
    for mode in Mode::ALL {
        if let Some(why) = mode.hides_clients() {
            _ = write!(page, "\nMode {mode}: {why}\n");
        }
    }
    for section in sections {
        _ = write!(page, "\n## {}\n\n{}\n", section.feature, section.about);
        if section.settings != Settings::Usual {
            _ = write!(page, "\nThe proxy's flags: `{}`.\n", section.settings.flags());
        }
        let objects: Vec<String> = section.objects.iter().filter_map(in_short).collect();
        if !objects.is_empty() {
            _ = write!(page, "\n```\n{}\n```\n", objects.join("\n"));
        }
        if !section.reported.is_empty() {
            _ = write!(page, "\nReported and skipped: `{}`.\n", section.reported.join("`, `"));
        }
        page += "\n| who | asks | who answers | client's address |\n| --- | --- | --- | --- |\n";
        for Case(from, protocol, to, then) in &section.cases {
            let (answer, seen) = outcome(then);
            _ = writeln!(page, "| {} | {protocol} {to} | {answer} | {seen} |", who(*from));
        }
        for mode in Mode::ALL {
            let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for case in &section.cases {
                if let Some(exception) = exception(mode, section.settings, case) {
                    let Case(from, protocol, to, _) = case;
                    let question = format!("{} asking {protocol} {to}", who(*from));
                    by_reason.entry(exception.why).or_default().push(question);
                }
            }
            for (why, questions) in by_reason {
                _ = write!(page, "\nNot in mode {mode}: {}. {why}\n", questions.join("; "));
            }
        }
    }
    page
}

fn who(asker: Asker) -> &'static str {
    match asker {
        Asker::Pod => "pod 10.244.1.4",
        Asker::Endpoint => "pod 10.244.1.2",
        Asker::OtherEndpoint => "pod 10.244.1.3",
        Asker::Node => "node1",
        Asker::Loopback => "node1, by loopback",
        Asker::RemotePod => "pod 10.244.2.3",
        Asker::Outside => "outside, 192.0.2.2",
        Asker::Elsewhere => "outside, 192.0.2.3",
    }
}

fn outcome(then: &Then) -> (String, &'static str) {
    let seen = |seen: &Seen| match seen {
        Seen::Client => "its own",
        Seen::Node => "the node's",
    };
    match then {
        Then::Each(by, as_seen) => (by.join(", "), seen(as_seen)),
        Then::One(by, as_seen) => (format!("always the same of {}", by.join(", ")), seen(as_seen)),
        Then::Straight(by, as_seen) => (format!("{by}, past the proxy"), seen(as_seen)),
        Then::Refused => ("refused".to_owned(), ""),
        Then::Dropped => ("silence".to_owned(), ""),
        Then::Leaves => ("the router, past the proxy".to_owned(), ""),
    }
}

/// One line of an object; `None` for the node, which is the same everywhere.
fn in_short(object: &Value) -> Option<String> {
    let name = |value: &Value| {
        let name = value.as_str().unwrap_or("(no name)");
        // Some are too long for any page.
        if name.len() > 100 {
            format!("{}… ({} characters)", &name[..10], name.len())
        } else {
            name.to_owned()
        }
    };
    match object["kind"].as_str()? {
        "Service" => {
            let mut spec = object["spec"].clone();
            let fields = spec.as_object_mut()?;
            fields.remove("clusterIP");
            for port in fields.get_mut("ports").and_then(Value::as_array_mut)? {
                port["name"] = name(&port["name"]).into();
            }
            let labels = &object["metadata"]["labels"];
            let labels = if labels.is_null() { String::new() } else { format!(" labels {labels}") };
            let ingress = &object["status"]["loadBalancer"]["ingress"];
            let ingress = if ingress.is_null() { String::new() } else { format!(" ingress {ingress}") };
            Some(format!("Service {}{labels}: {spec}{ingress}", name(&object["metadata"]["name"])))
        }
        "EndpointSlice" => {
            let mut ports = object["ports"].clone();
            for port in ports.as_array_mut()? {
                port["name"] = name(&port["name"]).into();
            }
            let head = format!(
                "EndpointSlice of {} {} ports {ports}",
                name(&object["metadata"]["labels"]["kubernetes.io/service-name"]),
                name(&object["addressType"])
            );
            let endpoints = object["endpoints"].as_array()?.iter().map(|endpoint| {
                let mut endpoint = endpoint.clone();
                // What most of them say.
                if endpoint["conditions"] == json!({"ready": true, "serving": true, "terminating": false}) {
                    endpoint.as_object_mut().map(|fields| fields.remove("conditions"));
                }
                format!("    {endpoint}")
            });
            Some(std::iter::once(head).chain(endpoints).collect::<Vec<_>>().join("\n"))
        }
        _ => None,
    }
}
