//! `portolan dns` as a process of its own, set up by a Corefile that changes while it runs.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::{Lab, eventually, text};

/// As kubeadm writes it, with other ports, a stub zone, hosts and a rewritten suffix; the file is read every two seconds.
const COREFILE: &str = ".:5353 {
    errors
    health :18080 {
       lameduck 100ms
    }
    ready :18181
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    hosts {
       192.0.2.9 nine.example
       fallthrough
    }
    rewrite name suffix .inner.example .svc.cluster.local answer auto
    prometheus :19153
    forward . 192.0.2.2
    cache 30
    loop
    reload 2s
    loadbalance
}
stub.example:5353 {
    rewrite name suffix .stub.example .svc.cluster.local answer auto
    forward . 10.100.0.3
}
";

/// Ends with the test, in whatever way that ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        // One that has ended already needs no signal, and has no other state to be in.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

#[test]
fn a_corefile_sets_up_a_name_server_and_changes_it() {
    let lab = Lab::up(&[]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("Corefile");
    std::fs::write(&file, COREFILE).unwrap();
    let _process = start(&lab, &file);
    let web = "kubernetes.default.svc.cluster.local";
    for (name, expected) in [
        (web, "10.96.0.1\n"),
        ("kubernetes.default.inner.example", "10.96.0.1\n"),
        ("nine.example", "192.0.2.9\n"),
        ("kubernetes.default.stub.example", "10.96.0.1\n"),
    ] {
        eventually(name, || dig(&lab, &[name], expected));
    }
    eventually("addresses have names", || dig(&lab, &["-x", "10.96.0.1"], &format!("{web}.\n")));
    assert_eq!(page(&lab, "18181/ready"), "OK");
    assert!(page(&lab, "19153/metrics").contains("coredns_dns_responses_total{rcode=\"NOERROR\"}"));

    std::fs::write(&file, COREFILE.replace("loop", "loops")).unwrap();
    eventually("a broken file is counted", || {
        let metrics = page(&lab, "19153/metrics");
        if metrics.contains("coredns_reload_failed_total 1\n") { Ok(()) } else { Err(metrics) }
    });
    dig(&lab, &["nine.example"], "192.0.2.9\n").expect("and the old one goes on");
    std::fs::write(&file, COREFILE.replace("192.0.2.9", "192.0.2.10")).unwrap();
    eventually("a good one is taken up", || dig(&lab, &["nine.example"], "192.0.2.10\n"));

    let refused =
        Command::new(env!("CARGO_BIN_EXE_portolan")).args(["dns", "--corefile", "/dev/null"]).output();
    let refused = refused.unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("/dev/null:1: there is no server block"),
        "{}",
        text(&refused.stderr)
    );
}

fn start(lab: &Lab, file: &Path) -> Process {
    let kubeconfig = lab.directory().join("nodes/node1/kubeconfig");
    let (file, kubeconfig) = (file.to_str().unwrap(), kubeconfig.to_str().unwrap());
    let program = env!("CARGO_BIN_EXE_portolan");
    // Becomes the program, so that a signal reaches it.
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/ptl-{}-node1", lab.name));
    command.args([program, "dns", "--corefile", file, "--kubeconfig", kubeconfig]);
    Process(command.stdout(Stdio::null()).spawn().unwrap())
}

fn dig(lab: &Lab, arguments: &[&str], expected: &str) -> Result<(), String> {
    let command = ["dig", "@127.0.0.1", "-p", "5353", "+short", "+time=2", "+tries=1"];
    let said = text(&lab.exec("node1", &[&command[..], arguments].concat()).stdout);
    if said == expected { Ok(()) } else { Err(format!("{arguments:?}: {said}")) }
}

fn page(lab: &Lab, path: &str) -> String {
    text(&lab.exec("node1", &["curl", "-s", &format!("http://127.0.0.1:{path}")]).stdout)
}
