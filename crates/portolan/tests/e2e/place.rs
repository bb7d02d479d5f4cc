//! `portolan proxy` where kube-proxy would be, on a node whose agent runs no proxy.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use kernel::netns::{self, Netns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Lab, SetOnDrop, eventually, text};

/// node1, as clients outside know it.
const NODE1: Ipv4Addr = Ipv4Addr::new(10, 100, 0, 2);
/// node2, where the server of the second test is.
const NODE2: Ipv4Addr = Ipv4Addr::new(10, 100, 0, 3);
const ECHO_PORT: u16 = 9000;
const NODE_PORT: u16 = 30500;
/// How often the mode is changed.
const CHANGES: usize = 10;

fn namespace(lab: &Lab, machine: &str) -> Netns {
    netns::open(&format!("ptl-{}-{machine}", lab.name)).unwrap()
}

/// `portolan proxy` on node1, ended with the value.
struct Proxy {
    child: Child,
    log: std::path::PathBuf,
}

impl Proxy {
    fn start(lab: &Lab, arguments: &[&str]) -> Self {
        let log = lab.directory().join("proxy.log");
        let to_log = std::fs::File::create(&log).unwrap();
        let kubeconfig = lab.directory().join("nodes/node1/kubeconfig");
        let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
        command.args(["proxy", "--hostname-override=node1", "--cluster-cidr=10.244.0.0/16"]);
        command.arg(format!("--kubeconfig={}", kubeconfig.display())).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(to_log);
        let child = namespace(lab, "node1").run(|| command.spawn()).unwrap().unwrap();
        Self { child, log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until its log says something.
    fn wait_for(&self, words: &str) {
        eventually(words, || if self.log().contains(words) { Ok(()) } else { Err(self.log()) });
    }

    /// As a DaemonSet ends a pod.
    fn stop(mut self) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success(), "{}", self.log());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // After `stop` there is nothing left to be ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- proxy\n{}", self.log());
        }
    }
}

/// What is printed on node1.
fn on_node(lab: &Lab, command: &[&str]) -> String {
    text(&lab.exec("node1", command).stdout)
}

#[test]
fn it_serves_and_tells_and_mends_and_goes() {
    let lab = Lab::up(&["--nodes", "2", "--proxy-mode", "node1=none"]);
    lab.apply_example("httpd.yaml");
    lab.apply_example("httpd-svc.yaml");
    lab.wait_available("httpd");
    lab.apply(LOCAL);
    let portolan = env!("CARGO_BIN_EXE_portolan");
    let proxy = Proxy::start(&lab, &["--proxy-mode=nftables", "--logtostderr", "-v=2"]);
    proxy.wait_for("--logtostderr is ignored");
    eventually("the Service answers", || lab.curl("node1", "http://10.96.203.6:8080/"));
    let page = |path: &str| lab.curl("node1", &format!("http://127.0.0.1:{path}"));
    assert_eq!(page("10249/proxyMode").unwrap(), "nftables");
    for path in ["10256/healthz", "10256/livez"] {
        let health: serde_json::Value = serde_json::from_str(&page(path).unwrap()).unwrap();
        assert!(health["lastUpdated"].as_str().unwrap().ends_with(" +0000 UTC"), "{path}: {health}");
    }
    let port = lab
        .kubectl(&["get", "service", "local", "-o", "jsonpath={.spec.healthCheckNodePort}"])
        .trim()
        .to_owned();
    let asked = format!("http://{NODE1}:{port}/");
    eventually("the load balancer's question", || match lab.curl("outside", &asked) {
        Ok(answer) if answer.contains(r#""serviceProxyHealthy":true"#) => Ok(()),
        other => Err(format!("{other:?}")),
    });

    // The node is about to be removed by the autoscaler.
    lab.kubectl(&["taint", "nodes", "node1", "ToBeDeletedByClusterAutoscaler=1:PreferNoSchedule"]);
    let status = |path: &str| {
        let url = format!("http://127.0.0.1:{path}");
        on_node(&lab, &["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", &url])
    };
    eventually("no more connections for this node", || match status("10256/healthz").as_str() {
        "503" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert_eq!(status("10256/livez"), "200");

    lab.exec("node1", &["nft", "flush", "table", "ip", "portolan-services"]);
    lab.exec("node1", &["nft", "delete", "table", "ip", "portolan-services"]);
    eventually("the table is back", || lab.curl("node1", "http://10.96.203.6:8080/"));
    proxy.wait_for("somebody else changed our rules");
    eventually("repairs are counted", || match page("10249/metrics") {
        Ok(text)
            if !text.contains("portolan_proxy_repairs_total 0\n")
                && text.contains(r#"rest_client_requests_total{code="200",host="10.100.0.254:"#) =>
        {
            Ok(())
        }
        other => Err(format!("{other:?}")),
    });

    proxy.stop();
    lab.curl("node1", "http://10.96.203.6:8080/").expect("rules stay when the proxy ends");
    let removed = on_node(&lab, &[portolan, "cleanup", "-o", "json"]);
    assert!(removed.contains("table ip portolan-services"), "{removed}");
    assert_eq!(on_node(&lab, &[portolan, "cleanup", "-o", "json"]).trim(), "[]");
    lab.curl("node1", "http://10.96.203.6:8080/").expect_err("nothing is left");
}

const LOCAL: &str = "
apiVersion: v1
kind: Service
metadata: {name: local}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {run: httpd}, ports: [{port: 80}]}
";

/// Whatever of it somebody takes away, in whatever mode.
#[test]
fn rules_are_back_in_every_mode() {
    let lab = Lab::up(&["--nodes", "2", "--proxy-mode", "node1=none"]);
    lab.apply_example("httpd.yaml");
    lab.apply_example("httpd-svc.yaml");
    lab.wait_available("httpd");
    let element = "delete element ip portolan-services services { 10.96.203.6 . tcp . 8080 }";
    let of_table = |table: &str| format!("nft -s list table ip {table} | sort");
    let of_nftables = of_table("portolan-services");
    let of_userspace = of_table("portolan-userspace | grep -v elements");
    let of_iptables = "iptables-save | grep -e '^-A.*KUBE' -e '^:KUBE' | sed 's/ \\[.*//' | sort";
    let harm: [(&str, &str, &[&[&str]]); 3] = [
        (
            "nftables",
            &of_nftables,
            &[&["nft", element], &["nft", "delete", "table", "ip", "portolan-services"]],
        ),
        (
            "iptables",
            of_iptables,
            &[&["iptables", "-t", "nat", "-D", "KUBE-SERVICES", "1"], &["iptables", "-t", "nat", "-F"]],
        ),
        ("userspace", &of_userspace, &[&["nft", "flush", "table", "ip", "portolan-userspace"]]),
    ];
    for (mode, look, commands) in harm {
        let rules = || on_node(&lab, &["sh", "-c", look]);
        let proxy = Proxy::start(&lab, &[&format!("--proxy-mode={mode}"), "--nodeport-addresses=0.0.0.0/0"]);
        proxy.wait_for("services are served");
        eventually("the Service answers", || lab.curl("node1", "http://10.96.203.6:8080/"));
        for (count, command) in (1..).zip(commands) {
            let before = rules();
            let output = lab.exec("node1", command);
            assert!(output.status.success(), "{mode}: {}", text(&output.stderr));
            let told = format!("portolan_proxy_repairs_total {count}\n");
            eventually("the repair is counted", || {
                match lab.curl("node1", "http://127.0.0.1:10249/metrics") {
                    Ok(text) if text.contains(&told) => Ok(()),
                    other => Err(format!("{mode}, {command:?}: {other:?}\n{}", proxy.log())),
                }
            });
            lab.curl("node1", "http://10.96.203.6:8080/").unwrap_or_else(|error| panic!("{mode}: {error}"));
            assert!(before.lines().count() > 10, "{mode}: {before}");
            assert_eq!(rules(), before, "{mode}, {command:?}");
        }
        proxy.stop();
    }
}

#[test]
fn what_a_kube_proxy_left_goes_when_it_is_asked_for() {
    let lab = Lab::up(&["--nodes", "1", "--proxy-mode", "none"]);
    let left = "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SEP-CR63JSDONEUBE2YK - [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\n\
        -A PREROUTING -j KUBE-SERVICES\n-A KUBE-SERVICES -j KUBE-SEP-CR63JSDONEUBE2YK\nCOMMIT\n\
        *mangle\n:KUBE-PROXY-CANARY - [0:0]\nCOMMIT\n";
    lab.exec("node1", &["sh", "-c", &format!("printf '%s' '{left}' | iptables-restore --noflush")]);
    lab.exec("node1", &["nft", "add table ip6 kube-proxy"]);
    let portolan = env!("CARGO_BIN_EXE_portolan");
    assert_eq!(on_node(&lab, &[portolan, "cleanup", "-o", "json"]).trim(), "[]", "none of it is ours");
    let rules = || on_node(&lab, &["sh", "-c", "iptables-save; nft list tables"]);
    assert!(rules().contains("KUBE-SEP-CR63JSDONEUBE2YK") && rules().contains("table ip6 kube-proxy"));
    let removed = on_node(&lab, &[portolan, "cleanup", "--kube-proxy", "-o", "json"]);
    assert!(removed.contains("table ip6 kube-proxy") && removed.contains("chains of table nat"), "{removed}");
    let rest = rules();
    assert!(rest.contains("KUBE-KUBELET-CANARY"), "kubelet's stays: {rest}");
    for gone in ["KUBE-SERVICES", "KUBE-SEP", "KUBE-PROXY", "ip6 kube-proxy"] {
        assert!(!rest.contains(gone), "{gone}: {rest}");
    }
}

#[test]
fn a_change_of_mode_costs_no_connection() {
    let lab = Lab::up(&["--nodes", "2", "--proxy-mode", "node1=none"]);
    let applied = lab.apply(ECHO);
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    let done = AtomicBool::new(false);
    let (asked, echoed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let listener = namespace(&lab, "node2").run(|| TcpListener::bind((NODE2, ECHO_PORT))).unwrap().unwrap();
    std::thread::spawn(move || serve_echoes(&listener));

    let mut proxy = Proxy::start(&lab, &["--proxy-mode=nftables"]);
    let outside = namespace(&lab, "outside");
    eventually("the node port answers", || {
        outside.run(connect).unwrap().map_err(|error| error.to_string()).map(drop)
    });
    std::thread::scope(|scope| {
        let _end = SetOnDrop(&done);
        let standing = scope.spawn(|| {
            let mut connection = outside.run(connect).unwrap().unwrap();
            while !done.load(Ordering::Relaxed) {
                echo(&mut connection).expect("a connection that stands goes on");
                echoed.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let new = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let mut connection = outside.run(connect).unwrap().expect("a new connection is served");
                echo(&mut connection).expect("and answered");
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        for change in 0..CHANGES {
            let mode = ["iptables", "nftables"][change % 2];
            proxy.stop();
            proxy = Proxy::start(&lab, &[&format!("--proxy-mode={mode}")]);
            proxy.wait_for("removed what a former mode left");
            let before = asked.load(Ordering::Relaxed);
            eventually("clients go on", || {
                let now = asked.load(Ordering::Relaxed);
                if now > before + 5 || new.is_finished() { Ok(()) } else { Err(format!("{before} to {now}")) }
            });
        }
        done.store(true, Ordering::Relaxed);
        standing.join().unwrap();
        new.join().unwrap();
    });
    let counts = (asked.into_inner(), echoed.into_inner());
    assert!(counts.0 > 50 && counts.1 > 50, "too few to mean anything: {counts:?}");
    println!("{} new connections, {} echoes on one that stood, over {CHANGES} changes", counts.0, counts.1);
}

fn connect() -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((NODE1, NODE_PORT)), Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

fn echo(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"hello\n")?;
    let mut answer = [0; 6];
    stream.read_exact(&mut answer)?;
    if &answer == b"hello\n" { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn serve_echoes(listener: &TcpListener) {
    for stream in listener.incoming().map_while(Result::ok) {
        std::thread::spawn(move || {
            let mut writer = stream.try_clone().unwrap();
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if writer.write_all(format!("{line}\n").as_bytes()).is_err() {
                    return;
                }
            }
        });
    }
}

const ECHO: &str = "
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {type: NodePort, ports: [{port: 9000, nodePort: 30500}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: echo-by-hand, labels: {kubernetes.io/service-name: echo}}
addressType: IPv4
ports: [{port: 9000, protocol: TCP}]
endpoints: [{addresses: [10.100.0.3], conditions: {ready: true}, nodeName: node2}]
";
