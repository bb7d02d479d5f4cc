use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::kinds::testing::{allocation, create, kind, pod, refusal, update_in, with};

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

#[test]
fn a_bare_pod_gets_what_kubernetes_gives_it() {
    let made = create("Pod", pod()).unwrap();
    assert_eq!(
        made["spec"],
        json!({
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
            "terminationGracePeriodSeconds": 30, "securityContext": {}, "enableServiceLinks": true,
            "serviceAccountName": "default", "serviceAccount": "default", "priority": 0,
            "preemptionPolicy": "PreemptLowerPriority",
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
            "containers": [{"name": "main", "image": "httpd", "imagePullPolicy": "Always", "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
        })
    );
    assert_eq!(made["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
}

#[test]
fn pull_policy_goes_by_the_tag() {
    for (image, policy) in [
        ("httpd", "Always"),
        ("httpd:latest", "Always"),
        ("httpd:2.4", "IfNotPresent"),
        ("host:5000/httpd", "Always"),
        ("host:5000/httpd:1", "IfNotPresent"),
        ("httpd@sha256:00", "IfNotPresent"),
    ] {
        let made = create("Pod", with(pod(), "/spec/containers/0/image", json!(image))).unwrap();
        assert_eq!(made["spec"]["containers"][0]["imagePullPolicy"], policy, "{image}");
    }
}

#[test]
fn probes_volumes_and_resources_are_filled_in() {
    let object = with(pod(), "/spec/containers/0/readinessProbe", json!({"httpGet": {"port": 80}}));
    let object =
        with(object, "/spec/volumes", json!([{"name": "tmp"}, {"name": "conf", "configMap": {"name": "x"}}]));
    let object = with(object, "/spec/containers/0/resources", json!({"limits": {"cpu": 1, "memory": "1Gi"}}));
    let made = create("Pod", object).unwrap();
    let container = &made["spec"]["containers"][0];
    assert_eq!(
        container["readinessProbe"],
        json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
            "successThreshold": 1, "failureThreshold": 3})
    );
    assert_eq!(
        made["spec"]["volumes"],
        json!([{"name": "tmp", "emptyDir": {}}, {"name": "conf", "configMap": {"name": "x", "defaultMode": 420}}])
    );
    assert_eq!(container["resources"]["requests"], json!({"cpu": "1", "memory": "1Gi"}));
    assert_eq!(made["status"]["qosClass"], "Guaranteed");
}

#[test]
fn invalid_pods_are_refused_in_kubernetes_words() {
    let container = |value: Value| with(pod(), "/spec/containers", json!([value]));
    let main = |key: &str, value: Value| {
        container(with(json!({"name": "a", "image": "b"}), &format!("/{key}"), value))
    };
    let cases = [
        (container(json!({"name": "a"})), "spec.containers[0].image: Required value"),
        (with(pod(), "/spec/containers", json!([])), "spec.containers: Required value"),
        (
            with(
                pod(),
                "/spec/containers",
                json!([{"name": "a", "image": "b"}, {"name": "a", "image": "b"}]),
            ),
            "spec.containers[1].name: Duplicate value: \"a\"",
        ),
        (
            with(pod(), "/spec/restartPolicy", json!("Sometimes")),
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ),
        (
            main("imagePullPolicy", json!("Later")),
            "spec.containers[0].imagePullPolicy: Unsupported value: \"Later\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ),
        (
            main("ports", json!([{"containerPort": 0}])),
            "spec.containers[0].ports[0].containerPort: Required value",
        ),
        (
            main("ports", json!([{"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}])),
            "spec.containers[0].ports[1].name: Duplicate value: \"a\"",
        ),
        (
            main("volumeMounts", json!([{"name": "x", "mountPath": "/x"}])),
            "spec.containers[0].volumeMounts[0].name: Not found: \"x\"",
        ),
        (main("env", json!([{"name": ""}])), "spec.containers[0].env[0].name: Required value"),
        (
            main("readinessProbe", json!({"periodSeconds": 1})),
            "spec.containers[0].readinessProbe: Required value: must specify a handler type",
        ),
        (
            main("livenessProbe", json!({"successThreshold": 2, "exec": {"command": ["x"]}})),
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (
            main("resources", json!({"limits": {"cpu": "1"}, "requests": {"cpu": "2"}})),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            with(pod(), "/spec/volumes", json!([{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}])),
            "spec.volumes[0]: Forbidden: may not specify more than 1 volume type",
        ),
        (
            with(pod(), "/metadata/labels", json!({"a b": "c"})),
            "metadata.labels: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ),
    ];
    for (object, text) in cases {
        assert_eq!(refusal(create("Pod", object)), text);
    }
    let name = refusal(create("Pod", with(pod(), "/metadata/name", json!("X"))));
    assert!(
        name.starts_with(
            "metadata.name: Invalid value: \"X\": a lowercase RFC 1123 subdomain must consist of"
        ),
        "{name}"
    );
}

#[test]
fn only_a_few_fields_of_a_pod_may_change() {
    let allocation = allocation(&["10.96.0.0/12"]);
    let old = create("Pod", pod()).unwrap();
    let image = with(old.clone(), "/spec/containers/0/image", json!("nginx:1"));
    assert!(update_in(&allocation, "Pod", image, &old).is_ok());
    assert!(
        update_in(&allocation, "Pod", with(old.clone(), "/metadata/labels", json!({"a": "b"})), &old).is_ok()
    );
    let port = with(old.clone(), "/spec/containers/0/ports", json!([{"containerPort": 80}]));
    assert!(refusal(update_in(&allocation, "Pod", port, &old)).starts_with(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
    ));
    let more = with(
        old.clone(),
        "/spec/containers",
        json!([{"name": "a", "image": "b"}, {"name": "c", "image": "d"}]),
    );
    assert_eq!(
        refusal(update_in(&allocation, "Pod", more, &old)),
        "spec.containers: Forbidden: pod updates may not add or remove containers"
    );
}

#[test]
fn status_and_spec_do_not_mix() {
    let allocation = allocation(&["10.96.0.0/12"]);
    let old = create("Pod", pod()).unwrap();
    let sneaky = with(old.clone(), "/status", json!({"phase": "Running"}));
    assert_eq!(update_in(&allocation, "Pod", sneaky, &old).unwrap()["status"], old["status"]);
    let mut status =
        with(with(old.clone(), "/status", json!({"phase": "Running"})), "/spec/nodeName", json!("node1"));
    kind("Pod").prepare_status_update(&mut status, &old).unwrap();
    assert_eq!((&status["status"]["phase"], &status["spec"]), (&json!("Running"), &old["spec"]));
}

fn shown(status: Value) -> Vec<Value> {
    row(&with(pod(), "/status", status), now())[1..4].to_vec()
}

#[test]
fn a_status_has_both_forms_of_addresses_and_keeps_the_class() {
    let old = create("Pod", pod()).unwrap();
    let mut new = with(
        old.clone(),
        "/status",
        json!({"phase": "Running", "podIP": "10.244.1.2", "hostIPs": [{"ip": "10.100.0.2"}]}),
    );
    kind("Pod").prepare_status_update(&mut new, &old).unwrap();
    assert_eq!(
        new["status"],
        json!({"phase": "Running", "podIP": "10.244.1.2", "podIPs": [{"ip": "10.244.1.2"}], "hostIP": "10.100.0.2",
            "hostIPs": [{"ip": "10.100.0.2"}], "qosClass": "BestEffort"})
    );
}

#[test]
fn the_state_of_a_pod_in_one_word() {
    let container =
        |state: Value| json!({"phase": "Running", "containerStatuses": [{"name": "main", "state": state}]});
    assert_eq!(shown(json!({"phase": "Pending"})), ["0/1", "Pending", "0"]);
    let running = json!({"phase": "Running", "containerStatuses": [{"name": "main", "ready": true, "state": {"running": {}}}]});
    assert_eq!(shown(running.clone()), ["1/1", "Running", "0"]);
    assert_eq!(
        shown(container(json!({"waiting": {"reason": "ImagePullBackOff"}}))),
        ["0/1", "ImagePullBackOff", "0"]
    );
    assert_eq!(
        shown(container(json!({"terminated": {"reason": "Completed", "exitCode": 0}})))[1],
        "Completed"
    );
    assert_eq!(shown(container(json!({"terminated": {"exitCode": 3}})))[1], "ExitCode:3");
    assert_eq!(shown(container(json!({"terminated": {"signal": 9}})))[1], "Signal:9");
    let crashed = json!({"phase": "Running", "containerStatuses": [{"name": "main", "restartCount": 4,
        "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-11-21T11:59:55Z"}},
        "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]});
    assert_eq!(shown(crashed), ["0/1", "CrashLoopBackOff", "4 (5s ago)"]);
    let ending =
        with(with(pod(), "/status", running), "/metadata/deletionTimestamp", json!("2026-11-21T11:59:00Z"));
    assert_eq!(row(&ending, now())[2], "Terminating");
}

#[test]
fn init_containers_show_their_progress() {
    let object = with(pod(), "/spec/initContainers", json!([{"name": "one"}, {"name": "two"}]));
    let state = |one: Value, two: Value| {
        let statuses = json!([{"name": "one", "state": one}, {"name": "two", "state": two}]);
        let status = json!({"phase": "Pending", "initContainerStatuses": statuses,
            "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "PodInitializing"}}}]});
        row(&with(object.clone(), "/status", status), now())[2].clone()
    };
    let done = json!({"terminated": {"exitCode": 0}});
    assert_eq!(state(json!({"running": {}}), json!({"waiting": {"reason": "PodInitializing"}})), "Init:0/2");
    assert_eq!(state(done.clone(), json!({"running": {}})), "Init:1/2");
    assert_eq!(state(json!({"terminated": {"exitCode": 1, "reason": "Error"}}), json!({})), "Init:Error");
    assert_eq!(state(json!({"waiting": {"reason": "CrashLoopBackOff"}}), json!({})), "Init:CrashLoopBackOff");
    assert_eq!(state(done.clone(), done), "PodInitializing");
}
