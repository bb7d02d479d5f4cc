use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::kinds::testing::{
    allocation, context, create, deployment, kind, pod, refusal, service, update_in, with,
};

#[test]
fn every_kind_is_whole() {
    for kind in Registry::built_in().served().map(|served| &served.kind) {
        assert!(!kind.plural.is_empty() && !kind.singular.is_empty(), "{kind:?}");
        let cells = kind.row(&json!({"metadata": {"name": "x"}}), Timestamp::UNIX_EPOCH);
        assert_eq!(cells.len(), kind.columns.len(), "{kind:?}");
        assert_eq!(kind.columns.iter().filter(|column| column.format == "name").count(), 1, "{kind:?}");
    }
    let old = |kind: &'static str| {
        let served =
            Registry::built_in().served().filter(move |served| !served.stored && served.kind.kind == kind);
        served.map(|served| (served.group.as_ref(), served.version.as_ref())).collect::<Vec<_>>()
    };
    assert_eq!(old("Deployment"), [("apps", "v1beta1"), ("apps", "v1beta2"), ("extensions", "v1beta1")]);
    assert_eq!(old("DaemonSet"), [("apps", "v1beta2"), ("extensions", "v1beta1")]);
    assert_eq!(old("Ingress"), [("networking.k8s.io", "v1beta1"), ("extensions", "v1beta1")]);
}

#[test]
fn a_new_object_has_the_status_that_go_writes() {
    let made = create("Deployment", with(deployment(), "/status", json!({"replicas": 3}))).unwrap();
    assert_eq!(made["status"], json!({}));
    let mut set = deployment();
    set["kind"] = json!("DaemonSet");
    set["spec"].as_object_mut().unwrap().remove("replicas");
    let made = create("DaemonSet", set).unwrap();
    assert_eq!(made["status"]["numberReady"], 0);
}

#[test]
fn templates_of_a_daemon_set_are_counted() {
    let generation =
        |set: &Value| set["metadata"]["annotations"]["deprecated.daemonset.template.generation"].clone();
    let mut set = deployment();
    set["kind"] = json!("DaemonSet");
    set["spec"].as_object_mut().unwrap().remove("replicas");
    let made = create("DaemonSet", set.clone()).unwrap();
    assert_eq!(generation(&made), "1");
    let update = |new: Value, old: &Value| {
        let mut new = new;
        kind("DaemonSet").prepare_update(&mut new, old).unwrap();
        new
    };
    let same = update(set.clone(), &made);
    assert_eq!(generation(&same), "1", "defaults make no difference");
    set["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
    assert_eq!(generation(&update(set, &same)), "2");
}

#[test]
fn deployments_are_defaulted_and_checked() {
    let made = create("Deployment", deployment()).unwrap();
    let spec = &made["spec"];
    assert_eq!((&spec["replicas"], &spec["revisionHistoryLimit"]), (&json!(1), &json!(10)));
    assert_eq!(spec["progressDeadlineSeconds"], 600);
    assert_eq!(
        spec["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
    );
    assert_eq!(spec["template"]["spec"].get("enableServiceLinks"), None);
    let cases = [
        (
            with(deployment(), "/spec/template/metadata/labels", json!({"run": "other"})),
            "spec.template.metadata.labels: Invalid value: {\"run\":\"other\"}: `selector` does not match template `labels`",
        ),
        (
            with(deployment(), "/spec/selector", json!({})),
            "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
        ),
        (
            with(deployment(), "/spec/replicas", json!(-1)),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            with(deployment(), "/spec/strategy", json!({"type": "Other"})),
            "spec.strategy.type: Unsupported value: \"Other\": supported values: \"Recreate\", \"RollingUpdate\"",
        ),
        (
            with(deployment(), "/spec/strategy", json!({"type": "Recreate", "rollingUpdate": {}})),
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
        ),
        (
            with(
                deployment(),
                "/spec/strategy",
                json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
            ),
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ),
        (
            with(deployment(), "/spec/template/spec/restartPolicy", json!("Never")),
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        ),
        (
            with(deployment(), "/spec/template/spec/containers/0/image", json!("")),
            "spec.template.spec.containers[0].image: Required value",
        ),
    ];
    for (object, text) in cases {
        assert_eq!(refusal(create("Deployment", object)), text);
    }
    let mut none = deployment();
    none["spec"].as_object_mut().unwrap().shift_remove("selector");
    assert_eq!(
        refusal(create("Deployment", none)),
        "[spec.selector: Required value, spec.template.metadata.labels: Invalid value: {\"run\":\"web\"}: `selector` does \
         not match template `labels`]"
    );
    let both = with(
        deployment(),
        "/spec",
        json!({"template": {"spec": {"containers": [{"name": "A"}]}}, "selector": {"matchLabels": {"a": "b"}}}),
    );
    let status = create("Deployment", both).unwrap_err();
    assert!(status.message.starts_with("Deployment.apps \"web\" is invalid: ["), "{}", status.message);
    assert_eq!(status.details.unwrap().causes.len(), 3);
}

#[test]
fn a_selector_stays_and_generations_count() {
    let old = create("Deployment", deployment()).unwrap();
    let moved = with(old.clone(), "/spec/selector", json!({"matchLabels": {"run": "x"}}));
    let moved = with(moved, "/spec/template/metadata/labels", json!({"run": "x"}));
    assert_eq!(
        refusal(update_in(&allocation(&["10.96.0.0/12"]), "Deployment", moved, &old)),
        "spec.selector: Invalid value: {\"matchLabels\":{\"run\":\"x\"}}: field is immutable"
    );
    let old = with(old, "/metadata/generation", json!(3));
    assert_eq!(kind("Deployment").next_generation(&old, None), Some(1));
    assert_eq!(
        kind("Deployment").next_generation(&with(old.clone(), "/status", json!({"replicas": 1})), Some(&old)),
        Some(3)
    );
    assert_eq!(
        kind("Deployment").next_generation(&with(old.clone(), "/spec/replicas", json!(9)), Some(&old)),
        Some(4)
    );
    assert_eq!(kind("Service").next_generation(&service(), None), None);
}

#[test]
fn namespaces_are_named_and_held() {
    let made =
        create("Namespace", json!({"metadata": {"name": "web"}, "status": {"phase": "Gone"}})).unwrap();
    assert_eq!(
        made,
        json!({"metadata": {"name": "web", "labels": {"kubernetes.io/metadata.name": "web"}},
        "status": {"phase": "Active"}, "spec": {"finalizers": ["kubernetes"]}})
    );
    assert!(
        refusal(create("Namespace", json!({"metadata": {"name": "a.b"}})))
            .contains("a lowercase RFC 1123 label must")
    );
}

#[test]
fn nodes_keep_their_status_and_their_range() {
    let node = json!({"metadata": {"name": "node1"}, "spec": {"podCIDR": "10.244.1.0/24"}, "status": {"capacity": {"cpu": "2"}}});
    let made = create("Node", node).unwrap();
    assert_eq!(made["spec"]["podCIDRs"], json!(["10.244.1.0/24"]));
    assert_eq!(made["status"]["allocatable"], json!({"cpu": "2"}));
    let moved = with(made.clone(), "/spec", json!({"podCIDR": "10.244.2.0/24"}));
    assert_eq!(
        refusal(update_in(&allocation(&["10.96.0.0/12"]), "Node", moved, &made)),
        "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid"
    );
    let row = kind("Node").row(
        &with(made, "/status/conditions", json!([{"type": "Ready", "status": "True"}])),
        Timestamp::UNIX_EPOCH,
    );
    assert_eq!(row[..3], [json!("node1"), json!("Ready"), json!("<none>")]);
}

#[test]
fn slices_and_endpoints_are_checked() {
    let slice = json!({"metadata": {"name": "web-1"}, "addressType": "IPv4", "endpoints": [{"addresses": ["10.244.1.2"]}],
        "ports": [{"port": 80}]});
    let made = create("EndpointSlice", slice.clone()).unwrap();
    assert_eq!(made["ports"], json!([{"port": 80, "name": "", "protocol": "TCP"}]));
    assert_eq!(kind("EndpointSlice").row(&made, Timestamp::UNIX_EPOCH)[1..4], ["IPv4", "80", "10.244.1.2"]);
    let cases = [
        (
            with(slice.clone(), "/addressType", json!("IPX")),
            "addressType: Unsupported value: \"IPX\": supported values: \"FQDN\", \"IPv4\", \"IPv6\"",
        ),
        (
            with(slice.clone(), "/endpoints/0/addresses", json!(["x"])),
            "endpoints[0].addresses[0]: Invalid value: \"x\": must be a valid IPv4 address",
        ),
        (
            with(slice, "/endpoints/0/addresses", json!(["127.0.0.1"])),
            "endpoints[0].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
    ];
    for (object, text) in cases {
        assert_eq!(refusal(create("EndpointSlice", object)), text);
    }
    let subset = json!({"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]});
    let made = create("Endpoints", json!({"metadata": {"name": "web"}, "subsets": [subset]})).unwrap();
    assert_eq!(
        kind("Endpoints").row(&made, Timestamp::UNIX_EPOCH)[1],
        "10.0.0.1:1,10.0.0.2:1,10.0.0.1:2 + 1 more..."
    );
    let empty = json!({"metadata": {"name": "web"}, "subsets": [{"ports": [{"port": 1}]}]});
    assert_eq!(
        refusal(create("Endpoints", empty)),
        "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"
    );
}

#[test]
fn secrets_take_text_and_immutable_things_stay() {
    let made =
        create("Secret", json!({"metadata": {"name": "s"}, "stringData": {"a": "hello"}, "immutable": true}))
            .unwrap();
    assert_eq!((&made["type"], &made["data"]), (&json!("Opaque"), &json!({"a": "aGVsbG8="})));
    assert_eq!(made.get("stringData"), None);
    let changed = with(made.clone(), "/data", json!({"a": "aGk="}));
    assert_eq!(
        refusal(update_in(&allocation(&["10.96.0.0/12"]), "Secret", changed, &made)),
        "data: Forbidden: field is immutable when `immutable` is set"
    );
    let tls = json!({"metadata": {"name": "s"}, "type": "kubernetes.io/tls", "data": {"tls.crt": ""}});
    assert_eq!(refusal(create("Secret", tls)), "data[tls.key]: Required value");
}

#[test]
fn events_and_leases_are_checked_and_printed() {
    let event = json!({"metadata": {"name": "e", "namespace": "default"}, "type": "Normal", "reason": "Pulled",
        "message": "Image is there\n", "involvedObject": {"kind": "Pod", "name": "web", "namespace": "default"},
        "source": {"component": "kubelet", "host": "node1"}, "count": 3,
        "firstTimestamp": "2026-11-21T11:58:00Z", "lastTimestamp": "2026-11-21T11:59:50Z"});
    let made = create("Event", event.clone()).unwrap();
    let now = "2026-11-21T12:00:00Z".parse().unwrap();
    assert_eq!(
        kind("Event").row(&made, now),
        [
            json!("10s"),
            json!("Normal"),
            json!("Pulled"),
            json!("pod/web"),
            json!(""),
            json!("kubelet, node1"),
            json!("Image is there"),
            json!("2m"),
            json!(3),
            json!("e")
        ]
    );
    let elsewhere = with(event, "/involvedObject/namespace", json!("other"));
    assert_eq!(
        refusal(create("Event", elsewhere)),
        "involvedObject.namespace: Invalid value: \"other\": does not match event.namespace"
    );
    let lease = json!({"metadata": {"name": "node1"}, "spec": {"holderIdentity": "node1", "leaseDurationSeconds": 40}});
    assert_eq!(kind("Lease").row(&create("Lease", lease.clone()).unwrap(), now)[1], "node1");
    assert_eq!(
        refusal(create("Lease", with(lease, "/spec/leaseDurationSeconds", json!(0)))),
        "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"
    );
}

#[test]
fn fields_that_selectors_may_name() {
    let pod = with(pod(), "/spec/nodeName", json!("node1"));
    assert_eq!(kind("Pod").selectable(&pod, "spec.nodeName").as_deref(), Some("node1"));
    assert_eq!(kind("Pod").selectable(&pod, "status.phase").as_deref(), Some(""));
    assert_eq!(kind("Pod").selectable(&pod, "spec.foo"), None);
    assert!(kind("Pod").offers_field("metadata.name") && !kind("Node").offers_field("metadata.namespace"));
    assert!(kind("Event").offers_field("involvedObject.name"));
}

#[test]
fn metadata_is_checked_for_every_kind() {
    let name = |metadata: Value| refusal(create("ConfigMap", json!({ "metadata": metadata })));
    assert_eq!(name(json!({})), "metadata.name: Required value: name or generateName is required");
    let owners =
        json!({"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "", "name": "b", "uid": "c"}]});
    assert_eq!(name(owners), "metadata.ownerReferences[0].kind: Invalid value: \"\": must not be empty");
    let two = json!([{"apiVersion": "v1", "kind": "A", "name": "x", "uid": "1", "controller": true},
        {"apiVersion": "v1", "kind": "B", "name": "y", "uid": "2", "controller": true}]);
    assert!(
        name(json!({"name": "a", "ownerReferences": two}))
            .ends_with("Found \"true\" in references for A/x and B/y")
    );
    let old = json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let new = with(old.clone(), "/metadata/finalizers", json!(["x/y"]));
    assert!(
        refusal(update_in(&allocation(&["10.96.0.0/12"]), "ConfigMap", new, &old))
            .starts_with("metadata.finalizers: Forbidden: no new finalizers")
    );
}

proptest! {
    #[test]
    fn defaulting_twice_changes_nothing(
        service_type in prop::sample::select(vec!["ClusterIP", "NodePort", "LoadBalancer"]),
        affinity in prop::option::of(prop::sample::select(vec!["None", "ClientIP"])),
        policy in prop::option::of(prop::sample::select(vec!["Cluster", "Local"])),
        headless in any::<bool>(),
        image in "[a-c]{1,3}(:latest|:1)?",
        probe in prop::option::of(0_i64..3),
        volume in any::<bool>(),
    ) {
        let mut object = with(service(), "/spec/type", json!(service_type));
        if let Some(affinity) = affinity { object = with(object, "/spec/sessionAffinity", json!(affinity)); }
        if service_type == "ClusterIP" {
            if headless { object = with(object, "/spec/clusterIP", json!("None")); }
        } else if let Some(policy) = policy {
            object = with(object, "/spec/externalTrafficPolicy", json!(policy));
        }
        let mut web = with(deployment(), "/spec/template/spec/containers/0/image", json!(image));
        if let Some(period) = probe {
            let probe = json!({"tcpSocket": {"port": 80}, "periodSeconds": period});
            web = with(web, "/spec/template/spec/containers/0/livenessProbe", probe);
        }
        if volume { web = with(web, "/spec/template/spec/volumes", json!([{"name": "v"}])); }
        let plain = with(pod(), "/spec", web["spec"]["template"]["spec"].clone());
        for (name, object) in [("Service", object), ("Deployment", web), ("Pod", plain)] {
            let made = create(name, object).unwrap();
            let mut again = made.clone();
            kind(name).rules().default(&mut again);
            prop_assert_eq!(&again, &made);
            // An update with the same object, as `kubectl replace` sends it, changes nothing either.
            let allocation = allocation(&["10.96.0.0/12"]);
            let mut same = made.clone();
            prop_assert_eq!(kind(name).check_shape(&mut same).unwrap().unknown, Vec::<String>::new());
            kind(name).prepare_update(&mut same, &made).unwrap();
            drop(kind(name).allocate(&mut same, Some(&made), &context(&allocation)).unwrap());
            prop_assert_eq!(&same, &made);
        }
    }
}

/// Any JSON, small.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        prop::sample::select(vec!["", "None", "a", "10.96.0.5", "-", "25%", "ClientIP", "LoadBalancer", "é"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(
                prop::sample::select(vec!["name", "ip", "port", "type", "matchLabels", "key", "image"]),
                inner,
                0..3
            )
            .prop_map(|map| json!(map)),
        ]
    })
}

/// Every place in the object, as a JSON pointer.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    if !at.is_empty() {
        out.push(at.to_owned());
    }
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| places(value, &format!("{at}/{key}"), out)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| places(value, &format!("{at}/{index}"), out));
        }
        _ => {}
    }
}

fn rich() -> Vec<(&'static str, Value)> {
    let spec = json!({"nodeName": "n", "hostNetwork": false, "tolerations": [{"key": "a", "operator": "Exists"}],
        "volumes": [{"name": "v", "configMap": {"name": "c"}}], "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a"]}],
        "initContainers": [{"name": "i", "image": "x"}],
        "containers": [{"name": "m", "image": "x", "ports": [{"containerPort": 80, "name": "http"}],
            "env": [{"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}], "readinessProbe": {"httpGet": {"port": "http"}},
            "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "100m"}}}]});
    let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "m", "restartCount": 2, "state": {"running": {}},
            "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-11-21T11:00:00Z"}}}]});
    let balancer = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "clusterIP": "10.96.0.9",
        "clusterIPs": ["10.96.0.9"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "selector": {"a": "b"},
        "sessionAffinity": "ClientIP", "externalIPs": ["192.0.2.1"], "healthCheckNodePort": 31000,
        "ports": [{"name": "a", "port": 80, "nodePort": 30080, "targetPort": "http"}, {"name": "b", "port": 443}]});
    vec![
        ("Pod", with(with(pod(), "/spec", spec.clone()), "/status", status)),
        ("Deployment", with(deployment(), "/spec/template/spec", spec)),
        ("Service", with(service(), "/spec", balancer)),
        (
            "EndpointSlice",
            json!({"metadata": {"name": "s", "labels": {"a": "b"}}, "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}], "ports": [{"port": 80}]}),
        ),
        (
            "Endpoints",
            json!({"metadata": {"name": "s", "finalizers": ["a/b"]},
            "subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]}),
        ),
        (
            "Node",
            json!({"metadata": {"name": "n"}, "spec": {"podCIDR": "10.0.0.0/24", "taints": [{"key": "a", "effect": "NoExecute"}]},
            "status": {"capacity": {"cpu": "1"}, "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}}),
        ),
        (
            "Event",
            json!({"metadata": {"name": "e", "namespace": "default"}, "involvedObject": {"kind": "Pod", "namespace": "default"},
            "lastTimestamp": "2026-11-21T11:00:00Z", "count": 2}),
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn no_body_brings_the_server_down(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), anything()), 1..4),
    ) {
        let all = rich();
        let (name, original) = &all[which.index(all.len())];
        let mut object = original.clone();
        for (place, value) in changes {
            let mut found = Vec::new();
            places(&object, "", &mut found);
            if let Some(place) = found.get(place.index(found.len().max(1))) {
                *object.pointer_mut(place).unwrap() = value;
            }
        }
        let _ = kind(name).row(&object, Timestamp::UNIX_EPOCH);
        let _ = crate::kinds::strategic_merge(kind(name), original, &object);
        crate::kinds::convert_in(kind(name), "extensions", "v1beta1", &mut object.clone());
        crate::kinds::convert_out(kind(name), "extensions", "v1beta1", &mut object.clone());
        let allocation = allocation(&["10.96.0.0/24", "fd00:96::/108"]);
        let Ok(old) = crate::kinds::testing::create_in(&allocation, name, original.clone()) else { panic!("{name} is valid") };
        if kind(name).check_shape(&mut object).is_ok() {
            let mut new = object.clone();
            if kind(name).prepare_update(&mut new, &old).is_ok() {
                drop(kind(name).allocate(&mut new, Some(&old), &context(&allocation)));
            }
            drop(kind(name).prepare_status_update(&mut object.clone(), &old));
            if kind(name).prepare_create(&mut object).is_ok() {
                drop(kind(name).allocate(&mut object, None, &context(&allocation)));
            }
        }
    }
}
