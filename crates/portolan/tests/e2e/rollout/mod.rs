//! A rolling update under constant load: no request is lost when the application drains on TERM, in no mode.

use std::fmt::Write as _;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::harness::{Lab, alone, eventually, project, text};

/// What runs the application and the load: of this machine, for pods too, which see its programs.
const PYTHON: &str = "/usr/bin/python3";
const CLUSTER_ADDRESS: &str = "10.96.203.8";
const REPLICAS: usize = 10;

#[test]
fn a_rolling_update_loses_nothing_in_nftables_mode() {
    a_rolling_update_loses_nothing("nftables");
}

#[test]
fn a_rolling_update_loses_nothing_in_iptables_mode() {
    a_rolling_update_loses_nothing("iptables");
}

#[test]
fn a_rolling_update_loses_nothing_in_userspace_mode() {
    a_rolling_update_loses_nothing("userspace");
}

/// In a kernel that has ip_vs.
#[test]
fn a_rolling_update_loses_nothing_in_ipvs_mode() {
    let _alone = alone();
    uml::rerun(uml::Machine::LARGE, "rollout::under_ip_vs");
}

mod under_ip_vs {
    #[test]
    #[ignore = "runs inside User-Mode Linux"]
    fn a_rolling_update_loses_nothing() {
        super::a_rolling_update_loses_nothing("ipvs");
    }
}

fn a_rolling_update_loses_nothing(mode: &str) {
    assert!(std::path::Path::new(PYTHON).exists(), "this test needs {PYTHON}");
    let lab = Lab::up(&["--proxy-mode", mode]);
    let applied = lab.apply(&manifest());
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    lab.wait_available("web");
    // By the virtual address from a node, and by a node port from outside.
    let places = [("node1", CLUSTER_ADDRESS, "8080"), ("outside", "10.100.0.3", "30080")];
    for (place, address, port) in places {
        eventually("it answers", || lab.curl(place, &format!("http://{address}:{port}/")));
    }
    let stop = lab.directory().join("stop-load");
    let load: Vec<Child> = places
        .iter()
        .map(|(place, address, port)| {
            let script = project().join("crates/portolan/tests/e2e/rollout/load.py");
            let words = [PYTHON, script.to_str().unwrap(), address, port, stop.to_str().unwrap()];
            lab.exec_command(place, &words).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let load = Load { children: load, stop };
    lab.kubectl(&["rollout", "restart", "deployment/web"]);
    lab.kubectl(&["rollout", "status", "deployment/web", "--timeout=300s"]);
    // The last of the old ones drain; the load goes on until they are gone.
    let pods = || lab.pods("run=web").len();
    eventually("the old pods are gone", || (pods() == REPLICAS).then_some(()).ok_or("not yet".to_owned()));
    let results = load.end();
    let mut complaints = String::new();
    for ((place, ..), result) in places.iter().zip(&results) {
        let failed = result["failed"].as_array().unwrap();
        if !failed.is_empty() {
            writeln!(complaints, "{place}: {} failed, of which the first: {}", failed.len(), failed[0])
                .unwrap();
        }
        for kind in ["kept", "new"] {
            let answered = result["answered"][kind].as_u64().unwrap();
            assert!(answered > 100, "{place}: too few requests to mean anything: {result}");
        }
        let servers = result["servers"].as_u64().unwrap();
        assert!(servers > REPLICAS as u64, "{place}: nothing was rolled: {result}");
    }
    eprintln!("{mode}: {}", results.iter().map(Value::to_string).collect::<Vec<_>>().join(" "));
    assert!(complaints.is_empty(), "{mode}: {complaints}");
}

/// Clients at work; they are stopped also when the test fails.
struct Load {
    children: Vec<Child>,
    stop: std::path::PathBuf,
}

impl Load {
    /// What came of the requests, by place.
    fn end(mut self) -> Vec<Value> {
        std::fs::write(&self.stop, "").unwrap();
        let results = self.children.drain(..).map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "the load ended with {}", output.status);
            serde_json::from_slice(&output.stdout).unwrap()
        });
        results.collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended, or its lab may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Ten web servers whose programs are this machine's.
fn manifest() -> String {
    let scripts = project().join("crates/portolan/tests/e2e/rollout");
    let scripts = scripts.display();
    let mut mounts = String::new();
    let mut volumes = String::new();
    for (name, path) in
        [("usr", "/usr"), ("lib", "/lib"), ("lib64", "/lib64"), ("scripts", scripts.to_string().as_str())]
    {
        let at = if name == "scripts" { "/scripts" } else { path };
        writeln!(mounts, "        - {{name: {name}, mountPath: {at}, readOnly: true}}").unwrap();
        writeln!(volumes, "      - {{name: {name}, hostPath: {{path: {path}}}}}").unwrap();
    }
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {REPLICAS}
  selector: {{matchLabels: {{run: web}}}}
  template:
    metadata: {{labels: {{run: web}}}}
    spec:
      terminationGracePeriodSeconds: 60
      containers:
      - name: web
        image: busybox
        command: [{PYTHON}, /scripts/web.py]
        readinessProbe: {{httpGet: {{port: 8080}}, periodSeconds: 1}}
        volumeMounts:
{mounts}
      volumes:
{volumes}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  type: NodePort
  clusterIP: {CLUSTER_ADDRESS}
  selector: {{run: web}}
  ports: [{{port: 8080, nodePort: 30080}}]
"
    )
}
