//! What a new user of a small cluster types, and what kubectl answers.

use crate::harness::{Lab, PATIENCE, eventually, text};

/// A pod for each way a pod can go.
const FATES: &str = "
{apiVersion: v1, kind: List, items: [
  {apiVersion: v1, kind: Pod, metadata: {name: completes}, spec: {restartPolicy: Never, containers: [
    {name: c, image: busybox, command: [sh, -c, 'echo first; echo second']}]}},
  {apiVersion: v1, kind: Pod, metadata: {name: fails}, spec: {restartPolicy: Never, containers: [
    {name: c, image: busybox, command: [sh, -c, exit 7]}]}},
  {apiVersion: v1, kind: Pod, metadata: {name: crashes}, spec: {containers: [
    {name: c, image: busybox, command: [sh, -c, 'echo crashed; exit 3']}]}},
  {apiVersion: v1, kind: Pod, metadata: {name: retries}, spec: {restartPolicy: OnFailure, containers: [
    {name: c, image: busybox, command: [sh, -c, exit 1]}]}},
  {apiVersion: v1, kind: Pod, metadata: {name: not-initialized}, spec: {containers: [{name: c, image: busybox}],
    initContainers: [{name: i, image: busybox, command: [sh, -c, exit 4]}]}},
  {apiVersion: v1, kind: Pod, metadata: {name: no-image}, spec: {containers: [
    {name: c, image: '127.0.0.1:1/nothing:1'}]}},
  {apiVersion: v1, kind: Pod, metadata: {name: never-pulled}, spec: {containers: [
    {name: c, image: 'nothing:1', imagePullPolicy: Never}]}},
  {apiVersion: v1, kind: Pod, metadata: {name: no-command}, spec: {containers: [
    {name: c, image: busybox, command: [/nothing]}]}},
  {apiVersion: v1, kind: Pod, metadata: {name: no-node}, spec: {nodeSelector: {zone: mars}, containers: [
    {name: c, image: busybox}]}},
  {apiVersion: v1, kind: Pod, metadata: {name: unready, labels: {app: unready}}, spec: {containers: [
    {name: c, image: httpd, readinessProbe: {httpGet: {path: /nothing, port: 80}, periodSeconds: 1}}]}}]}";

/// READY, STATUS and RESTARTS as `kubectl get pods` shows them.
fn shown(lab: &Lab, pod: &str) -> (String, String, u32) {
    let table = lab.kubectl(&["get", "pod", pod, "--no-headers"]);
    let words: Vec<&str> = table.split_whitespace().collect();
    (words[1].to_owned(), words[2].to_owned(), words[3].parse().unwrap())
}

fn wait_for(lab: &Lab, object: &str, condition: &str) {
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    lab.kubectl(&["wait", object, &format!("--for={condition}"), &timeout]);
}

fn waiting(lab: &Lab, pod: &str, reason: &str) {
    let condition = format!("jsonpath={{.status.containerStatuses[0].state.waiting.reason}}={reason}");
    wait_for(lab, &format!("pod/{pod}"), &condition);
}

/// What `kubectl` complains about; it must fail.
fn refused(lab: &Lab, arguments: &[&str]) -> String {
    let output = lab.kubectl_command(arguments).output().unwrap();
    assert!(!output.status.success(), "kubectl {arguments:?} succeeded");
    text(&output.stderr)
}

#[test]
fn the_fates_of_pods_read_as_on_any_cluster() {
    let lab = Lab::up(&[]);
    let applied = lab.apply(FATES);
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    waiting(&lab, "no-image", "ErrImagePull");
    for (pod, ready, status) in [
        ("completes", "0/1", "Completed"),
        ("fails", "0/1", "Error"),
        ("crashes", "0/1", "CrashLoopBackOff"),
        ("retries", "0/1", "CrashLoopBackOff"),
        ("not-initialized", "0/1", "Init:CrashLoopBackOff"),
        ("never-pulled", "0/1", "ErrImageNeverPull"),
        ("no-command", "0/1", "CrashLoopBackOff"),
        ("no-node", "0/1", "Pending"),
        ("unready", "0/1", "Running"),
    ] {
        eventually(pod, || {
            let (is_ready, is, restarts) = shown(&lab, pod);
            let loops = status.ends_with("CrashLoopBackOff") && restarts == 0;
            let same = is_ready == ready && is == status && !loops;
            if same { Ok(()) } else { Err(format!("{is_ready} {is} {restarts}")) }
        });
    }
    waiting(&lab, "no-image", "ImagePullBackOff");
    logs(&lab);
    descriptions(&lab);
    for pod in ["crashes", "unready"] {
        lab.kubectl(&["delete", "pod", pod, "--grace-period=0", "--force"]);
    }
    lab.kubectl(&["delete", "pods", "--all", "--now"]);
    assert_eq!(lab.kubectl(&["get", "pods", "-o", "name"]), "");
}

fn logs(lab: &Lab) {
    assert_eq!(lab.kubectl(&["logs", "completes"]), "first\nsecond\n");
    assert_eq!(lab.kubectl(&["logs", "completes", "--tail=1"]), "second\n");
    assert_eq!(lab.kubectl(&["logs", "-f", "completes", "-c", "c"]), "first\nsecond\n");
    let line = lab.kubectl(&["logs", "completes", "--timestamps", "--tail=1"]);
    let time = line.strip_suffix(" second\n").unwrap_or_default();
    assert!(time.contains('T') && time.ends_with('Z'), "{line}");
    assert_eq!(lab.kubectl(&["logs", "crashes", "--previous"]), "crashed\n");
    assert_eq!(lab.kubectl(&["logs", "-l", "app=unready", "--prefix", "--tail=0"]), "");
    for (pod, answer) in [
        ("no-image", "is waiting to start: trying and failing to pull image"),
        ("not-initialized", "is waiting to start: PodInitializing"),
        ("nothing", "pods \"nothing\" not found"),
    ] {
        let said = refused(lab, &["logs", pod]);
        assert!(said.contains(answer), "{said}");
    }
}

fn descriptions(lab: &Lab) {
    for (pod, lines) in [
        (
            "crashes",
            &["Reason:       CrashLoopBackOff", "Exit Code:    3", "Back-off restarting failed container c"]
                [..],
        ),
        (
            "no-image",
            &[
                "Successfully assigned default/no-image to node",
                "Pulling image \"127.0.0.1:1/nothing:1\"",
                "Failed to pull image \"127.0.0.1:1/nothing:1\"",
                "Error: ErrImagePull",
                "Back-off pulling image",
            ],
        ),
        ("no-command", &["exec: \"/nothing\": stat /nothing: no such file or directory"]),
        ("no-node", &["0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."]),
        ("unready", &["Readiness probe failed: HTTP probe failed with statuscode: 404"]),
    ] {
        eventually(pod, || {
            let description = lab.kubectl(&["describe", "pod", pod]);
            let missing = lines.iter().find(|line| !description.contains(**line));
            missing.map_or(Ok(()), |missing| Err(format!("no {missing:?} in\n{description}")))
        });
    }
    let node = lab.kubectl(&["describe", "node", "node1"]);
    for line in
        ["PodCIDR:                      10.244.1.0/24", "KubeletReady", "Node node1 status is now: NodeReady"]
    {
        assert!(node.contains(line), "no {line:?} in\n{node}");
    }
    let kinds = lab.kubectl(&["events", "--for", "pod/completes"]);
    let reasons: Vec<&str> =
        kinds.lines().skip(1).filter_map(|line| line.split_whitespace().nth(2)).collect();
    for reason in ["Scheduled", "Pulled", "Created", "Started"] {
        assert!(reasons.contains(&reason), "{kinds}");
    }
}

#[test]
fn a_deployment_from_its_creation_to_its_end() {
    let lab = Lab::up(&[]);
    let patience = format!("--timeout={}s", PATIENCE.as_secs());
    let rolled_out = || lab.kubectl(&["rollout", "status", "deployment/web", &patience]);
    let image = || {
        lab.kubectl(&["get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}"])
    };
    lab.kubectl(&["create", "deployment", "web", "--image=httpd", "--replicas=2", "--port=80"]);
    assert!(rolled_out().ends_with("deployment \"web\" successfully rolled out\n"));
    lab.kubectl(&["annotate", "deployment/web", "kubernetes.io/change-cause=httpd"]);
    lab.kubectl(&["expose", "deployment", "web"]);
    lab.kubectl(&["set", "image", "deployment/web", "httpd=nginx"]);
    rolled_out();
    let history = lab.kubectl(&["rollout", "history", "deployment/web"]);
    let revisions: Vec<&str> = history.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(revisions[1..], ["REVISION", "1", "2"], "{history}");
    lab.kubectl(&["rollout", "undo", "deployment/web"]);
    rolled_out();
    assert_eq!(image(), "httpd");
    lab.kubectl(&["rollout", "undo", "deployment/web", "--to-revision=2"]);
    rolled_out();
    assert_eq!(image(), "nginx");
    let gone = refused(&lab, &["rollout", "undo", "deployment/web", "--to-revision=9"]);
    assert!(gone.contains("unable to find specified revision 9 in history"), "{gone}");
    lab.kubectl(&["rollout", "restart", "deployment/web"]);
    rolled_out();
    lab.kubectl(&["scale", "deployment/web", "--current-replicas=2", "--replicas=4"]);
    rolled_out();
    let unexpected = refused(&lab, &["scale", "deployment/web", "--current-replicas=2", "--replicas=1"]);
    assert!(unexpected.contains("Expected replicas to be 2, was 4"), "{unexpected}");
    let row = lab.kubectl(&["get", "deployment", "web", "--no-headers"]);
    assert_eq!(row.split_whitespace().collect::<Vec<_>>()[..4], ["web", "4/4", "4", "4"]);
    eventually("only the new pods are endpoints", || {
        let description = lab.kubectl(&["describe", "service", "web"]);
        let endpoints =
            description.lines().find_map(|line| line.strip_prefix("Endpoints:")).unwrap_or_default();
        let found = endpoints.matches(":80").count();
        // kubectl shows three and counts the rest.
        let whole = found == 3 && endpoints.trim_end().ends_with("+ 1 more...");
        if whole { Ok(()) } else { Err(description) }
    });
    let description = lab.kubectl(&["describe", "deployment", "web"]);
    for line in [
        "Replicas:               4 desired | 4 updated | 4 total | 4 available | 0 unavailable",
        "NewReplicaSetAvailable",
        "Scaled up replica set web-",
    ] {
        assert!(description.contains(line), "no {line:?} in\n{description}");
    }
    lab.kubectl(&["delete", "deployment,service", "web"]);
    eventually("the pods go with their deployment", || {
        let left =
            lab.kubectl(&["get", "replicasets,pods,endpoints,endpointslices", "-l", "app=web", "-o", "name"]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn a_namespace_goes_with_everything_in_it() {
    let lab = Lab::up(&["--nodes", "1"]);
    lab.kubectl(&["create", "namespace", "team"]);
    lab.kubectl(&["create", "deployment", "web", "-n", "team", "--image=httpd"]);
    lab.kubectl(&["expose", "deployment", "web", "-n", "team", "--port=80"]);
    lab.kubectl(&["wait", "-n", "team", "deployment/web", "--for=condition=Available", "--timeout=60s"]);
    assert!(lab.kubectl(&["get", "all", "-A", "-o", "name"]).contains("deployment.apps/web"));
    lab.kubectl(&["delete", "namespace", "team", "--wait=false"]);
    let late = refused(&lab, &["create", "configmap", "late", "-n", "team"]);
    // Either it is going, or it has gone already.
    assert!(late.contains("because it is being terminated") || late.contains("not found"), "{late}");
    wait_for(&lab, "namespace/team", "delete");
    assert!(!lab.kubectl(&["get", "all", "-A", "-o", "name"]).contains("web"));
    let kept = refused(&lab, &["delete", "namespace", "default"]);
    assert!(kept.contains("this namespace may not be deleted"), "{kept}");
}
