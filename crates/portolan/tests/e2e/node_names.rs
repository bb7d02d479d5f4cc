//! Names answered on the node that asks: without a connection, past the service proxy, and by other nodes when the
//! node's own server is gone.

use std::time::{Duration, Instant};

use crate::harness::{Lab, PATIENCE, eventually, run, text};

const NAME: &str = "kubernetes.default.svc.cluster.local";

#[test]
fn queries_stay_on_their_node_and_find_another_when_its_server_dies() {
    let lab = Lab::up(&["--proxy-mode", "node2=none"]);
    lab.apply_example("httpd.yaml");
    lab.wait_available("httpd");
    let pods = lab.pods("run=httpd");
    let places: Vec<String> = (1..=3)
        .map(|node| format!("node{node}"))
        .chain(pods.iter().map(|pod| format!("pod/{}", pod.name)))
        .collect();
    for node in 1..=3 {
        eventually("queries are kept on each node", || {
            has_table(&lab, &format!("node{node}"), "portolan-names-here")
        });
        run(&mut lab.exec_command(&format!("node{node}"), &["conntrack", "-F"]));
    }
    for place in &places {
        for transport in ["+notcp", "+tcp"] {
            ask(&lab, place, transport).unwrap();
        }
    }
    for node in ["node1", "node2", "node3"] {
        let connections = text(&lab.exec(node, &["conntrack", "-L", "-d", "10.96.0.10"]).stdout);
        assert_eq!(connections, "", "no connection is tracked on {node}");
    }

    somebody_flushes(&lab);

    let dead = &pods[0].node;
    kill_agent(&lab, dead);
    // The kernel has removed the table with the process.
    has_table(&lab, dead, "portolan-names-here").unwrap_err();
    for _ in 0..10 {
        for place in [dead.clone(), format!("pod/{}", pods[0].name)] {
            for transport in ["+notcp", "+tcp"] {
                let begin = Instant::now();
                ask(&lab, &place, transport).unwrap();
                // dig gives up after a second; the rest is the time that a busy machine takes to start it.
                assert!(begin.elapsed() < PATIENCE);
            }
        }
    }
    run(&mut lab.portolan(&["lab", "up"]));
    eventually("the restarted server takes its queries back", || {
        has_table(&lab, dead, "portolan-names-here")
    });
    ask(&lab, dead, "+notcp").unwrap();
}

/// One attempt, which waits for a second.
fn ask(lab: &Lab, place: &str, transport: &str) -> Result<(), String> {
    let command = ["dig", "@10.96.0.10", "+short", "+time=1", "+tries=1", transport, NAME];
    let said = text(&lab.exec(place, &command).stdout);
    if said == "10.96.0.1\n" { Ok(()) } else { Err(format!("{place} {transport}: {said}")) }
}

fn has_table(lab: &Lab, node: &str, table: &str) -> Result<(), String> {
    let output = lab.exec(node, &["nft", "list", "table", "ip", table]);
    if output.status.success() { Ok(()) } else { Err(text(&output.stderr)) }
}

/// The table of the living process cannot be flushed; the other one comes back.
fn somebody_flushes(lab: &Lab) {
    run(&mut lab.exec_command("node1", &["nft", "flush", "ruleset"]));
    has_table(lab, "node1", "portolan-names-here").unwrap();
    ask(lab, "node1", "+notcp").unwrap();
    eventually("the way past a dead server is mended", || has_table(lab, "node1", "portolan-names"));
}

fn kill_agent(lab: &Lab, node: &str) {
    let record = lab.directory().join(format!("nodes/{node}/process.json"));
    let record: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(record).unwrap()).unwrap();
    let pid = nix::unistd::Pid::from_raw(record["pid"].as_i64().unwrap().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let end = Instant::now() + PATIENCE;
    while nix::sys::signal::kill(pid, None).is_ok() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Every dnsPolicy, by what a program in the pod is told.
#[test]
fn every_dns_policy_resolves_as_it_says() {
    let lab = Lab::up(&[]);
    let lookup = format!("nslookup {NAME} && cat /etc/resolv.conf");
    let own = r#""dnsConfig": {"nameservers": ["10.96.0.10"], "searches": ["own.test"], "options": [{"name": "ndots", "value": "1"}]}"#;
    for (name, spec, script, expected) in [
        (
            "first",
            r#""dnsPolicy": "ClusterFirst""#.to_owned(),
            lookup.as_str(),
            vec![
                "10.96.0.1\n",
                "search default.svc.cluster.local svc.cluster.local cluster.local",
                "ndots:5",
            ],
        ),
        (
            "host",
            r#""dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true"#.to_owned(),
            &lookup,
            vec!["10.96.0.1\n", "nameserver 10.96.0.10"],
        ),
        (
            "none",
            format!(r#""dnsPolicy": "None", {own}"#),
            &lookup,
            vec!["10.96.0.1\n", "search own.test", "ndots:1"],
        ),
        (
            "default",
            r#""dnsPolicy": "Default""#.to_owned(),
            "grep -c 10.96.0.10 /etc/resolv.conf; true",
            vec!["0\n"],
        ),
        ("more", format!(r#""dnsPolicy": "Default", {own}"#), &lookup, vec!["10.96.0.1\n", "own.test"]),
    ] {
        let overrides = format!(r#"--overrides={{"spec": {{{spec}}}}}"#);
        lab.kubectl(&[
            "run",
            name,
            "--image=busybox",
            "--restart=Never",
            &overrides,
            "--",
            "sh",
            "-c",
            script,
        ]);
        let timeout = format!("--timeout={}s", PATIENCE.as_secs());
        let pod = format!("pod/{name}");
        lab.kubectl(&["wait", "--for=jsonpath={.status.phase}=Succeeded", &pod, &timeout]);
        let log = lab.kubectl(&["logs", name]);
        for part in expected {
            assert!(log.contains(part), "{name}: {part}: {log}");
        }
    }
}
