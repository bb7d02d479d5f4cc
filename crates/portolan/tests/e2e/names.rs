//! Names, as pods and their programs ask for them: `nslookup`, `wget`, `dig`, the environment.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::harness::{Lab, PATIENCE, eventually, run, text};

const DNS: &str = "@10.96.0.10";

#[test]
fn services_are_found_by_name_and_in_the_environment() {
    let lab = Lab::up(&[]);
    lab.apply_example("httpd.yaml");
    lab.apply_example("httpd-svc.yaml");
    let applied = lab.apply(MANIFEST);
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    lab.wait_available("httpd");

    what_kubectl_shows(&lab);
    what_dig_says_everywhere(&lab);
    what_a_container_sees(&lab);
    names_outside(&lab);
    names_survive_an_agent(&lab);
}

/// A headless Service with a named endpoint, and aliases.
const MANIFEST: &str = "
apiVersion: v1
kind: Service
metadata: {name: pods}
spec: {clusterIP: None, selector: {run: httpd}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: httpd-svc.default.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere}
spec: {type: ExternalName, externalName: www.example.com}
";

fn what_kubectl_shows(lab: &Lab) {
    let services = lab.kubectl(&["get", "services", "-n", "kube-system"]);
    let line =
        services.lines().find(|line| line.starts_with("kube-dns ")).unwrap_or_else(|| panic!("{services}"));
    let words: Vec<&str> = line.split_whitespace().take(5).collect();
    assert_eq!(words, ["kube-dns", "ClusterIP", "10.96.0.10", "<none>", "53/UDP,53/TCP"]);
    let servers = "10.100.0.2:53,10.100.0.3:53,10.100.0.4:53 + 3 more...";
    eventually("the Endpoints of old clients", || {
        let endpoints = lab.kubectl(&["get", "endpoints", "-n", "kube-system", "kube-dns", "--no-headers"]);
        if endpoints.contains(servers) { Ok(()) } else { Err(endpoints) }
    });
}

fn what_dig_says_everywhere(lab: &Lab) {
    let pod = lab.pods("run=httpd").remove(0);
    for place in ["node1", "node2", "node3", &format!("pod/{}", pod.name)] {
        for transport in ["+notcp", "+tcp"] {
            let name = "httpd-svc.default.svc.cluster.local";
            eventually("a Service has a name", || dig(lab, place, &[transport, name], "10.96.203.6\n"));
        }
        let name = format!("{}.pods.default.svc.cluster.local", pod.address.replace('.', "-"));
        eventually("an endpoint has a name", || dig(lab, place, &[&name], &format!("{}\n", pod.address)));
        let alias = "httpd-svc.default.svc.cluster.local.\n10.96.203.6\n";
        eventually("an alias is followed", || dig(lab, place, &["alias.default.svc.cluster.local"], alias));
    }
    let service = "0 100 8080 httpd-svc.default.svc.cluster.local.\n";
    lab.kubectl(&["patch", "service", "httpd-svc", "--type=json", "-p", NAMED_PORT]);
    eventually("a port has a name at once", || {
        dig(lab, "node1", &["_web._tcp.httpd-svc.default.svc.cluster.local", "SRV"], service)
    });
    let name = "httpd-svc.default.svc.cluster.local.\n";
    eventually("an address has a name", || dig(lab, "node1", &["-x", "10.96.203.6"], name));
    let status = run(&mut lab.exec_command("node1", &["dig", DNS, "nothing.default.svc.cluster.local"]));
    assert!(status.contains("status: NXDOMAIN") && status.contains("SOA"), "{status}");
}

const NAMED_PORT: &str = r#"[{"op": "add", "path": "/spec/ports/0/name", "value": "web"}]"#;

/// `dig +short`, which must say exactly that.
fn dig(lab: &Lab, place: &str, arguments: &[&str], expected: &str) -> Result<(), String> {
    let command = [&["dig", "+short", "+time=2", "+tries=1", DNS], arguments].concat();
    let said = text(&lab.exec(place, &command).stdout);
    if said == expected { Ok(()) } else { Err(format!("{place} {arguments:?}: {said}")) }
}

/// The article's commands, in a container with the resolv.conf that pods get.
fn what_a_container_sees(lab: &Lab) {
    // busybox asks every suffix of the search list, and its exit code tells of those that do not exist.
    let script = "nslookup httpd-svc; wget -qO- httpd-svc.default:8080 && env";
    for (name, links, expected) in [("asks", "true", true), ("alone", "false", false)] {
        let links = format!(r#"{{"spec": {{"enableServiceLinks": {links}}}}}"#);
        let overrides = format!("--overrides={links}");
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
        lab.kubectl(&["wait", "--for=jsonpath={.status.phase}=Succeeded", &format!("pod/{name}"), &timeout]);
        let log = lab.kubectl(&["logs", name]);
        for part in ["10.96.0.10:53", "httpd-svc.default.svc.cluster.local", "10.96.203.6", "It works!"] {
            assert!(log.contains(part), "{part}: {log}");
        }
        assert!(log.contains("KUBERNETES_SERVICE_HOST=10.96.0.1\n"), "{log}");
        for variable in
            ["HTTPD_SVC_SERVICE_HOST=10.96.203.6\n", "HTTPD_SVC_PORT_8080_TCP=tcp://10.96.203.6:8080\n"]
        {
            assert_eq!(log.contains(variable), expected, "{variable}: {log}");
        }
    }
}

/// The machine outside answers for the rest of the world, here with a name server that knows one name.
fn names_outside(lab: &Lab) {
    let server = Server::start(lab);
    eventually("a name outside is asked for outside", || {
        dig(lab, "node1", &["www.example.com"], "192.0.2.80\n")
    });
    let elsewhere = "www.example.com.\n192.0.2.80\n";
    eventually("so is what an alias leads to", || {
        dig(lab, "node2", &["elsewhere.default.svc.cluster.local"], elsewhere)
    });
    drop(server);
    dig(lab, "node1", &["WWW.example.com"], "192.0.2.80\n").expect_err("the TTL was 0: nothing is kept");
}

/// A name server on the machine outside: every name has the address 192.0.2.80, and nobody may keep that.
struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(lab: &Lab) -> Self {
        let home = kernel::netns::open(&format!("ptl-{}-outside", lab.name)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            // The namespace is this thread's, and goes with it.
            home.enter().unwrap();
            let socket = UdpSocket::bind("192.0.2.2:53").unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let mut buffer = [0; 1500];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, client)) = socket.recv_from(&mut buffer) {
                    socket.send_to(&answer(&buffer[..length]), client).unwrap();
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

/// The question, and one record for it; options of the query are left out.
fn answer(query: &[u8]) -> Vec<u8> {
    let name = query[12..].iter().position(|byte| *byte == 0).unwrap();
    let mut reply = query[..12 + name + 5].to_vec();
    reply[2] |= 0x80;
    reply[7] = 1;
    reply[11] = 0;
    reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 80]);
    reply
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of it has failed the test already: it got no answer.
            let _ = thread.join();
        }
    }
}

/// An agent that is killed takes its node's name server along; the others answer, and names are back with it.
fn names_survive_an_agent(lab: &Lab) {
    let record = std::fs::read_to_string(lab.directory().join("nodes/node3/process.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let pid = i32::try_from(record["pid"].as_i64().unwrap()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    let name = "httpd-svc.default.svc.cluster.local";
    for _ in 0..10 {
        eventually("the other nodes answer", || dig(lab, "node1", &[name], "10.96.203.6\n"));
    }
    run(&mut lab.portolan(&["lab", "up"]));
    eventually("the node answers again", || dig(lab, "node3", &["@10.100.0.4", name], "10.96.203.6\n"));
}
