//! Nodes that are lost and come back, drained, and asked for their ports; Services that somebody feeds by hand.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Lab, PATIENCE, eventually, run, text};

/// Two pods that bear a lost node for a second, two that bear it for ever, and a daemon; one Service for all of them.
const WORK: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: frail}
spec:
  replicas: 2
  selector: {matchLabels: {run: frail}}
  template:
    metadata: {labels: {run: frail, app: web}}
    spec:
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      containers: [{name: c, image: httpd}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: patient}
spec:
  replicas: 2
  selector: {matchLabels: {run: patient}}
  template:
    metadata: {labels: {run: patient, app: web}}
    spec:
      tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists}]
      containers: [{name: c, image: httpd}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: daemon}
spec:
  selector: {matchLabels: {run: daemon}}
  template:
    metadata: {labels: {run: daemon}}
    spec: {containers: [{name: c, image: httpd}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"#;

/// Asks for a port of its node; a second one wants the same.
fn host_port(name: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{run: {name}}}}}
spec:
  terminationGracePeriodSeconds: 0
  nodeSelector: {{kubernetes.io/hostname: node1}}
  containers: [{{name: c, image: httpd, ports: [{{containerPort: 80, hostPort: 8080}}]}}]
"#
    )
}

const BY_HAND: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: by-hand}
spec: {ports: [{name: web, port: 80}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: by-hand, labels: {team: lab}}
subsets: [{addresses: [{ip: ADDRESS}], ports: [{name: web, port: PORT}]}]
"#;

fn apply(lab: &Lab, manifest: &str) {
    let applied = lab.apply(manifest);
    assert!(applied.status.success(), "{}", text(&applied.stderr));
}

fn wait(lab: &Lab, object: &str, condition: &str) {
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    lab.kubectl(&["wait", object, &format!("--for={condition}"), &timeout]);
}

/// The ready addresses of a Service, and those that are not.
fn endpoints(lab: &Lab, service: &str) -> (Vec<String>, Vec<String>) {
    let of = |list: &str| {
        let path = format!("jsonpath={{.subsets[*].{list}[*].ip}}");
        let printed = lab.kubectl(&["get", "endpoints", service, "-o", &path]);
        printed.split_whitespace().map(str::to_owned).collect()
    };
    (of("addresses"), of("notReadyAddresses"))
}

/// What there is to see of a pod that must not change: its uid, its restarts, when its container started.
fn identity(lab: &Lab, pod: &str) -> String {
    let path = "jsonpath={.metadata.uid} {.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].state.running.startedAt}";
    lab.kubectl(&["get", "pod", pod, "-o", path])
}

/// The name of the pod of a label on a node.
fn on_node(lab: &Lab, selector: &str, node: &str) -> Option<String> {
    lab.pods(selector).into_iter().find(|pod| pod.node == node).map(|pod| pod.name)
}

#[test]
fn a_lost_node_gives_up_its_pods_and_one_that_comes_back_goes_on() {
    let lab = Lab::up(&["--nodes", "2", "--node-monitor-grace-period", "4"]);
    apply(&lab, WORK);
    for deployment in ["frail", "patient"] {
        lab.wait_available(deployment);
    }
    lab.kubectl(&["rollout", "status", "daemonset/daemon", "--timeout=60s"]);
    let stays = ["run=patient", "run=daemon"].map(|label| on_node(&lab, label, "node2").unwrap());
    let before = stays.clone().map(|pod| identity(&lab, &pod));
    let frail = on_node(&lab, "run=frail", "node2").expect("replicas are spread");

    let agent = lab.process("node2");
    kill(Pid::from_raw(agent), Signal::SIGKILL).unwrap();
    wait(&lab, "node/node2", "condition=Ready=Unknown");
    assert!(lab.kubectl(&["get", "node", "node2", "--no-headers"]).contains("NotReady"));
    eventually("its pods leave their Service", || {
        let (ready, _) = endpoints(&lab, "web");
        let elsewhere = ready.iter().all(|address| address.starts_with("10.244.1."));
        if elsewhere && !ready.is_empty() { Ok(()) } else { Err(format!("{ready:?}")) }
    });
    eventually("the frail one is evicted and replaced", || {
        let pods = lab.kubectl(&["get", "pods", "-l", "run=frail", "--no-headers", "-o", "wide"]);
        let line = pods.lines().find(|line| line.starts_with(&frail)).unwrap_or_default();
        let replaced =
            pods.lines().filter(|line| line.contains("node1") && line.contains("1/1")).count() == 2;
        if line.contains("Terminating") && replaced { Ok(()) } else { Err(pods) }
    });
    for pod in &stays {
        assert!(lab.kubectl(&["get", "pod", pod, "--no-headers"]).contains("Running"), "{pod} tolerates it");
    }
    let node = lab.kubectl(&["describe", "node", "node2"]);
    for line in [
        "node.kubernetes.io/unreachable:NoExecute",
        "node.kubernetes.io/unreachable:NoSchedule",
        "Kubelet stopped posting node status.",
        "HolderIdentity:  node2",
        "Node node2 event: Registered Node node2 in Controller",
        "Node node2 status is now: NodeNotReady",
    ] {
        assert!(node.contains(line), "no {line:?} in\n{node}");
    }
    let events = lab.kubectl(&["get", "events", "--field-selector", &format!("involvedObject.name={frail}")]);
    assert!(events.contains("TaintManagerEviction"), "{events}");

    run(&mut lab.portolan(&["lab", "up"]));
    wait(&lab, "node/node2", "condition=Ready");
    eventually("the evicted pod goes", || match on_node(&lab, "run=frail", "node2") {
        Some(pod) if pod == frail => Err(pod),
        _ => Ok(()),
    });
    eventually("who stayed is in traffic again", || {
        let (ready, unready) = endpoints(&lab, "web");
        if ready.len() == 4 && unready.is_empty() { Ok(()) } else { Err(format!("{ready:?} {unready:?}")) }
    });
    assert_eq!(stays.map(|pod| identity(&lab, &pod)), before, "nothing was restarted");
    eventually("no taint is left", || {
        let taints = lab.kubectl(&["get", "node", "node2", "-o", "jsonpath={.spec.taints}"]);
        if taints.is_empty() { Ok(()) } else { Err(taints) }
    });

    drain(&lab);
}

/// A drained node has nobody but daemons, and gets nobody new until it is uncordoned.
fn drain(lab: &Lab) {
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    let drained = lab.kubectl(&[
        "drain",
        "node2",
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--grace-period=1",
        &timeout,
    ]);
    assert!(drained.contains("evicting pod default/patient-"), "{drained}");
    assert!(drained.ends_with("node/node2 drained\n"), "{drained}");
    let left = lab.kubectl(&["get", "pods", "--no-headers", "--field-selector", "spec.nodeName=node2"]);
    assert_eq!(left.lines().count(), 1, "the daemon alone stays: {left}");
    lab.kubectl(&["taint", "node", "node1", "gpu=yes:NoSchedule"]);
    lab.kubectl(&["run", "waiting", "--image=httpd", "--restart=Never"]);
    eventually("it says why it waits", || {
        let said = lab.kubectl(&["describe", "pod", "waiting"]);
        let why = "0/2 nodes are available: 1 node(s) had untolerated taint {gpu: yes}, 1 node(s) were unschedulable. \
                   preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
        if said.contains(why) { Ok(()) } else { Err(said) }
    });
    lab.kubectl(&["uncordon", "node2"]);
    wait(lab, "pod/waiting", "condition=Ready");
    assert_eq!(on_node(lab, "run=waiting", "node2").as_deref(), Some("waiting"));
}

#[test]
fn ports_of_nodes_and_endpoints_by_hand() {
    let lab = Lab::up(&["--nodes", "2"]);
    apply(&lab, &host_port("first"));
    wait(&lab, "pod/first", "condition=Ready");
    apply(&lab, &host_port("second"));
    let answers = |place: &str, url: &str, who: &str| {
        eventually(&format!("{who} answers to {place} at {url}"), || {
            let said = lab.curl(place, url)?;
            if said.contains(who) { Ok(()) } else { Err(said) }
        });
    };
    for place in ["outside", "node1", "node2", "pod/first"] {
        answers(place, "http://10.100.0.2:8080/", "first");
    }
    answers("node1", "http://127.0.0.1:8080/", "first");
    let node2 = lab.curl("outside", "http://10.100.0.3:8080/");
    assert!(node2.is_err(), "the port is node1's alone: {node2:?}");
    eventually("the second waits for the port", || {
        let said = lab.kubectl(&["describe", "pod", "second"]);
        let why = "1 node(s) didn't have free ports for the requested pod ports";
        if said.contains(why) { Ok(()) } else { Err(said) }
    });

    by_hand(&lab);

    // Somebody flushes the rules: the port, the Service and the masquerade are back without an agent's restart.
    assert!(lab.exec("node1", &["nft", "flush", "ruleset"]).status.success());
    answers("outside", "http://10.100.0.2:8080/", "first");
    let tables = eventually("all tables are back", || {
        let tables = text(&lab.exec("node1", &["nft", "list", "tables"]).stdout);
        if tables.contains("portolan-podnet") { Ok(tables) } else { Err(tables) }
    });
    assert!(tables.contains("portolan-host-ports"), "{tables}");

    lab.kubectl(&["delete", "pod", "first"]);
    wait(&lab, "pod/second", "condition=Ready");
    answers("outside", "http://10.100.0.2:8080/", "second");
}

/// A Service without a selector leads where its Endpoints say: to a port of a node here.
fn by_hand(lab: &Lab) {
    let manifest = |address: &str, port: &str| BY_HAND.replace("ADDRESS", address).replace("PORT", port);
    apply(lab, &manifest("10.100.0.2", "8080"));
    let address = lab.kubectl(&["get", "service", "by-hand", "-o", "jsonpath={.spec.clusterIP}"]);
    let url = format!("http://{address}/");
    eventually("the Service answers", || lab.curl("node2", &url));
    let slices = |path: &str| {
        let label = "kubernetes.io/service-name=by-hand";
        lab.kubectl(&["get", "endpointslices", "-l", label, "-o", &format!("jsonpath={{.items[*].{path}}}")])
    };
    assert_eq!(slices("metadata.labels.team"), "lab");
    assert_eq!(
        slices(r"metadata.labels.endpointslice\.kubernetes\.io/managed-by"),
        "endpointslicemirroring-controller.k8s.io"
    );
    // Another address in the same slice; then nobody.
    let name = slices("metadata.name");
    apply(lab, &manifest("10.100.0.3", "8080"));
    eventually("the slice follows", || {
        let found = slices("endpoints[*].addresses[*]");
        if found == "10.100.0.3" { Ok(()) } else { Err(found) }
    });
    assert_eq!(slices("metadata.name"), name);
    lab.kubectl(&["delete", "endpoints", "by-hand"]);
    eventually("the slice goes with what it mirrors", || {
        let left = slices("metadata.name");
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}
