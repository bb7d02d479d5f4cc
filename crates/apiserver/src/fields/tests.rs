use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::apply::Applied;
use super::compare::{NOTHING, compare};
use super::field_set::{Twins, field_set};
use super::merge::merge;
use super::remove::remove;
use super::set::Set;
use super::*;
use crate::kinds::{Node, Registry};

const NOON: &str = "2026-11-21T12:00:00Z";

fn root(kind: &str) -> Node<'static> {
    let kinds = Registry::built_in();
    let served = kinds.served().find(|served| served.stored && served.kind.kind == kind).unwrap();
    Node::root(&served.kind)
}

fn author(manager: &str) -> Author<'_> {
    Author { manager, api_version: "v1", subresource: "", time: NOON }
}

fn apply_as(
    manager: &str,
    kind: &str,
    live: Option<&Value>,
    config: Value,
    force: bool,
) -> Result<Value, ApplyError> {
    let configuration = Configuration { object: &config, force };
    let Applied { mut object, managed } = apply(root(kind), live, &configuration, &author(manager))?;
    object["metadata"]["managedFields"] = managed.unwrap();
    Ok(object)
}

fn update_as(manager: &str, kind: &str, live: &Value, mut new: Value) -> Value {
    let managed = live["metadata"]["managedFields"].clone();
    new["metadata"]["managedFields"] =
        on_update(root(kind), live, &new, Some(managed), &author(manager)).unwrap();
    new
}

/// The fields of a manager's entry; null when it has none.
fn fields_of(object: &Value, manager: &str, operation: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    let own = entries.iter().find(|entry| entry["manager"] == manager && entry["operation"] == operation);
    own.map_or(Value::Null, |entry| entry["fieldsV1"].clone())
}

fn messages(error: ApplyError) -> String {
    match error {
        ApplyError::Conflicts(conflicts) => conflict_message(&conflicts),
        ApplyError::List(error) => error.to_string(),
    }
}

fn deployment(replicas: u64, image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": "25%"}}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
            "containers": [{"name": "main", "image": image, "resources": {}, "ports": [
                {"containerPort": 80, "protocol": "TCP"}]}]}}}})
}

/// What a real API server (1.33) writes for the same creation.
#[test]
fn the_creator_owns_what_it_says() {
    let managed =
        on_create(root("Deployment"), &deployment(3, "httpd"), &[], &author("kubectl-create")).unwrap();
    let expected = json!([{"manager": "kubectl-create", "operation": "Update", "apiVersion": "v1", "time": NOON,
        "fieldsType": "FieldsV1", "fieldsV1": {
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {"f:replicas": {}, "f:selector": {}, "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}},
            "f:type": {}}, "f:template": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {
            "f:containers": {"k:{\"name\":\"main\"}": {".": {}, "f:image": {}, "f:name": {}, "f:ports": {".": {},
                "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:protocol": {}}},
                "f:resources": {}}}}}}}}]);
    assert_eq!(managed.to_string(), expected.to_string(), "the order of steps counts, too");
    let service =
        json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}});
    let managed = on_create(root("Service"), &service, &[], &author("kubectl")).unwrap();
    let spec = json!({"f:ports": {".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}, "f:selector": {}});
    assert_eq!(managed[0]["fieldsV1"], json!({ "f:spec": spec }));
}

#[test]
fn what_the_server_fills_in_belongs_to_nobody() {
    let namespace = json!({"metadata": {"name": "a", "labels": {"b": "c"}}, "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"}});
    let unowned = ["/status", "/spec/finalizers", "/spec/none", "/metadata/labels/other"];
    let managed = on_create(root("Namespace"), &namespace, &unowned, &author("kubectl")).unwrap();
    assert_eq!(managed[0]["fieldsV1"], json!({"f:metadata": {"f:labels": {".": {}, "f:b": {}}}}));
}

#[test]
fn a_write_takes_what_it_changes() {
    let mut live = deployment(3, "httpd");
    live["metadata"]["managedFields"] =
        on_create(root("Deployment"), &live, &[], &author("kubectl")).unwrap();
    let mut new = live.clone();
    new["spec"]["replicas"] = 5.into();
    new["metadata"]["labels"] = json!({"tier": "front"});
    new["metadata"]["resourceVersion"] = "7".into();
    let new = update_as("autoscaler", "Deployment", &live, new);
    assert_eq!(
        fields_of(&new, "autoscaler", "Update"),
        json!({"f:metadata": {"f:labels": {"f:tier": {}}}, "f:spec": {"f:replicas": {}}})
    );
    let left = fields_of(&new, "kubectl", "Update");
    assert_eq!(left["f:metadata"], json!({"f:labels": {}}));
    assert_eq!(left["f:spec"].get("f:replicas"), None);
    let same = update_as("third", "Deployment", &new, new.clone());
    assert_eq!(same, new, "who changes nothing gets nothing");
}

#[test]
fn an_update_may_send_entries_of_its_own() {
    let kept = json!([{"manager": "a", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {}}}]);
    let sent = json!([{"manager": "b", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {}}}]);
    assert_eq!(sent_or_kept(Some(sent.clone()), Some(&kept), ""), Some(sent.clone()));
    assert_eq!(
        sent_or_kept(Some(sent), Some(&kept), "status"),
        Some(kept.clone()),
        "not through a subresource"
    );
    assert_eq!(sent_or_kept(None, Some(&kept), ""), Some(kept.clone()));
    assert_eq!(sent_or_kept(Some(json!([{}])), Some(&kept), ""), None, "an empty entry takes all away");
    for unreadable in [json!([{"manager": "b"}]), json!([{}, {}]), json!([7]), json!([])] {
        assert_eq!(sent_or_kept(Some(unreadable), Some(&kept), ""), Some(kept.clone()));
    }
}

#[test]
fn without_entries_nothing_is_tracked_until_the_first_apply() {
    let live = json!({"metadata": {"name": "a", "uid": "1"}, "data": {"k": "v"}});
    let mut new = live.clone();
    new["data"]["k"] = "w".into();
    assert_eq!(on_update(root("ConfigMap"), &live, &new, None, &author("kubectl")), None);
    let config = json!({"metadata": {"name": "a"}, "data": {"k": "x"}});
    let refused = apply_as("applier", "ConfigMap", Some(&new), config.clone(), false).unwrap_err();
    assert_eq!(
        messages(refused),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.k"
    );
    let applied = apply_as("applier", "ConfigMap", Some(&new), config, true).unwrap();
    assert_eq!(applied["data"], json!({"k": "x"}));
    assert_eq!(fields_of(&applied, "before-first-apply", "Update"), json!({"f:data": {}}));
}

#[test]
fn conflicts_are_told_in_kubernetes_words() {
    let mut live = deployment(3, "httpd");
    live["metadata"]["managedFields"] =
        on_create(root("Deployment"), &live, &[], &author("kubectl-client-side-apply")).unwrap();
    let config = |replicas: u64, image: &str| {
        json!({"metadata": {"name": "web"}, "spec": {"replicas": replicas, "template": {"spec": {"containers": [
            {"name": "main", "image": image}]}}}})
    };
    let one = apply_as("other", "Deployment", Some(&live), config(5, "httpd"), false).unwrap_err();
    assert_eq!(
        messages(one),
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using v1: .spec.replicas"
    );
    let two = apply_as("other", "Deployment", Some(&live), config(5, "nginx"), false).unwrap_err();
    assert_eq!(
        messages(two),
        "Apply failed with 2 conflicts: conflicts with \"kubectl-client-side-apply\" using v1:\n- .spec.replicas\n\
         - .spec.template.spec.containers[name=\"main\"].image"
    );
    let shared = apply_as("other", "Deployment", Some(&live), config(3, "httpd"), false).unwrap();
    assert!(fields_of(&shared, "other", "Apply")["f:spec"]["f:replicas"].is_object());
    assert!(fields_of(&shared, "kubectl-client-side-apply", "Update")["f:spec"]["f:replicas"].is_object());
    let forced = apply_as("other", "Deployment", Some(&live), config(5, "nginx"), true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 5);
    assert_eq!(forced["spec"]["template"]["spec"]["containers"][0]["image"], "nginx");
    assert_eq!(fields_of(&forced, "kubectl-client-side-apply", "Update")["f:spec"].get("f:replicas"), None);
}

#[test]
fn what_is_no_longer_applied_goes_when_nobody_else_owns_it() {
    let first = json!({"metadata": {"name": "web", "labels": {"a": "1", "b": "1"}}, "spec": {"selector": {"x": "y"},
        "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}, {"port": 53}]}});
    let live = apply_as("one", "Service", None, first, false).unwrap();
    let live = apply_as(
        "two",
        "Service",
        Some(&live),
        json!({"metadata": {"name": "web", "labels": {"b": "1"}},
        "spec": {"ports": [{"port": 53, "protocol": "TCP", "name": "dns"}]}}),
        false,
    )
    .unwrap();
    let ports = live["spec"]["ports"].as_array().unwrap();
    assert_eq!(ports.len(), 3, "the missing protocol of a port is TCP: {ports:?}");
    let live = apply_as(
        "one",
        "Service",
        Some(&live),
        json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}),
        false,
    )
    .unwrap();
    assert_eq!(live["metadata"]["labels"], json!({"b": "1"}));
    assert_eq!(
        live["spec"],
        json!({"ports": [{"port": 80}, {"port": 53, "name": "dns", "protocol": "TCP"}]})
    );
    assert_eq!(
        fields_of(&live, "one", "Apply"),
        json!({"f:spec": {"f:ports": {
        "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}})
    );
    let live = apply_as("two", "Service", Some(&live), json!({"metadata": {"name": "web"}}), false).unwrap();
    assert_eq!(live["spec"], json!({"ports": [{"port": 80}]}));
    assert_eq!(live["metadata"].get("labels"), None);
    assert_eq!(fields_of(&live, "two", "Apply"), Value::Null);
}

#[test]
fn applied_again_it_is_no_news() {
    let config = json!({"metadata": {"name": "a", "finalizers": ["x/1", "x/2"]}, "data": {"k": "v"}});
    let live = apply_as("one", "ConfigMap", None, config.clone(), false).unwrap();
    let later = Author { time: "2027-01-01T00:00:00Z", ..author("one") };
    let configuration = Configuration { object: &config, force: false };
    let again = apply(root("ConfigMap"), Some(&live), &configuration, &later).unwrap();
    assert_eq!(again.managed.as_ref(), live["metadata"].get("managedFields"));
    let newer = Author { api_version: "v2", ..later };
    let again = apply(root("ConfigMap"), Some(&live), &configuration, &newer).unwrap().managed.unwrap();
    assert_eq!(again.as_array().unwrap().len(), 1, "an applier keeps its entry in another version: {again}");
    assert_eq!(again[0]["apiVersion"], "v2");
}

#[test]
fn kubectl_takes_over_what_it_applied_from_the_clients_side() {
    let last = json!({"metadata": {"name": "a"}, "data": {"k": "v", "l": "v"}});
    let mut live = json!({"metadata": {"name": "a", "annotations": {
        "kubectl.kubernetes.io/last-applied-configuration": last.to_string()}}, "data": {"k": "v", "l": "v"}});
    live["metadata"]["managedFields"] =
        on_create(root("ConfigMap"), &live, &[], &author("kubectl-client-side-apply")).unwrap();
    let config = json!({"metadata": {"name": "a"}, "data": {"k": "w", "l": "v"}});
    assert!(apply_as("other", "ConfigMap", Some(&live), config.clone(), false).is_err());
    let applied = apply_as("kubectl", "ConfigMap", Some(&live), config.clone(), false).unwrap();
    assert_eq!(applied["data"], json!({"k": "w", "l": "v"}));
    let annotation =
        applied["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].as_str();
    assert_eq!(serde_json::from_str::<Value>(annotation.unwrap()).unwrap(), config);
    let mut edited = live.clone();
    edited["data"]["k"] = "edited".into();
    let edited = update_as("kubectl-edit", "ConfigMap", &live, edited);
    let refused = apply_as("kubectl", "ConfigMap", Some(&edited), config, false).unwrap_err();
    assert_eq!(
        messages(refused),
        "Apply failed with 1 conflict: conflict with \"kubectl-edit\" using v1: .data.k"
    );
}

#[test]
fn lists_that_cannot_be_merged_are_refused() {
    let config = |ports: Value| json!({"metadata": {"name": "web"}, "spec": { "ports": ports }});
    let refused = |ports| messages(apply_as("one", "Service", None, config(ports), false).unwrap_err());
    assert_eq!(
        refused(json!([{"port": 80}, {"port": 80, "protocol": "TCP"}])),
        ".spec.ports: duplicate entries for key [port=80,protocol=\"TCP\"]"
    );
    assert_eq!(
        refused(json!([{"name": "a"}])),
        ".spec.ports: element 0: associative list with keys has an element that omits key field \"port\" (and doesn't have default value)"
    );
    assert_eq!(
        refused(json!([1])),
        ".spec.ports: element 0: associative list with keys may not have non-map elements"
    );
}

#[test]
fn lists_that_are_one_value_are_replaced_and_sets_united() {
    let pod = |tolerations: Value, finalizers: Value| json!({"metadata": {"name": "p", "finalizers": finalizers}, "spec": {"tolerations": tolerations}});
    let live = apply_as("one", "Pod", None, pod(json!([{"key": "a"}]), json!(["f/1"])), false).unwrap();
    let live = apply_as("two", "Pod", Some(&live), pod(json!([{"key": "b"}]), json!(["f/2"])), true).unwrap();
    assert_eq!(live["spec"]["tolerations"], json!([{"key": "b"}]));
    assert_eq!(live["metadata"]["finalizers"], json!(["f/1", "f/2"]));
    assert_eq!(fields_of(&live, "one", "Apply"), json!({"f:metadata": {"f:finalizers": {"v:\"f/1\"": {}}}}));
}

#[test]
fn items_keep_their_order_and_new_ones_find_their_place() {
    let list = |names: &str| -> Value {
        let items: Vec<Value> = names.chars().map(|name| json!({"name": name.to_string()})).collect();
        json!({"spec": {"containers": items}})
    };
    let names = |value: &Value| -> String {
        let items = value["spec"]["containers"].as_array().unwrap();
        items.iter().map(|item| item["name"].as_str().unwrap()).collect()
    };
    for (live, config, merged) in [
        ("abc", "b", "abc"),
        ("abc", "ca", "bca"),
        ("abc", "xb", "axbc"),
        ("ab", "ba", "ba"),
        ("", "ab", "ab"),
        ("axb", "cb", "axcb"),
        ("aa", "a", "a"),
        ("aab", "b", "aab"),
    ] {
        assert_eq!(names(&merge(root("Pod"), Some(&list(live)), &list(config))), merged, "{live} + {config}");
    }
}

#[test]
fn at_most_ten_writers_are_kept_apart() {
    let mut live = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
    live["metadata"]["managedFields"] = on_create(root("ConfigMap"), &live, &[], &author("creator")).unwrap();
    for place in 0..20 {
        let mut new = live.clone();
        new["data"][format!("k{place}")] = "v".into();
        live = update_as(&format!("writer-{place:02}"), "ConfigMap", &live, new);
    }
    let entries = live["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 10);
    let ancient = fields_of(&live, "ancient-changes", "Update");
    assert_eq!(ancient["f:data"].as_object().unwrap().len(), 13, "{ancient}");
}

#[test]
fn a_status_is_owned_through_its_subresource() {
    let mut live = deployment(1, "httpd");
    live["metadata"]["managedFields"] =
        on_create(root("Deployment"), &live, &[], &author("kubectl")).unwrap();
    let mut new = live.clone();
    new["status"] = json!({"replicas": 1, "conditions": [{"type": "Available", "status": "True"}]});
    let status = Author { subresource: "status", ..author("kubectl") };
    let managed = live["metadata"]["managedFields"].clone();
    let managed = on_update(root("Deployment"), &live, &new, Some(managed), &status).unwrap();
    assert_eq!(managed.as_array().unwrap().len(), 2);
    assert_eq!(managed[1]["subresource"], "status");
    assert_eq!(
        managed[1]["fieldsV1"],
        json!({"f:status": {"f:conditions": {".": {}, "k:{\"type\":\"Available\"}": {".": {}, "f:status": {}, "f:type": {}}},
            "f:replicas": {}}})
    );
}

#[test]
fn unknown_steps_are_passed_over_and_broken_ones_refused() {
    let read = |value: &Value| Set::decode(value).map(|set| set.encode());
    assert_eq!(read(&json!({"f:a": {}, "x:new": {}})).unwrap(), json!({"f:a": {}}));
    assert_eq!(
        read(&json!({"k:{ \"b\": 1, \"a\":2 }": {}, "i:3": {}, "v:[1]": {}})).unwrap().to_string(),
        r#"{"k:{\"a\":2,\"b\":1}":{},"v:[1]":{},"i:3":{}}"#
    );
    for broken in [
        json!([]),
        json!({"f:a": 1}),
        json!({"abc": {}}),
        json!({"k:[": {}}),
        json!({"i:x": {}}),
        json!({"zz:x": {}}),
    ] {
        assert!(read(&broken).is_err(), "{broken}");
    }
}

#[test]
fn nothing_known_means_granular_maps_and_whole_lists() {
    let object = json!({"spec": {"deep": {"list": [{"a": 1}], "n": 1}}});
    let set = field_set(Node::DEDUCED, &object, Twins::Refused).unwrap();
    assert_eq!(set.encode(), json!({"f:spec": {".": {}, "f:deep": {".": {}, "f:list": {}, "f:n": {}}}}));
}

/// Any object, with the names and the lists of a pod among others.
fn object() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..3).prop_map(Value::from),
        (-2.0_f64..2.0).prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
    ];
    let name = prop::sample::select(vec![
        "metadata",
        "spec",
        "containers",
        "env",
        "name",
        "labels",
        "finalizers",
        "x.y",
        "",
    ]);
    let value = scalar.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(name.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    value.prop_map(|value| json!({"metadata": {"name": "a"}, "spec": value}))
}

/// A pod that a server could have stored: items with names of their own.
fn pod() -> impl Strategy<Value = Value> {
    let env = prop::sample::subsequence(vec!["X", "Y", "Z"], 0..=3).prop_shuffle();
    let container = (prop::option::of("[ab]"), env, prop::option::of("[pq]"));
    (
        btree_map("[a-d]", container, 0..4),
        btree_map("[k-m]", "[0-9]", 0..3),
        prop::sample::subsequence(vec!["f/1", "f/2"], 0..=2),
    )
        .prop_map(|(containers, labels, finalizers)| {
            let mut pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n"}});
            let containers: Vec<Value> = containers
                .into_iter()
                .map(|(name, (image, env, arg))| {
                    let mut out = json!({ "name": name });
                    if let Some(image) = image {
                        out["image"] = image.into();
                    }
                    if let Some(arg) = arg {
                        out["args"] = json!([arg]);
                    }
                    if !env.is_empty() {
                        out["env"] = env.iter().map(|name| json!({"name": name, "value": "1"})).collect();
                    }
                    out
                })
                .collect();
            if !containers.is_empty() {
                pod["spec"]["containers"] = containers.into();
            }
            if !labels.is_empty() {
                pod["metadata"]["labels"] = json!(labels);
            }
            if !finalizers.is_empty() {
                pod["metadata"]["finalizers"] = json!(finalizers);
            }
            pod
        })
}

fn set_of(value: &Value) -> Set<'_> {
    field_set(root("Pod"), value, Twins::United).unwrap_or_default()
}

proptest! {
    #[test]
    fn a_set_is_read_as_it_was_written(value in object()) {
        for set in [set_of(&value), compare(root("Pod"), &NOTHING, &value).changed] {
            let written = set.encode();
            prop_assert_eq!(Set::decode(&written).unwrap(), set);
        }
    }

    #[test]
    fn sets_obey_the_laws(a in object(), b in object(), c in object()) {
        let (a, b, c) = (set_of(&a), set_of(&b), set_of(&c));
        let both = a.clone().union(b.clone());
        prop_assert_eq!(&both, &b.clone().union(a.clone()));
        prop_assert_eq!(both.clone().union(c.clone()), a.clone().union(b.clone().union(c.clone())));
        prop_assert_eq!(a.clone().union(a.clone()), a.clone());
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
        prop_assert_eq!(a.intersection(&both), a.clone());
        prop_assert!(a.clone().difference(&a).is_empty());
        prop_assert_eq!(a.clone().difference(&b).union(a.intersection(&b)), a.clone());
        prop_assert_eq!(a.clone().difference(&b).intersection(&b), Set::default());
        prop_assert_eq!(a.clone().difference(&b.clone().union(c.clone())), a.clone().difference(&b).difference(&c));
        let paths = a.paths();
        prop_assert_eq!(paths.is_empty(), a.is_empty());
    }

    #[test]
    fn a_value_has_no_difference_to_itself_and_is_all_new_to_nothing(value in object(), other in object()) {
        prop_assert!(compare(root("Pod"), &value, &value).is_empty());
        prop_assert!(compare(root("Pod"), &NOTHING, &value).removed.is_empty());
        let (there, back) = (compare(root("Pod"), &value, &other), compare(root("Pod"), &other, &value));
        prop_assert_eq!(there.removed.intersection(&back.removed), Set::default());
    }

    #[test]
    fn the_merge_holds_the_configuration_and_applies_once(live in pod(), config in pod()) {
        let node = root("Pod");
        let merged = merge(node, Some(&live), &config);
        prop_assert_eq!(&merge(node, Some(&merged), &config), &merged);
        prop_assert_eq!(set_of(&config).difference(&set_of(&merged)), Set::default());
        let lost = compare(node, &config, &merged);
        prop_assert!(lost.changed.intersection(&set_of(&config)).is_empty() && lost.removed.is_empty());
    }

    #[test]
    fn what_is_removed_is_gone(value in pod(), gone in pod()) {
        let (all, gone) = (set_of(&value), set_of(&gone));
        let left = remove(root("Pod"), &value, &gone).unwrap_or_else(|| NOTHING.clone());
        prop_assert!(set_of(&left).intersection(&gone).is_empty());
        prop_assert!(set_of(&left).difference(&all).is_empty());
    }

    #[test]
    fn an_apply_gives_the_configuration_to_its_applier(first in pod(), second in pod(), third in pod()) {
        let live = apply_as("one", "Pod", None, first, false).unwrap();
        let live = apply_as("two", "Pod", Some(&live), second, true).unwrap();
        let after = apply_as("one", "Pod", Some(&live), third.clone(), true).unwrap();
        let entry = fields_of(&after, "one", "Apply");
        let entry = if entry.is_null() { json!({}) } else { entry };
        prop_assert_eq!(Set::decode(&entry).unwrap(), set_of(&third));
        // Every field that somebody owns is there.
        for manager in ["one", "two"] {
            let entry = fields_of(&after, manager, "Apply");
            if !entry.is_null() {
                prop_assert!(Set::decode(&entry).unwrap().difference(&set_of(&after)).is_empty(), "{} {}", manager, after);
            }
        }
    }

    #[test]
    fn any_entries_are_read_or_refused(value in object(), entries in vec(object(), 0..3), text in "[fkvi]?:?\\PC{0,6}") {
        _ = Set::decode(&value);
        _ = Set::decode(&json!({ text: {} }));
        let mut live = value.clone();
        live["metadata"]["managedFields"] = entries.into();
        _ = sent_or_kept(live["metadata"].get("managedFields").cloned(), None, "");
        _ = apply_as("one", "Pod", Some(&live), json!({"metadata": {"labels": {"a": "b"}}}), true);
    }
}
