//! What a pod can ask for, in one lab: volumes, environment, probes, sidecars, limits, the node's network; and
//! DaemonSets.

use crate::harness::{Lab, eventually, text};

const CONFIG: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {greeting: hello}
---
apiVersion: v1
kind: Secret
metadata: {name: safe}
stringData: {password: hunter2}
"#;

const FILES: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: files, labels: {app: files}}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {runAsUser: 1000, runAsGroup: 2000, fsGroup: 3000}
  containers:
  - name: c
    image: busybox
    command: [sh, -c, 'id; echo "$CM_greeting $PASSWORD $LIMIT"; cat /all/labels /all/password; echo; echo x > /dir/x && echo x > /memory/x && echo written; while true; do cat /conf/greeting; echo; sleep 1; done']
    envFrom: [{configMapRef: {name: conf}, prefix: CM_}]
    env:
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: safe, key: password}}}
    - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    resources: {limits: {memory: 64Mi, cpu: 250m}}
    volumeMounts:
    - {name: conf, mountPath: /conf}
    - {name: all, mountPath: /all}
    - {name: dir, mountPath: /dir, subPath: deep/er}
    - {name: memory, mountPath: /memory}
  volumes:
  - {name: conf, configMap: {name: conf}}
  - {name: dir, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - name: all
    projected:
      sources:
      - secret: {name: safe}
      - downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
"#;

const LIVES: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: sick}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: busybox
    command: [sh, -c, 'touch /tmp/ok; sleep 3; rm /tmp/ok; sleep 3600']
    startupProbe: {exec: {command: [cat, /tmp/ok]}, periodSeconds: 1}
    livenessProbe: {exec: {command: [cat, /tmp/ok]}, periodSeconds: 1, failureThreshold: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: batch}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  initContainers:
  - {name: side, image: busybox, restartPolicy: Always, command: [sleep, "3600"]}
  containers:
  - {name: c, image: busybox, command: [sh, -c, 'echo done > /dev/termination-log; sleep 1']}
---
apiVersion: v1
kind: Pod
metadata: {name: waits}
spec:
  containers:
  - {name: c, image: busybox, command: [sleep, "3600"], envFrom: [{configMapRef: {name: later}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: on-node}
spec:
  hostNetwork: true
  containers: [{name: c, image: httpd, ports: [{containerPort: 80}]}]
"#;

fn jsonpath(lab: &Lab, what: &[&str], path: &str) -> String {
    let output = format!("jsonpath={{{path}}}");
    lab.kubectl(&[&["get"], what, &["-o", &output]].concat())
}

fn applied(lab: &Lab, manifest: &str) {
    let output = lab.apply(manifest);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

fn is(found: String, wanted: &str) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{found:?} instead of {wanted:?}")) }
}

#[test]
fn pods_get_what_they_ask_for() {
    let lab = Lab::up(&["--nodes", "2"]);
    applied(&lab, CONFIG);
    applied(&lab, FILES);
    applied(&lab, LIVES);

    let log = || lab.kubectl_command(&["logs", "files"]).output().map(|output| text(&output.stdout)).unwrap();
    eventually("the pod says what it sees", || match log() {
        log if log.contains("written\nhello\n") => Ok(()),
        log => Err(log),
    });
    let said = log();
    for line in ["uid=1000 gid=2000 groups=3000", "hello hunter2 64", "app=\"files\"hunter2"] {
        assert!(said.contains(line), "{line:?} is not in {said}");
    }
    lab.kubectl(&["patch", "configmap", "conf", "--type=merge", "-p", r#"{"data":{"greeting":"bye"}}"#]);
    eventually("the volume follows", || if log().contains("bye\n") { Ok(()) } else { Err(log()) });

    let count = ".status.containerStatuses[0].restartCount";
    eventually("a sick container is started anew", || {
        let restarts = jsonpath(&lab, &["pod", "sick"], count);
        if restarts.parse::<u32>().is_ok_and(|restarts| restarts > 0) { Ok(()) } else { Err(restarts) }
    });
    let events = lab.kubectl(&["get", "events", "--field-selector", "involvedObject.name=sick"]);
    assert!(events.contains("Container c failed liveness probe, will be restarted"), "{events}");

    let phase = || jsonpath(&lab, &["pod", "batch"], ".status.phase");
    eventually("a pod ends though its sidecar would not", || is(phase(), "Succeeded"));
    let message = ".status.containerStatuses[0].state.terminated.message";
    assert_eq!(jsonpath(&lab, &["pod", "batch"], message), "done\n");

    let waiting = ".status.containerStatuses[0].state.waiting";
    eventually("what is missing is told", || {
        let reason = format!("{waiting}.reason");
        is(jsonpath(&lab, &["pod", "waits"], &reason), "CreateContainerConfigError")?;
        let message = format!("{waiting}.message");
        is(jsonpath(&lab, &["pod", "waits"], &message), "configmap \"later\" not found")
    });
    lab.kubectl(&["create", "configmap", "later", "--from-literal=A=1"]);
    lab.kubectl(&["wait", "--for=condition=Ready", "pod/waits", "pod/on-node", "--timeout=90s"]);

    let address = jsonpath(&lab, &["pod", "on-node"], ".status.podIP");
    assert_eq!(address, jsonpath(&lab, &["pod", "on-node"], ".status.hostIP"));
    eventually("the node's own address answers", || lab.curl("control-plane", &format!("http://{address}/")));
}

#[test]
fn a_daemon_set_is_on_every_node_and_rolls() {
    let lab = Lab::up(&["--nodes", "2"]);
    let manifest = |image: &str| {
        format!(
            r#"{{"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {{"name": "web"}}, "spec": {{
                "selector": {{"matchLabels": {{"run": "web"}}}}, "template": {{
                    "metadata": {{"labels": {{"run": "web"}}}},
                    "spec": {{"terminationGracePeriodSeconds": 0,
                        "containers": [{{"name": "c", "image": "{image}"}}]}}}}}}}}"#
        )
    };
    let rolled = || lab.kubectl(&["rollout", "status", "daemonset/web", "--timeout=90s"]);
    let images = || jsonpath(&lab, &["pods", "-l", "run=web"], ".items[*].spec.containers[0].image");
    applied(&lab, &manifest("httpd"));
    rolled();
    let nodes: std::collections::BTreeSet<_> = lab.pods("run=web").into_iter().map(|pod| pod.node).collect();
    assert_eq!(nodes.into_iter().collect::<Vec<_>>(), ["node1", "node2"]);

    applied(&lab, &manifest("nginx"));
    rolled();
    eventually("only new pods are left", || is(images(), "nginx nginx"));
    let history = lab.kubectl(&["rollout", "history", "daemonset/web"]);
    assert!(history.lines().any(|line| line.starts_with("2 ")), "{history}");
    lab.kubectl(&["rollout", "undo", "daemonset/web"]);
    rolled();
    eventually("the old template is back", || is(images(), "httpd httpd"));
    lab.kubectl(&["delete", "daemonset", "web", "--wait=true"]);
    eventually("its pods go with it", || is(images(), ""));
}
